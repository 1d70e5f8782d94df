"""The relay's quotas (messages per hour, day and month), shared by all workers so that none promises what another has.

The relay's own numbers are read every half minute by one worker for all. In between each worker holds a part of what
is left and says every second how much of it has been used. This only foresees: the relay itself counts, and its
402.1 pauses a bulk send in any case (relay API notes §4.5, §6).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Now

from relay import reasons, tallies
from relay.dialects import database_now
from relay.models import BulkSend, Lease, Quota, Recipient
from relay_client import Limits

READ_EVERY = timedelta(seconds=30)
# Before a bulk send is paused the numbers must be this fresh.
FRESH = timedelta(seconds=2)
# What is only reserved for an earlier bulk send may come free before its period ends.
LOOK_AGAIN_FOR_RESERVED = timedelta(minutes=5)

Period = Quota.Period
State = Recipient.State
Status = BulkSend.Status


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker may call now: `calls` None is without limit. With 0, `period` says which quota ends it."""

    calls: int | None = None
    period: str = ""
    resume_at: datetime | None = None
    reserved: bool = False  # it is an earlier bulk send's
    stale: bool = False  # read the limits anew before anything is concluded from it


def claim_reading(*, at_once: bool = False) -> bool:
    """True for the one process that shall ask the relay now."""
    if Quota.objects.count() < len(Period.values):
        Quota.objects.bulk_create([Quota(period=period) for period in Period.values], ignore_conflicts=True)
    ended = Quota.objects.filter(reset_at__lte=Now(), read_at__lt=F("reset_at")).exists()
    age = FRESH if at_once or ended else READ_EVERY
    old_enough = Q(asked_at=None) | Q(asked_at__lte=Now() - age)
    # One row stands for the question.
    return bool(Quota.objects.filter(old_enough, period=Period.HOURLY).update(asked_at=Now()))


def note(limits: Limits) -> None:
    """Keeps what the relay said. Its moments are turned into the database's time by the relay's own clock."""
    told = {Period.HOURLY: limits.hourly, Period.DAILY: limits.daily, Period.MONTHLY: limits.monthly}
    for period, limit in told.items():
        Quota.objects.filter(period=period).update(
            read_at=Now(),
            limit=limit and limit.limit,
            remaining=limit and limit.remaining,
            reset_at=limit and in_our_time(limit.reset, limits.told_at, database_now()),
        )


def in_our_time(moment: datetime | None, told_at: datetime | None, now: datetime | None) -> datetime | None:
    """A moment of the relay's clock, in ours: so long from now as it was from when the relay said it."""
    if moment is None or told_at is None or now is None:
        return moment
    return now + max(moment - told_at, timedelta())


def are_limited() -> bool:
    return Quota.objects.filter(limit__isnull=False).exists()


def hold(lease_id: int, *, used: int, wanted: int, reserved: int) -> Part:
    """Tells how many calls were made since the last time, and takes what may be called next.

    `reserved`: what earlier bulk sends still have to send (`reserved_before`).
    """
    with transaction.atomic():
        quotas = list(Quota.objects.select_for_update().filter(limit__isnull=False).order_by("period"))
        if not quotas:
            return Part()
        for quota in quotas:
            quota.remaining = max(0, (quota.remaining or 0) - used)
            quota.save(update_fields=["remaining"])
        lease = Lease.objects.only("acquired_at").get(pk=lease_id)
        others = Lease.objects.filter(released_at=None).exclude(pk=lease_id)
        held = others.aggregate(held=Sum("quota_held", default=0))["held"]
        least = min(quotas, key=lambda quota: (quota.remaining, -_moment(quota)))
        free = max(0, (least.remaining or 0) - held)
        calls = max(0, min(wanted, free - reserved))
        Lease.objects.filter(pk=lease_id).update(quota_held=calls)
    if calls:
        return Part(calls)
    return _nothing_left(quotas, least, lease.acquired_at, reserved=free > 0)


def _moment(quota: Quota) -> float:
    return quota.reset_at.timestamp() if quota.reset_at else float("inf")


def _nothing_left(quotas: list[Quota], least: Quota, began: datetime, *, reserved: bool) -> Part:
    """A worker that just began may have begun because a quota did: what was read before that ends nothing."""
    now = database_now()
    stale = any(quota.read_at is None or quota.read_at < max(now - FRESH, began) for quota in quotas) or any(
        quota.reset_at is not None and quota.reset_at <= now for quota in quotas
    )
    if reserved:
        return Part(0, least.period, now + LOOK_AGAIN_FOR_RESERVED, reserved=True, stale=stale)
    used_up = [quota for quota in quotas if not quota.remaining]
    if not used_up:
        return Part(0)  # other workers hold the rest: it is theirs to use, or comes back within seconds
    last = max(used_up, key=_moment)
    return Part(0, last.period, last.reset_at, stale=stale)


def reserved_before(bulk_send_id: int) -> int:
    """How many messages the bulk sends that began earlier still have to send: theirs is the quota first."""
    began = BulkSend.objects.filter(pk=bulk_send_id).values_list("processing_started_at", flat=True).first()
    before = Q(processing_started_at__lt=began) | Q(processing_started_at=began, pk__lt=bulk_send_id)
    waiting = Q(status=Status.SENDING) | Q(status=Status.PAUSED, reason=reasons.QUOTA)
    earlier = BulkSend.objects.filter(waiting).exclude(processing_started_at=None)
    if began is not None:
        earlier = earlier.filter(before)
    ids = list(earlier.exclude(pk=bulk_send_id).values_list("pk", flat=True))
    if not ids:
        return 0
    return sum(counts[State.PENDING] + counts[State.SENDING] for counts in tallies.counts_of(ids).values())


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many messages of a bulk send may leave in the running hour, day and month; None: as many as it has."""

    fits_now: int | None
    quotas: list[dict[str, Any]]


def forecast(bulk_send: BulkSend) -> Forecast:
    """From what the relay last said; empty when it names no limit, or was never asked."""
    quotas = list(Quota.objects.filter(limit__isnull=False).order_by("period"))
    if not quotas:
        return Forecast(None, [])
    reserved = reserved_before(bulk_send.pk)
    now = database_now()
    told = [_told(quota, reserved, now) for quota in quotas]
    return Forecast(min(one["remaining"] - one["reserved"] for one in told), told)


def known() -> list[dict[str, Any]]:
    """What is left of each quota by what the relay last said, that of the hour first; without what is reserved."""
    now = database_now()
    limited = {quota.period: quota for quota in Quota.objects.filter(limit__isnull=False)}
    return [_told(limited[period], 0, now) for period in Period.values if period in limited]


def _told(quota: Quota, reserved: int, now: datetime) -> dict[str, Any]:
    over = quota.reset_at is not None and quota.reset_at <= now
    remaining = (quota.limit if over else quota.remaining) or 0
    return {
        "period": quota.period,
        "limit": quota.limit,
        "remaining": remaining,
        "reset_at": quota.reset_at.isoformat() if quota.reset_at and not over else None,
        "reserved": min(reserved, remaining),
    }
