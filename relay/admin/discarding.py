"""Discarding a draft: asked for on a page of its own, done by a POST; what is large is left to a worker."""

from collections.abc import Callable

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from relay import activity, preparing, tasks
from relay.activity import What
from relay.admin.confirming import Question, ask
from relay.admin.unfolded import ModelAdmin
from relay.explained import Explained
from relay.models import BulkSend, Preparation

# So many recipients are deleted while a person waits.
AT_ONCE = 20_000


def discard_preparation(
    admin: ModelAdmin[Preparation], request: HttpRequest, preparation: Preparation, *, back: str
) -> HttpResponse:
    return _discard(
        admin, request, preparation, lambda: preparing.discard_preparation(preparation.pk), back, "preparation"
    )


def discard_bulk_send(
    admin: ModelAdmin[BulkSend], request: HttpRequest, bulk_send: BulkSend, *, back: str
) -> HttpResponse:
    """With its preparation, if it has one."""
    return _discard(admin, request, bulk_send, lambda: preparing.discard_draft(bulk_send), back, "bulksend")


def _discard[M: Model](
    admin: ModelAdmin[M], request: HttpRequest, about: M, discard: Callable[[], object], back: str, model: str
) -> HttpResponse:
    if request.method != "POST":
        question = Question(
            button=_("Discard draft"),
            text=_("The draft, its file and its checked recipients are deleted for good. Nothing of it was sent."),
            about=str(about),
            back=back,
            for_good=True,
        )
        return ask(admin, request, about, question)
    try:
        discard()
    except Explained as problem:
        admin.message_user(request, str(problem), messages.ERROR)
        return HttpResponseRedirect(back)
    if isinstance(about, BulkSend):  # whose page records its own verbs
        activity.record(What.DELETED, by=request.user, about=about, request=request)
    admin.log_deletions(request, type(about)._default_manager.filter(pk=about.pk))
    preparing.delete_discarded(with_at_most=AT_ONCE)
    if Preparation.objects.filter(discarded_at__isnull=False).exists():
        tasks.ask_to_delete_discarded()
    admin.message_user(request, _("The draft is discarded."), messages.SUCCESS)
    return HttpResponseRedirect(reverse(f"admin:relay_{model}_changelist"))
