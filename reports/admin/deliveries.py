"""What was loaded into `default`, one row per message: to look up what became of the mail to one person."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Case, Q, QuerySet, When
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


class DayFilter(admin.DateFieldListFilter):
    """Rows are read in the order of their time, by whose index no day is found: a day is also a stretch of time."""

    # No zone is further from UTC, to the east and to the west.
    EARLIEST, LATEST = timedelta(hours=14), timedelta(hours=12)
    YEARS = range(1970, 9000)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        days = Q()
        if since := self._day("local_day__gte"):
            queryset = queryset.filter(sent_at__gte=_midnight(since) - self.EARLIEST)
            days &= Q(local_day__gte=since)
        if until := self._day("local_day__lt"):
            queryset = queryset.filter(sent_at__lt=_midnight(until) + self.LATEST)
            days &= Q(local_day__lt=until)
        # PostgreSQL takes the two for independent, expects next to nothing and would sort all there is; it does not
        # look into a CASE.
        return queryset.filter(Case(When(days, then=True), default=False)) if days else queryset

    def _day(self, parameter: str) -> date | None:
        written = self.date_params.get(parameter)
        try:
            day = date.fromisoformat(written) if written else None
        except ValueError as error:
            raise IncorrectLookupParameters from error
        if day and day.year not in self.YEARS:
            raise IncorrectLookupParameters
        return day


def _midnight(day: date) -> datetime:
    """At which it begins in UTC."""
    return datetime.combine(day, time(), UTC)


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
    list_filter: ClassVar[Any] = [("local_day", DayFilter)]
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

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what an index answers: a typed `local_day=` or `local_day__year=` would read millions of rows."""
        return lookup in ("local_day__gte", "local_day__lt")

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
