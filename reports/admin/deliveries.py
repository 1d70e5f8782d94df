"""What was loaded into `default`, one row per message: to look up what became of the mail to one person."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from relay.admin import words
from relay.admin.advice import Advice, WithAdvice
from relay.admin.dashboard import may
from relay.admin.searching import MillionsOfRows
from relay.admin.unfolded import LookingOnly, ModelAdmin, coloured, display
from reports.admin.words import STATUS_COLOURS, day, status
from reports.models import Delivery


def _as_it_is(name: str, description: Any) -> Any:
    """A column or field by a name that people know; those of the table are for SQL."""

    def shown(self: "DeliveryAdmin", delivery: Delivery) -> Any:
        return getattr(delivery, name)

    return display(description=description)(shown)


@admin.register(Delivery)
class DeliveryAdmin(WithAdvice, MillionsOfRows, LookingOnly, ModelAdmin[Delivery]):
    list_display = [
        "recipient_shown",
        "status_label",
        "sent",
        "subject_shown",
        "opens_shown",
        "clicks_shown",
        "sender_shown",
    ]
    list_filter = ["local_day"]
    search_fields = ["recipient"]  # switches the search on; get_search_results decides what it does
    search_help_text = _("Whole address of the recipient")
    empty_value_display = "—"
    fieldsets: ClassVar[Any] = [
        (None, {"fields": ["recipient_shown", "status_shown", "sent", "day", "opens_shown", "clicks_shown"]}),
        (_("Message"), {"fields": ["subject_shown", "sender_shown", "sender_name_shown"]}),
        (_("Source"), {"fields": ["as_of_text", "extra_shown"]}),
    ]
    readonly_fields: ClassVar[Any] = [name for _title, options in fieldsets for name in options["fields"]]

    class Media:
        css = {"all": ["reports/admin.css"]}

    def advice(self, request: HttpRequest) -> Advice:
        may_see = may(request.user, "reports.view_generatedreport", "reports.change_generatedreport")
        return Advice(
            _("No delivery is loaded yet"),
            _(
                "Deliveries come from reports: request one, wait until it is ready, and load it into «default». "
                "Then it can be looked up here what became of the mail to a person."
            ),
            reverse("admin:reports_generatedreport_changelist") if may_see else "",
            _("Generated reports"),
        )

    def get_ordering(self, request: HttpRequest) -> Any:
        """An order that an index already has, for each way of asking."""
        if request.GET.get("q", "").strip():
            return ["-sent_at", "-id"]  # behind the recipient, in the index of recipients
        return ["-sent_at", "-key", "-ordinal"]  # the natural key

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Delivery], search_term: str
    ) -> tuple[QuerySet[Delivery], bool]:
        """By the whole address, as the index has it: in lower case."""
        term = search_term.strip().lower()
        return (queryset.filter(recipient=term) if term else queryset), False

    recipient_shown = _as_it_is("recipient", _("recipient"))
    subject_shown = _as_it_is("subject", _("subject"))
    sender_shown = _as_it_is("sender", _("sender"))
    sender_name_shown = _as_it_is("sender_name", _("name of the sender"))
    opens_shown = _as_it_is("opens", _("opens"))
    clicks_shown = _as_it_is("clicks", _("clicks"))

    @display(description=_("status"), label=STATUS_COLOURS)
    def status_label(self, delivery: Delivery) -> tuple[str, str]:
        return delivery.status, status(delivery)

    @display(description=_("status"))
    def status_shown(self, delivery: Delivery) -> str:
        return coloured(delivery.status, status(delivery), STATUS_COLOURS)

    @display(description=_("sent on"))
    def sent(self, delivery: Delivery) -> SafeString:
        return format_html('<span class="reports-line">{}</span>', words.moment(delivery.sent_at))

    @display(description=_("local day"))
    def day(self, delivery: Delivery) -> str:
        return day(delivery.local_day)

    @display(description=_("as of"))
    def as_of_text(self, delivery: Delivery) -> str | None:
        return words.moment(delivery.as_of)

    @display(description=_("further columns"))
    def extra_shown(self, delivery: Delivery) -> str:
        return render_to_string("relay/admin/variables.html", {"variables": delivery.extra})
