"""Reports: asked for, in progress, ready as a CSV, or processed without a file (relay API notes §5)."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from relay_sandbox.accounts import Account
from relay_sandbox.answers import Json, Problem, invalid, json_answer, link, page_answer, page_of
from relay_sandbox.checks import json_object
from relay_sandbox.clock import Clock, iso, report_date
from relay_sandbox.deliveries import period_of
from relay_sandbox.outcomes import visible_state
from relay_sandbox.store import Guids, Row, Store
from relay_sandbox.wire import Request, Response

HEADER = "Subject,Sender,SenderName,Email,Status,Date,Opens,Clicks"

_ROWS = """
SELECT d.received, d.id, m.subject, m.from_email, m.from_name, d.recipient, d.fate, d.opens, d.clicks
FROM deliveries d JOIN messages m ON m.id = d.message
WHERE d.account = ? AND d.received >= ? AND d.received < ? AND (d.received, d.id) > (?, ?)
ORDER BY d.received, d.id LIMIT ?
"""


class Reports:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        report_seconds: float,
        delivery_seconds: float,
        base_url: Callable[[], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._report_ms = int(report_seconds * 1000)
        self._delivery_ms = int(delivery_seconds * 1000)
        self._base_url = base_url
        self._guids = Guids()

    def create(self, request: Request, account: Account) -> Response:
        """`resource` and other extra keys are ignored: one file per period has everything."""
        body = json_object(request.body)
        missing = [(name, "The field is required") for name in ("start_date", "end_date") if not body.get(name)]
        if missing:
            raise invalid(missing)
        start, stop = period_of(body, "start_date", "end_date")
        number = self._store.execute(
            "INSERT INTO reports (account, guid, start, stop, requested) VALUES (?,?,?,?,?)",
            (account.id, self._guids.next(), start, stop, self._clock.now()),
        )
        href = f"/reports/reportrequest?reportRequestId={number}"
        answer = {
            "createdResourceId": str(number),
            "message": "Report requested",
            "_links": [link(href, "related", "The report request")],
        }
        return json_answer(answer, "creation-result", 201, (("Location", href),))

    def get(self, request: Request, account: Account) -> Response:
        number = request.query.get("reportRequestId", "")
        if not number:
            raise invalid([("reportRequestId", "The parameter is required")])
        row = None
        if re.fullmatch(r"[0-9]{1,18}", number):
            row = self._store.row("SELECT * FROM reports WHERE id = ? AND account = ?", (int(number), account.id))
        if row is None:
            raise Problem(404, 1, "No such report request", extra={"resourceNotFoundPath": request.path})
        return json_answer(self._item(row), "report-request")

    def index(self, request: Request, account: Account) -> Response:
        page, per_page = page_of(request)
        rows = self._store.rows(
            "SELECT * FROM reports WHERE account = ? ORDER BY id DESC LIMIT ? OFFSET ?",
            (account.id, per_page, (page - 1) * per_page),
        )
        count = self._store.value("SELECT count(*) FROM reports WHERE account = ?", (account.id,))
        return page_answer(request, "report-request-collection", [self._item(row) for row in rows], count)

    def _item(self, row: Row) -> Json:
        processed = self._clock.now() >= self._ready_at(row)
        has_file = processed and self._has_rows(row)
        return {
            "name": f"report-{row['id']}",
            "start_date": iso(row["start"]),
            "end_date": iso(row["stop"]),
            "processed": processed,
            "file_path": f"{self._base_url()}/files/reports/{row['guid']}.csv" if has_file else None,
            "_links": [link(f"/reports/reportrequest?reportRequestId={row['id']}", "self", "Report request")],
        }

    def _ready_at(self, row: Row) -> int:
        return int(row["requested"]) + self._report_ms

    def _span(self, row: Row) -> tuple[int, int, int]:
        """Account, start and end of the rows: what came after the report was made is not in it."""
        return row["account"], row["start"], min(row["stop"], self._ready_at(row))

    def _has_rows(self, row: Row) -> bool:
        sql = "SELECT 1 FROM deliveries WHERE account = ? AND received >= ? AND received < ? LIMIT 1"
        return bool(self._store.rows(sql, self._span(row)))

    def file(self, request: Request, name: str) -> Response:
        """The CSV, made while it is read. No credentials: the address is the secret, as with the relay's file host."""
        row = self._store.row("SELECT * FROM reports WHERE guid = ?", (name.removesuffix(".csv"),))
        if row is None or not name.endswith(".csv") or self._clock.now() < self._ready_at(row):
            raise Problem(404, 0, "No such file")
        headers = (
            ("Content-Disposition", f'attachment; filename="report-{row["id"]}.csv"'),
            ("X-Content-Type-Options", "nosniff"),
        )
        return Response(content_type="text/csv", headers=headers, chunks=self._chunks(row))

    def _chunks(self, row: Row) -> Iterator[bytes]:
        yield b"\xef\xbb\xbf" + HEADER.encode() + b"\r\n"
        made_at = self._ready_at(row)
        for page in self._store.walk(_ROWS, self._span(row), keys=2):
            yield "".join(self._line(one, made_at) for one in page).encode()

    def _line(self, row: Row, made_at: int) -> str:
        age = made_at - row["received"]
        state: dict[str, Any] = visible_state(row["fate"], row["opens"], row["clicks"], age, self._delivery_ms)
        subject, sender_name = _quoted(row["subject"]), _quoted(row["from_name"] or "")
        return (
            f"{subject},{row['from_email']},{sender_name},{row['recipient']},{state['status'].capitalize()},"
            f"{report_date(row['received'])},{state['opens']},{state['clicks']}\r\n"
        )


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
