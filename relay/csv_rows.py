"""CSV text → rows with their numbers; a quote that swallows rows and a cell that is too large are found on the way."""

import csv
import enum
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from relay.file_problems import MAX_CELL, FileProblem, column_letter

DELIMITERS = ";,\t|"

csv.field_size_limit(MAX_CELL)  # global to the process: nothing else may change it


def csv_rows(text: TextIO, delimiter: str, above: int = 0) -> Iterator[tuple[int, list[str]]]:
    """The rows with their numbers, from the header on; those without any text are left out.

    `above` lines were taken from the text before.
    """
    taken: list[str] = []  # the lines of the row being read
    unfinished = False

    def noted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal unfinished
        for line in lines:
            taken.append(line)
            yield line
        unfinished = True  # the reader asked for more: if a row comes still, it ends within quotes

    number = above
    reader = csv.reader(noted(text), delimiter=delimiter)
    try:
        for cells in reader:
            number += 1
            if len(taken) > 1 or unfinished:
                _check_quotes(taken, delimiter, number, unfinished)
            taken.clear()
            if (cells and cells[0].strip()) or not is_blank(cells):
                yield number, cells
    except csv.Error:
        raise _large_cell(taken, delimiter, number + 1) from None


def is_blank(cells: Sequence[str]) -> bool:
    return not any(cell and not cell.isspace() for cell in cells)


def _check_quotes(lines: Sequence[str], delimiter: str, number: int, unfinished: bool) -> None:
    """In a row of several lines every quoted cell of several lines must end with its quote.

    Where it does not, a quote opened by mistake has joined rows: their recipients would be lost without a word, and
    their data might be written to somebody else. Within one line nothing is lost, and csv's tolerance is ours.
    """
    column = 0
    for column, cell, ending in _raw_cells("".join(lines), delimiter):
        if ending is _Ending.OPEN or (ending is _Ending.TEXT and has_line_break(cell)):
            raise FileProblem("open_quote", row=number, column=column_letter(column))
    if unfinished:
        raise FileProblem("open_quote", row=number, column=column_letter(column))


def _large_cell(lines: Sequence[str], delimiter: str, number: int) -> FileProblem:
    column = 0
    for column, cell, ending in _raw_cells("".join(lines), delimiter):
        if len(cell) > MAX_CELL:
            swallowed = ending is not _Ending.NONE and has_line_break(cell)
            return FileProblem("open_quote" if swallowed else "large_cell", row=number, column=column_letter(column))
    return FileProblem("large_cell", row=number, column=column_letter(column))


def has_line_break(text: str) -> bool:
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
