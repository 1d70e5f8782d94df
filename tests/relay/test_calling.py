"""One worker against the real sandbox relay: pauses, rates, quotas, losses, the first slice, a lease that runs out."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from relay import ledger, reasons, sending
from relay.calling import Tally
from relay.lease_alarm import LeaseAlarm
from relay.models import Attempt, BulkSend, Lease, Recipient
from relay.scheduling import work_until_idle
from relay.standing import standing
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


def drain(bulk_send: BulkSend, **options: Any) -> Tally:
    async def run(stop: asyncio.Event) -> Tally:
        return await sending.drain(bulk_send.pk, stop=stop, **options)

    return within_a_minute(run)


def run_timer(**options: Any) -> Any:
    async def run(stop: asyncio.Event) -> Any:
        return await work_until_idle(stop, progress_of=lambda bulk_send: lambda tally, in_flight: None, **options)

    return within_a_minute(run)


def within_a_minute[R](work: Callable[[asyncio.Event], Awaitable[R]]) -> R:
    async def run() -> R:
        async with asyncio.timeout(60):
            return await work(asyncio.Event())

    return asyncio.run(run())


def in_a_thread(work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        work()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def counts(bulk_send: BulkSend) -> dict[str, int]:
    return {state: n for state, n in Recipient.objects.filter(bulk_send=bulk_send).counts().items() if n}


def reloaded(bulk_send: BulkSend) -> BulkSend:
    return BulkSend.objects.get(pk=bulk_send.pk)


def call_times(sandbox: Sandbox) -> list[datetime]:
    return [datetime.fromisoformat(call["received_at"]) for call in sandbox.calls()]


# --- Pauses


def test_no_call_leaves_later_than_a_second_after_a_pause_and_what_is_in_flight_is_counted_exactly(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(latency_ms=3000)
    bulk_send = new(300)
    paused_at: list[datetime] = []
    seen: list[dict[str, Any]] = []

    def pause() -> None:
        while sandbox.stats()["in_flight"] < 10:
            time.sleep(0.05)
        bulk_send.pause()
        paused_at.append(datetime.now(UTC))
        time.sleep(1.0)
        seen.append({**standing(reloaded(bulk_send)), "really": sandbox.stats()["in_flight"]})

    pausing = in_a_thread(pause)
    tally = drain(bulk_send)
    pausing.join()
    assert max(call_times(sandbox)) <= paused_at[0] + timedelta(seconds=1)
    # A second later, with all calls still under way: nothing that waits for a caller is told as under way.
    assert seen[0]["really"] == seen[0]["in_flight"] == seen[0]["sending"] == 10
    assert counts(bulk_send) == {"accepted": tally.accepted, "pending": 300 - tally.accepted}


def test_a_database_that_does_not_answer_stops_the_calls_within_a_second(
    new: Callable[..., BulkSend], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cannot see whether it was paused acts as if it were."""
    sandbox.faults(latency_ms=20)
    bulk_send = new(600)
    take_turn, hung = ledger.take_turn, []

    def hang(*args: Any, **kwargs: Any) -> Any:
        if Attempt.objects.count() > 50 and not hung:
            hung.append(datetime.now(UTC))
            time.sleep(2.5)
        return take_turn(*args, **kwargs)

    monkeypatch.setattr(ledger, "take_turn", hang)
    drain(bulk_send)
    during = [at for at in call_times(sandbox) if hung[0] + timedelta(seconds=1) < at < hung[0] + timedelta(seconds=2)]
    assert during == []
    assert counts(bulk_send) == {"accepted": 600}


# --- Rates


def test_a_rate_holds_for_all_workers_together(new: Callable[..., BulkSend], sandbox: Sandbox, settings: Any) -> None:
    settings.RELAY_MAX_RATE = 60
    bulk_send = new(240)

    async def two(stop: asyncio.Event) -> None:
        await asyncio.gather(*(sending.drain(bulk_send.pk, stop=stop) for _ in range(2)))

    within_a_minute(two)
    times = call_times(sandbox)
    assert counts(bulk_send) == {"accepted": 240}
    assert Lease.objects.count() >= 2
    for begin in times:
        assert sum(begin <= at < begin + timedelta(seconds=2) for at in times) <= 60 * 2 * 1.25
    assert (times[-1] - times[0]).total_seconds() < 12


def test_a_rate_that_is_changed_while_it_is_sent_holds_at_once(new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    bulk_send = new(400, max_rate=20.0)

    def change() -> None:
        while sandbox.stats()["calls"] < 40:
            time.sleep(0.05)
        BulkSend.objects.filter(pk=bulk_send.pk).update(max_rate=None)

    changing = in_a_thread(change)
    began = time.monotonic()
    drain(bulk_send)
    changing.join()
    assert time.monotonic() - began < 15  # 20 seconds with the first rate
    assert call_times(sandbox)[30] - call_times(sandbox)[0] > timedelta(seconds=0.8)


def test_at_a_slow_rate_few_rows_are_claimed_ahead(new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    """A worker that dies must not leave more unknown than it had under way."""
    bulk_send = new(30, max_rate=5.0)
    held: list[int] = []
    watching = threading.Event()

    def watch() -> None:
        while not watching.wait(0.1):
            held.append(Recipient.objects.filter(bulk_send=bulk_send, state="sending").count())

    watcher = in_a_thread(watch)
    drain(bulk_send)
    watching.set()
    watcher.join()
    assert 0 < max(held) <= 11


def test_connections_of_the_account_hold_for_all_workers_together(
    new: Callable[..., BulkSend], sandbox: Sandbox, settings: Any
) -> None:
    settings.RELAY_MAX_CONNECTIONS_TOTAL = 6
    sandbox.faults(latency_ms=50)
    bulk_send = new(300)

    async def three(stop: asyncio.Event) -> None:
        await asyncio.gather(*(sending.drain(bulk_send.pk, stop=stop) for _ in range(3)))

    within_a_minute(three)
    assert counts(bulk_send) == {"accepted": 300}
    assert sandbox.stats()["max_in_flight"] <= 6


def test_a_relay_that_asks_to_wait_gets_fewer_calls_and_then_all_again(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(rates={"429": 0.3}, latency_ms=10)
    bulk_send = new(300)
    run_timer()
    assert counts(bulk_send) == {"accepted": 300}
    assert max(sandbox.accepted().values()) == 1


# --- Quotas


def test_at_the_end_of_a_quota_it_pauses_says_until_when_and_goes_on_by_itself(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    """2,500 recipients, 1,000 an hour, the hours simulated: two pauses."""
    sandbox.ask("PUT", "/_sandbox/limits", {"hourly": 1000})
    bulk_send = new(2500)
    for hour, accepted in enumerate([1000, 2000]):
        run_timer()
        stands = standing(reloaded(bulk_send))
        assert (stands["status"], stands["reason_code"]) == ("paused", reasons.QUOTA)
        assert counts(bulk_send) == {"accepted": accepted, "pending": 2500 - accepted}
        resume_at = reloaded(bulk_send).resume_at
        assert resume_at is not None
        assert timedelta() < resume_at - timezone.now() <= timedelta(hours=1)
        run_timer()  # too early: nothing happens
        assert counts(bulk_send)["accepted"] == accepted
        sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 3600 * (hour + 1)})
        BulkSend.objects.update(resume_at=timezone.now())
    run_timer()
    assert counts(bulk_send) == {"accepted": 2500}
    assert reloaded(bulk_send).status == "done"
    assert max(sandbox.accepted().values()) == 1
    # The limits are foreseen: hardly a call was made only to be told that there is none left.
    assert len(sandbox.calls()) < 2500 + 100


def test_a_quota_that_only_the_answer_knows_pauses_until_its_reset_by_the_relays_clock(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(rates={"402": 1.0}, reset_in_seconds=1200)
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 7 * 86400})
    bulk_send = new(5)
    drain(bulk_send)
    resume_at = reloaded(bulk_send).resume_at
    assert resume_at is not None
    assert resume_at - timezone.now() == pytest.approx(timedelta(minutes=20), abs=timedelta(seconds=15))
    assert counts(bulk_send) == {"pending": 5}


# --- Losses


def test_too_many_refusals_pause_the_bulk_send_with_the_numbers(new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    sandbox.faults(rates={"400": 1.0})
    bulk_send = new(1000)
    drain(bulk_send)
    stands = standing(reloaded(bulk_send))
    assert (stands["status"], stands["reason_code"], stands["resume_at"]) == ("paused", reasons.STOP_LOSS, None)
    assert 100 <= stands["refused"] <= 120  # what was in flight when the hundredth was refused still counts
    assert stands["pending"] == 1000 - stands["refused"]
    assert "100" in stands["reason"]
    run_timer()
    assert standing(reloaded(bulk_send))["refused"] == stands["refused"]
    sandbox.faults()
    reloaded(bulk_send).resume()
    drain(bulk_send)
    assert counts(bulk_send) == {"refused": stands["refused"], "accepted": 1000 - stands["refused"]}


def test_the_stop_loss_counts_from_one_turn_to_the_next(
    new: Callable[..., BulkSend], sandbox: Sandbox, settings: Any
) -> None:
    sandbox.faults(rates={"400": 1.0}, latency_ms=200)
    bulk_send = new(300)
    run_timer(turn_seconds=0.6)  # each turn alone sees some thirty
    assert reloaded(bulk_send).reason == reasons.STOP_LOSS
    assert Lease.objects.count() > 1


def test_the_stop_loss_can_be_switched_off(new: Callable[..., BulkSend], sandbox: Sandbox, settings: Any) -> None:
    settings.RELAY_STOP_LOSS = 0
    sandbox.faults(rates={"400": 1.0})
    bulk_send = new(300)
    drain(bulk_send)
    assert counts(bulk_send) == {"refused": 300}


def test_the_rest_waits_for_the_first_slice_and_follows_when_it_is_good(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(latency_ms=50)
    bulk_send = new(200, first_slice=20, slice_ends_at_row=21)
    drain(bulk_send)
    assert counts(bulk_send) == {"accepted": 200}
    first = {call["recipient"] for call in sandbox.calls()[:20]}
    assert first == {f"persona{row}@example.com" for row in range(2, 22)}


def test_a_bad_first_slice_keeps_the_rest_back_until_a_person_decides(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(recipients={f"persona{row}@example.com": "400" for row in range(2, 5)})
    bulk_send = new(200, first_slice=20, slice_ends_at_row=21)
    drain(bulk_send)
    assert counts(bulk_send) == {"accepted": 17, "refused": 3, "pending": 180}
    stands = standing(reloaded(bulk_send))
    assert (stands["status"], stands["reason_code"]) == ("paused", reasons.FIRST_SLICE)
    assert "20" in stands["reason"]
    assert "3" in stands["reason"]


def test_a_first_slice_within_its_share_passes(new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    sandbox.faults(recipients={"persona2@example.com": "400", "persona3@example.com": "400"})
    bulk_send = new(50, first_slice=20, slice_ends_at_row=21, first_slice_max_refused=0.1)
    drain(bulk_send)
    assert counts(bulk_send) == {"accepted": 48, "refused": 2}


# --- Turns


def test_a_bulk_send_that_becomes_due_is_not_kept_waiting_by_a_large_one(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(latency_ms=100)
    large = new(1500)
    small = new(5, status="pending", scheduled_at=timezone.now() + timedelta(seconds=1.5))
    Recipient.objects.filter(bulk_send=small).update(email="pronto@example.com")
    run_timer(turn_seconds=1.0)
    order = [call["recipient"] for call in sandbox.calls()]
    assert counts(large) == {"accepted": 1500}
    assert counts(small) == {"accepted": 5}
    assert order.index("pronto@example.com") < 800


def test_a_fault_of_ours_in_one_bulk_send_keeps_no_other_waiting(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    broken = new(5)
    BulkSend.objects.filter(pk=broken.pk).update(template_html="{{#abierto}}")  # cannot be compiled any more
    good = new(5)
    Recipient.objects.filter(bulk_send=good).update(email="bien@example.com")
    done = run_timer()
    assert counts(good) == {"accepted": 5}
    assert counts(broken) == {"pending": 5}
    assert len(done.failures) == 1
    assert str(broken.pk) in done.failures[0]


# --- The lease, at the last moment


def test_a_call_that_waited_for_its_connection_beyond_the_lease_does_not_leave(
    new: Callable[..., BulkSend], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk_send = new(20)
    holds = ledger.HeldLease.holds
    asked = 0

    def only_at_first(self: ledger.HeldLease) -> bool:
        nonlocal asked
        asked += 1
        return asked % 2 == 1 and holds(self)

    monkeypatch.setattr(ledger.HeldLease, "holds", only_at_first)

    async def a_while(stop: asyncio.Event) -> None:
        asyncio.get_running_loop().call_later(2.0, stop.set)
        await sending.drain(bulk_send.pk, stop=stop)

    within_a_minute(a_while)
    # Where the second look says no, nothing is recorded and nothing has left.
    assert len(sandbox.calls()) == Attempt.objects.count() == counts(bulk_send).get("accepted", 0)
    assert set(counts(bulk_send)) <= {"pending", "accepted"}
    monkeypatch.undo()
    drain(bulk_send)
    assert counts(bulk_send) == {"accepted": 20}
    assert max(sandbox.accepted().values()) == 1


def test_the_alarm_rings_before_a_stopped_process_does_anything_else() -> None:
    """Stopped for longer than its lease: the signal is handled before the next step of the program."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        rung: list[bool] = []
        with LeaseAlarm(lambda: rung.append(True)) as alarm:
            alarm.set(0.3)
            os.kill(os.getpid(), signal.SIGSTOP)
            os.write(write, b"rung" if rung else b"late")
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    time.sleep(0.6)
    os.kill(child, signal.SIGCONT)
    assert os.read(read, 10) == b"rung"
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)


def test_after_the_alarm_not_one_byte_leaves(new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    """Connections that are open, as a process has them that was stopped between two steps of a call."""
    from relay.account import open_relay
    from relay_client import Message, RelayUnknown
    from relay_client import Recipient as To

    message = Message("avisos@example.com", "", (To("ana@example.com"),), "Hola", "<p>Hola</p>")

    async def run(stop: asyncio.Event) -> None:
        async with open_relay() as client:
            await client.send_message(message)  # opens one

            def stopped_here() -> bool:
                client.stop_writing()
                return True

            client.may_leave = stopped_here
            with pytest.raises(RelayUnknown):
                await client.send_message(message)

    within_a_minute(run)
    assert len(sandbox.calls()) == 1
