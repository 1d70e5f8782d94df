"""The rows of a bulk send whose mails are the likeliest to look wrong, among its first ones: there may be millions."""

import time
from dataclasses import dataclass
from typing import NamedTuple

from django.core.cache import cache

from relay.models import BulkSend, Recipient
from relay.previewing import Previewer

ROWS = 1000
CHARACTERS = 2_000_000  # of values: a cell may hold a megabyte
RENDERED = 20
SECONDS = 0.1  # for rendering
EMPTY_ROWS = 3
KEPT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Extremes:
    """Rows; None where there is none. `looked_at` rows were looked at, from the first on."""

    looked_at: int
    all_rows: bool
    first: int | None = None  # to be sent
    longest: int | None = None
    longest_variable: str = ""
    longest_length: int = 0
    empty: tuple[int, ...] = ()
    largest: int | None = None
    largest_bytes: int = 0


def extremes_of(bulk_send: BulkSend) -> Extremes:
    """Kept for an hour: the values of a bulk send never change. Raises TemplateProblem."""
    key = f"relay-extremes-{bulk_send.pk}-{bulk_send.file_sha256}-{bulk_send.total}"
    kept: Extremes | None = cache.get(key)
    if kept is None:
        kept = _found(bulk_send)
        cache.set(key, kept, KEPT_SECONDS)
    return kept


def _found(bulk_send: BulkSend) -> Extremes:
    looked_at, rows = _first_rows(bulk_send)
    if not rows:
        return Extremes(looked_at, all_rows=looked_at >= bulk_send.total)
    previewer = Previewer(bulk_send)
    columns = previewer.columns
    length, variable, longest = max(
        ((len(row.variables.get(column, "")), column, row.row) for row in rows for column in columns),
        key=lambda found: found[0],
        default=(0, "", None),
    )
    empty = [row.row for row in rows if not all(row.variables.get(column, "").strip() for column in columns)]
    largest_bytes, largest = _largest(previewer, rows)
    return Extremes(
        looked_at,
        all_rows=looked_at >= bulk_send.total,
        first=rows[0].row,
        longest=longest,
        longest_variable=variable,
        longest_length=length,
        empty=tuple(empty[:EMPTY_ROWS]),
        largest=largest,
        largest_bytes=largest_bytes,
    )


class _Row(NamedTuple):
    row: int
    email: str
    variables: dict[str, str]

    @property
    def length(self) -> int:
        return sum(map(len, self.variables.values()))


def _first_rows(bulk_send: BulkSend) -> tuple[int, list[_Row]]:
    """How many were looked at, and those of them that are not excluded. By the index of rows, with an end to it."""
    found: list[_Row] = []
    characters = looked_at = 0
    rows = bulk_send.recipients.order_by("row").values_list("row", "email", "variables", "state")[:ROWS]
    for number, email, variables, state in rows.iterator(chunk_size=200):
        row = _Row(number, email, variables)
        looked_at += 1
        characters += row.length
        if state != Recipient.State.EXCLUDED:
            found.append(row)
        if characters > CHARACTERS:
            break
    return looked_at, found


def _largest(previewer: Previewer, rows: list[_Row]) -> tuple[int, int]:
    """The largest mail of the rows with the most text: all of them would take too long to render."""
    most_text = sorted(rows, key=lambda row: -row.length)[:RENDERED]
    until = time.monotonic() + SECONDS
    found = (0, most_text[0].row)
    for row in most_text:
        mail = previewer.mail_of(Recipient(row=row.row, email=row.email, variables=row.variables))
        found = max(found, (mail.size, row.row))
        if time.monotonic() > until:
            break
    return found
