"""What the tests of the ledger do with it: workers who claim, record and die."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from relay import ledger, reasons
from relay.ledger import HeldLease, Outcome
from relay.models import BulkSend, Lease

HOUR = timedelta(hours=1)


ON_POSTGRESQL = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite has one writer at a time: nothing here can happen at once"
)


def rows_claimed(lease: HeldLease, wanted: int, **options) -> list[int]:
    return [claimed.row for claimed in ledger.take_turn(lease, [], wanted, **options).claimed]


def outcome(lease: HeldLease, claimed, state: str = "accepted", **fields) -> Outcome:
    whole = {
        "accepted": {"message_id": f"m-{claimed.id}", "delivery": f"/d/{claimed.id}", "status": 201},
        "refused": {"reason": reasons.REFUSED, "status": 400, "code": "400.1", "detail": "bad recipient"},
        "unknown": {"reason": reasons.NO_ANSWER},
        "pending": {"reason": reasons.NOT_CONNECTED, "retry_in": 60.0},
    }[state]
    now = lease.now()
    return Outcome(
        recipient_id=claimed.id, state=state, **({"started_at": now, "ended_at": lease.now()} | whole | fields)
    )


def record(lease: HeldLease, *outcomes: Outcome) -> int:
    return ledger.take_turn(lease, outcomes, 0).recorded


def let_expire(lease: HeldLease) -> None:
    Lease.objects.filter(pk=lease.id).update(expires_at=timezone.now() - timedelta(seconds=1))


def let_come_due(bulk_send: BulkSend, *, ago: float = 1, **which) -> None:
    past = timezone.now() - timedelta(seconds=ago)
    bulk_send.recipients.filter(not_before__isnull=False, **which).update(not_before=past)


def describe(bulk_send_id, email, variables):
    return "avisos@example.com", f"Hola {variables['nombre']} <{email}>"


def counts(bulk_send: BulkSend) -> dict[str, int]:
    return {state: count for state, count in bulk_send.recipients.counts().items() if count}


def connection_lost(*_args) -> None:
    raise OperationalError("server closed the connection")


def in_threads(*works):
    """Runs each work in a thread with a connection of its own; gives their results."""

    def alone(work):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '10s'")  # a wait that never ends is a failure, not a hang
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(alone, work) for work in works]]
