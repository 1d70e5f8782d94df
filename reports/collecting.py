"""Reports are collected: asked of the relay, waited for, fetched. Each by one process at a time, resumable at any step.

PENDING → asked (`reports.asking`) → its number is known → polled → fetched (`reports.fetching`) → READY. Whatever a
step came to is committed before the next begins, so that another run goes on from there; no transaction is open while
the relay is talked to.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Case, Value, When
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from relay.account import open_relay
from relay.books import Books
from relay.explained import Explained
from relay.lease_alarm import LeaseAlarm
from relay_client import (
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayUnavailable,
    ReportRequest,
)
from reports import asking, collector_lease, patience, problems, report_files
from reports.collector_lease import CollectorLease, ReportLost, let_go, write
from reports.endings import Failed, LeftForLater
from reports.fetching import disk_problem, fetch
from reports.models import GeneratedReport
from reports.report_files import PartialFile, partial_file

log = structlog.get_logger(__name__)

State = GeneratedReport.State

# So many reports are under way in one process; of these so many talk to the relay or its file host at a time.
MOST_REPORTS = 50
AT_ONCE = 4
# Reports that are requested while a run goes on are seen after so long.
LOOK_SECONDS = 2.0


class NotInError(Explained):
    """Only a report in ERROR can be retried; the text says in which state it is."""


@dataclass(slots=True)
class Collected:
    """What a run came to. `waiting` and `left_to_others` are the reports unfinished at its end."""

    ready: int = 0
    error: int = 0
    waiting: int = 0
    left_to_others: int = 0
    taken: int = 0
    # Seconds after which another run makes sense; None: nothing is left to do.
    waits: float | None = None
    # A sentence for a person when the relay could not be asked. A later run goes on.
    problem: str = ""


Progress = Callable[[Collected], None]


async def collect_pending(
    *, stop: asyncio.Event | None = None, progress: Progress | None = None, sleeps: bool = True
) -> Collected:
    """Drives all reports that are PENDING or PROCESSING to READY or ERROR, until nothing is left to do now.

    Without `sleeps` it does what can be done at once: what has to be waited for is left to a later run, which is
    worth its while after `waits` seconds. `stop` ends it soon, with all states true. Raises NotConfigured. Safe to run
    anywhere, at any time, by many at once; cheap when there is nothing to collect.
    """
    async with Books() as books:
        run = _Run(books, stop or asyncio.Event(), progress or (lambda _collected: None), sleeps=sleeps)
        return await run.run()


def retry(report: GeneratedReport) -> None:
    """A report in ERROR goes on from where it stood, with new patience. Raises NotInError."""
    fields: dict[str, Any] = {
        "state": Case(When(asked_at=None, then=Value(State.PENDING)), default=Value(State.PROCESSING)),
        "problem": "",
        "problem_params": {},
        "polling_since": None,
    }
    retried = GeneratedReport.objects.filter(pk=report.pk, state=State.ERROR).update(**fields)
    report.refresh_from_db()
    if not retried:
        raise NotInError(
            _("Report %(id)d is not in error but %(state)s: there is nothing to retry.")
            % {"id": report.pk, "state": report.get_state_display()}
        )


def standing() -> Collected:
    """What is unfinished at this moment, and how much of it is with other processes."""
    left_to_others = collector_lease.held_by_others().count()
    return Collected(
        waiting=max(collector_lease.unfinished().count() - left_to_others, 0), left_to_others=left_to_others
    )


class _Run:
    def __init__(self, books: Books, stop: asyncio.Event, progress: Progress, *, sleeps: bool) -> None:
        self.books = books
        self.stop = stop
        self.progress = progress
        self.sleeps = sleeps
        self.collected = Collected()
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.seen: set[int] = set()  # each is taken once: what this run left is another's
        self.slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> Collected:
        self.lease = await self.books(collector_lease.open_lease)
        try:
            if first := await self._take():
                async with self._relay():
                    await self._until_nothing_is_left(first)
        finally:
            for task in self.tasks.values():
                task.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            await self.books(collector_lease.let_all_go, self.lease)
        return await self._summed_up()

    async def _take(self) -> list[GeneratedReport]:
        if self.stop.is_set():
            return []
        room = MOST_REPORTS - len(self.tasks)
        taken = await self.books(collector_lease.take, self.lease, besides=self.seen, limit=room)
        self.seen.update(report.pk for report in taken)
        return taken

    async def _until_nothing_is_left(self, fresh: list[GeneratedReport]) -> None:
        await self.books(self._tidy_up)
        while True:
            for report in fresh:
                self.collected.taken += 1
                self.tasks[report.pk] = asyncio.create_task(self._collect(report), name=f"report {report.pk}")
            self.progress(self.collected)
            if not self.tasks:
                return
            await asyncio.wait(self.tasks.values(), timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for report_id, task in list(self.tasks.items()):
                if task.done():
                    del self.tasks[report_id]
                    if not task.cancelled():  # else another process has it now
                        task.result()
            fresh = await self._take()

    def _tidy_up(self) -> None:
        held = collector_lease.unfinished().filter(collector_until__gt=Now()).exclude(pk__in=self.lease.held)
        names = [str(report_uuid) for report_uuid in held.values_list("uuid", flat=True)]
        try:
            removed = report_files.remove_leftovers(settings.RELAY_LEASE_SECONDS, names)
        except OSError as error:  # each download will say what is the matter
            log.warning("leftovers_not_removed", error=type(error).__name__)
        else:
            if removed:
                log.info("leftovers_removed", files=removed)

    @contextlib.asynccontextmanager
    async def _relay(self) -> AsyncIterator[None]:
        """The client, under a lease that is kept up."""
        async with open_relay(max_connections=AT_ONCE, timeout_seconds=settings.DOPPLER_REPORTS_TIMEOUT) as client:
            self.client = client
            client.may_leave = self.lease.holds
            with LeaseAlarm(client.stop_writing) as alarm:
                alarm.set(self.lease.seconds_left())
                keeping = asyncio.create_task(self._keep_lease(alarm))
                try:
                    yield
                finally:
                    keeping.cancel()
                    await asyncio.gather(keeping, return_exceptions=True)

    async def _keep_lease(self, alarm: LeaseAlarm) -> None:
        while True:
            await asyncio.sleep(settings.RELAY_LEASE_SECONDS / 3)
            try:
                lost = await self.books(collector_lease.renew, self.lease)
            except DatabaseError as error:  # away for long: what is under way finds out by itself
                log.warning("lease_not_renewed", error=type(error).__name__)
                continue
            for report_id in lost:
                if report_id in self.tasks:
                    self.tasks[report_id].cancel()
            alarm.set(self.lease.seconds_left())

    async def _summed_up(self) -> Collected:
        now = await self.books(standing)
        self.collected.waiting, self.collected.left_to_others = now.waiting, now.left_to_others
        if now.left_to_others:
            self._come_back_in(settings.RELAY_LEASE_SECONDS)  # if they die
        if now.waiting and self.collected.waits is None:
            self._come_back_in(patience.SHORTEST_PAUSE)
        self.progress(self.collected)
        return self.collected

    def _come_back_in(self, seconds: float) -> None:
        waits = self.collected.waits
        self.collected.waits = seconds if waits is None else min(waits, seconds)

    # --- one report ---------------------------------------------------------------------------------------------------

    async def _collect(self, report: GeneratedReport) -> None:
        """To its end in this run. Raises only what ends the whole run: a database that is away."""
        try:
            try:
                await self._to_its_file(report)
            except Failed as failed:
                await self._fail(report, failed)
            except LeftForLater as later:
                self._come_back_in(later.seconds)
                await self.books(let_go, self.lease, report)
        except ReportLost:
            log.info("report_left_to_others", report=report.pk)
            self.lease.held.discard(report.pk)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            # A fault of ours with one report keeps the others going; a later run tries it again.
            log.exception("report_not_collected", report=report.pk, error=type(error).__name__)
            self._come_back_in(patience.AWAY_SECONDS)
            with contextlib.suppress(ReportLost):
                await self.books(let_go, self.lease, report)

    async def _to_its_file(self, report: GeneratedReport) -> None:
        while not report.request_id:
            if report.asked_at is None:
                await self._ask(report)
            else:
                await self._look(report, report.asked_at)
        found, made_at = await self._wait_for(report)
        if found.file_url is None:
            await self._make_ready(report, rows=0, made_at=made_at)
        else:
            await self._download(report, found.file_url, made_at)

    async def _ask(self, report: GeneratedReport) -> None:
        async with self.slots:  # before the trace is left: the request must follow it at once
            self._stop_here()
            try:
                await asking.ask(report, client=self.client, books=self.books, lease=self.lease)
            except RelayUnavailable as error:
                raise self._away(report, error) from None

    async def _look(self, report: GeneratedReport, asked_at: datetime) -> None:
        await self._pause(asking.seconds_until_look(report, self._since(asked_at)))
        look = asking.look(report, asked_at, client=self.client, books=self.books, lease=self.lease)
        try:
            await self._unless_stopped(look)
        except RelayUnavailable as error:
            raise self._away(report, error) from None
        except (RelayError, RelayMisconfigured) as error:
            raise asking.refusal(error) from None

    async def _wait_for(self, report: GeneratedReport) -> tuple[ReportRequest, datetime]:
        """The request when it is done, and since when it is."""
        if report.polling_since is None:  # somebody pressed «Retry»
            await self.books(write, self.lease, report, polling_since=Now())
        began = report.polling_since or self.lease.now()
        unfinished_at = report.asked_at or began
        await self._pause(patience.first_pause() - self._since(began))
        while True:
            found = await self._poll(report)
            seen = self.lease.now()
            if found.processed or found.file_url:
                return found, _made_at(unfinished_at, seen)
            unfinished_at = seen
            waited = self._since(began)
            if patience.is_over(waited):
                raise Failed(problems.TIMED_OUT, {"minutes": max(1, round(self._since(report.asked_at or began) / 60))})
            await self._pause(patience.pause_after(waited))

    async def _poll(self, report: GeneratedReport) -> ReportRequest:
        try:
            return await self._unless_stopped(self.client.report_request(report.request_id))
        except RelayNotFound:
            raise Failed(problems.FORGOTTEN, request_id="", asked_at=None, polling_since=None) from None
        except RelayUnavailable as error:
            raise self._away(report, error) from None
        except (RelayError, RelayMisconfigured) as error:
            raise asking.refusal(error) from None

    async def _download(self, report: GeneratedReport, link: str, made_at: datetime) -> None:
        try:
            with partial_file(report) as file:
                rows = await self._unless_stopped(fetch(report, link, file, self.lease.now))
                await self._make_ready(report, rows=rows, made_at=made_at, file=file)
        except OSError as error:
            raise disk_problem(error) from error

    async def _make_ready(
        self, report: GeneratedReport, *, rows: int, made_at: datetime, file: PartialFile | None = None
    ) -> None:
        await self.books(_put_in_place, self.lease, report, rows, made_at, file)
        self.lease.held.discard(report.pk)
        self.collected.ready += 1
        log.info("report_ready", report=report.pk, rows=rows)

    async def _fail(self, report: GeneratedReport, failed: Failed) -> None:
        fields = {"state": State.ERROR, "problem": failed.code, "problem_params": failed.params, **failed.fields}
        await self.books(let_go, self.lease, report, **fields)
        self.collected.error += 1
        log.warning("report_failed", report=report.pk, problem=failed.code)

    def _away(self, report: GeneratedReport, error: RelayUnavailable) -> Exception:
        """Says nothing about the report: it waits out an outage, a long one, too."""
        log.warning("relay_away", report=report.pk, status=error.status)
        self.collected.problem = _("The relay cannot be asked now. What is unfinished stays so; a later run goes on.")
        began = report.polling_since or report.asked_at
        if report.request_id and began and patience.outage_is_over(self._since(began)):
            return Failed(problems.TIMED_OUT, {"minutes": round(self._since(report.asked_at or began) / 60)})
        return LeftForLater(max(patience.AWAY_SECONDS, error.retry_after or 0.0))

    # --- time -------------------------------------------------------------------------------------------------------

    def _since(self, moment: datetime) -> float:
        return (self.lease.now() - moment).total_seconds()

    def _stop_here(self) -> None:
        if self.stop.is_set():
            raise LeftForLater(0.0)

    async def _pause(self, seconds: float) -> None:
        self._stop_here()
        if seconds <= 0:
            return
        if not self.sleeps:
            raise LeftForLater(seconds)
        with contextlib.suppress(TimeoutError):  # nobody stopped us
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        self._stop_here()

    async def _unless_stopped[T](self, work: Awaitable[T]) -> T:
        """Something that may be cut off at any point, with the relay or its file host."""
        async with self.slots:
            task = asyncio.ensure_future(work)
            stopping = asyncio.create_task(self.stop.wait())
            try:
                await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    return task.result()
                raise LeftForLater(0.0)
            finally:
                task.cancel()
                stopping.cancel()
                await asyncio.gather(task, stopping, return_exceptions=True)


def _made_at(unfinished_at: datetime, seen: datetime) -> datetime:
    """When the relay had made it: as it was first seen. Who comes much later knows only since when it may be there: the
    facts in it are no newer than that, and must not win over those of a report that was made meanwhile."""
    return seen if seen - unfinished_at <= timedelta(minutes=1) else unfinished_at


def _put_in_place(
    lease: CollectorLease, report: GeneratedReport, rows: int, made_at: datetime, file: PartialFile | None
) -> None:
    """The file gets its name while nobody else can take the report over, and the report is READY after that. Killed
    between the two, it is fetched again under the same name."""
    fields = {
        "state": State.READY,
        "rows": rows,
        "made_at": made_at,
        "ready_at": Now(),
        "file": report_files.name_of(report) if file else "",
        "size": file.size if file else None,
        "sha256": file.sha256 if file else "",
        "collector_until": None,
    }
    with transaction.atomic():
        ours = GeneratedReport.objects.select_for_update().filter(pk=report.pk, collector=lease.token)
        if not ours.exists():
            raise ReportLost
        if file:
            file.put_in_place()
        write(lease, report, **fields)
