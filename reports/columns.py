"""The columns of a report, declared once, and the way from its bytes to typed rows or to reasons why not.

Pure: zones are parameters. Bounded memory whatever the file: its encoding is found first, which refuses a line beyond
16 MB, and a cell beyond 1 MB ends the reading.
"""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from relay.csv_rows import csv_rows
from relay.explained import Explained
from relay.file_problems import MAX_COLUMNS, FileProblem
from relay.text_encoding import TextEncoding, find_encoding
from reports import problems

DELIMITER = ","
INT_MAX = 2**31 - 1
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (moments of the file, before their zone is known)
# What a parser keeps of what it has read: senders, states and seconds repeat, and memory has a bound.
REMEMBERED = 50_000


class NotAReport(Explained):
    """The file is not a report that can be read to its end. `code` and `params` are for `reports.problems`."""

    code = problems.NOT_A_REPORT

    def __init__(self, **params: object) -> None:
        super().__init__(params)
        self.params = params

    def __str__(self) -> str:
        return problems.sentence(self.code, self.params)


class CutOff(NotAReport):
    """The file ends within a row: not all of it has arrived."""

    code = problems.CUT_OFF

    def __init__(self, line: int) -> None:
        super().__init__(line=line)
        self.line = line


class Unreadable(Exception):
    """A cell that cannot be typed; `reason` in words, without its contents."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# --- What a cell may be


class Moment(NamedTuple):
    """A second of the `Date` column."""

    utc: str  # YYYY-MM-DD HH:MM:SS
    local_day: str  # YYYY-MM-DD
    epoch: int


@dataclass(frozen=True, slots=True)
class Zones:
    written: ZoneInfo  # in which the file has its dates
    local: ZoneInfo  # whose days people count in


class _Remembering[V](dict[str, V]):
    """What a parser said of cells that repeat, at the price of a look into a dictionary."""

    def __init__(self, parse: Callable[[str], V]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, cell: str) -> V:
        value = self._parse(cell)
        if len(self) >= REMEMBERED:
            self.clear()
        # A cell of a megabyte that says little (blanks before a number) is not worth keeping.
        if len(cell) <= 1_000:
            self[cell] = value
        return value


def _text(limit: int) -> Callable[[str], str]:
    def parse(cell: str) -> str:
        if len(cell) > limit:
            raise Unreadable(_("it is longer than %(limit)d characters") % {"limit": limit})
        return cell

    return parse


# Longer than any address that a server takes (254), short enough for every index.
MAX_ADDRESS = 320


def _address(cell: str) -> str:
    """In lower case. The relay also tells of addresses that are none (`invalid`): they only must not be blank."""
    address = cell.strip().lower()
    if not address:
        raise Unreadable(_("it is blank"))
    if len(address) > MAX_ADDRESS:
        raise Unreadable(_("it is longer than %(limit)d characters") % {"limit": MAX_ADDRESS})
    return address


def _status(cell: str) -> str:
    """The relay's vocabulary in lower case (relay API notes §4.2); a word we do not know is kept."""
    status = " ".join(cell.split()).lower()
    if not status:
        raise Unreadable(_("it is blank"))
    if len(status) > 50:
        raise Unreadable(_("it is longer than %(limit)d characters") % {"limit": 50})
    return status


_DIGITS = re.compile(r"[0-9]+", re.ASCII)


def _count(cell: str) -> int:
    number = cell.strip()
    if not number:
        return 0
    if not _DIGITS.fullmatch(number):
        raise Unreadable(_("it is not a whole number from 0 on"))
    if len(number) > 20 or int(number) > INT_MAX:
        raise Unreadable(_("the number is too large"))
    return int(number)


_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", re.ASCII)
_WITHIN_HOUR = {f":{second // 60:02d}:{second % 60:02d}": second for second in range(3600)}


def _moments(zones: Zones) -> Callable[[str], Moment]:
    """The moments of `zones.written`. Of an hour that comes twice, the first; one that is skipped does not exist.

    Once for each hour where nothing happens to the clocks within it, else once for each second.
    """
    hours = _Remembering(lambda hour: _whole_hour(hour, zones))
    odd = _Remembering(lambda cell: _moment(cell, zones))
    make: Callable[[tuple[str, str, int]], Moment] = partial(tuple.__new__, Moment)

    def parse(cell: str) -> Moment:
        seconds = _WITHIN_HOUR.get(cell[13:])
        hour = hours[cell[:13]] if seconds is not None else None
        if hour is None:
            return odd[cell]
        start, day, epoch = hour
        return make((start + cell[13:], day, epoch + seconds))  # type: ignore[operator]

    return parse


def _whole_hour(hour: str, zones: Zones) -> tuple[str, str, int] | None:
    """UTC as YYYY-MM-DD HH, the local day, the first second; None where the seconds of `hour` differ in more."""
    try:
        first, last = _moment(f"{hour}:00:00", zones), _moment(f"{hour}:59:59", zones)
    except Unreadable:
        return None
    whole = first.local_day == last.local_day and last.epoch - first.epoch == 3599 and first.epoch % 3600 == 0
    return (first.utc[:13], first.local_day, first.epoch) if whole else None


def _moment(cell: str, zones: Zones) -> Moment:
    text = cell.strip()
    if not _MOMENT.fullmatch(text):
        raise Unreadable(_("it is not a date as YYYY-MM-DD HH:MM:SS"))
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=zones.written)
        utc = moment.astimezone(UTC)
        exists = utc.astimezone(zones.written).replace(tzinfo=None) == moment.replace(tzinfo=None)
        day = utc.astimezone(zones.local).date()
    except (ValueError, OverflowError):
        raise Unreadable(_("this date does not exist")) from None
    if not exists:
        raise Unreadable(_("this hour does not exist: the clocks were put forward over it"))
    naive = utc.replace(tzinfo=None)
    return Moment(naive.isoformat(" "), day.isoformat(), (naive - EPOCH) // timedelta(seconds=1))


@dataclass(frozen=True, slots=True)
class Column:
    """`blank` says what an empty cell becomes; `repeats`, that few different cells are to be expected."""

    name: str  # in the header of the file
    field: str  # of `Delivery`
    parser: Callable[[Zones], Callable[[str], object]]
    blank: str
    repeats: bool


COLUMNS = (
    Column("Subject", "subject", lambda zones: _text(4_000), "", False),
    Column("Sender", "sender", lambda zones: _address, "refused", True),
    Column("SenderName", "sender_name", lambda zones: _text(1_000), "", True),
    Column("Email", "recipient", lambda zones: _address, "refused", False),
    Column("Status", "status", lambda zones: _status, "refused", True),
    Column("Date", "sent_at", _moments, "refused", False),
    Column("Opens", "opens", lambda zones: _count, "0", True),
    Column("Clicks", "clicks", lambda zones: _count, "0", True),
)
MAX_EXTRA = 20_000  # characters of all unknown columns together, as JSON


# --- Where the columns are


@dataclass(frozen=True, slots=True)
class Layout:
    encoding: TextEncoding
    header: tuple[str, ...]  # as written
    positions: tuple[int, ...]  # of COLUMNS, in their order
    extra: tuple[tuple[str, int], ...]  # name and position of columns that we do not know


def read_layout(path: Path) -> Layout:
    """Raises NotAReport for what is not text in one encoding, or lacks a column."""
    with _explaining():
        encoding = find_encoding(path)
        with _opened(path, encoding) as text:
            header = next(csv_rows(text, DELIMITER), (0, []))[1]
    if not header:
        raise NotAReport(detail=_("it is empty."))
    if len(header) > MAX_COLUMNS:
        raise NotAReport(detail=_("it has %(columns)d columns.") % {"columns": len(header)})
    return _layout(encoding, header)


def _layout(encoding: TextEncoding, header: Sequence[str]) -> Layout:
    found: dict[str, int] = {}
    extra: dict[str, int] = {}
    known = {_plain(column.name) for column in COLUMNS}
    for position, written in enumerate(header):
        name = _plain(written)
        if name in found:
            raise NotAReport(detail=_("it has the column «%(name)s» twice.") % {"name": written.strip()[:50]})
        if name in known:
            found[name] = position
        else:
            extra[_free_name(written, position, extra)] = position
    missing = [column.name for column in COLUMNS if _plain(column.name) not in found]
    if missing:
        raise NotAReport(detail=_("its first row lacks the columns %(names)s.") % {"names": ", ".join(missing)})
    return Layout(
        encoding, tuple(header), tuple(found[_plain(column.name)] for column in COLUMNS), tuple(extra.items())
    )


def _plain(name: str) -> str:
    return "".join(name.replace("\ufeff", "").split()).lower()


def _free_name(written: str, position: int, taken: dict[str, int]) -> str:
    name = _without_nul(written.strip())[:100]
    return f"{name or 'column'} {position + 1}".lstrip() if not name or name in taken else name


def _without_nul(text: str) -> str:
    return text.replace("\0", "\ufffd")


def count_rows(path: Path, layout: Layout) -> int:
    """All rows below the header, readable or not. Raises CutOff, or NotAReport when quotes or sizes are not right."""
    rows, width, line, cells = 0, len(layout.header), 0, 0
    with _explaining(), _opened(path, layout.encoding) as text:
        numbered = csv_rows(text, DELIMITER)
        next(numbered, None)
        try:
            for line, row in numbered:  # noqa: B007  (wanted below: the last)
                rows += 1
                cells = len(row)
        except FileProblem as problem:
            if problem.code == "open_quote" and _ends_within_its_line(path, layout, int(str(problem.params["row"]))):
                raise CutOff(int(str(problem.params["row"]))) from None
            raise
    if rows and cells < width and not _ends_with_line_break(path, layout.encoding):
        raise CutOff(line)
    return rows


def _ends_with_line_break(path: Path, encoding: TextEncoding) -> bool:
    unit = 2 if encoding.encoding.startswith("utf-16") else 1
    with path.open("rb") as handle:
        handle.seek(-unit, os.SEEK_END)
        return handle.read(unit).decode(encoding.encoding, "replace") in ("\n", "\r")


def _ends_within_its_line(path: Path, layout: Layout, row: int) -> bool:
    """Whether the open quote of `row` stands in the last line: then the file was cut, else a quote was left open."""
    with _opened(path, layout.encoding) as text:
        reader = csv.reader(text, delimiter=DELIMITER)
        for _number in range(row - 1):
            next(reader)
        before = reader.line_num
        next(reader, None)
        return reader.line_num == before + 1


# --- Its rows


class Rejected(NamedTuple):
    """A row that cannot be typed. `column` is empty when it is the whole row."""

    line: int
    column: str
    reason: str
    cells: list[str]


class Typed(NamedTuple):
    """A row, its values as the databases take them (`extra`: JSON, or empty)."""

    subject: str
    sender: str
    sender_name: str
    recipient: str
    status: str
    moment: Moment
    opens: int
    clicks: int
    extra: str


def typed_rows(handle: BinaryIO, layout: Layout, zones: Zones, reject: Callable[[Rejected], None]) -> Iterator[Typed]:
    """The rows below the header, in the order of the file; those that cannot be typed go to `reject`.

    Raises NotAReport where the file cannot be read on.
    """
    subject_at, sender_at, name_at, email_at, status_at, date_at, opens_at, clicks_at = layout.positions
    read_subject, read_sender, read_name, read_email, read_status, read_date, read_opens, read_clicks = _readers(zones)
    width, extra = len(layout.header), _extra_reader(layout)
    has_nul = layout.encoding.has_nul
    # What Typed(...) does, without its Python frame.
    typed: Callable[[tuple[Any, ...]], Typed] = partial(tuple.__new__, Typed)
    with _explaining(), _borrowed(handle, layout.encoding) as text:
        numbered = csv_rows(text, DELIMITER)
        next(numbered, None)
        for line, cells in numbered:
            if len(cells) != width or has_nul:
                reason = _misshapen(cells, width)
                if reason:
                    reject(Rejected(line, "", reason, cells))
                    continue
            try:
                yield typed(
                    (
                        read_subject(cells[subject_at]),
                        read_sender(cells[sender_at]),
                        read_name(cells[name_at]),
                        read_email(cells[email_at]),
                        read_status(cells[status_at]),
                        read_date(cells[date_at]),
                        read_opens(cells[opens_at]),
                        read_clicks(cells[clicks_at]),
                        extra(cells) if extra else "",
                    )
                )
            except Unreadable:
                reject(_rejected(line, cells, layout, zones))


def _readers(zones: Zones) -> list[Callable[[str], object]]:
    parsers = [(column.repeats, column.parser(zones)) for column in COLUMNS]
    return [_Remembering(parse).__getitem__ if repeats else parse for repeats, parse in parsers]


def _extra_reader(layout: Layout) -> Callable[[list[str]], str] | None:
    if not layout.extra:
        return None
    # Sorted, so that the same cells are the same text whatever the order of the columns.
    places = sorted(layout.extra)
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

    def read(cells: list[str]) -> str:
        written = encode({name: cells[position] for name, position in places})
        if len(written) > MAX_EXTRA:
            raise Unreadable(_("the columns that are not known hold more than %(limit)d characters") % _extra_limit())
        return written

    return read


def _extra_limit() -> dict[str, int]:
    return {"limit": MAX_EXTRA}


def _misshapen(cells: list[str], width: int) -> str:
    if len(cells) != width:
        return _("it has %(cells)d cells instead of %(width)d") % {"cells": len(cells), "width": width}
    if any("\0" in cell for cell in cells):
        return _("it has a NUL character")
    return ""


def _rejected(line: int, cells: list[str], layout: Layout, zones: Zones) -> Rejected:
    """Which column it was: found again, so that the rows that are well pay nothing for it."""
    for column, position in zip(COLUMNS, layout.positions, strict=True):
        try:
            column.parser(zones)(cells[position])
        except Unreadable as trouble:
            return Rejected(line, layout.header[position].strip(), trouble.reason, cells)
    reason = _("the columns that are not known hold more than %(limit)d characters") % _extra_limit()
    return Rejected(line, "", reason, cells)


# --- Its text


def _opened(path: Path, encoding: TextEncoding) -> io.TextIOWrapper:
    try:
        return _text_of(path.open("rb"), encoding)
    except OSError:
        raise FileProblem("unreadable") from None


@contextmanager
def _borrowed(handle: BinaryIO, encoding: TextEncoding) -> Iterator[io.TextIOWrapper]:
    """The text of a file that stays the caller's, who closes it."""
    text = _text_of(handle, encoding)
    try:
        yield text
    finally:
        if not handle.closed:
            text.detach()


def _text_of(handle: BinaryIO, encoding: TextEncoding) -> io.TextIOWrapper:
    handle.read(len(encoding.bom))
    return io.TextIOWrapper(handle, encoding=encoding.encoding, newline="")


@contextmanager
def _explaining() -> Iterator[None]:
    """Turns the errors of reading text into NotAReport."""
    try:
        yield
    except FileProblem as problem:
        raise NotAReport(detail=str(_DETAILS[problem.code]) % problem.params) from problem
    except UnicodeDecodeError as error:
        raise NotAReport(detail=str(_DETAILS["changed"])) from error


_DETAILS = {
    "missing": gettext_lazy("the file does not exist."),
    "not_a_file": gettext_lazy("it is not a file."),
    "unreadable": gettext_lazy("it cannot be read: check its permissions."),
    "empty": gettext_lazy("it is empty."),
    "binary": gettext_lazy("it is not CSV text but something else, such as a web page or a compressed file."),
    "damaged_text": gettext_lazy("row %(row)d, byte %(byte)d: the text (%(encoding)s) is damaged or cut off there."),
    "unknown_encoding": gettext_lazy(
        "row %(row)d, byte %(byte)d: a character there is neither UTF-8 nor Windows-1252."
    ),
    "long_line": gettext_lazy("row %(row)d is longer than 16 MB."),
    "large_cell": gettext_lazy("row %(row)d, column %(column)s: the cell is larger than 1 MB."),
    "open_quote": gettext_lazy(
        'row %(row)d, column %(column)s: a quote (") opens there and is not closed where the cell ends.'
    ),
    "changed": pgettext_lazy("of a file", "it changed while it was read."),
}
