"""`/_sandbox/…`: what tests, the demo and benchmarks ask and set. No key needed; loopback only unless allowed."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from relay_sandbox.accounts import Quotas, check_limits
from relay_sandbox.answers import Json, Problem, dumps, invalid
from relay_sandbox.checks import json_object
from relay_sandbox.clock import MAX_OFFSET_SECONDS, Clock, iso_ms
from relay_sandbox.deliveries import LogSettings
from relay_sandbox.faults import Faults
from relay_sandbox.stats import Stats
from relay_sandbox.store import Row, Store
from relay_sandbox.wire import Request, Response

CSV_TYPE = "text/csv; charset=utf-8"

_MESSAGES_CSV = (
    "SELECT d.id, d.recipient, m.guid, d.guid, m.subject, d.received FROM deliveries d"
    " JOIN messages m ON m.id = d.message WHERE d.id > ? ORDER BY d.id LIMIT ?"
)
_CALLS_CSV = (
    "SELECT sequence, received, recipient, fault, accepted, status FROM calls"
    " WHERE sequence > ? ORDER BY sequence LIMIT ?"
)


class Inspection:
    def __init__(
        self, store: Store, clock: Clock, faults: Faults, quotas: Quotas, stats: Stats, log: LogSettings
    ) -> None:
        self._store = store
        self._clock = clock
        self._faults = faults
        self._quotas = quotas
        self._stats = stats
        self._log = log

    # -- what was accepted -----------------------------------------------------------------------------------

    def messages(self, request: Request) -> Response:
        after, limit = _number(request, "after", 0, 2**62), _number(request, "limit", 100, 1000)
        rows = self._store.rows("SELECT * FROM messages WHERE id > ? ORDER BY id LIMIT ?", (after, max(1, limit)))
        items = [self._message(row) for row in rows]
        return _json({"items": items, "last_id": rows[-1]["id"] if rows else after})

    def _message(self, row: Row) -> Json:
        deliveries = self._store.rows("SELECT * FROM deliveries WHERE message = ? ORDER BY id", (row["id"],))
        files = self._store.rows(
            "SELECT filename AS name, type, size, sha256 FROM attachments WHERE message = ? ORDER BY position",
            (row["id"],),
        )
        content = json.loads(row["content"])
        return {
            "id": row["id"],
            "account_id": row["account"],
            "message_id": row["guid"],
            "delivery_ids": [one["guid"] for one in deliveries],
            "recipients": [one["recipient"] for one in deliveries],
            "recipient_types": [one["kind"] for one in deliveries],
            "recipient_names": [one["name"] for one in deliveries],
            "from": {"email": row["from_email"], "name": row["from_name"]},
            "reply_to": json.loads(row["reply_to"]) if row["reply_to"] else None,
            "subject": row["subject"],
            "template_id": row["template"],
            "model": content.get("model"),
            "html": content.get("html"),
            "text": content.get("text"),
            "received_at": iso_ms(row["received"]),
            "attachments": [dict(file) for file in files],
        }

    def messages_csv(self, request: Request) -> Response:
        def lines(page: list[Row]) -> Iterator[tuple[Any, ...]]:
            return ((row[1], row[2], row[3], row[4], iso_ms(row[5])) for row in page)

        header = ("recipient", "message_id", "delivery", "subject", "received_at")
        pages = self._store.walk(_MESSAGES_CSV, (), keys=1)
        return Response(content_type=CSV_TYPE, chunks=csv_chunks(header, (lines(page) for page in pages)))

    def calls_csv(self, request: Request) -> Response:
        def lines(page: list[Row]) -> Iterator[tuple[Any, ...]]:
            return ((row[0], iso_ms(row[1]), *row[2:]) for row in page)

        header = ("sequence", "received_at", "recipient", "fault", "accepted", "status")
        pages = self._store.walk(_CALLS_CSV, (), keys=1)
        return Response(content_type=CSV_TYPE, chunks=csv_chunks(header, (lines(page) for page in pages)))

    def stats(self, request: Request) -> Response:
        return _json(self._stats.as_json())

    def empty(self, request: Request) -> Response:
        self._store.empty()
        self._quotas.forget()
        self._stats.reset(self._store)
        return _json({"message": "Emptied"})

    # -- switches --------------------------------------------------------------------------------------------

    def get_faults(self, request: Request) -> Response:
        return _json(self._faults.config)

    def put_faults(self, request: Request) -> Response:
        _checked(self._faults.load, json_object(request.body))
        return _json(self._faults.config)

    def clear_faults(self, request: Request) -> Response:
        self._faults.clear()
        return _json(self._faults.config)

    def get_limits(self, request: Request) -> Response:
        return _json(self._quotas.limits)

    def put_limits(self, request: Request) -> Response:
        """Set the given ones, remove those that are null, leave the others."""
        wanted = json_object(request.body)
        _checked(check_limits, wanted)
        merged = {**self._quotas.limits, **wanted}
        self._quotas.limits = {period: limit for period, limit in merged.items() if limit is not None}
        self._quotas.forget()
        return _json(self._quotas.limits)

    def get_log(self, request: Request) -> Response:
        return _json(asdict(self._log))

    def put_log(self, request: Request) -> Response:
        _checked(self._log.load, json_object(request.body))
        return self.get_log(request)

    def get_clock(self, request: Request) -> Response:
        return _json({"offset_seconds": self._clock.offset_seconds, "now": iso_ms(self._clock.now())})

    def put_clock(self, request: Request) -> Response:
        body = json_object(request.body)
        offset = body.get("offset_seconds")
        if set(body) != {"offset_seconds"} or not isinstance(offset, int | float) or isinstance(offset, bool):
            raise _bad('The only key is "offset_seconds", a number.')
        if abs(offset) > MAX_OFFSET_SECONDS:
            raise _bad('"offset_seconds" must be within ten years.')
        self._clock.offset_seconds = float(offset)
        return self.get_clock(request)


def csv_chunks(header: tuple[str, ...], pages: Iterable[Iterable[tuple[Any, ...]]]) -> Iterator[bytes]:
    yield (",".join(header) + "\r\n").encode()
    for page in pages:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(page)
        yield text.getvalue().encode("utf-8", "replace")


def _json(value: object) -> Response:
    return Response(body=dumps(value))


def _bad(sentence: str) -> Problem:
    return Problem(400, 1, sentence)


def _checked(use: Any, value: Json) -> None:
    try:
        use(value)
    except ValueError as error:
        raise _bad(str(error)) from None


def _number(request: Request, name: str, default: int, highest: int) -> int:
    text = request.query.get(name, str(default))
    if re.fullmatch(r"[0-9]{1,18}", text) is None or int(text) > highest:
        raise invalid([(name, f"Must be a whole number up to {highest}")])
    return int(text)
