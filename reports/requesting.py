"""Reports are requested: by people, and by themselves after a bulk send is done."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from relay.explained import Explained
from relay.models import BulkSend
from reports.models import GeneratedReport
from reports.periods import MAX_DAYS, period_of

log = structlog.get_logger(__name__)

# So long after its last due moment the report of a bulk send is still made up for: a host may have been off.
MADE_UP_FOR = timedelta(days=7)


class UnknownType(Explained):
    """There is no report of this type; the text names those that there are."""


def request_report(
    type: str,  # noqa: A002  (the word of the guide)
    first: date,
    last: date,
    *,
    by: User | None = None,
    bulk_send: BulkSend | None = None,
) -> GeneratedReport:
    """A report of these local days, both included; nothing is asked of the relay yet.

    Raises PeriodProblem or UnknownType.
    """
    if type not in GeneratedReport.Type.values:
        raise UnknownType(
            _("There are no reports of type «%(type)s»; there are: %(all)s.")
            % {"type": type, "all": ", ".join(GeneratedReport.Type.values)}
        )
    period = period_of(first, last, zone=ZoneInfo(settings.TIME_ZONE), now=timezone.now())
    return GeneratedReport.objects.create(
        type=type,
        first_day=first,
        last_day=last,
        starts_at=period.start,
        ends_at=period.end,
        requested_by=by,
        bulk_send=bulk_send,
    )


# --- by themselves ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wanted:
    bulk_send: BulkSend
    first: date
    last: date
    since: datetime  # a report that was requested before does not count

    def is_covered_by(self, reports: Iterable[GeneratedReport]) -> bool:
        return any(
            report.requested_at >= self.since and report.first_day <= self.first and report.last_day >= self.last
            for report in reports
        )


def request_due() -> int:
    """Requests what is due for bulk sends that are done; returns how many reports. Cheap when nothing is due.

    Safe to run by many at once. A report that covers the days serves, whoever requested it and whatever came of it: one
    that ended in an error is a person's matter, not to be asked for again every few minutes.
    """
    if not settings.REPORTS_AUTO_ENABLED or not (wanted := _not_covered()):
        return 0
    requested = 0
    with transaction.atomic():
        # Who comes second waits here, and then finds them covered.
        due = BulkSend.objects.select_for_update().filter(pk__in=[one.bulk_send.pk for one in wanted]).order_by("pk")
        locked = set(due.values_list("pk", flat=True))
        while wanted := [one for one in _not_covered() if one.bulk_send.pk in locked]:
            newest = wanted[-1]
            report = request_report(
                GeneratedReport.Type.DELIVERIES, newest.first, newest.last, bulk_send=newest.bulk_send
            )
            log.info("report_requested", report=report.pk, bulk_send=newest.bulk_send.pk)
            requested += 1
    return requested


def _not_covered() -> list[_Wanted]:
    now = timezone.now()
    wanted = [_wanted_of(bulk_send, now) for bulk_send in _done_lately(now)]
    reports = _requested_since(min((one.since for one in wanted), default=now))
    return [one for one in wanted if not one.is_covered_by(reports)]


def _done_lately(now: datetime) -> list[BulkSend]:
    after = timedelta(minutes=settings.REPORTS_AUTO_AFTER_MIN)
    longest = after + timedelta(days=settings.REPORTS_AUTO_DAYS) + MADE_UP_FOR
    found = BulkSend.objects.filter(
        status=BulkSend.Status.DONE,
        finished_at__gt=now - longest,
        finished_at__lte=now - after,
        processing_started_at__isnull=False,  # else nothing was sent
    )
    return list(found.only("pk", "processing_started_at", "finished_at").order_by("finished_at"))


def _wanted_of(bulk_send: BulkSend, now: datetime) -> _Wanted:
    """By its newest moment only: a host that was off for days asks once for all that it missed."""
    ended = bulk_send.finished_at or now
    began = bulk_send.processing_started_at or ended
    due = ended + timedelta(minutes=settings.REPORTS_AUTO_AFTER_MIN)
    since = due + timedelta(days=min((now - due).days, settings.REPORTS_AUTO_DAYS))
    zone = timezone.get_default_timezone()
    first, last = timezone.localdate(began, zone), timezone.localdate(ended, zone)
    # One that was paused for more than a year: the days of its end.
    return _Wanted(bulk_send, max(first, last - timedelta(days=MAX_DAYS - 1)), last, since)


def _requested_since(moment: datetime) -> list[GeneratedReport]:
    """Newest first by number, and no further than needed: the table has no index by time, and needs none."""
    found = []
    newest_first = GeneratedReport.objects.filter(type=GeneratedReport.Type.DELIVERIES).order_by("-pk")
    for report in newest_first.only("pk", "requested_at", "first_day", "last_day").iterator(chunk_size=200):
        if report.requested_at < moment:
            break
        found.append(report)
    return found
