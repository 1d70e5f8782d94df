"""The ledger, one row per recipient: to search and to read, and to say what became of an unknown one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from relay import reasons, settlement
from relay.admin import recipient_search, words
from relay.admin.confirming import Question, ask
from relay.admin.decisions import actor_of
from relay.admin.forms import SettleForm
from relay.admin.searching import MillionsOfRows, find_recipients
from relay.admin.unfolded import (
    ActionVariant,
    LookingOnly,
    ModelAdmin,
    TabularInline,
    Text,
    coloured,
    detail_action,
    display,
)
from relay.finding import FOR_A_PERSON
from relay.models import Attempt, BulkSend, Recipient, Settlement

# What a list of recipients needs of their bulk send is its name, not its template.
HEAVY_COLUMNS_OF_BULK_SEND = ("template_html", "template_subject", "columns", "variable_map", "findings")
BULK_SENDS_OFFERED = 30
DIGITS = 18  # longer numbers no column holds


class BulkSendFilter(admin.SimpleListFilter):
    title = _("bulk send")
    parameter_name = "bulk_send"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The latest; older ones lead here from their own page."""
        names = BulkSend.objects.order_by("-pk").values_list("pk", "name")
        return [(str(pk), f"{pk} · {name}") for pk, name in names[:BULK_SENDS_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Recipient]) -> QuerySet[Recipient]:
        """What is chosen has a page of its own (`RecipientAdmin.changelist_view`)."""
        return queryset


class AttemptInline(LookingOnly, TabularInline[Attempt, Recipient]):
    model = Attempt
    verbose_name_plural = _("attempts, as the relay answered them")
    fields: ClassVar[Any] = ["started", "took", "outcome_label", "answer", "from_email", "subject"]
    readonly_fields = fields
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Attempts are part of what is known about a recipient: no right of their own.
        return request.user.has_perm("relay.view_recipient")

    @display(description=_("started"))
    def started(self, attempt: Attempt) -> str | None:
        return words.moment(attempt.started_at)

    @display(description=_("took"))
    def took(self, attempt: Attempt) -> str:
        return _("%(seconds).1f s") % {"seconds": (attempt.ended_at - attempt.started_at).total_seconds()}

    @display(description=_("outcome"))
    def outcome_label(self, attempt: Attempt) -> str:
        return coloured(attempt.outcome, attempt.get_outcome_display(), words.OUTCOME_COLOURS)

    @display(description=_("the relay's answer"))
    def answer(self, attempt: Attempt) -> str:
        """In words, then in the relay's own, then in numbers."""
        said = (
            reasons.sentence(attempt.reason, {"detail": attempt.code or attempt.status or ""}) if attempt.reason else ""
        )
        numbers = f"HTTP {attempt.status}" if attempt.status else ""
        return " · ".join(part for part in (said, attempt.detail, numbers) if part)


class SettlementInline(LookingOnly, TabularInline[Settlement, Recipient]):
    model = Settlement
    verbose_name_plural = _("looks into the relay's log, and decisions of people")
    fields: ClassVar[Any] = ["made", "look_shown", "verdict_label", "reason_text", "delivery", "note"]
    readonly_fields = fields
    extra = 0

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("relay.view_recipient")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Settlement]:
        return super().get_queryset(request).select_related("decided_by")

    @display(description=_("made"))
    def made(self, made: Settlement) -> str | None:
        return words.moment(made.made_at)

    @display(description=_("look"))
    def look_shown(self, made: Settlement) -> str:
        return str(made.look or made.decided_by or _("a person"))

    @display(description=_("verdict"))
    def verdict_label(self, made: Settlement) -> str:
        return coloured(made.verdict, made.get_verdict_display(), words.VERDICT_COLOURS)

    @display(description=_("reason"))
    def reason_text(self, made: Settlement) -> str:
        return made.reason_text


@dataclass(frozen=True, slots=True)
class Section:
    """Something more about a recipient that another app knows: shown above what the ledger has."""

    title: str
    content: SafeString


# Apps that know more add themselves (`relay` imports none of them); None: nothing to say about this one.
more_about: list[Callable[[Recipient], Section | None]] = []


def sections_about(recipient: Recipient) -> list[Section]:
    return [section for about in more_about if (section := about(recipient)) is not None]


def _mail(request: HttpRequest, recipient: Recipient) -> dict[str, Any]:
    """The frame with its mail, for who may see its bulk send; nothing for rows that never had one."""
    if not request.user.has_perm("relay.view_bulksend"):
        return {}
    row = [recipient.bulk_send_id, recipient.row]
    return {
        "mail_url": reverse("admin:relay_bulksend_preview_mail", args=row),
        "preview_url": reverse("admin:relay_bulksend_preview", args=row),
        "has_left": recipient.attempts > 0,
    }


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person may say of an unknown recipient."""

    name: str
    sent: bool
    button: Text
    question: Text
    done: Text
    icon: str
    for_good: bool = False


WAS_SENT = Answer(
    name="was_sent",
    sent=True,
    button=_("It was sent"),
    question=_("It counts as accepted from now on, and is not sent again."),
    done=_("Recorded: it was sent."),
    icon="mark_email_read",
)
WAS_NOT_SENT = Answer(
    name="was_not_sent",
    sent=False,
    button=_("It was not sent"),
    question=_(
        "It waits to be sent again (unless its bulk send was cancelled). "
        "If the first message did leave after all, this person receives two."
    ),
    done=_("Recorded: it was not sent."),
    icon="unsubscribe",
    for_good=True,
)
ANSWERS = {answer.name: answer for answer in (WAS_SENT, WAS_NOT_SENT)}


def _answer_button(answer: Answer) -> Any:
    """The method of RecipientAdmin behind one button."""

    def method(
        self: "RecipientAdmin", request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        return self.settle(request, object_id, answer)

    method.__name__ = answer.name
    return detail_action(
        description=answer.button,
        url_path=answer.name.replace("_", "-"),
        permissions=["settle"],
        icon=answer.icon,
        variant=ActionVariant.DEFAULT,
    )(method)


@admin.register(Recipient)
class RecipientAdmin(MillionsOfRows, LookingOnly, ModelAdmin[Recipient]):
    list_display = ["email", "row", "state_label", "reason_text", "attempts", "accepted", "bulk_send_name"]
    list_filter = [BulkSendFilter]
    list_select_related = ["bulk_send"]
    search_fields = ["email"]  # switches the search on; get_search_results decides what it does
    search_help_text = _("Beginning of the address, or row number")
    records_itself = True
    inlines = [AttemptInline, SettlementInline]
    actions_detail = list(ANSWERS)
    change_form_before_template = "relay/watching/recipient.html"
    fieldsets = [
        (None, {"fields": ["bulk_send_link", "row", "email", "state_shown", "reason_text"]}),
        (_("What the relay said"), {"fields": ["message_id", "delivery", "accepted", "attempts"]}),
        (
            _("Waiting"),
            {"fields": ["not_before_text", "sending_since_text", "looks", "look_at_text"], "classes": ["collapse"]},
        ),
        (_("Variables"), {"fields": ["variables_shown"]}),
    ]
    readonly_fields = [
        "bulk_send_link",
        "row",
        "email",
        "state_shown",
        "reason_text",
        "message_id",
        "delivery",
        "accepted",
        "attempts",
        "not_before_text",
        "sending_since_text",
        "looks",
        "look_at_text",
        "variables_shown",
    ]

    class Media:
        css: ClassVar[Any] = {"all": ["relay/watching.css"]}

    # --- what a person says of an unknown one ---------------------------------------------------------------

    was_sent = _answer_button(WAS_SENT)
    was_not_sent = _answer_button(WAS_NOT_SENT)

    def has_settle_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who decides about bulk sends decides this too, if he may look at recipients."""
        return request.user.has_perm("relay.change_bulksend") and self.has_view_permission(request)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        recipient = self.get_object(request, unquote(str(object_id)))
        if recipient is None or recipient.state != Recipient.State.UNKNOWN:
            return []
        offered: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        return offered

    def settle(self, request: HttpRequest, object_id: str, answer: Answer) -> HttpResponse:
        """GET asks, POST does. The rights were checked by the button's `permissions` before."""
        recipient = self.get_object(request, unquote(object_id))
        if recipient is None:
            raise Http404
        page = reverse("admin:relay_recipient_change", args=[recipient.pk])
        if recipient.state != Recipient.State.UNKNOWN:
            told = {"state": recipient.get_state_display()}
            self.message_user(request, _("This recipient is «%(state)s» by now.") % told, messages.WARNING)
            return HttpResponseRedirect(page)
        form = SettleForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            about = f"{recipient.email} · {self.bulk_send_name(recipient)}"
            question = Question(answer.button, answer.question, about, page, form, answer.for_good)
            return ask(self, request, recipient, question)
        self._settle(request, recipient, answer, form.cleaned_data["note"])
        return HttpResponseRedirect(page)

    def _settle(self, request: HttpRequest, recipient: Recipient, answer: Answer, note: str) -> None:
        by = actor_of(request)
        try:
            settlement.decide(recipient, sent=answer.sent, note=note, by=by.user, actor=by.name)
        except settlement.NotUnknown as problem:
            self.message_user(request, str(problem), messages.ERROR)
        else:
            self.log_change(request, recipient, str(answer.done))
            self.message_user(request, str(answer.done), messages.SUCCESS)

    # --- pages ----------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recipient]:
        heavy = [f"bulk_send__{name}" for name in HEAVY_COLUMNS_OF_BULK_SEND]
        return super().get_queryset(request).select_related("bulk_send").defer(*heavy)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Of one bulk send it is a page of its own: no index knows a state, a reason or a value."""
        chosen = request.GET.get(BulkSendFilter.parameter_name, "")
        if chosen.isdecimal() and len(chosen) <= DIGITS:
            return recipient_search.search(self, request, int(chosen))
        if request.GET.get("state") == FOR_A_PERSON:
            return recipient_search.choose(self, request)
        if {"state", "reason"} & request.GET.keys():
            self.message_user(request, _("Choose a bulk send to look by state or reason."), messages.WARNING)
            return HttpResponseRedirect(reverse(recipient_search.LIST))
        return super().changelist_view(request, extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        recipient = self.get_object(request, unquote(object_id))
        if recipient is not None and self.has_view_permission(request, recipient):
            context |= {"sections": sections_about(recipient), **_mail(request, recipient)}
        return super().change_view(request, object_id, form_url, context)

    def get_ordering(self, request: HttpRequest) -> Any:
        """An order that an index already has, for each way of asking."""
        return [Lower("email"), "-id"] if request.GET.get("q", "").strip() else ["-id"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Recipient], search_term: str
    ) -> tuple[QuerySet[Recipient], bool]:
        return (find_recipients(queryset, search_term) if search_term.strip() else queryset), False

    @display(description=_("state"), label=words.STATE_COLOURS)
    def state_label(self, recipient: Recipient) -> tuple[str, str]:
        return recipient.state, recipient.get_state_display()

    @display(description=_("state"))
    def state_shown(self, recipient: Recipient) -> str:
        return coloured(recipient.state, recipient.get_state_display(), words.STATE_COLOURS)

    @display(description=_("reason"))
    def reason_text(self, recipient: Recipient) -> str:
        return recipient.reason_text

    @display(description=_("accepted on"))
    def accepted(self, recipient: Recipient) -> str | None:
        return words.moment(recipient.accepted_at)

    @display(description=_("not before"))
    def not_before_text(self, recipient: Recipient) -> str | None:
        return words.moment(recipient.not_before)

    @display(description=_("sending since"))
    def sending_since_text(self, recipient: Recipient) -> str | None:
        return words.moment(recipient.sending_since)

    @display(description=_("next look"))
    def look_at_text(self, recipient: Recipient) -> str | None:
        if recipient.state == Recipient.State.UNKNOWN and recipient.look_at is None:
            return str(_("none: a person decides"))
        return words.moment(recipient.look_at)

    @display(description=_("bulk send"))
    def bulk_send_name(self, recipient: Recipient) -> str:
        return f"{recipient.bulk_send_id} · {recipient.bulk_send.name}"

    @display(description=_("bulk send"))
    def bulk_send_link(self, recipient: Recipient) -> SafeString:
        url = reverse("admin:relay_bulksend_change", args=[recipient.bulk_send_id])
        return format_html('<a class="relay-link" href="{}">{}</a>', url, self.bulk_send_name(recipient))

    @display(description=_("variables"))
    def variables_shown(self, recipient: Recipient) -> str:
        return render_to_string("relay/admin/variables.html", {"variables": recipient.variables})
