"""Workbooks (.xlsx): known by content, refused before one could exhaust the memory, cells as the text they show."""

import datetime
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

from relay.csv_rows import is_blank
from relay.file_problems import MAX_CELL, FileProblem, column_letter, opened

MAX_WORKBOOK = 1_000_000_000  # bytes once unpacked: an .xlsx is a zip, and may be a bomb
MAX_SHEET = 16_000_000  # cells, empty ones between others included: the reader takes 32 bytes for each
CHUNK = 1 << 19


def is_workbook(path: Path) -> bool:
    """By content: many a .csv is a renamed .xlsx, and the other way round. Raises FileProblem if it is too large."""
    with opened(path) as handle:
        if handle.read(4) != b"PK\x03\x04":
            return False
        try:
            with zipfile.ZipFile(handle) as archive:
                if "xl/workbook.xml" not in archive.namelist():
                    return False
                _check_extent(archive)
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, EOFError):
            raise FileProblem("bad_workbook") from None
    return True


def _check_extent(archive: zipfile.ZipFile) -> None:
    """The reader lays a sheet out as a full rectangle, and ends the process if the memory is not there.

    One stray cell in XFD1048576 would be enough; so look first how far the sheets reach.
    """
    members = archive.infolist()
    if sum(member.file_size for member in members) > MAX_WORKBOOK:
        raise FileProblem("huge_workbook")
    for member in members:
        columns, rows = _extent(archive, member)
        if columns * rows > MAX_SHEET:
            raise FileProblem("huge_sheet", column=column_letter(columns - 1), row=rows)


_PLACES = re.compile(rb"""<(?:\w+:)?(?:c|row)\s[^<>]*?\br=["']([A-Z]{0,3})(\d{1,7})["']""")


def _extent(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, int]:
    """The last column and the last row, counted from 1, that a part of a workbook names; 1 if it is no sheet."""
    columns, rows, rest = {b"A"}, 1, b""
    with archive.open(member) as part:
        while chunk := part.read(CHUNK):
            rest += chunk
            places = _PLACES.findall(rest)
            columns.update(letters for letters, _row in places)
            rows = max(rows, *map(int, {row for _letters, row in places}), 1)
            rest = rest[-1_000:]  # a tag may be cut in two; to see one twice does no harm
    return max(_column_number(letters) for letters in columns), rows


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def first_rows(path: Path, count: int) -> tuple[str, list[tuple[int, list[str]]]]:
    """The first visible sheet with any text, and its first rows with their numbers."""
    with _workbook(path) as workbook:
        visible = [sheet.name for sheet in workbook.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible]
    for sheet in visible:
        if rows := list(islice(workbook_rows(path, sheet), count)):
            return sheet, rows
    raise FileProblem("empty")


@contextmanager
def _workbook(path: Path) -> Iterator[CalamineWorkbook]:
    try:
        with path.open("rb") as handle, CalamineWorkbook.from_filelike(handle) as workbook:
            yield workbook
    except (CalamineError, OSError, ValueError):
        raise FileProblem("bad_workbook") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what a bug in the Rust reader becomes
            raise
        raise FileProblem("bad_workbook") from None


def workbook_rows(path: Path, sheet: str) -> Iterator[tuple[int, list[str]]]:
    """Like `csv_rows`. Every row of a sheet is as wide as the sheet, so it is cut to the header's last name."""
    with _workbook(path) as workbook:
        cells_of = workbook.get_sheet_by_name(sheet)
        indent = [""] * (cells_of.start[1] if cells_of.start else 0)
        width = 0
        for number, values in enumerate(cells_of.iter_rows(), 1):
            cells = indent + [_text_of(value) for value in values]
            used = len(cells)
            while used > width and (not cells[used - 1] or cells[used - 1].isspace()):
                used -= 1
            if used > width or not is_blank(cells):
                width = width or used
                del cells[max(used, width) :]
                yield number, _checked_sizes(cells, number)


def _checked_sizes(cells: list[str], number: int) -> list[str]:
    for index, cell in enumerate(cells):
        if len(cell) > MAX_CELL:
            raise FileProblem("large_cell", row=number, column=column_letter(index))
    return cells


def _text_of(value: object) -> str:
    """The text that a person sees in the cell, dates as ISO; a cell that holds an error is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        # A sheet shows 15 digits: 0.1 + 0.2 is stored as 0.30000000000000004 and shown as 0.3.
        return str(int(value)) if value.is_integer() else f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(sep=" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
