"""A recipients file: bytes in, lazy rows out, problems with their row and column.

Preview, validation and import read a file in this one way, so what a person was shown is what is sent:

    file = open_recipients(path)                       # refuses the whole file, or describes it
    for number, cells, problem in read_rows(file):     # one Row at a time, whatever the size of the file
        ...

`number` is the row number a spreadsheet shows: blank lines and an Excel `sep=;` line are counted, a quoted line break
belongs to its row. Cells keep their text exactly; whether a cell is an address is judged elsewhere. A cell over 1 MB
and a quote that is never closed are only found on the way, so `read_rows` can raise FileProblem too.
"""

import codecs
import csv
import datetime
import enum
import io
import os
import re
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TextIO

from django.utils.translation import gettext_lazy as _
from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

MAX_COLUMNS = 1_000
MAX_CELL = 1_000_000  # characters
MAX_LINE = 16_000_000  # bytes; without a bound, a file without line ends would be one line in memory
MAX_WORKBOOK = 1_000_000_000  # bytes once unpacked: an .xlsx is a zip, and may be a bomb
MAX_SHEET = 16_000_000  # cells, empty ones between others included: the reader takes 32 bytes for each
DELIMITERS = ";,\t|"
SAMPLE_ROWS = 20
CHUNK = 1 << 19

csv.field_size_limit(MAX_CELL)  # global to the process: nothing else may change it


class Row(NamedTuple):
    number: int  # as a spreadsheet shows it
    cells: list[str]  # as many as the file has, also in a ragged row
    problem: str | None  # RAGGED_ROW, NUL_BYTE or None


RAGGED_ROW = "ragged_row"
NUL_BYTE = "nul_byte"

_SENTENCES = {
    "missing": _("%(file)s: the file does not exist."),
    "not_a_file": _("%(file)s: this is not a file."),
    "unreadable": _("%(file)s: the file cannot be read: check its permissions."),
    "empty": _("%(file)s: the file is empty."),
    "no_rows": _("%(file)s: below the header (row %(row)d) there is no recipient."),
    "binary": _(
        "%(file)s: this is not a CSV or .xlsx file, or it has a password."
        " Open it in a spreadsheet and save it as CSV UTF-8 or .xlsx."
    ),
    "bad_workbook": _("%(file)s: the workbook is damaged or has a password. Save it again as .xlsx or as CSV UTF-8."),
    "huge_workbook": _("%(file)s: the workbook is too large. Save it as CSV UTF-8."),
    "huge_sheet": _(
        "%(file)s: a sheet reaches to column %(column)s and row %(row)d, which is too much."
        " Delete what does not belong to the list there, or save the list as CSV UTF-8."
    ),
    "damaged_text": _(
        "%(file)s: row %(row)d, byte %(byte)d: the text (%(encoding)s) is damaged or cut off there."
        " Export the file again as CSV UTF-8."
    ),
    "unknown_encoding": _(
        "%(file)s: row %(row)d, byte %(byte)d: a character there is neither UTF-8 nor Windows-1252."
        " Export the file again as CSV UTF-8."
    ),
    "long_line": _("%(file)s: row %(row)d is longer than 16 MB: this is not a list of recipients."),
    "large_cell": _("%(file)s: row %(row)d, column %(column)s: the cell is larger than 1 MB."),
    "open_quote": _(
        '%(file)s: row %(row)d, column %(column)s: a quote (") opens there and is not closed where the cell ends.'
        " Close or remove it, or the rows below it would be lost."
    ),
    "too_many_columns": _("%(file)s: the header has %(columns)d columns, more than 1,000: delete those not needed."),
    "nul_in_header": _("%(file)s: the name of column %(column)s has a NUL character: write it again."),
    "empty_header": _("%(file)s: the header has no name in column %(column)s: name or delete it."),
    "repeated_header": _(
        "%(file)s: the header has «%(name)s» in column %(first)s and in column %(second)s: rename one."
    ),
    "nested_header": _(
        "%(file)s: «%(name)s» (column %(first)s) and «%(inner)s» (column %(second)s) exclude each other: rename one."
    ),
    "no_header": _(
        "%(file)s: row %(row)d holds an address where the names of the columns should be: add a header row."
    ),
    "no_address_column": _(
        "%(file)s: no column is called email or correo; there is %(names)s."
        " Rename one, or choose it with --email-column."
    ),
    "two_address_columns": _(
        "%(file)s: «%(name)s» (column %(first)s) and «%(other)s» (column %(second)s) could both be the address:"
        " choose one with --email-column."
    ),
    "unknown_email_column": _("%(file)s: no column is called «%(wanted)s»; there is %(names)s."),
}


class FileProblem(Exception):
    """The file is refused whole. `code` and `params` are for programs; no cell's contents are in any of them."""

    def __init__(self, code: str, **params: object) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params

    @property
    def sentence(self) -> str:
        """For a person, in the active language: what is wrong, where, and what to do."""
        return str(_SENTENCES[self.code]) % {"file": "?", **self.params}

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True)
class RecipientsFile:
    """How to read a file. The first eight fields are for everyone, the rest for this module."""

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


def open_recipients(path: Path, *, email_column: str | None = None, name: str | None = None) -> RecipientsFile:
    """Describe the file, having seen that it can be read; raises FileProblem otherwise.

    `email_column` chooses the address column; `name` is what sentences call the file (an upload has another on disk).
    """
    name = name or path.name
    try:
        describe = _described_workbook if _is_workbook(path) else _described_text
        file = describe(path, name, email_column)
        if next(read_rows(file), None) is None:
            raise FileProblem("no_rows", row=file.header_row)
    except FileProblem as problem:
        problem.params["file"] = name
        raise
    return file


def read_rows(file: RecipientsFile) -> Iterator[Row]:
    """The rows under the header, lazily. Rows without any text are skipped, though they count in the numbering."""
    try:
        rows = _workbook_rows(file.path, file.sheet) if file.sheet else _text_rows(file)
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


# --- Text: which encoding, where is it damaged


def _opened(path: Path) -> BinaryIO:
    try:
        if path.exists() and not path.is_file():  # a folder, or a pipe that would block
            raise FileProblem("not_a_file")
        return path.open("rb")
    except FileNotFoundError:
        raise FileProblem("missing") from None
    except OSError:
        raise FileProblem("unreadable") from None


_BINARY_STARTS = (
    b"PK\x03\x04", b"PK\x05\x06", b"%PDF", b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"\xd0\xcf\x11\xe0", b"\x1f\x8b",
    b"BZh", b"7z\xbc\xaf", b"\xfd7zXZ", b"Rar!", b"\x7fELF", b"SQLite format 3", b"PAR1", b"RIFF", b"{\\rtf",
    b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff",  # UTF-32
)  # fmt: skip
_HTML_STARTS = (b"<html", b"<!doctype", b"<table", b"<?xml")  # many systems call an HTML table .xls
_CONTROLS = bytes(set(range(32)) - set(b"\0\t\n\v\f\r\x1a"))


def _described_text(path: Path, name: str, email_column: str | None) -> RecipientsFile:
    with _opened(path) as handle:
        sample = handle.read(CHUNK)
    if not sample:
        raise FileProblem("empty")
    encoding, bom = _announced_encoding(sample)
    if encoding is not None:
        has_nul = _scan(path, encoding, len(bom))
    elif _looks_binary(sample):
        raise FileProblem("binary")
    else:
        encoding, has_nul = _found_encoding(path)
    file = RecipientsFile(path, name, "csv", encoding, None, (), 0, 0, bom=bom, has_nul=has_nul)
    return _with_layout(file, email_column)


def _announced_encoding(sample: bytes) -> tuple[str | None, bytes]:
    """The encoding that a byte order mark names, or that the NULs of UTF-16 give away."""
    if sample.startswith(codecs.BOM_UTF8):
        return "utf-8", codecs.BOM_UTF8
    if sample[:4] in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return None, b""
    for encoding, bom in (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)):
        if sample.startswith(bom):
            return encoding, bom
    even, odd = sample[:4096:2], sample[1:4096:2]
    for encoding, text, zeros in (("utf-16-le", even, odd), ("utf-16-be", odd, even)):
        if len(zeros) > 1 and zeros.count(0) > 0.9 * len(zeros) and not text.count(0):
            return encoding, b""
    return None, b""


def _looks_binary(sample: bytes) -> bool:
    if sample.startswith(_BINARY_STARTS) or sample[:80].lstrip().lower().startswith(_HTML_STARTS):
        return True
    controls = len(sample) - len(sample.translate(None, _CONTROLS))
    return controls > max(2, len(sample) // 100) or sample.count(0) > max(32, len(sample) // 10)


def _found_encoding(path: Path) -> tuple[str, bool]:
    """UTF-8 when all of it is; else Windows-1252, but only if nothing in it is UTF-8.

    Reading a damaged UTF-8 file as Windows-1252 would write «JosÃ©» to everyone in it.
    """
    try:
        return "utf-8", _scan(path, "utf-8", 0)
    except FileProblem as problem:
        if problem.code != "damaged_text" or _has_utf8(path):
            raise
    return "cp1252", _scan(path, "cp1252", 0)


def _scan(path: Path, encoding: str, start: int) -> bool:
    """Read the whole file once, strictly, in bounded memory. Returns whether it has NUL characters."""
    decoder = codecs.getincrementaldecoder(encoding)()
    has_nul, line_start, position = False, start, start
    with _opened(path) as handle:
        handle.seek(start)
        while True:
            chunk = handle.read(CHUNK)
            kept = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise _damage(path, encoding, position - kept + error.start) from None
            if not chunk:
                return has_nul
            position += len(chunk)
            has_nul = has_nul or "\0" in text
            if _has_line_break(text):
                line_start = position  # near enough: the last line began in this chunk
            elif position - line_start > MAX_LINE:
                raise FileProblem("long_line", row=_row_at(path, encoding, line_start))


def _damage(path: Path, encoding: str, position: int) -> FileProblem:
    place: dict[str, object] = {"row": _row_at(path, encoding, position), "byte": position + 1}
    if encoding == "cp1252":
        return FileProblem("unknown_encoding", **place)
    return FileProblem("damaged_text", encoding=encoding.upper(), **place)


# Every byte as its role in UTF-8: how many bytes a lead byte announces, C for a continuation, a dot for the rest.
_ROLES = b"." * 0x80 + b"C" * 0x40 + b".." + b"2" * 0x1E + b"3" * 0x10 + b"4" * 0x05 + b"." * 0x0B


def _has_utf8(path: Path) -> bool:
    """Whether any complete multi-byte character stands in the file (or it ends within the most usual one)."""
    tail, foreign, last = b"", 0, b""
    with _opened(path) as handle:
        while chunk := handle.read(CHUNK):
            roles = chunk.translate(_ROLES)
            foreign += len(roles) - roles.count(b".")
            roles = tail + roles
            if b"2C" in roles or b"3CC" in roles or b"4CCC" in roles:
                return True
            tail, last = roles[-3:], chunk[-1:]
    # Cut off within its only accent: Ã and Â, its first byte in Windows-1252, hardly end a file in Spanish.
    return foreign == 1 and last in (b"\xc2", b"\xc3")


def _row_at(path: Path, encoding: str, position: int) -> int:
    """The row that holds the byte at `position`. Slow, and only for a sentence."""
    # As Latin-1 every byte is a character, and delimiters, quotes and line ends are where they are in UTF-8.
    codec = encoding if encoding.startswith("utf-16") else "latin-1"
    row = 0
    with io.TextIOWrapper(_opened(path), encoding=codec, errors="replace", newline="") as text:
        first_line = text.readline(MAX_LINE)
        lines = _lines_until(position, codec, chain([first_line], iter(lambda: text.readline(MAX_LINE), "")))
        with suppress(csv.Error):  # a cell that is too large: it is in the row being looked for
            for _cells in csv.reader(lines, delimiter=max(DELIMITERS, key=first_line.count)):
                row += 1
            return row
    return row + 1


def _lines_until(position: int, codec: str, lines: Iterable[str]) -> Iterator[str]:
    seen = 0
    for line in lines:
        yield line
        seen += len(line.encode(codec, "surrogatepass"))
        if seen > position:
            return


# --- Text: delimiter, header, rows


def _lines(file: RecipientsFile) -> TextIO:
    handle = _opened(file.path)
    handle.seek(len(file.bom))
    return io.TextIOWrapper(handle, encoding=file.encoding, newline="")


def _text_rows(file: RecipientsFile) -> Iterator[tuple[int, list[str]]]:
    """The rows with their numbers, from the header on; those without any text are left out."""
    delimiter = file.delimiter or DELIMITERS[0]
    taken: list[str] = []  # the lines of the row being read
    unfinished = False

    def noted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal unfinished
        for line in lines:
            taken.append(line)
            yield line
        unfinished = True  # the reader asked for more: if a row comes still, it ends within quotes

    with _lines(file) as text:
        number = 1 if file.preamble and text.readline() else 0
        reader = csv.reader(noted(text), delimiter=delimiter)
        try:
            for cells in reader:
                number += 1
                if len(taken) > 1 or unfinished:
                    _check_quotes(taken, delimiter, number, unfinished)
                taken.clear()
                if (cells and cells[0].strip()) or not _is_blank(cells):
                    yield number, cells
        except csv.Error:
            raise _large_cell(taken, delimiter, number + 1) from None


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(cell and not cell.isspace() for cell in cells)


def _check_quotes(lines: Sequence[str], delimiter: str, number: int, unfinished: bool) -> None:
    """In a row of several lines every quoted cell of several lines must end with its quote.

    Where it does not, a quote opened by mistake has joined rows: their recipients would be lost without a word, and
    their data might be written to somebody else. Within one line nothing is lost, and csv's tolerance is ours.
    """
    column = 0
    for column, cell, ending in _raw_cells("".join(lines), delimiter):
        if ending is _Ending.OPEN or (ending is _Ending.TEXT and _has_line_break(cell)):
            raise FileProblem("open_quote", row=number, column=column_letter(column))
    if unfinished:
        raise FileProblem("open_quote", row=number, column=column_letter(column))


def _large_cell(lines: Sequence[str], delimiter: str, number: int) -> FileProblem:
    column = 0
    for column, cell, ending in _raw_cells("".join(lines), delimiter):
        if len(cell) > MAX_CELL:
            swallowed = ending is not _Ending.NONE and _has_line_break(cell)
            return FileProblem("open_quote" if swallowed else "large_cell", row=number, column=column_letter(column))
    return FileProblem("large_cell", row=number, column=column_letter(column))


def _has_line_break(text: str) -> bool:
    return "\n" in text or "\r" in text


class _Ending(enum.Enum):
    NONE = "the cell has no quotes around it"
    QUOTE = "it ends with its closing quote"
    TEXT = "more text follows the closing quote"
    OPEN = "there is no closing quote"


_QUOTED = re.compile(r'"(?:[^"]+|"")*+"')


def _raw_cells(text: str, delimiter: str) -> Iterator[tuple[int, str, _Ending]]:
    """The cells of one row as written, found as csv finds them: index, text with its quotes, how it ends."""
    end_of_cell = re.compile(rf"[{re.escape(delimiter)}\r\n]|\Z")
    column = at = 0
    while True:
        quoted = _QUOTED.match(text, at)
        after = quoted.end() if quoted else len(text) if text.startswith('"', at) else at
        found = end_of_cell.search(text, after)
        end = found.start() if found else len(text)
        if quoted:
            ending = _Ending.QUOTE if end == after else _Ending.TEXT
        else:
            ending = _Ending.OPEN if after > at else _Ending.NONE
        yield column, text[at:end], ending
        if text[end : end + 1] != delimiter:
            return
        column, at = column + 1, end + 1


def _with_layout(file: RecipientsFile, email_column: str | None) -> RecipientsFile:
    """With the delimiter under which an address column exists, else the one that fits and gives most columns."""
    with _lines(file) as text:
        first_line = text.readline()
    announced = re.fullmatch(r'"?sep=([^\w\s"]|\t)"?[\r\n]*', first_line, re.IGNORECASE)
    preamble = first_line if announced else ""
    line_end = first_line[len(first_line.rstrip("\r\n")) :] or "\r\n"
    file = replace(file, preamble=preamble, line_end=line_end)
    layouts = [replace(file, delimiter=sign) for sign in (announced.group(1) if announced else DELIMITERS)]
    layout, rows = _best(layouts, email_column)
    return _with_header(layout, *rows[0], email_column)


_NumberedRows = list[tuple[int, list[str]]]


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
    with_address = [layout for layout in read if _address_columns(layout[1][0][1], email_column)]
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
    return bool(_address_columns(header, email_column)), 2 * fitting > len(rows), len(header)


# --- Header


def _with_header(file: RecipientsFile, number: int, cells: Sequence[str], email_column: str | None) -> RecipientsFile:
    if len(cells) > MAX_COLUMNS:
        raise FileProblem("too_many_columns", columns=len(cells))
    header = tuple(cell.strip(_AROUND) for cell in cells)
    _check_names(header, number)
    return replace(file, header=header, address_column=_address_column(header, number, email_column), header_row=number)


def _check_names(header: Sequence[str], row: int) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(header):
        here = column_letter(index)
        if not name:
            raise FileProblem("empty_header", column=here)
        if "\0" in name:
            raise FileProblem("nul_in_header", column=here)
        if name in seen:
            raise _about_names("repeated_header", row, header, seen[name], index)
        seen[name] = index
    if clash := conflicting_names(header):
        outer, inner = (header.index(name) for name in clash)
        raise _about_names("nested_header", row, header, outer, inner)


def conflicting_names(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that cannot stand in one model: `user` is a text, `user.name` makes it an object."""
    known = set(names)
    for name in names:
        parts = name.split(".")
        for length in range(1, len(parts)):
            outer = ".".join(parts[:length])
            if outer in known:
                return outer, name
    return None


def _about_names(code: str, row: int, header: Sequence[str], first: int, second: int) -> FileProblem:
    """A problem of two columns. Without a header row, what stands there is somebody's address: do not repeat it."""
    if any("@" in name for name in header):
        return FileProblem("no_header", row=row)
    names = {"name": _short(header[first]), "other": _short(header[second]), "inner": _short(header[second])}
    return FileProblem(code, row=row, first=column_letter(first), second=column_letter(second), **names)


def _address_column(header: Sequence[str], row: int, wanted: str | None) -> int:
    found = _address_columns(header, wanted)
    if len(found) == 1:
        return found[0]
    if found:
        raise _about_names("two_address_columns", row, header, found[0], found[1])
    if any("@" in name for name in header):
        raise FileProblem("no_header", row=row)
    names = ", ".join(f"«{_short(name)}»" for name in header[:20]) + ("…" if len(header) > 20 else "")
    if wanted is None:
        raise FileProblem("no_address_column", names=names, row=row)
    raise FileProblem("unknown_email_column", names=names, wanted=_short(wanted), row=row)


def _address_columns(header: Sequence[str], wanted: str | None) -> list[int]:
    if wanted is None:
        return [index for index, name in enumerate(header) if _plain(name) in _ADDRESS_NAMES]
    exact = [index for index, name in enumerate(header) if name.strip(_AROUND) == wanted.strip(_AROUND)]
    return exact or [index for index, name in enumerate(header) if _plain(name) == _plain(wanted)]


# `correo_electronico` and `email_address` as `_plain` leaves them; case, accents, blanks, _ and - do not count.
_ADDRESS_NAMES = frozenset({"email", "mail", "emailaddress", "correo", "correoelectronico"})
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_AROUND = _INVISIBLE + "".join(character for character in map(chr, range(0x3001)) if character.isspace())
_IGNORED = re.compile(rf"[\s_\-\u2010\u2011{_INVISIBLE}]+")


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name[:200]).casefold()
    return _IGNORED.sub("", "".join(letter for letter in letters if not unicodedata.combining(letter)))


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"


def column_letter(index: int) -> str:
    """What a spreadsheet calls the column: 0 is A, 26 is AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


# --- Workbooks


def _is_workbook(path: Path) -> bool:
    """By content: many a .csv is a renamed .xlsx, and the other way round. Raises FileProblem if it is too large."""
    with _opened(path) as handle:
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


def _described_workbook(path: Path, name: str, email_column: str | None) -> RecipientsFile:
    file = RecipientsFile(path, name, "xlsx", "utf-8", None, (), 0, 0, has_nul=True)  # an XML escape can be one
    with _workbook(path) as workbook:
        visible = [sheet.name for sheet in workbook.sheets_metadata if sheet.visible == SheetVisibleEnum.Visible]
    for sheet in visible:
        if (first := next(_workbook_rows(path, sheet), None)) is not None:
            return _with_header(replace(file, sheet=sheet), *first, email_column)
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


def _workbook_rows(path: Path, sheet: str) -> Iterator[tuple[int, list[str]]]:
    """Like `_text_rows`. Every row of a sheet is as wide as the sheet, so it is cut to the header's last name."""
    with _workbook(path) as workbook:
        cells_of = workbook.get_sheet_by_name(sheet)
        indent = [""] * (cells_of.start[1] if cells_of.start else 0)
        width = 0
        for number, values in enumerate(cells_of.iter_rows(), 1):
            cells = indent + [_text_of(value) for value in values]
            used = len(cells)
            while used > width and (not cells[used - 1] or cells[used - 1].isspace()):
                used -= 1
            if used > width or not _is_blank(cells):
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


# --- Rejected rows


def write_rejects(file: RecipientsFile, reasons: Iterable[tuple[int, str]], target: Path) -> int:
    """Write the rows that `reasons` names, as they came, with the sentence in a last column `motivo`.

    `reasons` are (row number, sentence), ascending, and taken lazily; several of one row are joined. The layout is the
    file's own, so the corrected rows can be uploaded as they are; a workbook's rows become CSV. Returns the rows
    written. `target` appears complete or not at all.
    """
    if file.format == "xlsx":
        file = replace(file, bom=codecs.BOM_UTF8, delimiter=";")
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as handle:
            written = _write_rows(file, reasons, handle)
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return written


def _write_rows(file: RecipientsFile, reasons: Iterable[tuple[int, str]], handle: BinaryIO) -> int:
    handle.write(file.bom)
    # Only a sentence can have a character that the encoding lacks: the cells came from it.
    text = io.TextIOWrapper(handle, encoding=file.encoding, errors="replace", newline="")
    text.write(file.preamble)
    write = csv.writer(_LineEnds(text, file.line_end), delimiter=file.delimiter or ";").writerow
    write([*file.header, _free_name("motivo", file.header)])
    written = 0
    for cells, sentence in _rejected(file, reasons):
        write([*cells, *[""] * (len(file.header) - len(cells)), sentence])
        written += 1
    text.flush()
    text.detach()
    return written


class _LineEnds:
    """csv.writer quotes only the line ends it writes itself; so it writes \r\n, and this the file's own."""

    def __init__(self, text: TextIO, line_end: str) -> None:
        self._text = text
        self._line_end = line_end

    def write(self, row: str) -> int:
        return self._text.write(row.removesuffix("\r\n") + self._line_end)


def _rejected(file: RecipientsFile, reasons: Iterable[tuple[int, str]]) -> Iterator[tuple[list[str], str]]:
    rows = read_rows(file)
    row = next(rows, None)
    for number, same_row in groupby(reasons, key=itemgetter(0)):
        sentence = " ".join(sentence for _number, sentence in same_row)
        while row and row.number < number:
            row = next(rows, None)
        if row and row.number == number:
            yield row.cells, sentence


def _free_name(name: str, taken: Sequence[str]) -> str:
    names = chain([name], (f"{name}_{number}" for number in count(2)))
    return next(candidate for candidate in names if candidate not in taken)
