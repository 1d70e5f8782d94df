"""The engine: claim → call → record, on one asyncio loop; any number of processes may drain one bulk send together.

`drain` sends what a bulk send has to send now. Callers (one per connection) take claimed rows from a queue and call
the relay; the bookkeeper records what came back and claims what goes next, a batch per commit, in a thread of its own
that holds the database connection. At most twice as many rows as connections are claimed and not yet recorded.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connections
from django.utils.translation import gettext as _

from relay import ledger, pacing, reasons, rendering
from relay.account import open_relay
from relay.composing import Composed, Composer
from relay.ledger import Claimed, HeldLease, Outcome
from relay.models import BulkSend, Recipient, WrongState
from relay_client import (
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
LOOK_SECONDS = 0.5
LOOK_BACK_SECONDS = 0.2
HEARTBEAT_SECONDS = 1.0
LIMITS_SECONDS = 5.0


class RelayOutOfReach(Exception):
    """The relay could not be reached for about a minute; what is left is `pending`, and a later run goes on."""

    def __str__(self) -> str:
        return _("The relay at %(url)s cannot be reached, or asks to wait. Nothing is lost: a later run goes on.") % {
            "url": settings.DOPPLER_RELAY_BASE_URL
        }


@dataclass(slots=True)
class Tally:
    """What one drain did."""

    accepted: int = 0
    refused: int = 0
    unknown: int = 0
    returned: int = 0

    def __iadd__(self, other: "Tally") -> "Tally":
        for name in ("accepted", "refused", "unknown", "returned"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

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


@dataclass(frozen=True, slots=True)
class Halt:
    """Why the whole bulk send must stop: an answer that is about the account or the template."""

    reason: str
    params: dict[str, Any]
    pause: bool = False
    resume_at: datetime | None = None

    def apply(self, bulk_send_id: int) -> None:
        bulk_send = BulkSend.objects.get(pk=bulk_send_id)
        try:
            if self.pause:
                bulk_send.pause(self.reason, self.resume_at, **self.params)
            else:
                bulk_send.stop_with_error(self.reason, **self.params)
        except WrongState:
            # Somebody paused or cancelled it, or another worker met the same answer first: it stands still already.
            log.info("halt_left_to_another", bulk_send=bulk_send_id, reason=self.reason, status=bulk_send.status)


Progress = Callable[[Tally, int], None]  # what was done so far, calls in flight


class _Books:
    """Runs database work in the one thread that owns the connection."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    async def __call__[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: work(*args, **kwargs))


async def drain(bulk_send_id: int, *, stop: asyncio.Event, progress: Progress | None = None) -> Tally:
    """Sends until nothing is left to send now, `stop` is set, or somebody stops the bulk send.

    Delays up to a minute are waited out. Raises RelayOutOfReach when the relay cannot be reached (what is left stays
    `pending`) and LeaseLost when this process was out of touch for longer than its lease. An answer about account or
    template raises nothing: it puts the bulk send into `error` or `paused`, which is where its reason stands.
    """
    with ThreadPoolExecutor(1, "ledger") as executor:
        books = _Books(executor)
        try:
            return await _drain(bulk_send_id, books, stop, progress)
        finally:
            await books(connections.close_all)


async def _drain(bulk_send_id: int, books: _Books, stop: asyncio.Event, progress: Progress | None) -> Tally:
    tally = Tally()
    bulk_send = await books(BulkSend.objects.get, pk=bulk_send_id)
    async with open_relay() as client:
        if not await _template_still_fits(bulk_send, client, books):
            return tally
        await books(ledger.exclude_suppressed, bulk_send_id)
        try:
            composer = await books(_ready_composer, bulk_send)
        except OSError:
            await books(Halt(reasons.ATTACHMENT_MISSING, {}).apply, bulk_send_id)
            return tally
        more = True
        while more:
            lease = await books(ledger.acquire, bulk_send_id)
            tally += await _Worker(lease, composer, client, books, stop, progress).run()
            more = await _others_left_something(bulk_send_id, tally, stop, books)
    await books(ledger.conclude, bulk_send_id)
    return tally


async def _others_left_something(bulk_send_id: int, tally: Tally, stop: asyncio.Event, books: _Books) -> bool:
    """Waits for the other workers on this bulk send; True when they left rows that can go now.

    One that died is waited for until its lease has run out, so that no row is `sending` when nobody sends any more.
    """
    while not stop.is_set():
        tally.unknown += await books(take_over_expired)
        match await books(ledger.left_by_others, bulk_send_id):
            case ledger.Left.ROWS:
                return True
            case ledger.Left.NOTHING:
                return False
        await asyncio.sleep(2 * LOOK_SECONDS)
    return False


def _ready_composer(bulk_send: BulkSend) -> Composer:
    composer = Composer(bulk_send)
    composer.read_attachments()
    return composer


def take_over_expired() -> int:
    """What lost workers held becomes `unknown`, with what a settlement needs to know; returns how many rows."""
    composers: dict[int, Composer] = {}

    def describe(bulk_send_id: int, email: str, variables: Mapping[str, str]) -> tuple[str, str]:
        if bulk_send_id not in composers:
            composers[bulk_send_id] = Composer(BulkSend.objects.get(pk=bulk_send_id))
        return composers[bulk_send_id].describe(email, variables)

    return ledger.take_over_expired(describe)


async def _template_still_fits(bulk_send: BulkSend, client: RelayClient, books: _Books) -> bool:
    """The relay renders the template it has now. What it needs of a row must be what the rows were checked for."""
    if bulk_send.subject:
        return True  # rendered here, from the template as it was checked
    try:
        template = await client.get_template(bulk_send.template_id)
        body = await client.get_template_body(template)
    except (RelayMisconfigured, RelayNotFound) as error:
        halt = _halt(error)
    except RelayRejected as error:
        halt = Halt(reasons.TEMPLATE_UNREADABLE, {"code": error.code or str(error.status)})
    except RelayError as error:
        raise RelayOutOfReach from error
    else:
        if _same_needs(bulk_send, template.subject, body.html):
            await books(bulk_send.adopt_template, subject=template.subject, html=body.html)
            return True
        halt = Halt(reasons.TEMPLATE_CHANGED, {})
    await books(halt.apply, bulk_send.pk)
    return False


def _same_needs(bulk_send: BulkSend, subject: str, html: str) -> bool:
    if (subject, html) == (bulk_send.template_subject, bulk_send.template_html):
        return True
    checked = rendering.compile_template(bulk_send.template_subject, bulk_send.template_html)
    try:
        current = rendering.compile_template(subject, html)
    except rendering.TemplateProblem:
        return False
    return current.needs_signature == checked.needs_signature


@dataclass(slots=True)
class _Worker:
    """One worker's work on one bulk send under one lease."""

    lease: HeldLease
    composer: Composer
    client: RelayClient
    books: _Books
    stop: asyncio.Event
    progress: Progress | None
    connections: int = field(default_factory=lambda: settings.RELAY_MAX_CONNECTIONS)

    tally: Tally = field(default_factory=Tally)
    breaker: pacing.Breaker = field(default_factory=pacing.Breaker)
    queue: asyncio.Queue[Claimed] = field(default_factory=asyncio.Queue)
    outcomes: list[Outcome] = field(default_factory=list)
    halt: Halt | None = None
    taking: bool = True  # new calls may leave
    dry: bool = False  # the last claim found less than it wanted
    swept: bool = False  # … although it looked through the whole file
    held: int = 0  # claimed and not yet recorded
    in_flight: int = 0
    calls: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    last_look: float = 0.0
    last_look_back: float = 0.0
    last_heartbeat: float = field(default_factory=time.monotonic)
    calls_at_heartbeat: int = 0

    async def run(self) -> Tally:
        callers = [asyncio.create_task(self._make_calls()) for _ in range(self.connections)]
        keeper = asyncio.create_task(self._keep_books())
        try:
            done, _ = await asyncio.wait([keeper, *callers], return_when=asyncio.FIRST_COMPLETED)
            if keeper not in done:
                # A caller never ends by itself: this one failed. Nothing new leaves, what is under way comes back.
                self.taking = False
                await asyncio.wait([keeper])
            for task in [keeper, *done]:
                task.result()
        finally:
            await self._end([keeper, *callers])
        if self.breaker.given_up:
            raise RelayOutOfReach
        return self.tally

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Whatever happened: what may have left is recorded as such before the lease is given back.

        Where that is impossible (lease lost, database gone, a fault of ours) the lease is not given back: it expires,
        and its rows become unknown.
        """
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._record_rest()
            await self.books(ledger.release, self.lease)
        except (ledger.LeaseLost, OperationalError, InterfaceError) as error:
            log.warning("lease_not_released", lease=self.lease.id, error=type(error).__name__)

    # The callers

    async def _make_calls(self) -> None:
        while True:
            claimed = await self.queue.get()
            waited = not self.breaker.failing or await self._relay_is_back()
            if not (waited and self._takes() and self.lease.holds()):
                self.held -= 1  # untouched: the end of the lease puts it back
                continue
            try:
                composed = self.composer.compose(claimed.email, claimed.variables)
            except Exception:
                self.held -= 1
                raise
            self.in_flight += 1
            try:
                await self._call(claimed, composed)
            finally:
                self.in_flight -= 1

    async def _relay_is_back(self) -> bool:
        """Waits until a call may be tried; False when that is left to a later run."""
        while self._takes() and (delay := self.breaker.wait(time.monotonic())):
            if self.breaker.given_up:
                return False
            await asyncio.sleep(min(delay, 0.2))
        return self._takes()

    def _takes(self) -> bool:
        return self.taking and not self.stop.is_set()

    async def _call(self, claimed: Claimed, composed: Composed) -> None:
        started_at = self.lease.now()
        self.calls += 1
        try:
            outcome = await self._send(claimed, composed, started_at)
        except BaseException:
            # Cut off in the middle (or by a fault of ours): it may have left.
            self._done(self._outcome(claimed, composed, started_at, state=State.UNKNOWN, reason=reasons.NO_ANSWER))
            raise
        self._done(outcome)

    async def _send(self, claimed: Claimed, composed: Composed, started_at: datetime) -> Outcome:
        result: Mapping[str, Any]
        try:
            accepted = await composed.send(self.client)
        except RelayUnavailable as error:
            self.breaker.failed(time.monotonic())
            result = {
                "state": State.PENDING,
                "reason": reasons.THROTTLED if error.throttled else reasons.NOT_CONNECTED,
                "retry_in": pacing.row_delay(claimed.attempts, error.retry_after),
                **_said(error),
            }
        except RelayUnknown as error:
            self.breaker.answered()
            reason = reasons.SERVER_ERROR if (error.status or 0) >= 500 else reasons.NO_ANSWER
            result = {"state": State.UNKNOWN, "reason": reason, **_said(error)}
        except RelayRejected as error:
            self.breaker.answered()
            result = {"state": State.REFUSED, "reason": reasons.REFUSED, **_said(error)}
        except (RelayQuotaExceeded, RelayNotFound, RelayMisconfigured) as error:
            self.breaker.answered()
            self.halt = self.halt or _halt(error)
            self.taking = False
            result = {"state": State.PENDING, "reason": self.halt.reason, **_said(error)}
        else:
            self.breaker.answered()
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
        if self._enough():
            self.wake.set()

    def _enough(self) -> bool:
        return len(self.outcomes) * 2 >= self.connections

    # The bookkeeper

    async def _keep_books(self) -> None:
        while True:
            await self._gather()
            turn = await self._take_turn()
            if self.progress:
                self.progress(self.tally, self.in_flight)
            if not self._takes():
                self._leave_untouched()
            if self.held:
                continue
            if not self._takes() or self.breaker.given_up:
                return
            if turn is not None and self.swept and not await self._wait_for_returned():
                return

    def _leave_untouched(self) -> None:
        """Nothing more leaves: what waits in the queue stays as it is until the end of the lease puts it back."""
        while not self.queue.empty():
            self.queue.get_nowait()
            self.held -= 1

    async def _gather(self) -> None:
        """Waits until a turn is worth its commit."""
        if self._enough():
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
        await self._heartbeat(now)
        turn = await self._persistently(
            ledger.take_turn, self.lease, outcomes, wanted, sweep=sweep, look_back=look_back
        )
        # Only now: an outcome that is forgotten before it is recorded would send its row back to `pending`.
        del self.outcomes[: len(outcomes)]
        self.held += len(turn.claimed) - len(outcomes)
        if wanted:
            self.dry = len(turn.claimed) < wanted
            self.swept = sweep and not turn.claimed
        if turn.status != BulkSend.Status.SENDING:
            self.taking = False
        for claimed in turn.claimed:
            self.queue.put_nowait(claimed)
        if self.halt is not None and turn.status == BulkSend.Status.SENDING:
            await self._persistently((await self._dated(self.halt)).apply, self.lease.bulk_send_id)
        return turn

    async def _dated(self, halt: Halt) -> Halt:
        """A pause for quota whose answer did not say until when: the relay's limits may. Else a person resumes it."""
        if not halt.pause or halt.resume_at is not None:
            return halt
        try:
            async with asyncio.timeout(LIMITS_SECONDS):  # meanwhile nobody keeps the books
                limits = await self.client.limits()
        except (RelayError, RelayMisconfigured, TimeoutError) as error:
            log.warning("limits_not_read", error=type(error).__name__)
            return halt
        used_up = [
            limit.reset for limit in (limits.monthly, limits.daily, limits.hourly) if limit and not limit.remaining
        ]
        return replace(halt, resume_at=max((reset for reset in used_up if reset), default=None))

    def _wanted(self) -> int:
        """How many rows to claim: up to twice the connections, in halves; seldom where the last claim found few."""
        if not self._takes() or self.breaker.given_up:
            return 0
        room = 2 * self.connections - self.held + len(self.outcomes)
        if self.dry and time.monotonic() < self.last_look + LOOK_SECONDS and self.held > len(self.outcomes):
            return 0
        return room if room * 2 >= self.connections else 0

    async def _wait_for_returned(self) -> bool:
        """With nothing under way: waits for the next row that came back, if that is worth waiting for."""
        due = await self._persistently(ledger.next_due_in, self.lease.bulk_send_id)
        if due is None or due > pacing.LONGEST_WAIT:
            return False
        deadline = time.monotonic() + due
        while (left := deadline - time.monotonic()) > 0 and self._takes():
            await asyncio.sleep(min(left, LOOK_SECONDS))
            await self._heartbeat(time.monotonic())
            turn = await self._persistently(ledger.take_turn, self.lease, [], 0)
            self.taking = self.taking and turn.status == BulkSend.Status.SENDING
        return True

    async def _heartbeat(self, now: float) -> None:
        elapsed = now - self.last_heartbeat
        if elapsed < HEARTBEAT_SECONDS:
            return
        rate = (self.calls - self.calls_at_heartbeat) / elapsed
        self.last_heartbeat, self.calls_at_heartbeat = now, self.calls
        await self._persistently(
            ledger.heartbeat, self.lease, calls_in_flight=self.in_flight, calls_per_second=round(rate, 1)
        )

    async def _record_rest(self) -> None:
        if self.outcomes:
            await self._persistently(ledger.take_turn, self.lease, self.outcomes, 0)

    async def _persistently[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Tries again while the database is away, and for as long again as a lease lasts: until somebody takes the
        lease over its outcomes can still be recorded. All of the ledger may be repeated."""
        while True:
            try:
                return await self.books(work, *args, **kwargs)
            except (OperationalError, InterfaceError) as error:
                if self.lease.overdue():
                    raise
                log.warning("database_away", lease=self.lease.id, error=type(error).__name__)
                await self.books(connections.close_all)  # of that thread; the next statement connects anew
                await asyncio.sleep(LOOK_SECONDS)


def _said(error: RelayError | RelayMisconfigured) -> dict[str, Any]:
    return {"status": error.status, "code": error.code or str(error.status or ""), "detail": error.detail}


def _halt(error: RelayQuotaExceeded | RelayNotFound | RelayMisconfigured) -> Halt:
    code = error.code or str(error.status or "")
    if isinstance(error, RelayQuotaExceeded):
        return Halt(reasons.QUOTA, {"period": error.period}, pause=True, resume_at=error.reset_at)
    if isinstance(error, RelayNotFound):
        return Halt(reasons.TEMPLATE_MISSING, {"code": code})
    return Halt(reasons.MISCONFIGURED, {"code": code})
