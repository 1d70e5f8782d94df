"""How states, days and progress of reports are shown."""

from collections.abc import Mapping
from datetime import date

from django.utils import formats
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from relay.admin import words
from reports.models import Delivery, GeneratedReport, LoadRequest
from reports.rejects import rejects_path

# Unfold's names of colours.
STATE_COLOURS: Mapping[str, str] = {
    GeneratedReport.State.PENDING: "primary",
    GeneratedReport.State.PROCESSING: "info",
    GeneratedReport.State.READY: "success",
    GeneratedReport.State.ERROR: "danger",
}
STATUS_COLOURS: Mapping[str, str] = {
    Delivery.Status.QUEUED: "primary",
    Delivery.Status.RETRYING: "warning",
    Delivery.Status.SENT: "success",
    Delivery.Status.REJECTED: "danger",
    Delivery.Status.INVALID: "danger",
    Delivery.Status.DROPPED: "default",
}


def status(delivery: Delivery) -> str:
    """A word of the relay that we do not know stays as it is."""
    return str(dict(Delivery.Status.choices).get(delivery.status, delivery.status))


def day(value: date) -> str:
    return formats.date_format(value, "SHORT_DATE_FORMAT")


def days(report: GeneratedReport) -> str:
    if report.first_day == report.last_day:
        return day(report.first_day)
    return f"{day(report.first_day)} – {day(report.last_day)}"


def how_far(report: GeneratedReport) -> str:
    """What is known of a report that is not finished; empty of others."""
    match report.state:
        case GeneratedReport.State.PENDING:
            return _("Not asked of the relay yet.")
        case GeneratedReport.State.PROCESSING if report.asked_at:
            return _("Asked of the relay on %(when)s.") % {"when": words.moment(report.asked_at)}
    return ""


def rows(count: int) -> str:
    return ngettext("%(count)s row", "%(count)s rows", count) % {"count": words.number(count)}


def percent(request: LoadRequest) -> int | None:
    """How much of the file a load has read; None where that cannot be said."""
    rows = request.report.rows
    return min(100, request.rows_read * 100 // rows) if rows else None


def has_rejects(report: GeneratedReport) -> bool:
    """Whether a load left rows that it could not read."""
    return report.path is not None and rejects_path(report.path).is_file()
