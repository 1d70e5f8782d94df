"""The ledger of a bulk send against the relay's log of the same time: what both have, and what only one of them has.

The log is kept meanwhile in a nameless temporary database that ends with us, so memory stays flat however long it is;
both sides are then gone through in batches.
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Max, Min
from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from relay import log_reading, matching, reasons, verdicts
from relay.account import open_relay
from relay.addresses import comparison_key
from relay.books import Books
from relay.explained import Explained
from relay.log_reading import Window
from relay.matching import MARGIN, Entry, Matched
from relay.models import Attempt, Recipient
from relay_client import Delivery, RelayError, RelayMisconfigured

BATCH = 1000
EXAMPLES = 10
# Findings that leave open whether an entry is the row's.
_MAY_BE_ITS = {reasons.TWO_ALIKE, reasons.UNDER_WAY, reasons.TEST_SEND}


class LogNotRead(Explained):
    """The relay's log could not be read to its end, so nothing can be compared; the text says why."""


@dataclass(slots=True)
class Audit:
    both: int = 0  # accepted, and the log has it
    only_ours: int = 0  # accepted, and the log does not have it
    only_theirs: int = 0  # the log has it, and no row of any bulk send owns it: a double?
    different: int = 0  # of `both`: with another address, sender or subject
    unknown_found: int = 0  # entries that an unknown row of this bulk send may own
    examples: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # rows, a few of each

    def note(self, what: str, row: int) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if what != "both" and len(self.examples[what]) < EXAMPLES:
            self.examples[what].append(row)


async def audit(bulk_send_id: int, stop: asyncio.Event) -> Audit:
    """Reads the whole log of the bulk send's time. Raises LogNotRead."""
    async with Books() as books:
        window = await books(_window_of, bulk_send_id)
        if window is None:
            return Audit()
        shelf = _Shelf()
        try:
            await _read(window, shelf, stop)
            return await books(_Comparison(bulk_send_id, window, shelf).run)
        finally:
            shelf.close()


def _window_of(bulk_send_id: int) -> Window | None:
    """From its first attempt to its last, or None when there was none."""
    span = Attempt.objects.filter(recipient__bulk_send_id=bulk_send_id).aggregate(
        first=Min("started_at"), last=Max("ended_at")
    )
    if span["first"] is None:
        return None
    return Window.around(span["first"], span["last"], MARGIN, MARGIN)


async def _read(window: Window, shelf: "_Shelf", stop: asyncio.Event) -> None:
    def keep(delivery: Delivery) -> None:
        if stop.is_set():
            raise LogNotRead(_("Stopped before the relay's log was read to its end."))
        shelf.put(delivery)

    try:
        async with open_relay(reading=True) as client:
            await log_reading.read_whole(client, [window], keep)
    except RelayMisconfigured as error:
        code = error.code or str(error.status or "")
        raise LogNotRead(reasons.sentence(reasons.MISCONFIGURED, {"code": code})) from error
    except RelayError as error:
        raise LogNotRead(_("The relay's log cannot be read now: try again later.")) from error


class _Shelf:
    """The entries of the log, on disk: SQLite deletes a database without a name when it is closed, or we end."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(
            "CREATE TABLE entry (id INTEGER PRIMARY KEY, key TEXT, address TEXT, link TEXT, sender TEXT, subject TEXT,"
            " date TEXT, owned INTEGER DEFAULT 0)"
        )
        self._database.execute("CREATE INDEX by_key ON entry (key)")
        self._waiting: list[tuple[str | None, ...]] = []
        self._indexed = False

    def put(self, delivery: Delivery) -> None:
        self._waiting.append(
            (
                matching.link_key(delivery.href),
                comparison_key(delivery.recipient.strip()),
                delivery.href,
                delivery.sender,
                delivery.subject,
                delivery.date.isoformat() if delivery.date else None,
            )
        )
        if len(self._waiting) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        # Pages shift while they are read: an entry that comes again is the same.
        self._database.executemany(
            "INSERT INTO entry (key, address, link, sender, subject, date) SELECT ?, ?, ?, ?, ?, ?"
            " WHERE ? = '' OR NOT EXISTS (SELECT 1 FROM entry WHERE key = ?)",
            [(*facts, facts[0], facts[0]) for facts in self._waiting],
        )
        self._database.execute("COMMIT")
        self._waiting.clear()

    def take(self, keys: Collection[str]) -> dict[str, tuple[str, Entry]]:
        """The entries with these links, with their addresses; they have an owner from now on."""
        self._flush()
        marks = ", ".join("?" * len(keys))
        found = self._database.execute(
            f"UPDATE entry SET owned = 1 WHERE key IN ({marks}) RETURNING key, address, link, sender, subject, date",
            list(keys),
        )
        return {key: (address, _entry(*facts)) for key, address, *facts in found}

    def shown(self, keys: Collection[str]) -> set[str]:
        marks = ", ".join("?" * len(keys))
        return {key for (key,) in self._database.execute(f"SELECT key FROM entry WHERE key IN ({marks})", list(keys))}

    def unowned(self, addresses: Collection[str]) -> dict[str, list[Entry]]:
        if not self._indexed:
            self._database.execute("CREATE INDEX by_address ON entry (address) WHERE owned = 0")
            self._indexed = True
        marks = ", ".join("?" * len(addresses))
        found: dict[str, list[Entry]] = defaultdict(list)
        for address, *facts in self._database.execute(
            f"SELECT address, link, sender, subject, date FROM entry WHERE owned = 0 AND address IN ({marks})",
            list(addresses),
        ):
            found[address].append(_entry(*facts))
        return found

    def close(self) -> None:
        self._database.close()


def _entry(link: str, sender: str, subject: str, date: str | None) -> Entry:
    return Entry(link, sender, subject, datetime.fromisoformat(date) if date else None)


# --- comparing ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Comparison:
    bulk_send_id: int
    window: Window
    shelf: _Shelf
    found: Audit = field(default_factory=Audit)

    def run(self) -> Audit:
        for batch in self._batches():
            self._by_link(batch)
        for batch in self._batches():
            self._by_person(batch)
        return self.found

    def _batches(self) -> Iterator[list[Recipient]]:
        """Its rows that were called, in the order of the file."""
        rows = Recipient.objects.filter(bulk_send_id=self.bulk_send_id, attempts__gt=0).order_by("row")
        rows = rows.only("row", "email", "state", "delivery")
        last = 0
        while batch := list(rows.filter(row__gt=last)[:BATCH]):
            yield batch
            last = batch[-1].row

    def _by_link(self, batch: Sequence[Recipient]) -> None:
        """What the log shows under the link that our ledger has."""
        keys = {one.pk: _keys(one) for one in batch if one.state == Recipient.State.ACCEPTED}
        entries = self.shelf.take([key for theirs in keys.values() for key in theirs])
        attempts = _last_attempts(keys)
        for recipient in batch:
            shown = [entries[key] for key in keys.get(recipient.pk, ()) if key in entries]
            if shown:
                self.found.note("both", recipient.row)
            if any(not _agrees(recipient, attempts[recipient.pk], *one) for one in shown):
                self.found.note("different", recipient.row)

    def _by_person(self, batch: Sequence[Recipient]) -> None:
        """What is left on both sides, by address, sender, subject and time."""
        left: dict[str, list[Recipient]] = defaultdict(list)
        for recipient in self._left(batch):
            left[comparison_key(recipient.email)].append(recipient)
        in_order = dict.fromkeys(comparison_key(one.email) for one in batch)
        entries = self.shelf.unowned(in_order)
        people = [address for address in in_order if address in left or address in entries]
        if not people:
            return
        margin = timedelta(seconds=2 * MARGIN)
        known = verdicts.known_of(people, self.window.start - margin, self.window.end + margin)
        attempts = _attempts_of(self.bulk_send_id, people)
        rows = {one.row for one in batch}
        for address in people:
            theirs = [one for one in entries[address] if matching.link_key(one.link) not in known[address].owned]
            proofs = known[address].owning + known[address].tests
            shown = self.shelf.shown({link for _candidate, links in proofs for link in links})
            candidates = known[address].candidates(theirs, shown)
            matched = matching.match(candidates, theirs, tests=known[address].tests_among(theirs, shown))
            mine = attempts[address]
            self._judge_rows(left[address], mine, matched)
            if min(attempt.recipient.row for attempt in mine) in rows:  # once for each person
                self._judge_entries(matched.unexplained, mine)

    def _left(self, batch: Sequence[Recipient]) -> list[Recipient]:
        """Unknown rows, and accepted ones that the log does not show by their link."""
        accepted = {one.pk: _keys(one) for one in batch if one.state == Recipient.State.ACCEPTED}
        shown = self.shelf.shown([key for keys in accepted.values() for key in keys])
        return [
            one
            for one in batch
            if one.state == Recipient.State.UNKNOWN
            or (one.pk in accepted and not any(key in shown for key in accepted[one.pk]))
        ]

    def _judge_rows(self, left: Sequence[Recipient], attempts: Sequence[Attempt], matched: Matched) -> None:
        last = {attempt.recipient_id: attempt.pk for attempt in attempts}
        for recipient in left:
            finding = matched.findings.get(last[recipient.pk])
            if recipient.state == Recipient.State.ACCEPTED:
                self.found.note("both" if finding and finding.found else "only_ours", recipient.row)
            elif finding and (finding.found or finding.reason in _MAY_BE_ITS):
                self.found.note("unknown_found", recipient.row)

    def _judge_entries(self, unexplained: Sequence[Entry], attempts: Sequence[Attempt]) -> None:
        for entry in unexplained:
            like_it = next((attempt for attempt in attempts if _fits(attempt, entry)), None)
            if like_it:
                self.found.note("only_theirs", like_it.recipient.row)


def _keys(recipient: Recipient) -> list[str]:
    return [matching.link_key(link) for link in recipient.delivery.split()]


def _last_attempts(recipient_ids: Iterable[int]) -> dict[int, Attempt]:
    attempts = Attempt.objects.filter(recipient_id__in=list(recipient_ids)).order_by("pk")
    return {attempt.recipient_id: attempt for attempt in attempts}


def _attempts_of(bulk_send_id: int, people: Collection[str]) -> dict[str, list[Attempt]]:
    attempts = Attempt.objects.annotate(address=Lower("recipient__email")).filter(
        address__in=people, recipient__bulk_send_id=bulk_send_id
    )
    found: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts.select_related("recipient").order_by("pk"):
        found[comparison_key(attempt.recipient.email)].append(attempt)
    return found


def _agrees(recipient: Recipient, attempt: Attempt, address: str, entry: Entry) -> bool:
    return address == comparison_key(recipient.email) and _fits(attempt, entry)


def _fits(attempt: Attempt, entry: Entry) -> bool:
    return attempt.from_email.lower() in ("", entry.sender.lower()) and matching.same_subject(
        attempt.subject, entry.subject
    )
