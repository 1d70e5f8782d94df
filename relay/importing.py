"""Rows → the database: every row of the file is judged once and becomes one recipient, pending or excluded.

COPY on PostgreSQL, executemany on SQLite; constant memory on both. What needs the other rows (repeated addresses) or
the database (suppressions) is decided there, by the ledger, when all rows are in.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched, chain, islice
from pathlib import Path
from typing import Any

from django.db import connection

from relay import reasons, whole_sends
from relay.addresses import AddressProblem, check_address, likely_slip
from relay.models import BulkSend, Recipient
from relay.recipients import RecipientsFile, Row, read_rows
from relay.rejects import write_rejects
from relay.rendering import CompiledTemplate, build_model

EXAMPLES = 5
COPY_BLOCK = 1_000  # rows joined into one piece of COPY data
COPY_BLOCKS = 100  # a statement: the database keeps what one has written until its rows are tallied
INSERT_PIECE = 5_000  # rows
ANALYZE_FROM = 10_000  # rows; below, the planner cannot go wrong by much

PROGRESS_ROWS = 2_000  # so often a progress is told

Progress = Callable[[int], None]  # is told how many rows have been read

# email, reason (empty: valid), detail
Verdict = tuple[str, str, str]


@dataclass(slots=True)
class Findings:
    """What the validation found: how many rows of which reason, and where the first of each stand."""

    total: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    slips: int = 0
    slip_examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def excluded(self) -> int:
        return sum(self.by_reason.values())

    @property
    def valid(self) -> int:
        return self.total - self.excluded

    def add(self, reason: str, row: int, detail: str) -> None:
        self.by_reason[reason] = self.by_reason.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append({"row": row, "detail": detail})

    def add_slip(self, row: int, suggestion: str) -> None:
        self.slips += 1
        if len(self.slip_examples) < EXAMPLES:
            self.slip_examples.append({"row": row, "detail": suggestion})

    def as_json(self) -> dict[str, Any]:
        return {
            "valid": self.valid,
            "excluded": self.excluded,
            "by_reason": self.by_reason,
            "examples": self.examples,
            "slips": self.slips,
            "slip_examples": self.slip_examples,
        }


def import_recipients(
    bulk_send: BulkSend, file: RecipientsFile, template: CompiledTemplate, progress: Progress | None = None
) -> Findings:
    """Stores the file's rows as recipients of `bulk_send`. To be called inside a transaction.

    Raises FileProblem when the file turns out unreadable on the way; the transaction takes back what was stored.
    """
    findings = Findings()
    judge = _judge(bulk_send, file, template)
    rows = _judged_rows(bulk_send, file, judge, findings)
    if progress is not None:
        rows = _told(rows, progress)
    if connection.vendor == "postgresql":
        _copy(rows)
    else:
        _insert(rows)
    whole_sends.exclude_suppressed(bulk_send.pk)
    whole_sends.exclude_repeats(bulk_send.pk, only_equal_rows=bulk_send.allow_repeats)
    for reason in (reasons.SUPPRESSED, reasons.DUPLICATE):
        _add_from_database(findings, bulk_send, reason)
    return findings


def write_rejected_rows(bulk_send: BulkSend, file: RecipientsFile, target: Path) -> None:
    """Writes the excluded rows as they stand in the file, each with its reason in the active language."""
    excluded = bulk_send.recipients.filter(state=Recipient.State.EXCLUDED).order_by("row")
    write_rejects(file, ((recipient.row, recipient.reason_text) for recipient in excluded.iterator()), target)


def _judge(bulk_send: BulkSend, file: RecipientsFile, template: CompiledTemplate) -> Callable[[Row], Verdict]:
    missing = _missing_finder(bulk_send, file, template)
    address_column, width = file.address_column, len(file.header)

    def judge(row: Row) -> Verdict:
        cells, problem = row.cells, row.problem
        if problem:
            written = cells[address_column] if address_column < len(cells) else ""
            detail = f"{len(cells)} / {width}" if problem == reasons.RAGGED_ROW else ""
            return _storable(written), problem, detail
        address = check_address(cells[address_column])
        if isinstance(address, AddressProblem):
            return _storable(cells[address_column]), reasons.INVALID_ADDRESS, address.code
        lacking = missing(address, cells)
        if lacking:
            return address, reasons.MISSING_VARIABLE, ", ".join(lacking)[:500]
        return address, "", ""

    return judge


def _missing_finder(
    bulk_send: BulkSend, file: RecipientsFile, template: CompiledTemplate
) -> Callable[[str, list[str]], Iterable[str]]:
    """What a row lacks of what the template needs. Without sections that is a look at a few cells."""
    if bulk_send.allow_empty:
        return lambda address, cells: ()
    if template.flat:
        needed = [(name, file.header.index(_column_of(bulk_send, name))) for name in template.needs]
        return lambda address, cells: [name for name, index in needed if not cells[index].strip()]

    def missing(address: str, cells: list[str]) -> Iterable[str]:
        variables = dict(zip(file.header, cells, strict=True))
        return template.missing(build_model(variables, bulk_send.variable_map))

    return missing


def _column_of(bulk_send: BulkSend, variable: str) -> str:
    return str(bulk_send.variable_map.get(variable, variable))


def _judged_rows(
    bulk_send: BulkSend, file: RecipientsFile, judge: Callable[[Row], Verdict], findings: Findings
) -> Iterator[tuple[int, int, str, str, str, str, str]]:
    """The columns of `_COLUMNS` for each row, while the findings are counted."""
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    address_column, columns = file.address_column, file.columns
    bulk_send_id = bulk_send.pk
    for row in read_rows(file):
        email, reason, detail = judge(row)
        findings.total += 1
        number, cells = row.number, row.cells
        values = cells[:address_column] + cells[address_column + 1 :]
        if reason:
            findings.add(reason, number, detail)
            variables = encode(dict(zip(columns, map(_without_nul, values), strict=False)))
            yield bulk_send_id, number, email, variables, "excluded", reason, detail
            continue
        slip = likely_slip(email[email.rindex("@") + 1 :])
        if slip:
            findings.add_slip(number, slip)
        yield bulk_send_id, number, email, encode(dict(zip(columns, values, strict=True))), "pending", "", ""


def _told[T](rows: Iterable[T], progress: Progress) -> Iterator[T]:
    read = 0
    for read, row in enumerate(rows, 1):
        if read % PROGRESS_ROWS == 0:
            progress(read)
        yield row
    progress(read)


_COLUMNS = ("bulk_send_id", "row", "email", "variables", "state", "reason", "reason_detail")
_COLUMN_LIST = ", ".join(f'"{name}"' for name in _COLUMNS)


def _copy(rows: Iterable[tuple[Any, ...]]) -> None:
    blocks, copied = _copy_blocks(rows), 0
    with connection.cursor() as cursor:
        for first in blocks:
            # Django does not see what COPY raises: it must become Django's error, as from any other statement.
            with (
                connection.wrap_database_errors,
                cursor.copy(f"COPY relay_recipient ({_COLUMN_LIST}) FROM STDIN") as copy,
            ):
                for block in chain([first], islice(blocks, COPY_BLOCKS - 1)):
                    copy.write(block)
            copied += cursor.rowcount
        if copied >= ANALYZE_FROM:
            # The planner has never seen this bulk send: it would not claim by the index.
            cursor.execute("ANALYZE relay_recipient")


def _copy_blocks(rows: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """COPY's text format, by hand: psycopg's row writer costs a third of the rate.

    JSON can hold a backslash but no control character; an address as written has had both replaced; a detail may name
    a variable, which may hold anything.
    """
    lines: list[str] = []
    for bulk_send_id, row, email, variables, state, reason, detail in rows:
        if "\\" in variables:
            variables = variables.replace("\\", "\\\\")
        if detail:
            detail = detail.translate(_COPY_ESCAPES)
        lines.append(f"{bulk_send_id}\t{row}\t{email}\t{variables}\t{state}\t{reason}\t{detail}\n")
        if len(lines) == COPY_BLOCK:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)


_COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _insert(rows: Iterable[tuple[Any, ...]]) -> None:
    marks = ", ".join(["%s"] * len(_COLUMNS))
    with connection.cursor() as cursor:
        # In pieces: Django's executemany keeps all it was given in memory until it ends.
        for piece in batched(rows, INSERT_PIECE):
            cursor.executemany(f"INSERT INTO relay_recipient ({_COLUMN_LIST}) VALUES ({marks})", piece)  # noqa: S608


# What COPY's text format or PostgreSQL's text type would not take, in an address that is excluded anyway.
_UNSTORABLE = dict.fromkeys([*range(32), 127], "�") | {ord("\\"): "\uff3c"}


def _storable(written: str) -> str:
    """The first 320 characters of what stands where an address should."""
    return written.strip()[:320].translate(_UNSTORABLE)


def _without_nul(value: str) -> str:
    return value.replace("\0", "\ufffd")  # PostgreSQL's jsonb holds no NUL


def _add_from_database(findings: Findings, bulk_send: BulkSend, reason: str) -> None:
    found = bulk_send.recipients.filter(state=Recipient.State.EXCLUDED, reason=reason)
    count = found.count()
    if count:
        findings.by_reason[reason] = count
        findings.examples[reason] = [
            {"row": row, "detail": detail}
            for row, detail in found.order_by("row").values_list("row", "reason_detail")[:EXAMPLES]
        ]
