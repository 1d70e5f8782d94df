"""Where a bulk send stands at this moment, cheaply enough to be asked every few seconds: no row of it is read.

`relay.standing` counts the rows themselves, for whoever has the time.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from relay import quotas, tallies
from relay.dialects import database_now
from relay.forecasting import Allowance, foresee
from relay.models import BulkSend, Lease, Quota, Recipient
from relay.orders import as_hours, window_of
from relay.tallies import Minute

State = Recipient.State
Status = BulkSend.Status

MINUTES = 30  # of the chart


@dataclass(frozen=True, slots=True)
class Watch:
    counts: dict[str, int]  # every state named
    for_a_person: int
    workers: int
    in_flight: int
    rate: float  # calls a second, in the last second
    limits: tuple[str, ...]  # of `Lease.Limit`, or empty texts, the most frequent first; none without workers
    minutes: list[Minute]
    fits_now: int | None  # into the quotas; None: as many as there are
    quotas: list[dict[str, object]]
    ends_at: datetime | None  # as it goes now; None: cannot be told
    seconds_left: float | None

    @property
    def left(self) -> int:
        return self.counts[State.PENDING] + self.counts[State.SENDING]


def watch(bulk_send: BulkSend) -> Watch:
    counts = tallies.counts_of([bulk_send.pk])[bulk_send.pk]
    alive = list(_alive(bulk_send))
    minutes = tallies.per_minute(bulk_send.pk, minutes=MINUTES)
    rate = sum(lease.calls_per_second for lease in alive)
    now = database_now()
    fits = quotas.forecast(bulk_send)
    left = counts[State.PENDING] + counts[State.SENDING]
    ends_at = _end(bulk_send, left, _pace(minutes, rate), now) if left and alive else None
    return Watch(
        counts=counts,
        for_a_person=tallies.for_a_person([bulk_send.pk]).get(bulk_send.pk, 0) if counts[State.UNKNOWN] else 0,
        workers=len(alive),
        in_flight=sum(lease.calls_in_flight for lease in alive),
        rate=rate,
        limits=tuple(code for code, _times in Counter(lease.limited_by for lease in alive).most_common()),
        minutes=minutes,
        fits_now=fits.fits_now,
        quotas=fits.quotas,
        ends_at=ends_at,
        seconds_left=(ends_at - now).total_seconds() if ends_at else None,
    )


def _alive(bulk_send: BulkSend) -> QuerySet[Lease]:
    return Lease.objects.filter(bulk_send=bulk_send, released_at=None, expires_at__gt=Now())


def _pace(minutes: list[Minute], rate: float) -> float:
    """Messages a second: of the last whole minute, which jumps less than the last second; of that at the beginning."""
    last, before = minutes[-2], minutes[-3]
    if _outcomes(last) and _outcomes(before):
        return _outcomes(last) / 60
    return rate


def _outcomes(minute: Minute) -> int:
    return minute.accepted + minute.refused + minute.unknown


def _end(bulk_send: BulkSend, left: int, pace: float, now: datetime) -> datetime | None:
    """With its window and the quotas taken into account."""
    if bulk_send.status != Status.SENDING or not pace:
        return None
    window = window_of(bulk_send)
    return foresee(
        left,
        now,
        rate=pace,
        window=as_hours(window) if window else None,
        allowances=_allowances(),
        zone=ZoneInfo(settings.TIME_ZONE),
    ).ends_at


def _allowances() -> list[Allowance]:
    known = Quota.objects.filter(limit__isnull=False, remaining__isnull=False, reset_at__isnull=False)
    return [
        Allowance(quota.period, quota.limit or 0, float(quota.remaining or 0), quota.reset_at)
        for quota in known
        if quota.reset_at
    ]
