"""What the start page shows of reports: which need a person, what became of the messages, what is being collected.

Of deliveries only the totals that each load leaves are read (`reports.daily_totals`), those of `default`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Q, QuerySet, Sum
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from relay.admin import dashboard, drawing
from relay.admin.dashboard import DAYS, MOST_NAMED, Asked, Figure, Need, Section, Viewer, may
from relay.admin.drawing import Chart, Series
from reports.admin.offers import Load, loads
from reports.admin.words import STATE_COLOURS, days, how_far
from reports.models import DailyTotal, Delivery, GeneratedReport, LoadRequest

State = GeneratedReport.State
Loading = LoadRequest.State
Status = Delivery.Status

RIGHTS = ("reports.view_generatedreport", "reports.change_generatedreport")
# Who may have the reports has their files, and who may look up deliveries could add them up.
OF_DELIVERIES = (*RIGHTS, "reports.view_delivery")
MOST_SHOWN = 8
LIST = "admin:reports_generatedreport_changelist"

DELIVERED = (Status.SENT,)
BOUNCED = (Status.REJECTED, Status.INVALID, Status.RETRYING)  # as in `reports.sql_views`


# --- What needs a person


def _needs(viewer: Viewer) -> Iterator[Need]:
    """What failed lately; of what failed long ago nobody waits for any more."""
    since = timezone.now() - timedelta(days=DAYS)
    failed = GeneratedReport.objects.filter(state=State.ERROR, requested_at__gte=since).order_by("-pk")
    yield from _reports_in_error(list(failed[: MOST_NAMED + 1]))
    not_loaded = LoadRequest.objects.filter(state=Loading.FAILED, requested_at__gte=since).select_related("report")
    yield from _failed_loads(list(not_loaded.order_by("-pk")[: MOST_NAMED + 1]))


def _reports_in_error(found: list[GeneratedReport]) -> Iterator[Need]:
    for report in found[:MOST_NAMED]:
        told = {"id": report.pk, "type": report.get_type_display(), "days": days(report), "error": report.error}
        yield Need(_("Report %(id)s (%(type)s, %(days)s): %(error)s") % told, _page(report))
    if len(found) > MOST_NAMED:
        yield Need(_("There are more reports in error."), f"{reverse(LIST)}?state__exact={State.ERROR}")


def _failed_loads(found: list[LoadRequest]) -> Iterator[Need]:
    for request in found[:MOST_NAMED]:
        told = {"id": request.report_id, "alias": request.alias, "error": request.error}
        yield Need(_("Report %(id)s was not loaded into «%(alias)s»: %(error)s") % told, _page(request.report))
    if len(found) > MOST_NAMED:
        yield Need(_("There are more loads that failed."), reverse(LIST))


def _page(report: GeneratedReport) -> str:
    return reverse("admin:reports_generatedreport_change", args=[report.pk])


# --- What became of the messages


@dataclass(frozen=True, slots=True)
class Day:
    """What is loaded of the messages that left on one day."""

    day: date
    delivered: int = 0
    bounced: int = 0
    other: int = 0
    opened: int = 0
    clicked: int = 0


def _days() -> list[Day]:
    wanted = dashboard.last_days()
    rows = Sum("rows", default=0)
    totals = (
        DailyTotal.objects.using("default")
        .filter(local_day__range=(wanted[0], wanted[-1]))
        .values("local_day")
        .order_by()
        .annotate(
            delivered=Sum("rows", filter=Q(status__in=DELIVERED), default=0),
            bounced=Sum("rows", filter=Q(status__in=BOUNCED), default=0),
            all=rows,
            opens=Sum("opened", default=0),
            clicks=Sum("clicked", default=0),
        )
    )
    known = {
        one["local_day"]: Day(
            day=one["local_day"],
            delivered=one["delivered"],
            bounced=one["bounced"],
            other=one["all"] - one["delivered"] - one["bounced"],
            opened=one["opens"],
            clicked=one["clicks"],
        )
        for one in totals
    }
    return [known.get(day) or Day(day) for day in wanted]


COUNTED = (
    ("delivered", gettext_lazy("Delivered")),
    ("bounced", gettext_lazy("Bounced")),
    ("opened", gettext_lazy("Opened")),
    ("clicked", gettext_lazy("Clicked")),
)


def _figures(viewer: Viewer) -> list[Figure]:
    found = _days()
    return [
        Figure(key, name, getattr(found[-1], key), sum(getattr(day, key) for day in found)) for key, name in COUNTED
    ]


def _deliveries_per_day() -> Chart:
    found = _days()
    series = [
        Series("delivered", _("Delivered"), [day.delivered for day in found]),
        Series("bounced", _("Bounced"), [day.bounced for day in found]),
        Series("other", _("Dropped, on their way or other"), [day.other for day in found]),
    ]
    return Chart(_("Deliveries per day of sending"), _("Day"), _("Messages"), dashboard.day_names(), series)


def _reading_per_day() -> Chart:
    found = _days()
    series = [
        Series("opened", _("Opened"), [day.opened for day in found]),
        Series("clicked", _("Clicked"), [day.clicked for day in found]),
    ]
    return Chart(_("Opened and clicked, per day of sending"), _("Day"), _("Messages"), dashboard.day_names(), series)


# --- What is being collected


@dataclass(frozen=True, slots=True)
class Line:
    """A report as the page shows it."""

    name: str
    url: str
    state: str
    colour: str
    told: str
    loads: list[Load]


def _reports(viewer: Viewer) -> SafeString:
    found = list(_open_reports()[: MOST_SHOWN + 1])
    lines = [
        Line(
            name=f"{report.pk} · {report.get_type_display()}, {days(report)}",
            url=_page(report),
            state=report.get_state_display(),
            colour=STATE_COLOURS.get(report.state, "default"),
            told=report.error or how_far(report),
            loads=[load for load in loads(report) if load.request.state != Loading.DONE],
        )
        for report in found[:MOST_SHOWN]
    ]
    request_url = reverse("admin:reports_generatedreport_add") if may(viewer, "reports.add_generatedreport") else ""
    context = {
        "lines": lines,
        "more": reverse(LIST) if len(found) > MOST_SHOWN else "",
        "list": reverse(LIST),
        "request_url": request_url,
    }
    return render_to_string("reports/admin/dashboard_reports.html", context)


def _open_reports() -> QuerySet[GeneratedReport]:
    """Waiting, in error lately, or on their way into a database: by the indexes of what is unfinished."""
    since = timezone.now() - timedelta(days=DAYS)
    unfinished = Q(state__in=[State.PENDING, State.PROCESSING])
    in_error = Q(state=State.ERROR, requested_at__gte=since)
    loading = Q(pk__in=LoadRequest.objects.filter(state__in=[Loading.WAITING, Loading.LOADING]).values("report"))
    found = GeneratedReport.objects.filter(unfinished | in_error | loading)
    return found.order_by("-pk").prefetch_related("load_requests__report")


def _anything_moves(viewer: Viewer) -> bool:
    return (
        GeneratedReport.objects.filter(state__in=[State.PENDING, State.PROCESSING]).exists()
        or LoadRequest.objects.filter(state__in=[Loading.WAITING, Loading.LOADING]).exists()
    )


# --- What of it is shown to whom

dashboard.needs.append(Asked(RIGHTS, _needs))
dashboard.figures.append(Asked(OF_DELIVERIES, _figures))
dashboard.moving.append(Asked(RIGHTS, _anything_moves))
dashboard.sections.append(Section("reports", RIGHTS, _reports, order=40))
_NOTHING = gettext_lazy("No delivery of these days is loaded into «default» yet: request a report, then load it.")
dashboard.add_chart("deliveries", OF_DELIVERIES, _deliveries_per_day, drawing.bars, order=60, note=_NOTHING)
dashboard.add_chart("reading", OF_DELIVERIES, _reading_per_day, drawing.lines, order=70, note=_NOTHING)
