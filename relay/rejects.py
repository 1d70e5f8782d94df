"""Rejected rows, written in the layout of the file they came from."""

import codecs
import csv
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, count, groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, TextIO

from relay.recipients import RecipientsFile, read_rows


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
