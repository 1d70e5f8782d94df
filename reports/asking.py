"""A report is asked of the relay once: a request that may have left is looked for, not repeated.

The request has left its trace (`asked_at`, committed) before the first byte of it leaves. An answer that was lost, or a
process that was killed, leaves a report with that trace and without the relay's number; then the relay's list is
searched for a request of that very period which no report owns, and only when the last look finds none it is asked
again. Which of several reports owns a request is decided by the constraint `report_request_once`.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum, auto

import structlog
from django.db import IntegrityError
from django.db.models.functions import Now

from relay.books import Books
from relay_client import (
    RelayCallWithdrawn,
    RelayClient,
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayQuotaExceeded,
    RelayUnavailable,
    RelayUnknown,
    ReportRequest,
)
from reports import patience, problems
from reports.collector_lease import CollectorLease, write
from reports.endings import Failed, LeftForLater
from reports.models import GeneratedReport

log = structlog.get_logger(__name__)

LONGEST_NUMBER = 100  # of the column

State = GeneratedReport.State


class Sought(Enum):
    """What a look into the relay's list came to."""

    FOUND = auto()
    NOT_YET = auto()
    ABSENT = auto()


async def ask(report: GeneratedReport, *, client: RelayClient, books: Books, lease: CollectorLease) -> None:
    """Afterwards the report has its number, or the trace of a request whose answer was lost.

    Raises Failed when the relay refused; RelayUnavailable, or LeftForLater when the lease ran out, when nothing left.
    """
    await books(write, lease, report, asked_at=Now(), looks=0, state=State.PROCESSING)
    try:
        number = await client.request_report(report.starts_at, report.ends_at)
    except RelayUnavailable:
        await books(write, lease, report, asked_at=None, state=State.PENDING)
        raise
    except RelayCallWithdrawn:
        await books(write, lease, report, asked_at=None, state=State.PENDING)
        raise LeftForLater(patience.AWAY_SECONDS) from None
    except RelayUnknown as error:
        log.warning("answer_lost", report=report.pk, status=error.status)
        return
    except (RelayError, RelayMisconfigured) as error:
        raise refusal(error, asked_at=None) from None
    if number and len(number) <= LONGEST_NUMBER:
        await books(_keep_number, report, number, lease)


def refusal(error: RelayError | RelayMisconfigured, **fields: object) -> Failed:
    """The relay said no: its code only, for its words may quote anything."""
    code = error.code or str(error.status or "?")
    # That the relay has no such place at all comes of a wrong base URL.
    settings_are_wrong = isinstance(error, RelayMisconfigured | RelayQuotaExceeded | RelayNotFound)
    return Failed(problems.MISCONFIGURED if settings_are_wrong else problems.REFUSED, {"detail": code}, **fields)


def _keep_number(report: GeneratedReport, number: str, lease: CollectorLease) -> bool:
    """False when another report has that number: it looked for a lost request of the same period and took ours."""
    try:
        write(lease, report, request_id=number, polling_since=Now())
    except IntegrityError:
        log.info("request_is_owned", report=report.pk)
        return False
    return True


# --- a lost answer ------------------------------------------------------------------------------------------------


def seconds_until_look(report: GeneratedReport, since_asked: float) -> float:
    moments = patience.looks()
    return moments[min(report.looks, len(moments) - 1)] - since_asked


async def look(
    report: GeneratedReport, asked_at: datetime, *, client: RelayClient, books: Books, lease: CollectorLease
) -> None:
    """Searches the relay's list for the request of a report. Afterwards the report has its number, or is to be looked
    for later, or is to be asked for anew (its trace is gone then).

    Raises Failed when the relay gives its requests no numbers.
    """
    asked = (lease.now() - asked_at).total_seconds()  # before the list is read: it may show no more than that
    entries = [entry for entry in await client.report_requests() if _is_of(entry, report)]
    found = await books(_settle, report, entries, asked, lease)
    log.info("request_looked_for", report=report.pk, found=found.name.lower())


def _is_of(entry: ReportRequest, report: GeneratedReport) -> bool:
    """By its period alone: the relay keeps nothing else of ours (relay API notes §5). Seconds are enough, and all that
    its list may know."""
    return _second(entry.start) == _second(report.starts_at) and _second(entry.end) == _second(report.ends_at)


def _second(moment: datetime | None) -> datetime | None:
    return moment.replace(microsecond=0) if moment else None


def _settle(report: GeneratedReport, entries: Sequence[ReportRequest], asked: float, lease: CollectorLease) -> Sought:
    # Whose are asked later have higher numbers, as far as was seen: of several the newest is the likelier.
    numbers = sorted({entry.id for entry in entries if entry.id}, key=_by_size, reverse=True)
    owned = set(GeneratedReport.objects.filter(request_id__in=numbers).values_list("request_id", flat=True))
    for number in numbers:
        if number not in owned and len(number) <= LONGEST_NUMBER and _keep_number(report, number, lease):
            return Sought.FOUND
    nameless = sum(1 for entry in entries if not entry.id or len(entry.id) > LONGEST_NUMBER)
    if nameless > _others_of_the_period(report):
        raise Failed(problems.NO_NUMBER, asked_at=None, looks=0)
    moments = patience.looks()
    if asked >= moments[-1]:
        write(lease, report, asked_at=None, looks=0, state=State.PENDING)
        return Sought.ABSENT
    write(lease, report, looks=sum(1 for moment in moments if moment <= asked))
    return Sought.NOT_YET


def _by_size(number: str) -> tuple[int, str]:
    return len(number), number


def _others_of_the_period(report: GeneratedReport) -> int:
    """So many entries without a number may be theirs."""
    same = GeneratedReport.objects.filter(starts_at=report.starts_at, ends_at=report.ends_at, asked_at__isnull=False)
    return same.exclude(pk=report.pk).count()
