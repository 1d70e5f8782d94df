"""How many recipients are in which state, why, and since when, without counting them.

Triggers on `relay_recipient` keep the table `relay_tally` in the very transaction that changes a row, whoever changes
it (migration `20251029151220_tallies`): what is read here is what a count of the rows would give at the same moment.
`stages` asks the rows themselves all the same before it calls a bulk send done.

A moment belongs to an outcome: of what was accepted, when the relay accepted it; of what was refused or is unknown,
when its call was due. A recipient that leaves an outcome (sent again, settled) is taken out of the minute in which it
had been counted, so no day ever says more than stands in the ledger, and none says less than nothing.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from relay.dialects import as_parameter, database_now, is_postgresql
from relay.dialects import ids as json_ids
from relay.models import BulkSend, Recipient, Tally
from relay.models.tallies import NO_MOMENT

State = Recipient.State
Span = Tally.Span

OUTCOMES = (State.ACCEPTED, State.REFUSED, State.UNKNOWN)

MINUTES_KEPT = 120  # so far back `per_minute` can look
HOURS_KEPT = timedelta(days=35)  # of bulk sends that have ended; then days of the installation's time zone
FOLDED_AT_ONCE = 20_000  # rows a transaction
MOST_TRANSACTIONS = 20  # of one call: the next one goes on


@dataclass(frozen=True, slots=True)
class Minute:
    at: datetime  # its beginning, UTC
    accepted: int
    refused: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Day:
    day: date
    accepted: int
    refused: int
    unknown: int


# --- reading ----------------------------------------------------------------------------------------------------


def counts_of(bulk_send_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """Of each bulk send how many recipients are in each state, every state named."""
    by_id = {pk: dict.fromkeys(State.values, 0) for pk in bulk_send_ids}
    for bulk_send_id, state, n in _summed(Tally.objects.filter(bulk_send_id__in=by_id), "bulk_send_id", "state"):
        by_id[bulk_send_id][state] = n
    return by_id


def reasons_of(bulk_send_id: int, state: str) -> dict[str, int]:
    """The codes of `relay.reasons` that its recipients in this state have, most frequent first."""
    return _by_frequency(Tally.objects.filter(bulk_send_id=bulk_send_id, state=state), "reason")


def codes_of(bulk_send_id: int) -> dict[str, int]:
    """The relay's codes (`400.1`) with which it refused recipients of this bulk send, in their order."""
    refused = Tally.objects.filter(bulk_send_id=bulk_send_id, state=State.REFUSED)
    return dict(sorted(_by_frequency(refused, "code").items()))


def for_a_person(bulk_send_ids: Iterable[int] | None = None) -> dict[int, int]:
    """How many unknown recipients the relay's log will tell nothing more about, of each bulk send that has such.

    None: of all bulk sends.
    """
    waiting = Tally.objects.filter(state=State.UNKNOWN, for_a_person=True)
    if bulk_send_ids is not None:
        waiting = waiting.filter(bulk_send_id__in=list(bulk_send_ids))
    return {pk: n for pk, n in _summed(waiting, "bulk_send_id") if n}


def per_minute(bulk_send_id: int, *, minutes: int) -> list[Minute]:
    """The last minutes of a bulk send, the current one included, oldest first and none left out."""
    if not 0 < minutes <= MINUTES_KEPT:
        raise ValueError(f"minutes are kept for {MINUTES_KEPT}, not for {minutes}")
    current = database_now().replace(second=0, microsecond=0)
    first = current - timedelta(minutes=minutes - 1)
    of_it = Tally.objects.filter(bulk_send_id=bulk_send_id, state__in=OUTCOMES, at__gte=first)
    found: Counter[tuple[datetime, str]] = Counter()
    for at, state, n in _summed(of_it, "at", "state"):
        found[at, state] += n
    return [Minute(at, *(found[at, state] for state in OUTCOMES)) for at in _minutes(first, minutes)]


def _minutes(first: datetime, count: int) -> list[datetime]:
    return [first + timedelta(minutes=number) for number in range(count)]


def per_day(first: date, last: date, *, zone: ZoneInfo) -> list[Day]:
    """All bulk sends together: the days from `first` to `last`, both included, of that time zone; none left out.

    After `HOURS_KEPT` days are those of the installation's zone.
    """
    found: Counter[tuple[date, str]] = Counter()
    for at, state, n in _summed(_between(first, last, zone).filter(state__in=OUTCOMES), "at", "state"):
        found[at.astimezone(zone).date(), state] += n
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [Day(day, *(found[day, state] for state in OUTCOMES)) for day in days]


def refused_reasons(first: date, last: date, *, zone: ZoneInfo) -> dict[str, int]:
    """The relay's codes with which it refused in these days, most frequent first. (All refusals have one reason.)"""
    return _by_frequency(_between(first, last, zone).filter(state=State.REFUSED), "code")


def _between(first: date, last: date, zone: ZoneInfo) -> QuerySet[Tally]:
    begin = datetime.combine(first, time.min, zone)
    end = datetime.combine(last + timedelta(days=1), time.min, zone)
    return Tally.objects.filter(span__in=Span.values, at__gte=begin, at__lt=end)  # with the span there is an index


def _summed(tallies: QuerySet[Tally], *by: str) -> Iterable[tuple[Any, ...]]:
    return tallies.order_by().values_list(*by).annotate(sum=Sum("n"))


def _by_frequency(tallies: QuerySet[Tally], by: str) -> dict[str, int]:
    found = [(value, n) for value, n in _summed(tallies, by) if n]
    return dict(sorted(found, key=lambda item: (-item[1], item[0])))


# --- folding ----------------------------------------------------------------------------------------------------


def compact() -> int:
    """Folds changes into minutes, minutes into hours, hours of what has ended into days; returns how many rows went.

    Cheap when there is nothing to fold, and safe anywhere at any time: a sum is the same before, during and after.
    """
    now = database_now()
    this_minute = now.replace(second=0, microsecond=0)
    kept = (now - timedelta(minutes=MINUTES_KEPT)).replace(minute=0, second=0, microsecond=0)
    ended = BulkSend.objects.filter(status__in=[BulkSend.Status.DONE, BulkSend.Status.CANCELLED]).values("pk")
    return (
        _fold(Q(span=Span.CHANGE, at__lt=this_minute), Span.MINUTE, _begin_of_minute)
        + _fold(Q(span=Span.MINUTE, at__lt=kept), Span.HOUR, _begin_of_hour)
        + _fold(Q(span=Span.HOUR, at__lt=now - HOURS_KEPT, bulk_send__in=ended), Span.DAY, _begin_of_day)
    )


def _begin_of_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _begin_of_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _begin_of_day(at: datetime) -> datetime:
    if at == NO_MOMENT:
        return at
    local = timezone.localtime(at, timezone.get_default_timezone())
    return datetime.combine(local.date(), time.min, local.tzinfo).astimezone(UTC)


def _fold(which: Q, into: Tally.Span, begin: Callable[[datetime], datetime]) -> int:
    folded = 0
    for _ in range(MOST_TRANSACTIONS):
        if not Tally.objects.filter(which).exists():
            break
        taken = _fold_some(which, into, begin)
        folded += taken
        if taken < FOLDED_AT_ONCE:
            break
    return folded


def _fold_some(which: Q, into: Tally.Span, begin: Callable[[datetime], datetime]) -> int:
    """Nobody else changes what is taken here: changes are only appended, and what is folded only this writes, alone."""
    with transaction.atomic():
        if not _alone():
            return 0
        taken = Tally.objects.filter(which).order_by("pk").values_list("pk", "at", *_KEY, "n")[:FOLDED_AT_ONCE]
        ids: list[int] = []
        sums: Counter[tuple[Any, ...]] = Counter()
        for pk, at, *key, n in taken:
            ids.append(pk)
            sums[begin(at.astimezone(UTC)), *key] += n
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM relay_tally WHERE id IN ({json_ids()})", [json.dumps(ids)])  # noqa: S608
            cursor.executemany(_ADD, [(as_parameter(at), *key, into, n) for (at, *key), n in sums.items() if n])
    return len(ids)


_KEY = ("bulk_send_id", "state", "reason", "code", "for_a_person")
_ADD = f"""
    INSERT INTO relay_tally (at, {", ".join(_KEY)}, span, n) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT ({", ".join(_KEY)}, at, span) WHERE span > 0 DO UPDATE SET n = relay_tally.n + excluded.n
"""  # noqa: S608


def _alone() -> bool:
    """Of several who fold at once one does it, until its transaction ends. SQLite has one writer anyway."""
    if not is_postgresql():
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('relay.tallies.compact'))")
        return bool(cursor.fetchone()[0])
