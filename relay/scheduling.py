"""What the timer does: everything that is due, all open bulk sends in turn, until nothing is left to do now.

Safe to run from several processes and hosts at once. It needs no background engine, and workers of one do the same
with the same parts.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from django.db import connections
from django.utils.translation import gettext as _

from relay import checking, ledger, pacing, preparing, sending, stages, tallies
from relay.account import NotConfigured
from relay.books import Books
from relay.calling import Course, Progress, Tally
from relay.lost_workers import take_over_expired
from relay.models import BulkSend, Preparation
from relay.settlement import Settled, settle_due

log = structlog.get_logger(__name__)

# Bulk sends take turns of so long: one that is due meanwhile waits no longer than a turn of each other.
TURN_SECONDS = 30.0
LONGEST_SLEEP = 2.0
# Reading the relay's log costs the relay, too: so many times as long as that took, it is left alone while others send.
RESTS_AFTER_SETTLEMENT = 3.0


@dataclass(slots=True)
class Done:
    started: int = 0
    tally: Tally = field(default_factory=Tally)
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # nothing is amiss that a later run does not see to


@dataclass(slots=True)
class _Open:
    """A bulk send that this run works on."""

    course: Course = field(default_factory=Course)
    tally: Tally = field(default_factory=Tally)
    resting: bool = False  # nothing of it can go before a later run


async def work_until_idle(
    stop: asyncio.Event, *, progress_of: Callable[[BulkSend], Progress], turn_seconds: float = TURN_SECONDS
) -> Done:
    """One bulk send that cannot go on keeps no other waiting; what it said is told in `failures`."""
    async with Books() as books:
        return await _Run(stop, books, progress_of, turn_seconds).run()


class _Run:
    def __init__(
        self, stop: asyncio.Event, books: Books, progress_of: Callable[[BulkSend], Progress], turn_seconds: float
    ) -> None:
        self.stop = stop
        self.books = books
        self.progress_of = progress_of
        self.turn_seconds = turn_seconds
        self.done = Done()
        self.opened: dict[int, _Open] = {}
        self.relay_is_away = False
        self.settling: asyncio.Task[Settled] | None = None
        self.checking: asyncio.Task[None] | None = None
        self.settle_again_at = 0.0

    async def run(self) -> Done:
        while not self.stop.is_set() and not self.relay_is_away:
            await self._see_what_is_due()
            turns = [await self._take_turn(bulk_send) for bulk_send in await self._open_bulk_sends()]
            if not turns and not await self._settlement_brought_rows_back():
                break
            if turns and not any(tally.more for tally in turns):
                waits = [tally.waits for tally in turns if tally.waits is not None and not _rests(tally)]
                await self._sleep(min([*waits, LONGEST_SLEEP]) if waits else 0.0)
        await self._settlement_brought_rows_back()
        if self.checking is not None:
            await self.checking
        return self.done

    async def _see_what_is_due(self) -> None:
        lost = await self.books(take_over_expired)
        started = await self.books(stages.start_due)
        lifted = await self.books(stages.lift_pauses)
        await self.books(tallies.compact)
        self.done.tally.unknown += lost
        self.done.started += len(started)
        if started or lifted:
            self._nobody_rests()
        if (self.checking is None or self.checking.done()) and await self.books(_something_to_check):
            self.checking = asyncio.create_task(self._check_preparations())
        # Beside the sending: a log that takes long to read keeps nobody waiting.
        if self.settling is None and time.monotonic() >= self.settle_again_at:
            self.settling = asyncio.create_task(self._settle())
        elif self.settling is not None and self.settling.done():
            await self._settlement_brought_rows_back()

    async def _check_preparations(self) -> None:
        """Beside the sending, by a connection of its own: a long list keeps no message waiting."""
        try:
            await asyncio.to_thread(_check_and_close, self.stop)
        except Exception as error:
            log.exception("checks_failed", error=type(error).__name__)
            self._fails(
                _("Drafts could not be checked (%(error)s): see the log. A later run tries again.")
                % {"error": type(error).__name__}
            )

    async def _settle(self) -> Settled:
        began = time.monotonic()
        try:
            return await settle_due(self.stop)
        finally:
            took = time.monotonic() - began
            self.settle_again_at = time.monotonic() + took * RESTS_AFTER_SETTLEMENT

    async def _settlement_brought_rows_back(self) -> bool:
        """Waits for the settlement that is under way; True when it found rows that are to be sent after all."""
        if self.settling is None:
            return False
        task, self.settling = self.settling, None
        try:
            settled = await task
        except NotConfigured:
            raise
        except Exception as error:
            log.exception("settlement_failed", error=type(error).__name__)
            self._fails(
                _("The settlement could not go on (%(error)s): see the log. A later run tries again.")
                % {"error": type(error).__name__}
            )
            return False
        if settled.problem and settled.problem not in self.done.warnings:
            self.done.warnings.append(settled.problem)
        if settled.returned:
            self._nobody_rests()
        return settled.returned > 0

    def _nobody_rests(self) -> None:
        for opened in self.opened.values():
            opened.resting = False

    async def _open_bulk_sends(self) -> list[BulkSend]:
        found = await self.books(lambda: list(BulkSend.objects.open_to_workers()))
        return [bulk_send for bulk_send in found if not self._opened(bulk_send).resting]

    def _opened(self, bulk_send: BulkSend) -> _Open:
        return self.opened.setdefault(bulk_send.pk, _Open())

    async def _take_turn(self, bulk_send: BulkSend) -> Tally:
        opened = self._opened(bulk_send)
        tally = Tally()
        if self.stop.is_set() or self.relay_is_away:
            return tally
        try:
            tally = await sending.drain(
                bulk_send.pk,
                stop=self.stop,
                progress=self.progress_of(bulk_send),
                for_seconds=self.turn_seconds,
                course=opened.course,
            )
        except sending.RelayOutOfReach as problem:
            self.relay_is_away = True  # for all of them
            self._fails(str(problem))
        except ledger.LeaseLost as problem:
            self._fails(str(problem))
        except NotConfigured:
            raise
        except Exception as error:
            log.exception("turn_failed", bulk_send=bulk_send.pk, error=type(error).__name__)
            self._fails(
                _("Bulk send %(id)d could not go on (%(error)s): see the log. A later run tries again.")
                % {"id": bulk_send.pk, "error": type(error).__name__}
            )
        opened.resting = _rests(tally)
        self.done.tally += tally
        return tally

    def _fails(self, sentence: str) -> None:
        if sentence not in self.done.failures:
            self.done.failures.append(sentence)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            pass  # nobody stopped us: the next turn


def _something_to_check() -> bool:
    discarded = Preparation.objects.filter(discarded_at__isnull=False)
    return Preparation.objects.to_check().exists() or discarded.exists()


def _check_and_close(stop: asyncio.Event) -> None:
    try:
        checking.check_waiting(stop.is_set)
        preparing.delete_discarded()
    finally:
        connections.close_all()


def _rests(tally: Tally) -> bool:
    """Nothing can go now, nor soon enough to be worth waiting for."""
    return not tally.more and (tally.waits is None or tally.waits > pacing.LONGEST_WAIT)
