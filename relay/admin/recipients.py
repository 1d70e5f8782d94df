"""The ledger, one row per recipient: to search and to read. `relay.ledger` alone writes it."""

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from relay import reasons
from relay.admin import words
from relay.admin.searching import CappedPaginator, find_recipients
from relay.admin.unfolded import ChangeList, LookingOnly, ModelAdmin, TabularInline, coloured, display
from relay.models import Attempt, BulkSend, Recipient

# What a list of recipients needs of their bulk send is its name, not its template.
HEAVY_COLUMNS_OF_BULK_SEND = ("template_html", "template_subject", "columns", "variable_map", "findings")
BULK_SENDS_OFFERED = 30


class BulkSendFilter(admin.SimpleListFilter):
    title = _("bulk send")
    parameter_name = "bulk_send"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The latest, and the one that is chosen, however old."""
        names = BulkSend.objects.order_by("-pk").values_list("pk", "name")
        offered = list(names[:BULK_SENDS_OFFERED])
        chosen = request.GET.get(self.parameter_name, "")
        if chosen.isdecimal() and int(chosen) not in dict(offered):
            offered += list(names.filter(pk=int(chosen)))
        return [(str(pk), f"{pk} · {name}") for pk, name in offered]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Recipient]) -> QuerySet[Recipient]:
        value = self.value() or ""
        return queryset.filter(bulk_send_id=int(value)) if value.isdecimal() else queryset


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"
    # A bulk send is done only when none of its recipients is in one of these.
    OPEN = frozenset({Recipient.State.PENDING, Recipient.State.SENDING, Recipient.State.UNKNOWN})

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Recipient.State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Recipient]) -> QuerySet[Recipient]:
        state = self.value()
        if not state:
            return queryset
        if state in self.OPEN:
            # No index knows the state: years of finished bulk sends need not be read for the few that are open.
            not_done = BulkSend.objects.exclude(status=BulkSend.Status.DONE).order_by().values("pk")
            queryset = queryset.filter(bulk_send__in=not_done)
        return queryset.filter(state=state)


class ReasonFilter(admin.SimpleListFilter):
    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(reasons.NAMES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Recipient]) -> QuerySet[Recipient]:
        return queryset.filter(reason=self.value()) if self.value() else queryset


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


class RecipientChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Nothing but the page itself says how many there are: it knows where the count stops.
        self.full_result_count = self.result_count


@admin.register(Recipient)
class RecipientAdmin(LookingOnly, ModelAdmin[Recipient]):
    list_display = ["email", "row", "state_label", "reason_text", "attempts", "accepted", "bulk_send_name"]
    list_filter = [BulkSendFilter, StateFilter, ReasonFilter]
    list_select_related = ["bulk_send"]
    list_fullwidth = True
    search_fields = ["email"]  # switches the search on; get_search_results decides what it does
    search_help_text = _("Beginning of the address, or row number")
    sortable_by = ()  # no index would help
    actions = None
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    inlines = [AttemptInline]
    fieldsets = [
        (None, {"fields": ["bulk_send_link", "row", "email", "state_shown", "reason_text"]}),
        (_("What the relay said"), {"fields": ["message_id", "delivery", "accepted", "attempts"]}),
        (_("Waiting"), {"fields": ["not_before_text", "sending_since_text"], "classes": ["collapse"]}),
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
        "variables_shown",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Recipient]:
        heavy = [f"bulk_send__{name}" for name in HEAVY_COLUMNS_OF_BULK_SEND]
        return super().get_queryset(request).select_related("bulk_send").defer(*heavy)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RecipientChangeList

    def get_ordering(self, request: HttpRequest) -> Any:
        """An order that an index already has, for each way of asking."""
        if request.GET.get("q", "").strip():
            return [Lower("email"), "-id"]
        if request.GET.get(BulkSendFilter.parameter_name):
            return ["bulk_send_id", "row"]
        return ["-id"]

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
