"""The engine from inside: what it does when our own side fails. Through the commands: tests/journeys, tests/faults."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import DataError, InternalError, OperationalError, connection

from relay import ledger, sending
from relay.calling import Progress, Tally
from relay.composing import Composer
from relay.ledger import HeldLease, LeaseLost
from relay.lost_workers import take_over_expired
from relay.models import Attempt, BulkSend, Lease, Recipient
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bulk_send(sandbox: Sandbox, settings: Any) -> BulkSend:
    settings.DOPPLER_RELAY_API_KEY = sandbox.key
    settings.DOPPLER_RELAY_ACCOUNT_ID = sandbox.account
    settings.DOPPLER_RELAY_BASE_URL = sandbox.url + "/"
    settings.RELAY_MAX_CONNECTIONS = 5
    bulk_send = BulkSend.objects.create(
        name="Prueba",
        status="sending",
        template_id=sandbox.template,
        template_subject="",
        template_html="Hola",
        subject="Hola {{nombre}}",  # rendered here: the relay's template need not fit
        from_email="avisos@example.com",
        address_column="correo",
        columns=["nombre"],
        total=200,
    )
    Recipient.objects.bulk_create(
        Recipient(
            bulk_send=bulk_send,
            row=row,
            email=f"persona{row}@example.com",
            variables={"nombre": str(row)},
            state="pending",
        )
        for row in range(2, 202)
    )
    return bulk_send


def drain(bulk_send: BulkSend, progress: Progress | None = None) -> Tally:
    async def run() -> Tally:
        async with asyncio.timeout(60):
            return await sending.drain(bulk_send.pk, stop=asyncio.Event(), progress=progress)

    return asyncio.run(run())


def state_of(bulk_send: BulkSend) -> dict[str, str]:
    return dict(Recipient.objects.filter(bulk_send=bulk_send).values_list("email", "state"))


def failing_once(work: Callable[..., Any], when: Callable[..., bool], error: Exception) -> Callable[..., Any]:
    left = [error]

    def run(*args: Any, **kwargs: Any) -> Any:
        if left and when(*args, **kwargs):
            raise left.pop()
        return work(*args, **kwargs)

    return run


def test_it_never_holds_more_than_twice_its_connections(bulk_send: BulkSend, sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=10)
    seen: list[int] = []
    tally = drain(bulk_send, lambda tally, in_flight: seen.append(in_flight))
    assert tally.accepted == 200
    assert max(seen) <= 5
    assert sandbox.stats()["max_in_flight"] <= 5
    assert Lease.objects.get().released_at is not None


def test_what_could_not_be_recorded_is_never_called_again(
    bulk_send: BulkSend, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that fails for good must not send the called rows back to pending."""

    def always(*args: Any, **kwargs: Any) -> Any:
        if args[1]:
            raise DataError("a value that the database refuses")
        return take_turn(*args, **kwargs)

    take_turn = ledger.take_turn
    monkeypatch.setattr(ledger, "take_turn", always)
    with pytest.raises(DataError):
        drain(bulk_send)
    monkeypatch.undo()
    called = sandbox.accepted()
    assert called
    assert {state_of(bulk_send)[email] for email in called} == {"sending"}
    # The lease was not given back: when it has run out those rows are unknown, and only the others are sent.
    Lease.objects.update(expires_at="2020-01-01T00:00:00Z")
    take_over_expired()
    assert {state_of(bulk_send)[email] for email in called} == {"unknown"}
    drain(bulk_send)
    assert max(sandbox.accepted().values()) == 1


def test_a_turn_that_fails_once_is_recorded_at_the_end(
    bulk_send: BulkSend, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = failing_once(ledger.take_turn, lambda lease, outcomes, *rest, **more: bool(outcomes), DataError("once"))
    monkeypatch.setattr(ledger, "take_turn", broken)
    with pytest.raises(DataError):
        drain(bulk_send)
    states = state_of(bulk_send)
    assert all(states[email] in {"accepted", "unknown"} for email in sandbox.accepted())
    assert "sending" not in states.values()
    drain(bulk_send)
    assert max(sandbox.accepted().values()) == 1
    assert Attempt.objects.count() == len(sandbox.calls())


def test_a_lost_lease_stops_the_worker_and_writes_nothing(
    bulk_send: BulkSend, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults(latency_ms=30)
    progress_seen = 0

    def lose(tally: Tally, in_flight: int) -> None:
        nonlocal progress_seen
        progress_seen += 1
        if progress_seen == 3:
            asyncio.get_running_loop().run_in_executor(None, lose_the_lease)

    def lose_the_lease() -> None:
        Lease.objects.update(expires_at="2020-01-01T00:00:00Z")
        take_over_expired()
        connection.close()

    with pytest.raises(LeaseLost):
        drain(bulk_send, lose)
    states = state_of(bulk_send)
    assert "sending" not in states.values()
    assert "unknown" in states.values()
    assert all(states[email] in {"accepted", "unknown"} for email in sandbox.accepted())
    drain(bulk_send)
    assert max(sandbox.accepted().values()) == 1


def test_a_message_that_cannot_be_composed_ends_the_drain_and_calls_nobody(
    bulk_send: BulkSend, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Composer, email: str, variables: Any) -> Any:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Composer, "compose", broken)
    with pytest.raises(RuntimeError):
        drain(bulk_send)
    assert set(state_of(bulk_send).values()) == {"pending"}
    assert sandbox.stats()["calls"] == 0


def standby() -> InternalError:
    error = InternalError("cannot execute UPDATE in a read-only transaction")
    error.__cause__ = psycopg.errors.ReadOnlySqlTransaction()
    return error


def test_a_database_that_is_away_at_the_end_leaves_the_lease_to_a_take_over(
    bulk_send: BulkSend, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """And hides nothing: what was sent is recorded, what became of the drain is told."""
    settings.RELAY_LEASE_SECONDS = 1

    def away(lease: HeldLease) -> None:
        raise standby()

    monkeypatch.setattr(ledger, "release", away)
    assert drain(bulk_send).accepted == 200
    assert Lease.objects.filter(released_at=None).count() == 0  # taken over by the drain itself, without any row
    assert set(state_of(bulk_send).values()) == {"accepted"}


def test_another_internal_error_at_the_end_is_told(bulk_send: BulkSend, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(lease: HeldLease) -> None:
        raise InternalError("cache lookup failed")

    monkeypatch.setattr(ledger, "release", broken)
    with pytest.raises(InternalError):
        drain(bulk_send)


def test_a_database_that_comes_back_within_the_lease_loses_nothing(
    bulk_send: BulkSend, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = failing_once(ledger.take_turn, lambda lease, outcomes, *a, **k: bool(outcomes), OperationalError("gone"))
    monkeypatch.setattr(ledger, "take_turn", broken)
    assert drain(bulk_send).accepted == 200
    assert set(state_of(bulk_send).values()) == {"accepted"}
    assert Attempt.objects.count() == 200
