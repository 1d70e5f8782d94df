"""Bulk sends: where each stands, what the validation found, and the decisions a person may take.

They are created by `bulk create`; here nobody adds, edits or deletes one. A decision is offered as a button that leads
to a confirmation page: Unfold's buttons are links, and a link must not change anything.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import formats
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from relay import activity, approving, tallies
from relay.activity import What
from relay.admin import bulk_send_parts, decisions, discarding, polling, words
from relay.admin.bulk_send_page import WatchPages, fact, page_of
from relay.admin.confirming import Question, ask
from relay.admin.decisions import DECISIONS, Offer, actor_of
from relay.admin.downloads import as_download
from relay.admin.reviewing import ReviewPages
from relay.admin.scheduling import SchedulePages
from relay.admin.unfolded import (
    ActionVariant,
    ChangeList,
    LookingOnly,
    ModelAdmin,
    TabularInline,
    detail_action,
    display,
)
from relay.explained import Explained
from relay.models import Approval, BulkSend, Recipient
from relay.orders import window_of
from relay.previewing import sender_of

State = Recipient.State
Status = BulkSend.Status

MOST_ON_A_PAGE = 100
DIGITS = 18  # longer numbers no column holds


STYLED_PARTS = ("bulk_sends", "preparing", "charts", "watching")


class BulkSendChangeList(ChangeList):
    """The list page; the counts of all its bulk sends come from one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        parts = bulk_send_parts.rows(self.result_list)
        for bulk_send in self.result_list:
            bulk_send.parts = parts[bulk_send.pk]


def _part_column(name: str, description: Any, ordering: str | None = None) -> Any:
    """A column of the list that changes while somebody looks."""

    def column(self: "BulkSendAdmin", bulk_send: Any) -> SafeString:
        shown: SafeString = bulk_send.parts[name]
        return shown

    return display(description=description, ordering=ordering)(column)


def _decision_button(decision: Offer, variant: ActionVariant = ActionVariant.DEFAULT) -> Any:
    """The method of BulkSendAdmin behind one button."""

    def method(
        self: "BulkSendAdmin", request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return self.decide(request, object_id, decision)

    method.__name__ = decision.name
    return detail_action(
        description=decision.button,
        url_path=decision.name.replace("_", "-"),
        permissions=[decision.right],
        icon=decision.icon,
        variant=variant,
    )(method)


def _fact_field(name: str, description: Any) -> Any:
    def field(self: "BulkSendAdmin", bulk_send: BulkSend) -> SafeString:
        return fact(bulk_send, name)

    return display(description=description)(field)


class ApprovalInline(LookingOnly, TabularInline[Approval, BulkSend]):
    model = Approval
    verbose_name_plural = _("approvals")
    fields: ClassVar[Any] = ["made", "actor", "verdict", "note", "holds"]
    readonly_fields = fields
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # As of decisions; where approval is not asked for and never was, there is no empty table.
        known = request.user.has_perm("relay.view_bulksend") or request.user.has_perm("relay.change_bulksend")
        return known and (obj is None or approving.is_needed(obj) or obj.approvals.exists())

    @display(description=_("made"))
    def made(self, approval: Approval) -> str | None:
        return words.moment(approval.made_at)

    @display(description=_("holds"))
    def holds(self, approval: Approval) -> str:
        if approval.fingerprint == approving.fingerprint(approval.bulk_send):
            return str(_("yes"))
        return str(_("no: the bulk send was changed afterwards"))


@admin.register(BulkSend)
class BulkSendAdmin(LookingOnly, ModelAdmin[BulkSend]):
    list_display = [
        "identity",
        "status_part",
        "scheduled",
        "progress_part",
        "accepted",
        "refused",
        "unknown",
        "pending",
        "excluded",
    ]
    records_itself = True
    list_filter = ["status"]
    list_per_page = 50
    list_max_show_all = MOST_ON_A_PAGE
    list_fullwidth = True
    list_before_template = "relay/admin/bulk_send_list.html"
    search_fields = ["name", "template_name"]
    search_help_text = _("Name or template")
    actions = ["process_selected"]
    actions_detail: ClassVar[Any] = [*DECISIONS, "discard"]
    change_form_before_template = "relay/admin/bulk_send.html"
    inlines = [ApprovalInline]
    fieldsets: ClassVar[Any] = [
        (
            _("Message"),
            {"fields": ["template", "subject_shown", "sender_shown", "reply_to", "attachments_shown"]},
        ),
        (
            _("What was understood from the file"),
            {
                "fields": [
                    "file_name",
                    "file_format",
                    "address_column",
                    "columns_shown",
                    "variables_shown",
                    "allow_repeats",
                    "allow_empty",
                    "accept_rejects",
                ]
            },
        ),
        (_("Pace"), {"fields": ["rate_shown", "window_shown", "first_slice_shown"]}),
        (_("Times"), {"fields": ["created", "scheduled_shown", "began", "resumes", "finished"]}),
    ]
    readonly_fields: ClassVar[Any] = [name for _title, options in fieldsets for name in options["fields"]]

    class Media:
        css: ClassVar = {
            "all": [
                polling.STYLE,
                "relay/bulk_sends.css",
                "relay/preparing.css",
                "relay/charts.css",
                "relay/watching.css",
            ]
        }
        js: ClassVar = [polling.SCRIPT]

    # --- who may do what ------------------------------------------------------------------------------------

    def has_send_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """May decide about bulk sends. The right is Django's «change», although nothing is edited here."""
        return request.user.has_perm("relay.change_bulksend")

    def has_approve_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(approving.RIGHT) and self.has_view_permission(request, obj)

    def has_prepare_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("relay.add_bulksend")

    # --- pages ----------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[BulkSend]:
        # A template can be 2 MB; no page shows it.
        return super().get_queryset(request).defer("template_html")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BulkSendChangeList

    def get_urls(self) -> list[Any]:
        rejects = self.admin_site.admin_view(self.rejects_view)
        list_progress = self.admin_site.admin_view(self.list_progress_view)
        return [
            path("progress/", list_progress, name="relay_bulksend_list_progress"),
            path("<int:object_id>/rejects/", rejects, name="relay_bulksend_rejects"),
            *WatchPages(self).urls(),
            *ReviewPages(self).urls(),
            *SchedulePages(self).urls(),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer = super().changelist_view(request, extra_context)
        if isinstance(answer, TemplateResponse) and (shown := (answer.context_data or {}).get("cl")):
            answer.context_data |= _poll_of_list(shown.result_list)  # type: ignore[operator]
        return answer

    @method_decorator(require_GET)
    def list_progress_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = [pk for pk in request.GET.getlist("id")[:MOST_ON_A_PAGE] if pk.isdecimal() and len(pk) <= DIGITS]
        bulk_sends = list(self.get_queryset(request).filter(pk__in=asked))
        cells = [cell for row in bulk_send_parts.rows(bulk_sends).values() for cell in row.values()]
        return HttpResponse(polling.fragment(cells, moving=any(map(bulk_send_parts.moves, bulk_sends))))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        bulk_send = self.get_object(request, unquote(object_id))
        context = dict(extra_context or {})
        if bulk_send is not None and self.has_view_permission(request, bulk_send):
            context |= page_of(bulk_send, request)
        return super().change_view(request, object_id, form_url, context)

    def rejects_view(self, request: HttpRequest, object_id: int) -> FileResponse:
        bulk_send = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_view_permission(request, bulk_send):
            raise PermissionDenied
        download = as_download(bulk_send.rejects_file, filename=f"bulk-send-{bulk_send.pk}-rejects.csv")
        activity.record(What.EXPORTED, by=request.user, about=bulk_send, request=request, file="rejects")
        return download

    # --- decisions ------------------------------------------------------------------------------------------

    @admin.action(description=_("Process selected bulk send"), permissions=["send"])
    def process_selected(self, request: HttpRequest, queryset: QuerySet[BulkSend]) -> None:
        for bulk_send in queryset.order_by("pk"):
            done = decisions.start_from_list(bulk_send, actor_of(request))
            if done.started:
                self.log_change(request, bulk_send, str(decisions.START.done))
            level = messages.ERROR if done.failed else messages.SUCCESS if done.started else messages.WARNING
            self.message_user(request, done.sentence, level)

    start = _decision_button(decisions.START, ActionVariant.PRIMARY)
    start_valid = _decision_button(decisions.START_VALID, ActionVariant.PRIMARY)
    pause = _decision_button(decisions.PAUSE)
    resume = _decision_button(decisions.RESUME, ActionVariant.PRIMARY)
    retry = _decision_button(decisions.RETRY)
    approve = _decision_button(decisions.APPROVE, ActionVariant.PRIMARY)
    reject = _decision_button(decisions.REJECT)
    change_pace = _decision_button(decisions.CHANGE_PACE)
    cancel = _decision_button(decisions.CANCEL, ActionVariant.DANGER)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """None at the head of the page, which stands still: what may be decided now is part of what moves."""
        return []

    def decide(self, request: HttpRequest, object_id: str, decision: Offer) -> HttpResponse:
        """GET asks, POST does. The rights were checked by the button's `permissions` before."""
        bulk_send = self.get_object(request, unquote(object_id))
        if bulk_send is None:
            raise Http404
        posted = request.POST if request.method == "POST" else None
        form = decision.form(bulk_send, posted) if decision.form else None
        if posted is None or (form and not form.is_valid()):
            return self._ask(request, bulk_send, decision, form)
        try:
            decision.carry_out(bulk_send, actor_of(request), form.cleaned_data if form else {})
        except Explained as problem:
            self.message_user(request, str(problem), messages.ERROR)
        else:
            self.log_change(request, bulk_send, str(decision.done))
            self.message_user(request, str(decision.done), messages.SUCCESS)
        return HttpResponseRedirect(_page_address(bulk_send))

    @detail_action(
        description=_("Discard draft"),
        url_path="discard",
        permissions=["prepare"],
        icon="delete",
        variant=ActionVariant.DANGER,
    )
    def discard(self, request: HttpRequest, object_id: str) -> HttpResponse:
        bulk_send = self.get_object(request, unquote(object_id))
        if bulk_send is None:
            raise Http404
        return discarding.discard_bulk_send(self, request, bulk_send, back=_page_address(bulk_send))

    def _ask(self, request: HttpRequest, bulk_send: BulkSend, decision: Offer, form: forms.Form | None) -> HttpResponse:
        if not decision.is_offered(bulk_send):
            told = {"id": bulk_send.pk, "status": bulk_send.get_status_display()}
            problem = _("Bulk send %(id)d is «%(status)s»: this cannot be done from there.") % told
            self.message_user(request, problem, messages.WARNING)
            return HttpResponseRedirect(_page_address(bulk_send))
        told = {
            "left": words.number(tallies.counts_of([bulk_send.pk])[bulk_send.pk][State.PENDING]),
            "subject": self.subject_shown(bulk_send),
            "from": self.sender_shown(bulk_send),
            "hour": words.moment(bulk_send.scheduled_at) or _("as soon as somebody starts it"),
        }
        question = Question(
            button=decision.button,
            text=decision.question % told,
            about=bulk_send.name,
            back=_page_address(bulk_send),
            form=form,
            for_good=decision.for_good,
        )
        return ask(self, request, bulk_send, question)

    # --- columns of the list --------------------------------------------------------------------------------

    @display(description=_("bulk send"), ordering="id")
    def identity(self, bulk_send: BulkSend) -> SafeString:
        template = bulk_send.template_name or bulk_send.template_id
        return format_html(
            '<span class="relay-name">{}</span><span class="relay-under">{} · {}</span>',
            bulk_send.name,
            bulk_send.pk,
            template,
        )

    status_part = _part_column("status", _("status"), ordering="status")
    progress_part = _part_column("progress", _("rows"))
    accepted = _part_column(State.ACCEPTED, _("accepted"))
    refused = _part_column(State.REFUSED, _("refused"))
    unknown = _part_column(State.UNKNOWN, _("unknown"))
    pending = _part_column(State.PENDING, _("pending"))
    excluded = _part_column(State.EXCLUDED, _("excluded"))
    scheduled = _part_column("scheduled", _("scheduled"), ordering="scheduled_at")

    @display(description=_("created"))
    def created(self, bulk_send: BulkSend) -> str | None:
        return words.moment(bulk_send.created_at)

    # --- fields of the page ---------------------------------------------------------------------------------

    @display(description=_("template"))
    def template(self, bulk_send: BulkSend) -> str:
        return (
            f"{bulk_send.template_name} ({bulk_send.template_id})" if bulk_send.template_name else bulk_send.template_id
        )

    @display(description=_("subject"))
    def subject_shown(self, bulk_send: BulkSend) -> str:
        if bulk_send.subject:
            return bulk_send.subject
        return _("%(subject)s (the template's)") % {"subject": bulk_send.template_subject or "—"}

    @display(description=_("from"))
    def sender_shown(self, bulk_send: BulkSend) -> str:
        return sender_of(bulk_send) or str(_("The template's own sender"))

    @display(description=_("attachments"))
    def attachments_shown(self, bulk_send: BulkSend) -> SafeString | None:
        links = (
            (reverse("admin:relay_attachment_download", args=[attachment.pk]), attachment.filename)
            for attachment in bulk_send.attachments.order_by("filename")
        )
        return format_html_join(", ", '<a class="relay-link" href="{}">{}</a>', links) or None

    @display(description=_("encoding and delimiter"))
    def file_format(self, bulk_send: BulkSend) -> str:
        delimiter = words.DELIMITERS.get(bulk_send.file_delimiter, bulk_send.file_delimiter)
        return " · ".join(str(part) for part in (bulk_send.file_encoding, delimiter) if part)

    @display(description=_("columns"))
    def columns_shown(self, bulk_send: BulkSend) -> str:
        return ", ".join(map(str, bulk_send.columns))

    @display(description=_("variables taken from columns"))
    def variables_shown(self, bulk_send: BulkSend) -> str:
        return ", ".join(f"{variable} = {column}" for variable, column in bulk_send.variable_map.items())

    @display(description=_("messages per second"))
    def rate_shown(self, bulk_send: BulkSend) -> str:
        if bulk_send.max_rate is None:
            return str(_("as fast as the account allows"))
        return formats.number_format(bulk_send.max_rate)

    @display(description=_("sending window"))
    def window_shown(self, bulk_send: BulkSend) -> str | None:
        window = window_of(bulk_send)
        if window is None:
            return None
        named = window.name if bulk_send.window else _("%(window)s (the sender's)") % {"window": window.name}
        return f"{named} · {words.open_or_resting(window)}"

    @display(description=_("first slice"))
    def first_slice_shown(self, bulk_send: BulkSend) -> str | None:
        if not bulk_send.first_slice:
            return None
        told = {
            "count": words.number(bulk_send.first_slice),
            "share": formats.number_format(bulk_send.first_slice_max_refused * 100, 1),
        }
        return _("%(count)s messages, of which %(share)s %% may be refused") % told

    scheduled_shown = _fact_field("scheduled", _("scheduled"))
    began = _fact_field("began", _("sending began"))
    resumes = _fact_field("resumes", _("resumes"))
    finished = _fact_field("finished", _("finished"))


def _poll_of_list(bulk_sends: Sequence[BulkSend]) -> dict[str, Any]:
    """What has ended is not asked for again."""
    ended = {Status.DONE, Status.CANCELLED}
    asked = "&".join(f"id={bulk_send.pk}" for bulk_send in bulk_sends if bulk_send.status not in ended)
    return {
        "poll": f"{reverse('admin:relay_bulksend_list_progress')}?{asked}",
        "moving": any(map(bulk_send_parts.moves, bulk_sends)),
    }


def _page_address(bulk_send: BulkSend) -> str:
    return reverse("admin:relay_bulksend_change", args=[bulk_send.pk])
