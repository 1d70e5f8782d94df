"""Which entries of the relay's log are which of our attempts, for one address, as a multiset. Pure.

The log names no message of ours: an entry has an address, a sender, a subject and a moment in whole seconds, and
perhaps a link. What our ledger owns by link is subtracted before. The rest is a bipartite problem between attempts that
may own an entry and entries; it is solved for each connected part of it alone. What cannot be told apart is said to be
so and never guessed: a wrong «accepted» loses a message, a wrong «absent» doubles one.
"""

import html
import unicodedata
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from relay import reasons

# An entry may lie so many seconds outside of its attempt's span, and the relay's clock be so wrong.
TOLERANCE = 5.0
# An entry of nobody's within so many seconds of an attempt may be that one's after all.
MARGIN = 120.0
# An entry belongs to one attempt of several when it is nearer to it than this, and farther from every other.
NEAR = 2.0
# The ledger cuts subjects here.
_SUBJECT_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Candidate:
    """An attempt that may own an entry which nobody owns by its link."""

    id: int
    started_at: datetime
    ended_at: datetime
    sender: str = field(default="", repr=False)  # "": any, the template's own went out
    subject: str | None = field(default=None, repr=False)  # None: any
    under_way: bool = False
    seconds_after: float = MARGIN  # an entry of nobody's until then may be this attempt's


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. Its date is the whole second in which the relay accepted the message."""

    link: str = field(repr=False)
    sender: str = field(repr=False)
    subject: str = field(repr=False)
    date: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What the log says of one attempt, with a code of `relay.reasons`."""

    reason: str
    entry: Entry | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        return self.entry is not None


@dataclass(slots=True)
class Matched:
    findings: dict[int, Finding] = field(default_factory=dict)  # by the candidate's id
    unexplained: list[Entry] = field(default_factory=list)  # that may be nobody's
    doubtful: list[Entry] = field(default_factory=list)  # that may be a test's

    def unexplained_for(self, candidate: Candidate) -> str:
        """Why its message may be in the log after all, as a code of `relay.reasons`; "" when nothing is left over."""
        if any(_may_be_its(candidate, entry) for entry in self.unexplained):
            return reasons.UNEXPLAINED
        return reasons.TEST_SEND if any(_may_be_its(candidate, entry) for entry in self.doubtful) else ""


def match(
    candidates: Sequence[Candidate],
    entries: Sequence[Entry],
    *,
    near: float | None = NEAR,
    tests: Sequence[Candidate] = (),
) -> Matched:
    """`near` is None when nothing proves that the relay's clock is right: then no entry is told apart by its time.

    `tests` are test sends whose entry no link tells. An entry that may be one of theirs decides nothing: it proves no
    attempt, and no attempt is absent beside it.
    """
    matched = Matched()
    for attempts, theirs in _parts(candidates, entries):
        doubtful = [entry for entry in theirs if any(compatible(test, entry) for test in tests)]
        if doubtful:
            _leave_to_a_person(attempts, theirs, doubtful, matched)
        else:
            _judge(attempts, theirs, near, matched)
    for candidate in candidates:
        if candidate.id not in matched.findings:
            matched.findings[candidate.id] = Finding(matched.unexplained_for(candidate) or reasons.ABSENT)
    return matched


def _leave_to_a_person(
    attempts: list[Candidate], entries: list[Entry], doubtful: list[Entry], matched: Matched
) -> None:
    under_way = any(attempt.under_way for attempt in attempts)
    for attempt in attempts:
        matched.findings[attempt.id] = Finding(reasons.UNDER_WAY if under_way else reasons.TEST_SEND)
    matched.doubtful += doubtful
    if len(entries) > len(attempts):  # others of them may be nobody's
        matched.unexplained += [entry for entry in entries if not any(entry is one for one in doubtful)]


def _judge(attempts: list[Candidate], entries: list[Entry], near: float | None, matched: Matched) -> None:
    """One connected part. Attempts without any entry are left for the end."""
    pairs = _nearest_pairs(attempts, entries)
    if not attempts or len(pairs) == len(attempts):
        _accept_all(attempts, entries, pairs, matched)
    elif not entries:
        return
    elif len(pairs) == len(entries) and near is not None and (pinned := _pinned(attempts, entries, near)):
        _accept_pinned(attempts, entries, pinned, near, matched)
    else:
        _leave_undecided(attempts, entries, len(pairs) < len(entries), matched)


def _accept_all(attempts: list[Candidate], entries: list[Entry], pairs: Mapping[int, Entry], matched: Matched) -> None:
    if any(attempt.under_way for attempt in attempts) or _may_be_one(list(pairs.values())):
        return _leave_undecided(attempts, entries, len(pairs) < len(entries), matched)
    for attempt in attempts:
        entry = pairs[attempt.id]
        if len(attempts) == len(entries) == 1:
            matched.findings[attempt.id] = _found(attempt, entry)
        else:
            counts = {"attempts": len(attempts), "entries": len(entries)}
            matched.findings[attempt.id] = Finding(reasons.FOUND_ALL, entry, counts)
    taken = {id(entry) for entry in pairs.values()}
    matched.unexplained += [entry for entry in entries if id(entry) not in taken]
    return None


def _may_be_one(entries: Sequence[Entry]) -> bool:
    """Whether two of them may be one entry that was read twice: pages shift while they are read, and without a link
    nothing tells."""
    without_link = [entry for entry in entries if not entry.link]
    return len(set(without_link)) < len(without_link)


def _accept_pinned(
    attempts: list[Candidate],
    entries: list[Entry],
    pinned: Mapping[int, Entry],
    near: float,
    matched: Matched,
) -> None:
    if any(attempt.under_way for attempt in attempts):
        return _leave_undecided(attempts, entries, False, matched)
    for attempt in attempts:
        if attempt.id in pinned:
            matched.findings[attempt.id] = _found(attempt, pinned[attempt.id])
    taken = {id(entry) for entry in pinned.values()}
    rest = [entry for entry in entries if id(entry) not in taken]
    for part in _parts([attempt for attempt in attempts if attempt.id not in pinned], rest):
        _judge(*part, near, matched)
    return None


def _leave_undecided(attempts: list[Candidate], entries: list[Entry], too_many: bool, matched: Matched) -> None:
    under_way = any(attempt.under_way for attempt in attempts)
    counts = {"attempts": len(attempts), "entries": len(entries)}
    for attempt in attempts:
        matched.findings[attempt.id] = Finding(
            reasons.UNDER_WAY if under_way else reasons.TWO_ALIKE, params={} if under_way else counts
        )
    if too_many:  # which of them is nobody's cannot be told
        matched.unexplained += entries


def _found(attempt: Candidate, entry: Entry) -> Finding:
    return Finding(reasons.FOUND, entry, {"seconds": round(gap(attempt, entry), 1)})


# --- who may own what -----------------------------------------------------------------------------------------


def compatible(attempt: Candidate, entry: Entry) -> bool:
    return (
        (not attempt.sender or attempt.sender.lower() == entry.sender.lower())
        and (attempt.subject is None or same_subject(attempt.subject, entry.subject))
        and gap(attempt, entry) <= TOLERANCE
    )


def gap(attempt: Candidate, entry: Entry) -> float:
    """Seconds between the entry's second and the attempt's span; 0 when they touch."""
    if entry.date is None:
        return float("inf")
    before = (attempt.started_at - entry.date).total_seconds() - 1.0
    after = (entry.date - attempt.ended_at).total_seconds()
    return max(0.0, before, after)


def _may_be_its(attempt: Candidate, entry: Entry) -> bool:
    """Whatever its subject, its sender and its exact time."""
    if entry.date is None:
        return True
    after = (entry.date - attempt.ended_at).total_seconds()
    return after <= attempt.seconds_after and (attempt.started_at - entry.date).total_seconds() <= MARGIN + 1.0


def same_subject(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    mine, other = normal_subject(ours), normal_subject(theirs)
    if len(ours) < _SUBJECT_LENGTH:
        return mine == other
    return other.startswith(mine[:-10])  # cut by the ledger, perhaps in the middle of an entity


@lru_cache(maxsize=4096)  # hundreds of attempts for one person are compared pair by pair
def normal_subject(subject: str) -> str:
    """Without what relays and mail programs change: entities, blanks, the form of composed letters."""
    return " ".join(unicodedata.normalize("NFC", html.unescape(subject)).split())


def link_key(href: str) -> str:
    """What names a delivery in its link, whether complete or relative, by the account's name or its number."""
    path, _mark, query = href.partition("?")
    name = path.rstrip("/").rpartition("/")[2].lower()
    return f"{name}?{query}" if query else name


# --- the graph ------------------------------------------------------------------------------------------------


def _parts(candidates: Iterable[Candidate], entries: Iterable[Entry]) -> list[tuple[list[Candidate], list[Entry]]]:
    """The connected parts; an attempt or an entry without counterpart is one of its own."""
    left = list(entries)
    parts: list[tuple[list[Candidate], list[Entry]]] = []
    for candidate in candidates:
        attempts, theirs = [candidate], [entry for entry in left if compatible(candidate, entry)]
        apart = []
        for part in parts:
            if any(compatible(candidate, entry) for entry in part[1]):
                attempts, theirs = part[0] + attempts, part[1] + theirs
            else:
                apart.append(part)
        taken = {id(entry) for entry in theirs}
        left = [entry for entry in left if id(entry) not in taken]
        parts = [*apart, (attempts, theirs)]
    return parts + [([], [entry]) for entry in left]


def _nearest_pairs(attempts: Sequence[Candidate], entries: Sequence[Entry]) -> dict[int, Entry]:
    """As many pairs as there can be: the nearest first, then others make room (augmenting paths)."""
    edges = {
        number: [index for index, entry in enumerate(entries) if compatible(attempt, entry)]
        for number, attempt in enumerate(attempts)
    }
    owner: dict[int, int] = {}
    near_first = sorted(
        (_distance(attempts[number], entries[index]), number, index) for number in edges for index in edges[number]
    )
    placed: set[int] = set()
    for _cost, number, index in near_first:
        if number not in placed and index not in owner:
            owner[index] = number
            placed.add(number)
    for number in edges:
        if number not in placed:
            _make_room(number, edges, owner)
    return {attempts[number].id: entries[index] for index, number in owner.items()}


def _make_room(number: int, edges: Mapping[int, Sequence[int]], owner: dict[int, int]) -> None:
    """Moves pairs along the shortest path that frees an entry for this attempt, if there is one."""
    reached_by: dict[int, int] = {}
    waiting = deque([number])
    while waiting:
        current = waiting.popleft()
        for index in edges[current]:
            if index in reached_by:
                continue
            reached_by[index] = current
            if index not in owner:
                _shift(index, number, reached_by, owner)
                return
            waiting.append(owner[index])


def _shift(index: int, number: int, reached_by: Mapping[int, int], owner: dict[int, int]) -> None:
    while True:
        mover = reached_by[index]
        previous = next((theirs for theirs, owned_by in owner.items() if owned_by == mover), None)
        owner[index] = mover
        if mover == number or previous is None:
            return
        index = previous


def _distance(attempt: Candidate, entry: Entry) -> tuple[float, float]:
    moment = entry.date or attempt.started_at
    return gap(attempt, entry), abs((moment - attempt.started_at).total_seconds())


def _pinned(attempts: Sequence[Candidate], entries: Sequence[Entry], near: float) -> dict[int, Entry]:
    """Entries that only one attempt is near of, and that attempt of no other such entry."""
    theirs: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        close = [attempt for attempt in attempts if compatible(attempt, entry) and gap(attempt, entry) < near]
        if len(close) == 1:
            theirs[close[0].id].append(entry)
    return {number: found[0] for number, found in theirs.items() if len(found) == 1}
