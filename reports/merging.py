"""Typed rows → `reports_deliveries`, so that any number of reports, loaded in any order, end in the same table.

What stands in the table for one delivery is the greatest of what reports told of it: the status by its rank (queued <
retrying < any final one), then by the moment at which the report was made; opens and clicks each the greatest number.
Decision 11 says why that does not depend on the order, and how a report that confirms what is known writes nothing.

Two ways in. **Straight**: rows that are new for certain go into the table as they come. **Staged**: all others go into
a temporary table first and are merged from there by a few statements. New for certain is a row whose key is not among
those of the table and of the rows before it; the keys are known by a bit each, so hardly ever a new one seems known.
Which of several rows of one file that agree in sender, recipient, subject and second is which (`ordinal`) is decided by
their facts, so the second one of them takes back the first, which went straight.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice
from math import ceil
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from relay.dialects import sqlite_datetime
from reports.columns import Typed

COLUMNS = (
    "sent_at", "key", "local_day", "sender", "sender_name", "recipient", "subject", "status", "opens", "clicks",
    "extra", "as_of",
)  # fmt: skip
SPOOL_IN_MEMORY = 4_000_000  # bytes
PEEKED_BATCHES = 10
WORTH_READING = 3  # known keys for each row of a report
ANALYZE_FROM = 2_000  # rows; below, the planner cannot go wrong by much

# A row, its key, and whether that may have come before in the file.
type Entry = tuple[Typed, bytes, bool]


@dataclass(slots=True)
class Merged:
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    # The local days of what was inserted or updated: their totals are no longer right.
    days: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Expected:
    """Of a report: when it was made, the period in which its rows lie (others may too), about how many there are."""

    as_of: datetime
    starts_at: datetime
    ends_at: datetime
    rows: int


def merge(connection: BaseDatabaseWrapper, batches: Iterable[Sequence[Typed]], expected: Expected) -> Merged:
    """To be called inside a transaction in which nobody else loads."""
    says = POSTGRESQL if connection.vendor == "postgresql" else SQLITE
    with connection.cursor() as cursor:
        for statement in says.preparation:
            cursor.execute(statement)
        last_id = _one(cursor, "SELECT coalesce(max(id), 0) FROM reports_deliveries")
        sorted_out = _sorted_out(batches, *_known(cursor, says, expected))
        store = _copy if says is POSTGRESQL else _insert
        merged = Merged()
        merged.inserted, staged = store(cursor, _watched(sorted_out, merged.days), says.moment(expected.as_of))
        if staged:
            _merge_staged(cursor, says, staged, last_id, merged)
        cursor.execute(says.clearance)
    return merged


def key_of(sender: str, recipient: str, subject: str) -> bytes:
    """What a delivery is known by, besides its moment. A NUL separates: it is in no cell."""
    return hashlib.blake2b(f"{sender}\0{recipient}\0{subject}".encode(), digest_size=16).digest()


# --- Which way a row takes

# One bit for a key with its second, set when it was seen: never a wrong «new», in 16 MB whatever their number. Of two
# million new ones, one in seventy seems known; it goes the longer way to the same end.
_BITS = (1 << 27) - 1


def _known(cursor: CursorWrapper, says: "Dialect", expected: Expected) -> tuple[bytearray | None, range]:
    """What the table has of the period as bits (None: nothing), and the seconds of which that is all. Nothing is said
    of any second where reading it all would take longer than it saves."""
    period = [says.moment(expected.starts_at), says.moment(expected.ends_at)]
    seconds = range(ceil(expected.starts_at.timestamp()), ceil(expected.ends_at.timestamp()))
    if not _one(
        cursor, "SELECT EXISTS (SELECT 1 FROM reports_deliveries WHERE sent_at >= %s AND sent_at < %s)", period
    ):
        return None, seconds
    most = WORTH_READING * expected.rows
    if says is SQLITE or _one(cursor, _MORE_THAN, [most, *period, most + 1]):
        return None, range(0)
    known = bytearray((_BITS + 1) >> 3)
    with cursor.db.wrap_database_errors, cursor.copy(_KEYS.format(*period)) as copy:
        copy.set_types(["bytea", "bigint"])
        for key, second in copy.rows():
            bit = (hash(key) ^ second) & _BITS
            known[bit >> 3] |= 1 << (bit & 7)
    return known, seconds


def _sorted_out(
    batches: Iterable[Sequence[Typed]], known: bytearray | None, seconds: range
) -> Iterator[tuple[list[Entry], list[Entry]]]:
    """Of each batch those that go straight, and those to be staged."""
    seen, bits = bytearray((_BITS + 1) >> 3), _BITS
    start, stop = seconds.start, seconds.stop
    blake2b = hashlib.blake2b
    for batch in batches:
        straight: list[Entry] = []
        staged: list[Entry] = []
        for row in batch:
            # key_of, without its frame; and by number, which is faster than by name.
            key = blake2b(f"{row[1]}\0{row[3]}\0{row[0]}".encode(), digest_size=16).digest()
            second = row[5][2]
            bit = (hash(key) ^ second) & bits
            place, mask = bit >> 3, 1 << (bit & 7)
            byte = seen[place]
            if byte & mask:
                staged.append((row, key, True))
                continue
            seen[place] = byte | mask
            if not start <= second < stop or (known and known[place] & mask):
                staged.append((row, key, False))
            else:
                straight.append((row, key, False))
        yield straight, staged


def _watched(
    sorted_out: Iterable[tuple[list[Entry], list[Entry]]], days: set[str]
) -> Iterator[tuple[list[Entry], list[Entry]]]:
    """Notes the local days of what goes straight."""
    for straight, staged in sorted_out:
        days.update([entry[0][5][1] for entry in straight])
        yield straight, staged


def _merge_staged(cursor: CursorWrapper, says: "Dialect", staged: int, last_id: int, merged: Merged) -> None:
    if says is POSTGRESQL:
        # The planner has never seen what came in just now; a plan for the table as it was can take hours.
        if staged >= ANALYZE_FROM:
            cursor.execute("ANALYZE reports_staging")
        if merged.inserted >= ANALYZE_FROM:
            cursor.execute("ANALYZE reports_deliveries")
    if _one(cursor, "SELECT EXISTS (SELECT 1 FROM reports_staging WHERE repeated)"):
        back = _changed(cursor, says.sql(_TAKE_BACK_COPY), [last_id]) if merged.inserted else 0
        if back:
            _changed(cursor, says.sql(_TAKE_BACK_DELETE), [last_id])
            merged.inserted -= back
            staged += back
        cursor.execute(says.sql(_NUMBER))
    cursor.execute("SELECT min(sent_at), max(sent_at) FROM reports_staging")
    stretch = dict(zip(("first", "last"), cursor.fetchone(), strict=True))
    merged.updated = _changed_days(cursor, says, _UPDATE, stretch, merged.days)
    inserted = _changed_days(cursor, says, _INSERT, stretch, merged.days)
    merged.inserted += inserted
    merged.unchanged = staged - inserted - merged.updated
    if merged.unchanged:
        cursor.execute(says.sql(_CONFIRM), stretch)


type Parameters = list[Any] | dict[str, Any] | None


def _one(cursor: CursorWrapper, sql: str, parameters: Parameters = None) -> Any:
    cursor.execute(sql, parameters)
    return cursor.fetchone()[0]


def _changed(cursor: CursorWrapper, sql: str, parameters: Parameters = None) -> int:
    cursor.execute(sql, parameters)
    return int(cursor.rowcount)


def _changed_days(cursor: CursorWrapper, says: "Dialect", sql: str, stretch: dict[str, Any], days: set[str]) -> int:
    """How many rows were changed. Their days are those that stand in the table: the zone of TIME_ZONE may have been
    another when they came."""
    cursor.execute(says.changed_days % says.sql(sql), stretch)
    changed = 0
    for day, count in cursor:
        days.add(str(day))
        changed += count
    return changed


# --- The statements


@dataclass(frozen=True, slots=True)
class Dialect:
    place: str  # of a row in the staging table
    text: str  # that texts are compared by their characters' numbers
    extra: str  # of an alias, as text
    greatest: str
    any: str  # whether something is true of any row
    same: str  # equality to which NULL equals NULL
    changed_days: str  # of a statement: the local days of what it writes, with how many
    preparation: tuple[str, ...]
    clearance: str
    utc: str  # how a moment is written

    def sql(self, statement: str) -> str:
        for name in ("place", "text", "greatest", "any", "same"):
            statement = statement.replace(f"<{name}>", getattr(self, name))
        return statement.replace("<s.extra>", self.extra % "s").replace("<d.extra>", self.extra % "d")

    def moment(self, value: datetime) -> str:
        return value.astimezone(UTC).isoformat(" ") if self.utc else sqlite_datetime(value)


POSTGRESQL = Dialect(
    place="ctid",
    text=' COLLATE "C"',
    extra="coalesce(%s.extra::text, '')",
    greatest="greatest",
    any="bool_or",
    same="IS NOT DISTINCT FROM",
    changed_days="WITH changed AS (%s RETURNING local_day) SELECT local_day, count(*) FROM changed GROUP BY local_day",
    preparation=(
        # Sorts and hashes of millions of rows, in one session at a time.
        "SET LOCAL work_mem = '64MB'",
        "SET LOCAL jit = off",
        # What is looked for was mostly just written: it is in memory.
        "SET LOCAL random_page_cost = 1.1",
        "CREATE TEMP TABLE reports_staging (sent_at timestamptz NOT NULL, key bytea NOT NULL, local_day date NOT NULL,"
        " sender text NOT NULL, sender_name text NOT NULL, recipient text NOT NULL, subject text NOT NULL,"
        " status text NOT NULL, opens integer NOT NULL, clicks integer NOT NULL, extra jsonb,"
        " as_of timestamptz NOT NULL, repeated boolean NOT NULL, ordinal integer NOT NULL DEFAULT 1) ON COMMIT DROP",
    ),
    # Before the end of the transaction too, for a second load within one.
    clearance="DROP TABLE reports_staging",
    utc="+00",
)
SQLITE = Dialect(
    place="rowid",
    text="",
    extra="coalesce(%s.extra, '')",
    greatest="max",
    any="max",
    same="IS",
    # Within a larger statement it knows no RETURNING: so they come one by one.
    changed_days="%s RETURNING local_day, 1",
    preparation=(
        "CREATE TEMP TABLE reports_staging (sent_at text NOT NULL, key blob NOT NULL, local_day text NOT NULL,"
        " sender text NOT NULL, sender_name text NOT NULL, recipient text NOT NULL, subject text NOT NULL,"
        " status text NOT NULL, opens integer NOT NULL, clicks integer NOT NULL, extra text,"
        " as_of text NOT NULL, repeated integer NOT NULL, ordinal integer NOT NULL DEFAULT 1)",
    ),
    clearance="DROP TABLE temp.reports_staging",
    utc="",
)

_MORE_THAN = (
    "SELECT count(*) > %s FROM"
    " (SELECT 1 FROM reports_deliveries WHERE sent_at >= %s AND sent_at < %s LIMIT %s) AS found"
)
# Moments as we write them are digits and signs; and with DEBUG Django's COPY takes no parameters.
_KEYS = (
    "COPY (SELECT key, extract(epoch FROM sent_at)::bigint FROM reports_deliveries"
    " WHERE sent_at >= '{}' AND sent_at < '{}') TO STDOUT (FORMAT BINARY)"
)

_LIST = ", ".join(COLUMNS)
# The brothers, by the index that keeps deliveries apart. (`+ 0`: not by that of `id`. To statistics that do not know
# our rows yet it seems to give one row; it gives all of them, for each brother anew.)
_BROTHERS = """
  FROM (SELECT DISTINCT sent_at, key FROM reports_staging WHERE repeated) AS r
  JOIN reports_deliveries AS d ON d.sent_at = r.sent_at AND d.key = r.key
 WHERE d.id + 0 > %s
"""
_TAKE_BACK_COPY = (
    f"INSERT INTO reports_staging ({_LIST}, repeated) SELECT {', '.join(f'd.{name}' for name in COLUMNS)}, TRUE"
    f" {_BROTHERS}"
)
_TAKE_BACK_DELETE = f"DELETE FROM reports_deliveries WHERE id IN (SELECT d.id {_BROTHERS})"


def _rank(alias: str) -> str:
    return f"CASE {alias}.status WHEN 'queued' THEN 0 WHEN 'retrying' THEN 1 ELSE 2 END"


# The greatest facts first: facts only grow, and brothers only become more, so what stands at a place only grows.
_NUMBER = f"""
UPDATE reports_staging SET ordinal = numbered.ordinal
  FROM (SELECT s.<place> AS place, row_number() OVER (PARTITION BY s.sent_at, s.key ORDER BY
                 {_rank("s")} DESC, s.opens DESC, s.clicks DESC, s.status<text> DESC, s.sender_name<text> DESC,
                 <s.extra><text> DESC) AS ordinal
          FROM reports_staging AS s
          JOIN (SELECT DISTINCT sent_at, key FROM reports_staging WHERE repeated) AS r
            ON r.sent_at = s.sent_at AND r.key = s.key) AS numbered
 WHERE reports_staging.<place> = numbered.place AND numbered.ordinal > 1
"""

# The stretch is said once more for the planner: of a large table it need read no more than that.
_PAIRED = (
    "d.sent_at = s.sent_at AND d.key = s.key AND d.ordinal = s.ordinal AND d.sent_at BETWEEN %(first)s AND %(last)s"
)
_SAME = "(s.status = d.status AND s.sender_name = d.sender_name AND s.extra <same> d.extra)"


def _confirmed(since: str) -> str:
    """Whether a report made later than ours, or at that moment too, has told of this row what stands there."""
    return (
        f"EXISTS (SELECT 1 FROM reports_confirmations AS c WHERE c.as_of {since} s.as_of AND c.rank = {_rank('d')}"
        " AND d.id BETWEEN c.first_id AND c.last_id)"
    )


# Reports of the same moment that differ: either may be right, but always the same one.
_TELLS = f"""
({_rank("s")} > {_rank("d")} OR {_rank("s")} = {_rank("d")} AND NOT {_SAME} AND (
    d.as_of < s.as_of AND NOT {_confirmed(">=")}
    OR d.as_of <= s.as_of AND NOT {_confirmed(">")}
       AND (s.status<text>, s.sender_name<text>, <s.extra><text>)
         > (d.status<text>, d.sender_name<text>, <d.extra><text>)
))"""
_UPDATE = f"""
UPDATE reports_deliveries SET status = news.status, sender_name = news.sender_name, extra = news.extra,
       as_of = news.as_of, opens = news.opens, clicks = news.clicks
  FROM (SELECT told.id,
               CASE WHEN told.tells THEN told.s_status ELSE told.status END AS status,
               CASE WHEN told.tells THEN told.s_sender_name ELSE told.sender_name END AS sender_name,
               CASE WHEN told.tells THEN told.s_extra ELSE told.extra END AS extra,
               CASE WHEN told.tells OR told.same AND told.s_as_of > told.as_of THEN told.s_as_of ELSE told.as_of END
                   AS as_of,
               <greatest>(told.s_opens, told.opens) AS opens, <greatest>(told.s_clicks, told.clicks) AS clicks
          FROM (SELECT d.id, d.status, d.sender_name, d.extra, d.as_of, d.opens, d.clicks, s.status AS s_status,
                       s.sender_name AS s_sender_name, s.extra AS s_extra, s.as_of AS s_as_of, s.opens AS s_opens,
                       s.clicks AS s_clicks, {_SAME} AS same, {_TELLS} AS tells
                  FROM reports_staging AS s JOIN reports_deliveries AS d ON {_PAIRED}) AS told
         WHERE told.tells OR told.s_opens > told.opens OR told.s_clicks > told.clicks) AS news
 WHERE reports_deliveries.id = news.id
"""
_INSERT = f"""
INSERT INTO reports_deliveries ({_LIST}, ordinal)
SELECT {", ".join(f"s.{name}" for name in COLUMNS)}, s.ordinal FROM reports_staging AS s
 WHERE NOT EXISTS (SELECT 1 FROM reports_deliveries AS d WHERE {_PAIRED})
"""
# Stretches of ids without a gap, of one rank. Rows that this report wrote may lie within them: what is said is true of
# those too. Not so of rows of a higher rank than it told.
_CONFIRM = f"""
INSERT INTO reports_confirmations (rank, as_of, first_id, last_id)
SELECT rank, max(as_of), min(id), max(id)
  FROM (SELECT d.id, {_rank("d")} AS rank, s.as_of, d.as_of < s.as_of AS behind,
               d.id - row_number() OVER (PARTITION BY {_rank("d")} ORDER BY d.id) AS stretch
          FROM reports_staging AS s JOIN reports_deliveries AS d ON {_PAIRED}
         WHERE {_rank("s")} = {_rank("d")}) AS known
 GROUP BY rank, stretch HAVING <any>(behind)
"""


# --- PostgreSQL: COPY


def _copy(cursor: CursorWrapper, sorted_out: Iterator[tuple[list[Entry], list[Entry]]], as_of: str) -> tuple[int, int]:
    """Returns how many rows went straight into the table, and how many into the staging table.

    Only one COPY can run at a time: it is that of the kind of which there are more at the beginning, and the others
    wait on the disk.
    """
    straight = staged = 0
    beginning = list(islice(sorted_out, PEEKED_BATCHES))
    mostly_straight = sum(len(here) for here, _aside in beginning) * 2 >= sum(map(len, chain(*beginning)))
    now, later = (_COPY_STRAIGHT, _COPY_STAGED) if mostly_straight else (_COPY_STAGED, _COPY_STRAIGHT)
    with tempfile.SpooledTemporaryFile(SPOOL_IN_MEMORY) as spool:
        with cursor.db.wrap_database_errors, cursor.copy(now) as copy:
            to_table, to_staging = (copy, spool) if mostly_straight else (spool, copy)
            for here, aside in chain(beginning, sorted_out):
                if here:
                    to_table.write(_lines(here, as_of, flagged=False))
                    straight += len(here)
                if aside:
                    to_staging.write(_lines(aside, as_of, flagged=True))
                    staged += len(aside)
        spool.seek(0)
        with cursor.db.wrap_database_errors, cursor.copy(later) as copy:
            while piece := spool.read(1 << 18):
                copy.write(piece)
    return straight, staged


_COPY_STRAIGHT = f"COPY reports_deliveries ({_LIST}) FROM STDIN"
_COPY_STAGED = f"COPY reports_staging ({_LIST}, repeated) FROM STDIN"


def _lines(entries: list[Entry], as_of: str, *, flagged: bool) -> bytes:
    """COPY's text format, by hand: psycopg's row writer costs a third of the rate.

    Hardly any block holds a character that must be escaped, and to look for one in all of it costs next to nothing.
    """
    tails = (f"\t{as_of}\tf\n", f"\t{as_of}\tt\n") if flagged else (f"\t{as_of}\n",) * 2
    text = _joined(entries, tails)
    count = len(entries)
    tabs, backslashes = (12 if flagged else 11) * count, (2 if entries[0][0].extra else 3) * count
    if text.count("\t") != tabs or text.count("\n") != count or text.count("\\") != backslashes or "\r" in text:
        text = _joined([_escaped(entry) for entry in entries], tails)
    return text.encode()


_NULL = "\\N"


def _joined(rows: list[Entry], tails: tuple[str, str]) -> str:
    return "".join(
        [
            f"{utc}+00\t\\\\x{key.hex()}\t{day}\t{sender}\t{sender_name}\t{recipient}\t{subject}\t{status}\t{opens}"
            f"\t{clicks}\t{extra or _NULL}{tails[repeated]}"
            for (
                (subject, sender, sender_name, recipient, status, (utc, day, _second), opens, clicks, extra),
                key,
                repeated,
            ) in rows
        ]
    )


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _escaped(entry: Entry) -> Entry:
    row, key, repeated = entry
    return Typed._make(cell.translate(_ESCAPES) if isinstance(cell, str) else cell for cell in row), key, repeated


# --- SQLite: executemany


def _insert(
    cursor: CursorWrapper, sorted_out: Iterator[tuple[list[Entry], list[Entry]]], as_of: str
) -> tuple[int, int]:
    straight = staged = 0
    for here, aside in sorted_out:
        # In pieces: Django's executemany keeps all it was given in memory until it ends.
        if here:
            cursor.executemany(_INSERT_STRAIGHT, [(*_flat(row, key), as_of) for row, key, _repeated in here])
            straight += len(here)
        if aside:
            cursor.executemany(_INSERT_STAGED, [(*_flat(row, key), as_of, repeated) for row, key, repeated in aside])
            staged += len(aside)
    return straight, staged


def _flat(row: Typed, key: bytes) -> tuple[Any, ...]:
    """In the order of COLUMNS, without `as_of`."""
    subject, sender, sender_name, recipient, status, (utc, day, _second), opens, clicks, extra = row
    return utc, key, day, sender, sender_name, recipient, subject, status, opens, clicks, extra or None


_INSERT_STRAIGHT = f"INSERT INTO reports_deliveries ({_LIST}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
_INSERT_STAGED = f"INSERT INTO reports_staging ({_LIST}, repeated) VALUES ({', '.join(['%s'] * (len(COLUMNS) + 1))})"
