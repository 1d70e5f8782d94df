"""One worker's work on one bulk send under one lease: claim → call → record, on one asyncio loop.

Callers (one per connection) take claimed rows from a queue and call the relay; the bookkeeper records what came back
and claims what goes next, a batch per commit. At most twice as many rows as connections are claimed and not yet
recorded. Once a second the bookkeeper renews the lease and looks around: what people changed, how fast the calls may
go, what is left of the quotas.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import Error

from relay import ledger, pacing, quotas, rates, reasons, stages
from relay.books import Books, is_away
from relay.composing import Composed, Composer
from relay.halts import Halt, halt_for
from relay.lease_alarm import LeaseAlarm
from relay.ledger import Claimed, HeldLease, Outcome
from relay.lost_workers import take_over_expired
from relay.models import BulkSend, Lease, Recipient
from relay.orders import Orders, read_orders
from relay_client import (
    RelayCallWithdrawn,
    RelayClient,
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayQuotaExceeded,
    RelayRejected,
    RelayUnavailable,
    RelayUnknown,
)

log = structlog.get_logger(__name__)

State = Recipient.State

# A commit for a few rows costs as much as one for many: outcomes wait this long for company, unless many are there.
GATHER_SECONDS = 0.025
# How often an idle worker looks whether it was paused, and whether rows came back.
LOOK_SECONDS = 0.25
LOOK_BACK_SECONDS = 0.2
# No call leaves when the status was last seen longer ago than this: so a pause holds within a second, on every host,
# however slow the database is.
STATUS_HOLDS_SECONDS = 0.8
HEARTBEAT_SECONDS = 1.0
LOST_SECONDS = 5.0  # how often workers that died are looked for
QUOTAS_SECONDS = 5.0
RESERVED_SECONDS = 10.0  # it counts rows
LIMITS_SECONDS = 5.0
BUSY = 0.8  # above this share of its connections in use, these are what limits a worker


@dataclass(slots=True)
class Tally:
    """What was done, and whether this process could go on (`more`) now or, in `waits` seconds."""

    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    returned: int = 0
    more: bool = False
    waits: float | None = None

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            accepted=self.accepted + other.accepted,
            refused=self.refused + other.refused,
            unknown=self.unknown + other.unknown,
            returned=self.returned + other.returned,
            more=other.more,
            waits=other.waits,
        )

    def add(self, outcome: Outcome) -> None:
        match outcome.state:
            case State.ACCEPTED:
                self.accepted += 1
            case State.REFUSED:
                self.refused += 1
            case State.UNKNOWN:
                self.unknown += 1
            case State.PENDING:
                self.returned += 1


Progress = Callable[[Tally, int], None]  # what was done so far, calls in flight


@dataclass(slots=True)
class Course:
    """What a process keeps of a bulk send from one stretch of sending to the next."""

    stop_loss: pacing.StopLoss = field(default_factory=lambda: pacing.StopLoss(settings.RELAY_STOP_LOSS))
    governor: pacing.Governor = field(default_factory=lambda: pacing.Governor(settings.RELAY_MAX_CONNECTIONS))
    cursor: int = 0  # rows up to here have been looked at


@dataclass(slots=True)
class Worker:
    """Sends from `run` until nothing can be sent now, `deadline` (monotonic), `stop`, or somebody stops the send."""

    lease: HeldLease
    composer: Composer
    client: RelayClient
    books: Books
    alarm: LeaseAlarm
    course: Course
    stop: asyncio.Event
    progress: Progress | None = None
    deadline: float = float("inf")
    patience: float = pacing.LONGEST_WAIT  # seconds that it waits for rows that came back
    connections: int = field(default_factory=lambda: settings.RELAY_MAX_CONNECTIONS)

    tally: Tally = field(default_factory=Tally)
    breaker: pacing.Breaker = field(default_factory=pacing.Breaker)
    queue: asyncio.Queue[Claimed] = field(default_factory=asyncio.Queue)
    outcomes: list[Outcome] = field(default_factory=list)
    untouched: list[int] = field(default_factory=list)  # claimed, and not to be called by us after all
    halt: Halt | None = None
    taking: bool = True  # new calls may leave
    checked_at: float = float("-inf")  # when the status was last asked for and found to be `sending`
    dry: bool = False  # the last claim found less than it wanted
    swept: bool = False  # … although it looked through the whole file
    held: int = 0  # claimed and not yet recorded
    in_flight: int = 0
    calls: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    looked_around: asyncio.Event = field(default_factory=asyncio.Event)
    last_look: float = float("-inf")
    last_look_back: float = float("-inf")
    last_heartbeat: float = float("-inf")
    calls_at_heartbeat: int = 0
    calls_per_second: float = 0.0

    # What limits it; found out once a second.
    granted: int = 0  # connections
    rates: dict[str, float] = field(default_factory=dict)
    slots: pacing.Slots = field(default_factory=pacing.Slots)
    with_slot: int = 0  # callers that wait for the moment that is theirs
    quota_left: int | None = None  # rows that may still be claimed
    quota_used: int = 0  # since it was last told
    reserved: int = 0
    reserved_at: float = float("-inf")
    quotas_looked_at: float = float("-inf")
    lost_looked_for_at: float = field(default_factory=time.monotonic)

    async def run(self) -> Tally:
        self.lease.cursor = self.course.cursor
        self.client.may_leave = self._may_leave
        callers: list[asyncio.Task[None]] = []
        keeper = asyncio.create_task(self._keep_books())
        try:
            callers += [asyncio.create_task(self._make_calls(number)) for number in range(self.connections)]
            done, _ = await asyncio.wait([keeper, *callers], return_when=asyncio.FIRST_COMPLETED)
            if keeper not in done:
                # A caller never ends by itself: this one failed. Nothing new leaves, what is under way comes back.
                self.taking = False
                await asyncio.wait([keeper])
            for task in [keeper, *done]:
                task.result()
        finally:
            await self._end([keeper, *callers])
        self.course.cursor = self.lease.cursor
        self.tally.more = self.tally.more or (time.monotonic() >= self.deadline and self.taking)
        return self.tally

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Whatever happened: what may have left is recorded as such before the lease is given back.

        Where that is impossible (lease lost, database gone, a fault of ours) the lease is not given back: it expires,
        and its rows become unknown.
        """
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.alarm.off()
        try:
            if self.outcomes:
                await self.books(ledger.take_turn, self.lease, self.outcomes, 0)
            await self.books(ledger.release, self.lease)
        except (ledger.LeaseLost, Error) as error:
            if isinstance(error, Error) and not is_away(error):
                raise
            log.warning("lease_not_released", lease=self.lease.id, error=type(error).__name__)

    # The callers

    async def _make_calls(self, number: int) -> None:
        await self.looked_around.wait()
        while True:
            while number >= self._allowed():
                await asyncio.sleep(LOOK_SECONDS)
            claimed = await self.queue.get()
            if number >= self._allowed() and self._takes():
                self.queue.put_nowait(claimed)  # meanwhile fewer may call: one of those who may will take it
                continue
            if not self._may_leave() or self.breaker.failing or self.rates:
                await self._wait_until_it_may_leave()
            if not (self._may_leave() and self._takes()):
                self.untouched.append(claimed.id)
                continue
            try:
                composed = self.composer.compose(claimed.email, claimed.variables)
            except Exception:
                self.untouched.append(claimed.id)
                raise
            self.in_flight += 1
            try:
                await self._call(claimed, composed)
            finally:
                self.in_flight -= 1

    def _allowed(self) -> int:
        """How many callers may call now."""
        return min(self.granted, int(self.course.governor.limit))

    def _takes(self) -> bool:
        return self.taking and not self.stop.is_set() and time.monotonic() < self.deadline

    def _may_leave(self) -> bool:
        """Asked again by the client just before the first byte: waiting for a connection can take seconds."""
        return self.taking and time.monotonic() < self.checked_at + STATUS_HOLDS_SECONDS and self.lease.holds()

    async def _wait_until_it_may_leave(self) -> None:
        """For the relay to be back, for the moment that the rate gives, for news of the status; ends early when no
        call shall leave any more."""
        while self._takes() and (delay := self.breaker.wait(time.monotonic())):
            if self.breaker.given_up:
                return
            await asyncio.sleep(min(delay, 0.2))
        if self.rates:
            await self._wait_for_slot()
        while self._takes() and self.lease.holds() and not self._may_leave():
            await asyncio.sleep(0.02)

    async def _wait_for_slot(self) -> None:
        while self._takes():
            delay = self.slots.wait(time.monotonic())
            if delay is None:
                await asyncio.sleep(0.02)  # the bookkeeper gets more
                continue
            moment = time.monotonic() + delay
            self.with_slot += 1
            while self._takes() and (left := moment - time.monotonic()) > 0:
                await asyncio.sleep(min(left, LOOK_SECONDS))
            self.with_slot -= 1
            return

    async def _call(self, claimed: Claimed, composed: Composed) -> None:
        started_at = self.lease.now()
        self.calls += 1
        try:
            outcome = await self._send(claimed, composed, started_at)
        except RelayCallWithdrawn:
            self.calls -= 1
            self.untouched.append(claimed.id)
            return
        except BaseException:
            # Cut off in the middle (or by a fault of ours): it may have left.
            self._done(self._outcome(claimed, composed, started_at, state=State.UNKNOWN, reason=reasons.NO_ANSWER))
            raise
        self._done(outcome)

    async def _send(self, claimed: Claimed, composed: Composed, started_at: datetime) -> Outcome:
        result: Mapping[str, Any]
        began = time.monotonic()
        try:
            accepted = await composed.send(self.client)
        except RelayUnavailable as error:
            self.breaker.failed(time.monotonic())
            if error.throttled:
                self.course.governor.throttled()
            result = {
                "state": State.PENDING,
                "reason": reasons.THROTTLED if error.throttled else reasons.NOT_CONNECTED,
                "retry_in": pacing.row_delay(claimed.attempts, error.retry_after),
                **_said(error),
            }
        except RelayUnknown as error:
            self.breaker.answered()
            self.course.governor.answered(time.monotonic() - began)
            reason = reasons.SERVER_ERROR if (error.status or 0) >= 500 else reasons.NO_ANSWER
            result = {"state": State.UNKNOWN, "reason": reason, **_said(error)}
        except RelayRejected as error:
            self.breaker.answered()
            result = {"state": State.REFUSED, "reason": reasons.REFUSED, **_said(error)}
        except (RelayQuotaExceeded, RelayNotFound, RelayMisconfigured) as error:
            self.breaker.answered()
            self._halt(halt_for(error, now=self.lease.now()))
            result = {"state": State.PENDING, "reason": halt_for(error).reason, **_said(error)}
        else:
            self.breaker.answered()
            self.course.governor.answered(time.monotonic() - began)
            result = {
                "state": State.ACCEPTED,
                "message_id": accepted.message_id,
                "delivery": " ".join(accepted.deliveries),
            }
        return self._outcome(claimed, composed, started_at, **result)

    def _outcome(self, claimed: Claimed, composed: Composed, started_at: datetime, **result: Any) -> Outcome:
        return Outcome(
            recipient_id=claimed.id,
            started_at=started_at,
            ended_at=self.lease.now(),
            from_email=composed.from_email,
            subject=composed.subject,
            **result,
        )

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.tally.add(outcome)
        if outcome.state != State.PENDING:
            self.quota_used += outcome.state != State.REFUSED
            self.course.stop_loss.note(outcome.state)
            if self.course.stop_loss.reached:
                self._halt(Halt(reasons.STOP_LOSS, self.course.stop_loss.counts(), pause=True))
                self.course.stop_loss.forget()
        if self._enough():
            self.wake.set()

    def _halt(self, halt: Halt) -> None:
        """Nothing more leaves; the bookkeeper stops the bulk send. The first reason counts."""
        self.halt = self.halt or halt
        self.taking = False

    def _enough(self) -> bool:
        return len(self.outcomes) * 2 >= self._allowed()

    # The bookkeeper

    async def _keep_books(self) -> None:
        await self._look_around()
        self.looked_around.set()
        while True:
            await self._gather()
            await self._fill_slots()
            turn = await self._take_turn()
            if self.progress:
                self.progress(self.tally, self.in_flight)
            await self._put_back_untouched()
            if self.held:
                continue
            if not self._takes() or self.breaker.given_up:
                return
            if turn is not None and self.swept and not await self._wait_for_returned():
                return

    async def _put_back_untouched(self) -> None:
        """When nothing more leaves, what waits in the queue does not: then `sending` is what is really in flight."""
        while not self._takes() and not self.queue.empty():
            self.untouched.append(self.queue.get_nowait().id)
        if self.untouched:
            ids = self.untouched.copy()
            await self.books(ledger.put_back, self.lease, ids)
            del self.untouched[: len(ids)]
            self.held -= len(ids)

    async def _gather(self) -> None:
        """Waits until a turn is worth its commit."""
        if self._enough() and self.outcomes:
            return
        self.wake.clear()
        try:
            async with asyncio.timeout(GATHER_SECONDS):
                await self.wake.wait()
        except TimeoutError:
            pass  # few came back in this time: they go with this turn

    async def _take_turn(self) -> ledger.Turn | None:
        outcomes, wanted = self.outcomes.copy(), self._wanted()
        now = time.monotonic()
        if not outcomes and not wanted and now < self.last_look + LOOK_SECONDS:
            return None
        look_back = now >= self.last_look_back + LOOK_BACK_SECONDS or not self.in_flight
        self.last_look, self.last_look_back = now, now if look_back else self.last_look_back
        # With nothing under way and nothing found the whole file is looked through once more before it is called done.
        sweep = self.dry and self.held == len(outcomes)
        if not self._takes():
            await self._heartbeat()  # at each step, so that the number in flight is exact
        elif now >= self.last_heartbeat + HEARTBEAT_SECONDS:
            await self._look_around()
            wanted = min(wanted, self._wanted())
        asked_at = time.monotonic()
        turn = await self.books(ledger.take_turn, self.lease, outcomes, wanted, sweep=sweep, look_back=look_back)
        # Only now: an outcome that is forgotten before it is recorded would send its row back to `pending`.
        del self.outcomes[: len(outcomes)]
        self.held += len(turn.claimed) - len(outcomes)
        if self.quota_left is not None:
            self.quota_left -= len(turn.claimed)
        if wanted:
            self.dry = len(turn.claimed) < wanted
            self.swept = sweep and not turn.claimed
        self._note_status(turn.status, asked_at)
        for claimed in turn.claimed:
            self.queue.put_nowait(claimed)
        if self.halt is not None and turn.status == BulkSend.Status.SENDING:
            await self.books((await self._dated(self.halt)).apply, self.lease.bulk_send_id)
        return turn

    def _note_status(self, status: str, asked_at: float) -> None:
        if status == BulkSend.Status.SENDING:
            self.checked_at = asked_at
        else:
            self.taking = False

    async def _dated(self, halt: Halt) -> Halt:
        """A pause for quota whose answer did not say until when: the relay's limits may. Else a person resumes it."""
        if halt.reason != reasons.QUOTA or halt.resume_at is not None:
            return halt
        if not await self._read_limits():
            return halt
        part = await self.books(self._hold_quota)
        return replace(halt, resume_at=part.resume_at)

    def _wanted(self) -> int:
        """How many rows to claim: up to twice the connections, in halves; seldom where the last claim found few."""
        if not self._takes() or self.breaker.given_up:
            return 0
        allowed = self._allowed()
        room = 2 * allowed - self.held + len(self.outcomes)
        if self.dry and time.monotonic() < self.last_look + LOOK_SECONDS and self.held > len(self.outcomes):
            return 0
        if room * 2 < allowed:
            return 0
        if self.rates:
            without_slot = self.held - len(self.outcomes) - self.in_flight - self.with_slot
            room = min(room, self.slots.left(time.monotonic()) - without_slot)
        if self.quota_left is not None:
            room = min(room, self.quota_left)
        return max(0, room)

    async def _wait_for_returned(self) -> bool:
        """With nothing under way: waits for the next row that came back, if that is worth waiting for."""
        due = await self.books(stages.next_due_in, self.lease.bulk_send_id)
        if due is None or due > self.patience:
            self.tally.waits = due
            return False
        until = time.monotonic() + due
        while (left := until - time.monotonic()) > 0 and self._takes():
            await asyncio.sleep(min(left, LOOK_SECONDS))
            asked_at = time.monotonic()
            if asked_at >= self.last_heartbeat + HEARTBEAT_SECONDS:
                await self._look_around()
            turn = await self.books(ledger.take_turn, self.lease, [], 0)
            self._note_status(turn.status, asked_at)
        return True

    # Once a second

    async def _look_around(self) -> None:
        """Renews the lease; sees what people changed, and what the account allows."""
        await self._heartbeat()
        if time.monotonic() >= self.lost_looked_for_at + LOST_SECONDS:
            self.lost_looked_for_at = time.monotonic()
            lost = await self.books(take_over_expired)
            self.tally.unknown += lost
        self.granted = await self.books(rates.connections_for, self.lease.id, self.connections, self.in_flight)
        self._obey(await self.books(read_orders, self.lease.bulk_send_id))
        await self._see_to_quotas()

    async def _heartbeat(self) -> None:
        now = time.monotonic()
        elapsed = now - self.last_heartbeat
        if elapsed >= HEARTBEAT_SECONDS:
            self.calls_per_second = (self.calls - self.calls_at_heartbeat) / elapsed
            self.last_heartbeat, self.calls_at_heartbeat = now, self.calls
            self.course.governor.tick()
        await self.books(
            ledger.heartbeat,
            self.lease,
            calls_in_flight=self.in_flight,
            calls_per_second=round(self.calls_per_second, 1),
            limited_by=self._limited_by(),
        )
        self.alarm.set(self.lease.seconds_left())

    def _limited_by(self) -> str:
        """For people who look: what keeps it from going faster just now; empty when that is nothing from outside."""
        governor = self.course.governor
        if self.breaker.failing:
            return Lease.Limit.UNREACHABLE
        if self.quota_left is not None and self.quota_left <= 0:
            return Lease.Limit.QUOTA
        if self.in_flight >= BUSY * self._allowed():
            if governor.limit < self.granted:
                return Lease.Limit.THROTTLED if governor.was_throttled else Lease.Limit.SLOW
            return Lease.Limit.SHARED_CONNECTIONS if self.granted < self.connections else Lease.Limit.CONNECTIONS
        if self.dry:
            return Lease.Limit.DRY
        return Lease.Limit.RATE if self.rates else ""

    def _obey(self, orders: Orders) -> None:
        wanted = {rates.ACCOUNT: settings.RELAY_MAX_RATE, rates.of_send(self.lease.bulk_send_id): orders.max_rate}
        self.rates = {name: rate for name, rate in wanted.items() if rate}
        if orders.rest is not None and self._takes():
            self._halt(orders.rest)

    async def _fill_slots(self) -> None:
        """Under a rate: gets the next second's worth of moments at which calls may leave."""
        if not self.rates or not self._takes() or (self.dry and not self.held):
            return
        lowest = min(self.rates.values())
        count = rates.slice_of(lowest, max(self._allowed(), round(1.5 * self.calls_per_second)))
        if (self.slots.left(time.monotonic()) + self.with_slot) * 4 > count:
            return
        begin, seconds = await self.books(rates.promise, self.rates, count)
        self.slots.add(time.monotonic() + begin, count, seconds)

    async def _see_to_quotas(self) -> None:
        now = time.monotonic()
        if now >= self.quotas_looked_at + QUOTAS_SECONDS:
            self.quotas_looked_at = now
            if await self.books(quotas.claim_reading):
                await self._read_limits()
        part = await self.books(self._hold_quota)
        if part.stale and await self.books(quotas.claim_reading, at_once=True) and await self._read_limits():
            part = await self.books(self._hold_quota)
        self.quota_left = None if part.calls is None else max(0, part.calls - self.held)
        used_up = part.calls == 0 and part.period and not part.stale
        if used_up and not self.held and self._takes():
            self._halt(Halt(reasons.QUOTA, {"period": part.period}, pause=True, resume_at=part.resume_at))

    def _hold_quota(self) -> quotas.Part:
        used, self.quota_used = self.quota_used, 0
        now = time.monotonic()
        if not quotas.are_limited():
            return quotas.Part()
        if now > self.reserved_at + RESERVED_SECONDS:
            self.reserved, self.reserved_at = quotas.reserved_before(self.lease.bulk_send_id), now
        ahead = 2 * max(self.connections, round(self.calls_per_second))
        return quotas.hold(self.lease.id, used=used, wanted=self.held + ahead, reserved=self.reserved)

    async def _read_limits(self) -> bool:
        try:
            async with asyncio.timeout(LIMITS_SECONDS):  # meanwhile nobody keeps the books
                limits = await self.client.limits()
        except (RelayError, RelayMisconfigured, TimeoutError) as error:
            log.warning("limits_not_read", error=type(error).__name__)
            return False
        await self.books(quotas.note, limits)
        return True


def _said(error: RelayError | RelayMisconfigured) -> dict[str, Any]:
    return {"status": error.status, "code": error.code or str(error.status or ""), "detail": error.detail}
