"""A bulk send and its sending window: the real sandbox relay, the database's clock."""

import asyncio
import time as clock
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay import decisions, reasons
from relay.creating import Order, create_bulk_send
from relay.models import BulkSend, Decision, Recipient, Sender, SendingWindow
from relay.orders import read_orders, resting_halt, window_of
from relay.scheduling import work_until_idle
from relay.standing import standing
from tests.relay.rows import new_bulk_send
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def window(opens: datetime | time, closes: datetime | time, **fields: Any) -> SendingWindow:
    """By the clock of UTC, on every day."""
    opens, closes = (end.time() if isinstance(end, datetime) else end for end in (opens, closes))
    needs = {"name": "Oficina", "weekdays": "1234567", "time_zone": "UTC", "rests_on_holidays": False}
    return SendingWindow.objects.create(opens=opens, closes=closes, **{**needs, **fields})


def closed_for(hours: int, **fields: Any) -> SendingWindow:
    opens = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=hours + 1)
    return window(opens, opens + timedelta(hours=1), **fields)


def always_open(**fields: Any) -> SendingWindow:
    return window(time(0), time(0), **fields)


def run_timer() -> None:
    async def run() -> None:
        async with asyncio.timeout(60):
            await work_until_idle(asyncio.Event(), progress_of=lambda bulk_send: lambda tally, in_flight: None)

    asyncio.run(run())


def counts(bulk_send: BulkSend) -> dict[str, int]:
    return {state: n for state, n in Recipient.objects.filter(bulk_send=bulk_send).counts().items() if n}


def reloaded(bulk_send: BulkSend) -> BulkSend:
    return BulkSend.objects.get(pk=bulk_send.pk)


# --- Which window


def test_its_own_window_goes_before_that_of_its_sender() -> None:
    own, theirs = always_open(name="propia"), always_open(name="del remitente")
    Sender.objects.create(email="Avisos@Example.com", window=theirs)
    assert window_of(new_bulk_send(from_email="avisos@example.com", window=own)) == own
    assert window_of(new_bulk_send(from_email="avisos@example.com")) == theirs
    assert window_of(new_bulk_send(from_email="otra@example.com")) is None
    assert window_of(new_bulk_send()) is None


@pytest.mark.parametrize("whose", ["bulk send", "sender", "nobody"])
def test_a_worker_asks_for_its_orders_in_at_most_two_queries(whose: str) -> None:
    own = closed_for(1) if whose == "bulk send" else None
    Sender.objects.create(email="avisos@example.com", window=closed_for(1, name="x") if whose == "sender" else None)
    bulk_send = new_bulk_send(from_email="avisos@example.com", window=own)
    with CaptureQueriesContext(connection) as captured:
        orders = read_orders(bulk_send.pk)
    assert len(captured) <= 2
    assert (orders.rest is None) == (whose == "nobody")


def test_holidays_and_time_zone_are_those_of_the_installation_unless_the_window_says_otherwise(settings: Any) -> None:
    settings.RELAY_HOLIDAYS_COUNTRY = "EC"
    every_hour = [always_open(name="reposa", rests_on_holidays=True), always_open(name="no reposa")]
    sends = [new_bulk_send(window=each) for each in every_hour]
    holiday = datetime(2026, 8, 10, 17, tzinfo=UTC)
    assert [_rests_until(each, holiday) for each in sends] == [datetime(2026, 8, 11, tzinfo=UTC), None]
    SendingWindow.objects.update(time_zone="")
    settings.TIME_ZONE = "America/Guayaquil"
    assert _rests_until(sends[0], holiday) == datetime(2026, 8, 11, 5, tzinfo=UTC)


def _rests_until(bulk_send: BulkSend, moment: datetime) -> datetime | None:
    in_force = window_of(reloaded(bulk_send))
    assert in_force is not None
    halt = resting_halt(in_force, moment)
    return halt.resume_at if halt else None


@pytest.mark.usefixtures("new")
def test_it_is_created_with_a_window(sandbox: Sandbox, tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    office = always_open()
    people = tmp_path / "lista.csv"
    people.write_text("nombre;correo;cedula;monto;vence\nAna;ana@example.com;1;10;2026-12-15\n")
    created = create_bulk_send(Order(template_id=sandbox.template, recipients=people, window="Oficina"))
    assert reloaded(created).window == office


# --- Sending


def test_outside_its_window_nothing_is_called_and_it_says_until_when(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    bulk_send = new(5, window=closed_for(2))
    run_timer()
    stands = standing(reloaded(bulk_send))
    assert (stands["status"], stands["reason_code"]) == ("paused", reasons.WINDOW)
    assert "Oficina" in stands["reason"]
    assert stands["window"] == "Oficina"
    resume_at = reloaded(bulk_send).resume_at
    assert resume_at is not None
    assert timedelta(hours=2) < resume_at - timezone.now() <= timedelta(hours=3)
    assert counts(bulk_send) == {"pending": 5}
    assert sandbox.calls() == []
    run_timer()  # too early: nothing happens
    assert sandbox.calls() == []


def test_when_its_window_closes_what_is_in_flight_ends_and_it_goes_on_when_it_opens(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(latency_ms=300)
    now = datetime.now(UTC)
    closes, opens = now + timedelta(seconds=2.5), now + timedelta(seconds=8)
    bulk_send = new(150, window=window(opens, closes))  # open all day but for these seconds
    run_timer()
    stands = standing(reloaded(bulk_send))
    assert (stands["status"], stands["reason_code"]) == ("paused", reasons.WINDOW)
    assert reloaded(bulk_send).resume_at == opens
    accepted = counts(bulk_send)["accepted"]
    assert counts(bulk_send) == {"accepted": accepted, "pending": 150 - accepted}
    assert len(sandbox.calls()) == accepted > 10
    last_call = max(datetime.fromisoformat(call["received_at"]) for call in sandbox.calls())
    assert last_call < closes + timedelta(seconds=2)
    clock.sleep(max(0.0, (opens - datetime.now(UTC)).total_seconds()) + 0.1)
    run_timer()
    assert counts(bulk_send) == {"accepted": 150}
    assert reloaded(bulk_send).status == "done"
    assert max(sandbox.accepted().values()) == 1


def test_a_window_that_never_opens_is_told_and_waits_for_a_person(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    bulk_send = new(5, window=always_open(name="Nunca", weekdays="9"))  # written past the validation
    run_timer()
    stands = standing(reloaded(bulk_send))
    assert (stands["status"], stands["reason_code"], stands["resume_at"]) == ("paused", reasons.WINDOW_NEVER, None)
    assert "Nunca" in stands["reason"]
    assert sandbox.calls() == []
    SendingWindow.objects.update(weekdays="1234567")
    reloaded(bulk_send).resume()
    run_timer()
    assert counts(bulk_send) == {"accepted": 5}


# --- Changing it


def test_without_its_window_it_goes_on_at_the_next_run(new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    bulk_send = new(5, window=closed_for(2))
    run_timer()
    decisions.change_window(bulk_send, decisions.Actor("lucia"), None)
    run_timer()
    assert counts(bulk_send) == {"accepted": 5}
    decision = Decision.objects.get(bulk_send=bulk_send)
    assert (decision.what, decision.actor, decision.details) == ("change", "lucia", {"window": None})


def test_with_another_window_that_is_closed_too_it_rests_until_that_opens(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    bulk_send = new(5, window=closed_for(5))
    run_timer()
    first = reloaded(bulk_send).resume_at
    decisions.change_window(bulk_send, decisions.Actor("lucia"), closed_for(1, name="Pronto"))
    run_timer()
    now = reloaded(bulk_send)
    assert (now.status, now.reason_params) == ("paused", {"window": "Pronto"})
    assert now.resume_at is not None
    assert first is not None
    assert now.resume_at == first - timedelta(hours=4)
    assert sandbox.calls() == []


@pytest.mark.parametrize("reason", [reasons.PERSON, reasons.QUOTA, reasons.STOP_LOSS])
def test_a_pause_for_another_reason_stays_when_the_window_changes(reason: str) -> None:
    bulk_send = new_bulk_send(1)
    bulk_send.pause(reason)
    decisions.change_window(bulk_send, decisions.Actor("lucia"), always_open())
    assert (bulk_send.status, bulk_send.reason) == ("paused", reason)
