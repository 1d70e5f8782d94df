"""A recipients file: bytes in, lazy rows out, problems with their row and column.

Preview, validation and import read a file in this one way, so what a person was shown is what is sent:

    file = open_recipients(path)                       # refuses the whole file, or describes it
    for number, cells, problem in read_rows(file):     # one Row at a time, whatever the size of the file
        ...

`number` is the row number a spreadsheet shows: blank lines and an Excel `sep=;` line are counted, a quoted line break
belongs to its row. Cells keep their text exactly; whether a cell is an address is judged elsewhere. A cell over 1 MB
and a quote that is never closed are only found on the way, so `read_rows` can raise FileProblem too.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

from relay.csv_rows import DELIMITERS, csv_rows
from relay.file_problems import FileProblem, opened
from relay.headers import address_columns, read_header
from relay.text_encoding import find_encoding
from relay.workbooks import first_rows, is_workbook, workbook_rows

SAMPLE_ROWS = 20


class Row(NamedTuple):
    number: int  # as a spreadsheet shows it
    cells: list[str]  # as many as the file has, also in a ragged row
    problem: str | None  # RAGGED_ROW, NUL_BYTE or None


RAGGED_ROW = "ragged_row"
NUL_BYTE = "nul_byte"


@dataclass(frozen=True, slots=True)
class RecipientsFile:
    """How to read a file. The first eight fields are for everyone, the rest for reading and writing its rows."""

    path: Path
    name: str
    format: Literal["csv", "xlsx"]
    encoding: str  # of the bytes after `bom`; an .xlsx counts as UTF-8
    delimiter: str | None
    header: tuple[str, ...]  # as written, without the blanks around
    address_column: int
    header_row: int
    bom: bytes = b""
    line_end: str = "\r\n"
    preamble: str = ""  # the `sep=;` line, with its end
    has_nul: bool = False
    sheet: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the variables: the header without the address."""
        return self.header[: self.address_column] + self.header[self.address_column + 1 :]


@dataclass(frozen=True, slots=True)
class Corrections:
    """What a person knows better than the file says. Empty: as it is understood. A workbook has neither."""

    encoding: str | None = None  # one of ENCODINGS
    delimiter: str | None = None


AS_UNDERSTOOD = Corrections()


def open_recipients(
    path: Path,
    *,
    email_column: str | None = None,
    name: str | None = None,
    corrections: Corrections = AS_UNDERSTOOD,
) -> RecipientsFile:
    """Describe the file, having seen that it can be read; raises FileProblem otherwise.

    `email_column` chooses the address column; `name` is what sentences call the file (an upload has another on disk).
    """
    name = name or path.name
    try:
        layout, rows = _beginning(path, name, email_column, corrections)
        row, cells = rows[0]
        header, address_column = read_header(row, cells, email_column)
        file = replace(layout, header=header, address_column=address_column, header_row=row)
        if next(read_rows(file), None) is None:
            raise FileProblem("no_rows", row=file.header_row)
    except FileProblem as problem:
        problem.params["file"] = name
        raise
    return file


def read_beginning(
    path: Path, *, email_column: str | None, name: str, corrections: Corrections = AS_UNDERSTOOD
) -> "tuple[RecipientsFile, _NumberedRows]":
    """How the file is read, and its first rows from the header on, whatever they hold: for a person to look at.

    The description has no header yet. Raises FileProblem for a file of which nothing can be read.
    """
    try:
        return _beginning(path, name, email_column, corrections)
    except FileProblem as problem:
        problem.params["file"] = name
        raise


def read_rows(file: RecipientsFile) -> Iterator[Row]:
    """The rows under the header, lazily. Rows without any text are skipped, though they count in the numbering."""
    try:
        rows = workbook_rows(file.path, file.sheet) if file.sheet else _text_rows(file)
        yield from _judged(islice(rows, 1, None), file)
    except FileProblem as problem:
        problem.params["file"] = file.name
        raise


def _judged(records: Iterable[tuple[int, list[str]]], file: RecipientsFile) -> Iterator[Row]:
    width, has_nul = len(file.header), file.has_nul
    # What Row(...) does, without its Python frame: 8 % less time per row (measured).
    row: Callable[[tuple[int, list[str], str | None]], Row] = partial(tuple.__new__, Row)
    for number, cells in records:
        if len(cells) != width:
            yield row((number, cells, RAGGED_ROW))
        elif has_nul and any("\0" in cell for cell in cells):
            yield row((number, cells, NUL_BYTE))
        else:
            yield row((number, cells, None))


_NumberedRows = list[tuple[int, list[str]]]


def _beginning(
    path: Path, name: str, email_column: str | None, corrections: Corrections
) -> tuple[RecipientsFile, _NumberedRows]:
    """The layout, and at least the row of the header."""
    if is_workbook(path):
        sheet, rows = first_rows(path, SAMPLE_ROWS)
        # An XML escape can be a NUL.
        return RecipientsFile(path, name, "xlsx", "utf-8", None, (), 0, 0, has_nul=True, sheet=sheet), rows
    encoding, bom, has_nul = find_encoding(path, corrections.encoding or None)
    file = RecipientsFile(path, name, "csv", encoding, None, (), 0, 0, bom=bom, has_nul=has_nul)
    return _with_layout(file, email_column, corrections.delimiter or None)


# --- Text: delimiter, header, rows


def _with_layout(
    file: RecipientsFile, email_column: str | None, wanted: str | None
) -> tuple[RecipientsFile, _NumberedRows]:
    """With the delimiter under which an address column exists, else the one that fits and gives most columns."""
    with _lines(file) as text:
        first_line = text.readline()
    announced = re.fullmatch(r'"?sep=([^\w\s"]|\t)"?[\r\n]*', first_line, re.IGNORECASE)
    preamble = first_line if announced else ""
    line_end = first_line[len(first_line.rstrip("\r\n")) :] or "\r\n"
    file = replace(file, preamble=preamble, line_end=line_end)
    signs = announced.group(1) if announced else DELIMITERS
    if wanted is not None:
        if wanted not in {*DELIMITERS, *signs}:
            raise FileProblem("wrong_delimiter", delimiter=wanted[:10])
        signs = wanted
    return _best([replace(file, delimiter=sign) for sign in signs], email_column)


def _best(layouts: Sequence[RecipientsFile], email_column: str | None) -> tuple[RecipientsFile, _NumberedRows]:
    read, broken = [], []
    for layout in layouts:
        rows, problem = _sample(layout)
        if rows:
            read.append((layout, rows))
        elif problem:
            broken.append(problem)
        else:  # nothing but line ends and delimiters
            raise FileProblem("empty")
    if not broken:
        return max(read, key=lambda layout: _fit(layout[1], email_column))
    # A quote left open in the header shows under the right delimiter only: elsewhere it is within a cell.
    with_address = [layout for layout in read if address_columns(layout[1][0][1], email_column)]
    if not with_address:
        raise broken[0]
    return max(with_address, key=lambda layout: _fit(layout[1], email_column))


def _sample(file: RecipientsFile) -> tuple[_NumberedRows, FileProblem | None]:
    """The first rows, and what ended them early; `read_rows` will meet it again."""
    rows: _NumberedRows = []
    try:
        rows.extend(islice(_text_rows(file), SAMPLE_ROWS))
    except FileProblem as problem:
        return rows, problem
    return rows, None


def _fit(rows: Sequence[tuple[int, list[str]]], email_column: str | None) -> tuple[bool, bool, int]:
    header = rows[0][1]
    fitting = sum(len(cells) == len(header) for _number, cells in rows)
    return bool(address_columns(header, email_column)), 2 * fitting > len(rows), len(header)


def _text_rows(file: RecipientsFile) -> Iterator[tuple[int, list[str]]]:
    with _lines(file) as text:
        above = 1 if file.preamble and text.readline() else 0
        yield from csv_rows(text, file.delimiter or DELIMITERS[0], above)


def _lines(file: RecipientsFile) -> TextIO:
    handle = opened(file.path)
    handle.seek(len(file.bom))
    return io.TextIOWrapper(handle, encoding=file.encoding, newline="")
