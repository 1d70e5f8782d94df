"""What became of an unknown attempt: asked of the relay's log, or decided by a person.

`settle_due` makes the looks that are due, batch after batch: claim → read the log → read the ledger, judge and write in
one transaction. The log is read first: whatever it shows was sent before the ledger is read, so every entry's owner is
visible there. Nothing is called absent unless the log shows what it must show (the controls), and none of its entries
for that person is left unexplained.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from relay import dialects, ledger, log_reading, matching, reasons, stages, verdicts
from relay.account import open_relay
from relay.addresses import comparison_key
from relay.books import Books
from relay.explained import Explained
from relay.log_reading import Window
from relay.matching import MARGIN, NEAR, TOLERANCE, Entry, Finding
from relay.models import BulkSend, Recipient, Settlement
from relay.verdicts import Control, Due, Verdict
from relay_client import Delivery, RelayClient, RelayError, RelayMisconfigured

log = structlog.get_logger(__name__)

BATCH = 1000
# So many people are asked for one by one; for more of them the log is read as a whole.
FEW = 200
# A relay that cannot be asked is asked again after so many seconds.
AWAY_SECONDS = 60.0
# When the last look proves nothing because of the log and not of the message, so many more are made.
MORE_LOOKS = 4
# Until the relay's clock has certainly reached our now.
LATE_CLOCK_SECONDS = 60.0
PASSING = {reasons.LOG_INCOMPLETE, reasons.UNDER_WAY}


class NotUnknown(Explained):
    """A person decides on unknown rows only, and says why; the text tells which of the two was missed."""


@dataclass(slots=True)
class Settled:
    """What a pass did. `problem` is a sentence for a person when the relay could not be asked."""

    checked: int = 0
    accepted: int = 0
    returned: int = 0
    excluded: int = 0
    still_unknown: int = 0  # rows; of all bulk sends only those that are looked for again
    problem: str = ""


async def settle_due(stop: asyncio.Event, *, bulk_send_id: int | None = None) -> Settled:
    """Makes all looks that are due, of one bulk send or of all. Safe to run anywhere, at any time, by many at once."""
    async with Books() as books:
        settled = Settled()
        if await books(verdicts.looks_are_due, bulk_send_id):
            async with open_relay(reading=True) as client:
                await _Pass(client, books, stop, bulk_send_id, settled).run()
        settled.still_unknown = await books(_still_unknown, bulk_send_id)
        return settled


def _still_unknown(bulk_send_id: int | None) -> int:
    if bulk_send_id is None:
        return Recipient.objects.filter(look_at__isnull=False).count()
    return Recipient.objects.filter(bulk_send_id=bulk_send_id, state=Recipient.State.UNKNOWN).count()


def decide(recipient: Recipient, sent: bool, note: str, by: User | None, actor: str) -> None:
    """A person's decision on an unknown row, recorded with its reason: it was sent, or it was not and may go again.

    Raises NotUnknown without a reason, and for a row in any other state.
    """
    note = note.strip()
    if not note:
        raise NotUnknown(_("Say in a note how you know: it is kept with the decision."))
    if not verdicts.decide(recipient, sent=sent, note=note[:500], by=by, actor=actor[:200]):
        raise NotUnknown(
            _("Row %(row)d is not unknown (any more): there is nothing to decide.") % {"row": recipient.row}
        )


# --- what the log showed --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Log:
    """What was read of the relay's log for one batch: entries of its people, and where the controls were seen."""

    addresses: frozenset[str] = field(repr=False)
    controls: Sequence[Control]
    whole: bool = False
    entries: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list), repr=False)
    # What came for them after all that was read around their attempts, until now; of last looks only.
    late: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list), repr=False)
    dates: dict[str, datetime | None] = field(default_factory=dict)  # of every link that was kept

    def keep(self, delivery: Delivery) -> None:
        address, link = comparison_key(delivery.recipient.strip()), matching.link_key(delivery.href)
        wanted = address in self.addresses
        if link and (wanted or any(link in control.links for control in self.controls)):
            if link in self.dates:
                return  # pages shift while they are read
            self.dates[link] = delivery.date
        if wanted:
            self.entries[address].append(Entry(delivery.href, delivery.sender, delivery.subject, delivery.date))

    def keep_late(self, delivery: Delivery) -> None:
        address, link = comparison_key(delivery.recipient.strip()), matching.link_key(delivery.href)
        if address not in self.addresses or (link and link in self.dates):
            return
        if link:
            self.dates[link] = delivery.date
        self.late[address].append(Entry(delivery.href, delivery.sender, delivery.subject, delivery.date))

    def date_of(self, control: Control) -> datetime | None:
        return next((self.dates[link] for link in control.links if link in self.dates), None)

    def shows(self, control: Control) -> bool:
        return any(link in self.dates for link in control.links)


@dataclass(frozen=True, slots=True)
class Trust:
    """What may be concluded from a log that was read."""

    complete: bool  # what it does not show is not there
    clock_right: bool  # its dates can be compared with ours
    near: float | None  # see matching.match


def trust_in(found: _Log) -> Trust:
    """By the controls: messages that the relay accepted for certain, each within a known span of time."""
    if not found.controls:
        return Trust(complete=found.whole, clock_right=True, near=None)
    shown = [control for control in found.controls if found.shows(control)]
    dated = [(control, date) for control in shown if (date := found.date_of(control)) is not None]
    # The clocks differ by at least `low` and at most `high` seconds. A date is a whole second.
    low = max(((date - control.ended_at).total_seconds() for control, date in dated), default=0.0)
    high = min(((date - control.started_at).total_seconds() + 1.0 for control, date in dated), default=0.0)
    clock_right = len(dated) == len(shown) and low <= TOLERANCE and high >= -TOLERANCE
    off = max(abs(low), abs(high))
    return Trust(
        complete=clock_right and len(shown) == len(found.controls),
        clock_right=clock_right,
        near=max(NEAR, off + 0.5) if dated and low <= high and off <= TOLERANCE else None,
    )


# --- one pass -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Pass:
    client: RelayClient
    books: Books
    stop: asyncio.Event
    bulk_send_id: int | None
    settled: Settled
    seen: set[int] = field(default_factory=set)

    async def run(self) -> None:
        while not self.stop.is_set() and not self.settled.problem:
            batch = await self.books(verdicts.claim_looks, self.bulk_send_id, BATCH)
            if not batch:
                return
            await self._look(batch)

    async def _look(self, batch: list[Due]) -> None:
        try:
            found = await self._while_held(batch, self._read_log(batch))
        except RelayMisconfigured as error:
            code = error.code or str(error.status or "")
            await self._ask_later(batch, reasons.sentence(reasons.MISCONFIGURED, {"code": code}))
        except RelayError as error:
            log.warning("log_not_read", error=type(error).__name__, status=error.status)
            await self._ask_later(
                batch, _("The relay's log cannot be read now. What is unknown stays so; a later run asks again.")
            )
        else:
            if found is None:
                await self.books(verdicts.put_off, batch, 0.0)
            else:
                self._count(await self.books(_settle, batch, found))

    async def _ask_later(self, batch: list[Due], problem: str) -> None:
        """That was no look."""
        self.settled.problem = problem
        await self.books(verdicts.put_off, batch, min(AWAY_SECONDS, settings.RELAY_SETTLEMENT_LOOKS[0]))

    async def _while_held(self, batch: list[Due], reading: Awaitable[_Log]) -> _Log | None:
        """Reads, while nobody else may make these looks; None when we are to stop."""
        task = asyncio.ensure_future(reading)
        stopping = asyncio.create_task(self.stop.wait())
        try:
            while True:
                done, _pending = await asyncio.wait(
                    [task, stopping],
                    timeout=settings.RELAY_LEASE_SECONDS / 3,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if task in done:
                    return task.result()
                if stopping in done:
                    return None
                await self.books(verdicts.put_off, batch, settings.RELAY_LEASE_SECONDS)
        finally:
            task.cancel()
            stopping.cancel()
            await asyncio.gather(task, stopping, return_exceptions=True)

    async def _read_log(self, batch: list[Due]) -> _Log:
        controls = await self.books(verdicts.controls_for, batch)
        found = await self._read_around(batch, controls)
        # A relay that works off what it had accepted the bytes of may have dated the message long after the attempt.
        # To ask for each person is enough here: what it finds can only keep a row from being sent again.
        questions = _late_questions(batch, await self.books(dialects.database_now))
        await log_reading.read_about(self.client, questions, found.keep_late)
        return found

    async def _read_around(self, batch: list[Due], controls: Sequence[Control]) -> _Log:
        addresses = frozenset(due.address for due in batch)
        if _may_be_asked_for(batch, addresses, controls):
            found = _Log(addresses, controls)
            await log_reading.read_about(self.client, _questions(batch, controls), found.keep)
            trust = trust_in(found)
            if trust.complete or not trust.clock_right:
                return found
            # What a filter searches is not known: perhaps not the address.
        found = _Log(addresses, controls, whole=True)
        windows = [window for _text, window in _questions(batch, controls)]
        await log_reading.read_whole(self.client, windows, found.keep)
        return found

    def _count(self, written: Iterable[Verdict]) -> None:
        for verdict in written:
            self.seen.add(verdict.due.recipient_id)
            match verdict.verdict:
                case Settlement.Verdict.ACCEPTED:
                    self.settled.accepted += 1
                case Settlement.Verdict.RETURNED:
                    self.settled.returned += 1
                case Settlement.Verdict.EXCLUDED:
                    self.settled.excluded += 1
        self.settled.checked = len(self.seen)


def _may_be_asked_for(batch: Sequence[Due], addresses: frozenset[str], controls: Sequence[Control]) -> bool:
    """Whether to ask for each person, which is cheap. Not where something may be called absent for good: a filter may
    search some addresses and not others, and a message sent twice costs more than a log read whole."""
    return (
        bool(controls)
        and len(addresses) <= FEW
        and all(len(address) <= log_reading.LONGEST_FILTER for address in addresses)
        and not any(_is_last(due) for due in batch)
    )


def _questions(batch: Sequence[Due], controls: Sequence[Control]) -> list[tuple[str, Window]]:
    windows: dict[str, list[Window]] = defaultdict(list)
    for due in batch:
        windows[due.address].append(Window.around(due.started_at, due.ended_at, MARGIN, due.seconds_after))
    for control in controls:
        windows[control.address].append(
            Window.around(control.started_at, control.ended_at, 2 * TOLERANCE, 2 * TOLERANCE)
        )
    return [(address, window) for address, theirs in windows.items() for window in log_reading.merged(theirs)]


def _late_questions(batch: Sequence[Due], now: datetime) -> list[tuple[str, Window]]:
    """About everybody who may be called absent: from the end of what is read around the attempts until now."""
    since: dict[str, datetime] = {}
    for due in batch:
        if _is_last(due):
            since[due.address] = min(_end_of_around(due), since.get(due.address, now))
    return [
        (address[: log_reading.LONGEST_FILTER], Window.around(start, now, 0, LATE_CLOCK_SECONDS))
        for address, start in since.items()
        if start < now
    ]


def _end_of_around(due: Due) -> datetime:
    return due.ended_at + timedelta(seconds=due.seconds_after)


# --- judging --------------------------------------------------------------------------------------------------


def _settle(batch: Sequence[Due], found: _Log) -> list[Verdict]:
    trust = trust_in(found)
    start = min(due.started_at for due in batch) - timedelta(seconds=2 * MARGIN)
    end = max(due.ended_at + timedelta(seconds=due.seconds_after) for due in batch) + timedelta(seconds=2 * MARGIN)
    with transaction.atomic():
        if found.late:  # whoever may own what came late
            end = max(end, dialects.database_now())
        statuses = verdicts.lock_statuses({due.bulk_send_id for due in batch})
        known = verdicts.known_of(found.addresses, start, end)
        findings = _findings(batch, known, found, trust)
        now = dialects.database_now()
        written = verdicts.record(
            [
                _judge(due, findings[due.attempt_id], trust, statuses[due.bulk_send_id], now)
                for due in batch
                if due.attempt_id in findings
            ]
        )
        for bulk_send_id in statuses:
            stages.go_on_after_settlement(bulk_send_id)
    return written


def _findings(batch: Sequence[Due], known: dict[str, verdicts.Known], found: _Log, trust: Trust) -> dict[int, Finding]:
    findings: dict[int, Finding] = {}
    for address in {due.address for due in batch}:
        owned = known[address].owned
        entries = [
            entry
            for entry in found.entries.get(address, []) + found.late.get(address, [])
            if not (entry.link and matching.link_key(entry.link) in owned)
        ]
        candidates = known[address].candidates(entries, found.dates)
        tests = known[address].tests_among(entries, found.dates)
        matched = matching.match(candidates, entries, near=trust.near, tests=tests)
        findings |= matched.findings
        for due in batch:
            if due.address == address and _is_last(due) and (reason := _came_late(due, matched)):
                findings[due.attempt_id] = Finding(reason)
    return findings


def _came_late(due: Due, matched: matching.Matched) -> str:
    """Why it is not absent: something that nobody owns has come for this person since, however much later."""
    finding = matched.findings.get(due.attempt_id)  # None: settled meanwhile
    if finding is None or finding.reason != reasons.ABSENT:
        return ""
    for entries, reason in ((matched.unexplained, reasons.UNEXPLAINED), (matched.doubtful, reasons.TEST_SEND)):
        if any(entry.date is None or entry.date >= due.ended_at for entry in entries):
            return reason
    return ""


def _judge(due: Due, finding: Finding, trust: Trust, status: str, now: datetime) -> Verdict:
    if not trust.clock_right:
        finding = Finding(reasons.LOG_INCOMPLETE)
    if finding.entry is not None:
        return Verdict(
            due,
            Settlement.Verdict.ACCEPTED,
            finding.reason,
            dict(finding.params),
            delivery=finding.entry.link,
            accepted_at=finding.entry.date or due.ended_at,
            next_look=_next_look(due, reasons.UNDER_WAY, now),
        )
    if finding.reason == reasons.ABSENT:
        if not trust.complete:
            finding = Finding(reasons.LOG_INCOMPLETE)
        elif _is_last(due) and now >= _moment_of_last_look(due):
            return _absent(due, status, now)
        else:
            finding = Finding(reasons.NOT_YET)
    return Verdict(
        due,
        Settlement.Verdict.UNKNOWN,
        finding.reason,
        dict(finding.params),
        next_look=_next_look(due, finding.reason, now),
    )


def _absent(due: Due, status: str, now: datetime) -> Verdict:
    cancelled = status == BulkSend.Status.CANCELLED
    verdict = Settlement.Verdict.EXCLUDED if cancelled else Settlement.Verdict.RETURNED
    minutes = round((now - due.ended_at).total_seconds() / 60)
    return Verdict(due, verdict, reasons.ABSENT, {"looks": due.looks + 1, "minutes": minutes})


def _is_last(due: Due) -> bool:
    """Whether the look that is due now may call the message absent."""
    return due.looks + 1 >= len(settings.RELAY_SETTLEMENT_LOOKS)


def _moment_of_last_look(due: Due) -> datetime:
    return _moment_of_look(due, len(settings.RELAY_SETTLEMENT_LOOKS) - 1)


def _moment_of_look(due: Due, looks_made: int) -> datetime:
    return due.ended_at + timedelta(seconds=ledger.seconds_until_look(due.reason, looks_made))


def _next_look(due: Due, reason: str, now: datetime) -> datetime | None:
    """None: the log was asked often enough, and a person has to decide."""
    looks = settings.RELAY_SETTLEMENT_LOOKS
    made = due.looks + 1
    if made < len(looks):
        return _moment_of_look(due, made)
    if reason == reasons.NOT_YET:  # fewer looks are made than when this one was planned
        return _moment_of_last_look(due)
    more = made - len(looks)
    if reason not in PASSING or more >= MORE_LOOKS:
        return None
    interval = looks[-1] - (looks[-2] if len(looks) > 1 else 0)
    return now + timedelta(seconds=interval * 2**more)
