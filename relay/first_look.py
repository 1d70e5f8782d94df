"""What the beginning of a recipients file says, for a person to agree with or to correct. Never the whole file.

The check reads all of it, in the same way (`relay.recipients`), and knows better: an encoding that only the last row
gives away, for example.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay.file_problems import FileProblem
from relay.headers import read_header
from relay.recipients import Corrections, read_beginning
from relay.workbooks import is_workbook

HEAD = 4 << 20  # bytes; more of a text is not read
SAMPLE = 5  # rows below the header
LONGEST_CELL = 80  # characters of a cell that are shown


def look(path: Path, *, name: str, address_column: str, corrections: Corrections) -> dict[str, Any]:
    """For `Preparation.understood`: format, encoding, delimiter, header, address_column, sample, problem.

    `header` is empty where the first row holds no names, `address_column` where none is known. `problem` is the code
    and the parameters of a FileProblem, or None.
    """
    try:
        with _beginning_of(path) as head:
            file, rows = read_beginning(head, email_column=address_column or None, name=name, corrections=corrections)
    except FileProblem as problem:
        return {"problem": _as_json(problem)}
    said: dict[str, Any] = {
        "format": file.format,
        "encoding": file.encoding,
        "delimiter": file.delimiter or "",
        "sample": [[cell[:LONGEST_CELL] for cell in cells] for _number, cells in rows[1 : SAMPLE + 1]],
        "problem": None,
    }
    number, cells = rows[0]
    try:
        header, column = read_header(number, cells, address_column or None)
        said |= {"header": list(header), "address_column": header[column]}
    except FileProblem as problem:
        names = [] if problem.code == "no_header" else [cell.strip() for cell in cells]
        said |= {"header": names, "address_column": "", "problem": _as_json(problem)}
    if len(rows) < 2 and said["problem"] is None:
        said["problem"] = _as_json(FileProblem("no_rows", row=number))
    return said


@contextmanager
def _beginning_of(path: Path) -> Iterator[Path]:
    """The file itself, or the whole lines at the beginning of a large text."""
    if path.stat().st_size <= HEAD or is_workbook(path):
        yield path
        return
    with path.open("rb") as whole:
        head = whole.read(HEAD)
    # UTF-16 may be cut within a character there: two bytes more, or less, are no harm to its reader's other lines.
    head = head[: head.rfind(b"\n") + 1 or HEAD]
    if head.startswith(b"\xff\xfe") and head.endswith(b"\n"):
        head += b"\0"
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as copy:
            copy.write(head)
        yield Path(temporary)
    finally:
        os.unlink(temporary)


def _as_json(problem: FileProblem) -> dict[str, Any]:
    return {"code": problem.code, "params": problem.params}
