"""The SQLite file with everything that was accepted.

Writes are grouped: rows wait in memory until `commit`, which the send path calls once per turn of the event loop
and before any of the answers leave. So one commit serves every request that came in together (about 30 µs shared
by some dozens), and what was answered is on file. Every read commits first.
"""

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from relay_sandbox.checks import Attachment
from relay_sandbox.samples import SAMPLES

_SCHEMA = """
CREATE TABLE IF NOT EXISTS templates (
    account INTEGER NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, from_email TEXT NOT NULL, from_name TEXT,
    subject TEXT, body_type TEXT NOT NULL, revision INTEGER, mseditor TEXT, hides_body INTEGER NOT NULL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (account, id)
);
-- Every HTML a template ever had: messages are rendered when looked at, with the body of their moment.
CREATE TABLE IF NOT EXISTS revisions (id INTEGER PRIMARY KEY, html TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, account INTEGER NOT NULL, guid TEXT NOT NULL, received INTEGER NOT NULL,
    from_email TEXT NOT NULL, from_name TEXT, reply_to TEXT, subject TEXT NOT NULL, template TEXT,
    revision INTEGER, content TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, message INTEGER NOT NULL, account INTEGER NOT NULL, guid TEXT NOT NULL,
    received INTEGER NOT NULL, kind TEXT NOT NULL, recipient TEXT NOT NULL, name TEXT,
    fate INTEGER NOT NULL, opens INTEGER NOT NULL, clicks INTEGER NOT NULL
);
-- the list of deliveries, its periods, reports, statistics and quota counts
CREATE INDEX IF NOT EXISTS deliveries_account_received ON deliveries (account, received, id);
-- one delivery by its link; GUIDs begin with the time, so that the index grows at its end only
CREATE INDEX IF NOT EXISTS deliveries_guid ON deliveries (guid);
CREATE INDEX IF NOT EXISTS deliveries_message ON deliveries (message);
CREATE TABLE IF NOT EXISTS attachments (
    message INTEGER NOT NULL, position INTEGER NOT NULL, filename TEXT NOT NULL, type TEXT NOT NULL,
    size INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (message, position)
) WITHOUT ROWID;
-- apart and by content: the same file sent to a million people is kept once
CREATE TABLE IF NOT EXISTS contents (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    sequence INTEGER PRIMARY KEY, received INTEGER NOT NULL, recipient TEXT NOT NULL, fault TEXT NOT NULL,
    accepted INTEGER NOT NULL, status INTEGER
);
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY, account INTEGER NOT NULL, guid TEXT NOT NULL, start INTEGER NOT NULL,
    stop INTEGER NOT NULL, requested INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS reports_guid ON reports (guid);
"""

_INSERT_MESSAGE = "INSERT INTO messages VALUES (?,?,?,?,?,?,?,?,?,?,?)"
_INSERT_DELIVERY = "INSERT INTO deliveries VALUES (?,?,?,?,?,?,?,?,?,?,?)"
_INSERT_ATTACHMENT = "INSERT INTO attachments VALUES (?,?,?,?,?,?)"
_INSERT_CONTENT = "INSERT OR IGNORE INTO contents VALUES (?,?)"
_INSERT_CALL = "INSERT INTO calls VALUES (?,?,?,?,?,?)"

type Row = sqlite3.Row
type Parameters = tuple[Any, ...] | dict[str, Any]


class StoreError(Exception):
    """The file cannot be used: in use by another sandbox, not a database, no space. The text says which."""


@dataclass(frozen=True, slots=True)
class Delivery:
    guid: str
    kind: str
    recipient: str
    name: str | None
    fate: int
    opens: int
    clicks: int


@dataclass(frozen=True, slots=True)
class Message:
    account: int
    guid: str
    received: int
    from_email: str
    from_name: str | None
    reply_to: str | None
    subject: str
    template: str | None
    revision: int | None
    content: str
    """JSON: {"model": …} or {"html": …, "text": …}."""
    deliveries: list[Delivery]
    attachments: list[Attachment]


class Guids:
    """GUIDs that begin with the time (like UUID version 7). Random bytes are drawn by the thousand."""

    def __init__(self) -> None:
        self._pool: list[str] = []

    def next(self) -> str:
        if not self._pool:
            text = secrets.token_hex(10 * 1024)
            self._pool = [text[start : start + 20] for start in range(0, len(text), 20)]
        random = self._pool.pop()
        moment = f"{time.time_ns() // 1_000_000:012x}"
        return f"{moment[:8]}-{moment[8:]}-7{random[:3]}-b{random[3:6]}-{random[6:18]}"


class Store:
    def __init__(self, path: str, now: int) -> None:
        self._db = _open(path)
        self._messages: list[tuple[Any, ...]] = []
        self._deliveries: list[tuple[Any, ...]] = []
        self._attachments: list[tuple[Any, ...]] = []
        self._contents: list[tuple[Any, ...]] = []
        self._calls: list[tuple[Any, ...]] = []
        self._waiting: list[Callable[[], None]] = []
        self._last_message = self._last("messages", "id")
        self._last_delivery = self._last("deliveries", "id")
        self.last_call = self._last("calls", "sequence")
        if not self.rows("SELECT 1 FROM templates LIMIT 1"):
            self._add_samples(now)

    def _last(self, table: str, column: str) -> int:
        return int(self.value(f"SELECT coalesce(max({column}), 0) FROM {table}"))  # noqa: S608 - our own names

    # -- writing ---------------------------------------------------------------------------------------------

    def add_message(self, message: Message) -> None:
        self._last_message += 1
        number = self._last_message
        self._messages.append(
            (
                number,
                message.account,
                message.guid,
                message.received,
                message.from_email,
                message.from_name,
                message.reply_to,
                message.subject,
                message.template,
                message.revision,
                message.content,
            )
        )
        for one in message.deliveries:
            self._last_delivery += 1
            self._deliveries.append(
                (
                    self._last_delivery,
                    number,
                    message.account,
                    one.guid,
                    message.received,
                    one.kind,
                    one.recipient,
                    one.name,
                    one.fate,
                    one.opens,
                    one.clicks,
                )
            )
        for position, file in enumerate(message.attachments):
            size = len(file.content)
            self._attachments.append((number, position, file.filename, file.content_type, size, file.sha256))
            self._contents.append((file.sha256, file.content))

    def add_call(self, received: int, recipient: str, fault: str, accepted: bool, status: int | None) -> None:
        self.last_call += 1
        self._calls.append((self.last_call, received, recipient, fault, accepted, status))

    def after_commit(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def commit(self) -> None:
        """Write what waits in one transaction, then run what waited for it."""
        if not (self._calls or self._messages):
            return
        execute, many = self._db.execute, self._db.executemany
        execute("BEGIN")
        many(_INSERT_MESSAGE, self._messages)
        many(_INSERT_DELIVERY, self._deliveries)
        many(_INSERT_CALL, self._calls)
        if self._attachments:
            many(_INSERT_CONTENT, self._contents)
            many(_INSERT_ATTACHMENT, self._attachments)
        execute("COMMIT")
        for rows in (self._messages, self._deliveries, self._calls, self._attachments, self._contents):
            rows.clear()
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """One statement of its own; returns the last row id."""
        self.commit()
        return self._db.execute(sql, parameters).lastrowid or 0

    def empty(self) -> None:
        """Forget messages, deliveries, calls and reports; templates stay, numbers go on."""
        self.commit()
        self._db.execute("BEGIN")
        for table in ("messages", "deliveries", "attachments", "contents", "calls", "reports"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        self._db.execute("COMMIT")
        self.last_call = 0

    # -- reading ---------------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        self.commit()
        return self._db.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Parameters = ()) -> Row | None:
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        self.commit()
        return self._db.execute(sql, parameters).fetchone()[0]

    def walk(self, sql: str, parameters: tuple[Any, ...], keys: int, size: int = 2000) -> Iterator[list[Row]]:
        """Pages of a long list. `sql` selects its `keys` sort columns first and ends in
        `AND (keys) > (?, …) ORDER BY keys LIMIT ?`.

        No cursor stays open between pages: sends go on while a list of a million rows is being read.
        """
        last: tuple[Any, ...] = (0,) * keys
        while page := self.rows(sql, (*parameters, *last, size)):
            last = tuple(page[-1])[:keys]
            yield page

    @property
    def last_delivery(self) -> int:
        return self._last_delivery

    def close(self) -> None:
        self.commit()
        self._db.close()

    def _add_samples(self, now: int) -> None:
        self._db.execute("BEGIN")
        for sample in SAMPLES:
            revision = None
            if sample.html is not None:
                revision = self._db.execute("INSERT INTO revisions (html) VALUES (?)", (sample.html,)).lastrowid
            mseditor = json.dumps(sample.mseditor) if sample.mseditor else None
            self._db.execute(
                "INSERT INTO templates VALUES (1,?,?,?,?,?,?,?,?,?,?,?,0)",
                (
                    sample.id,
                    sample.name,
                    sample.from_email,
                    sample.from_name,
                    sample.subject,
                    sample.body_type,
                    revision,
                    mseditor,
                    sample.hides_body,
                    now,
                    now,
                ),
            )
        self._db.execute("COMMIT")


def _open(path: str) -> sqlite3.Connection:
    try:
        if path != ":memory:":
            # recipients and variables are personal data: only the owner may read the file
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        db = sqlite3.connect(path, isolation_level=None, timeout=1)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # two sandboxes on one file would mix their numbers
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -32000")
        db.executescript(_SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The store {path} cannot be used: {error}.") from error
    return db
