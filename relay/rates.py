"""Rates and connections that all processes and hosts share, by the database's clock.

A rate is a line of moments at which one call each may leave. A worker has the next stretch of it promised to itself,
about a second's worth, so that sharing costs one short statement a second and nobody ever waits for a slow holder.
"""

import math

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum

from relay.dialects import epoch, later
from relay.models import Lease, Pace

ACCOUNT = "account"
SLICE_SECONDS = 1.0


def of_send(bulk_send_id: int) -> str:
    return f"send:{bulk_send_id}"


def slice_of(rate: float, usable: int) -> int:
    """How many calls to have promised at once: a second's worth, and no more than this worker can make of it."""
    return max(1, min(math.ceil(rate * SLICE_SECONDS), usable))


def promise(rates: dict[str, float], count: int) -> tuple[float, float]:
    """Promises `count` calls to the caller under all of these rates (name → calls a second).

    Returns in how many seconds the first may leave, and over how many seconds they are to be spread.
    """
    begin = max(_promise(name, rate, count) for name, rate in sorted(rates.items()))
    return begin, max(SLICE_SECONDS, count / min(rates.values()))


def _promise(name: str, rate: float, count: int) -> float:
    seconds = count / rate
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO relay_pace (name, promised_until) VALUES (%s, {epoch()} + %s)"  # noqa: S608  (no input)
            f" ON CONFLICT (name) DO UPDATE SET promised_until = {later('relay_pace.promised_until', epoch())} + %s"
            f" RETURNING promised_until - {epoch()}",
            [name, seconds, seconds],
        )
        return max(0.0, float(cursor.fetchone()[0]) - seconds)


def forget(bulk_send_id: int) -> None:
    """A changed rate begins at once: what was promised under the old one is not waited for."""
    Pace.objects.filter(name=of_send(bulk_send_id)).delete()


def connections_for(lease_id: int, wanted: int, in_use: int) -> int:
    """How many calls this worker may have in flight now, of RELAY_MAX_CONNECTIONS_TOTAL for the whole account.

    What others hold is theirs until they give it back (with their next heartbeat) or are taken over.
    """
    total = settings.RELAY_MAX_CONNECTIONS_TOTAL
    if total is None:
        return wanted
    with transaction.atomic():
        Pace.objects.get_or_create(name=ACCOUNT)
        Pace.objects.select_for_update().get(name=ACCOUNT)
        others = Lease.objects.filter(released_at=None).exclude(pk=lease_id)
        fair = max(1, total // (others.count() + 1))
        free = total - others.aggregate(held=Sum("connections", default=0))["held"]
        granted: int = max(0, min(wanted, fair, free))
        Lease.objects.filter(pk=lease_id).update(connections=max(granted, in_use))
        return granted
