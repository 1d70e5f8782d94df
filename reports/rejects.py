"""The file of the rows that could not be typed, beside the report that has them."""

import csv
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from reports.columns import Layout, Rejected

HEADER = ("line", "column", "reason")


def rejects_path(report_file: Path) -> Path:
    return report_file.with_name(f"{report_file.name.removesuffix('.csv')}.rejects.csv")


class Rejects:
    """The rows as they came, in the encoding of the report, each after its line, its column and the reason.

    `finish` puts the file in its place, completely; or takes one away that says what is not so, when no row was added.
    """

    def __init__(self, report_file: Path, layout: Layout) -> None:
        self.target = rejects_path(report_file)
        self.count = 0
        self._layout = layout
        self._text: io.TextIOWrapper | None = None
        self._temporary: Path | None = None

    def add(self, row: Rejected) -> None:
        text = self._text or self._begin()
        csv.writer(text).writerow((row.line, row.column, row.reason, *row.cells))
        self.count += 1

    def _begin(self) -> io.TextIOWrapper:
        encoding = self._layout.encoding
        descriptor, name = tempfile.mkstemp(dir=self.target.parent, prefix=f".{self.target.name}.")
        self._temporary = Path(name)
        handle = os.fdopen(descriptor, "wb")
        handle.write(encoding.bom)
        # Only a reason can have a character that the encoding lacks: the cells came from it.
        self._text = io.TextIOWrapper(handle, encoding=encoding.encoding, errors="replace", newline="")
        csv.writer(self._text).writerow((*HEADER, *self._layout.header))
        return self._text

    def finish(self) -> None:
        if not self._text or not self._temporary:
            self.target.unlink(missing_ok=True)
            return
        self._text.flush()
        os.fsync(self._text.fileno())
        os.fchmod(self._text.fileno(), settings.FILE_UPLOAD_PERMISSIONS)
        self._text.close()
        self._temporary.replace(self.target)
        self._temporary = None

    def abandon(self) -> None:
        """Leaves nothing of what `finish` has not put in its place."""
        if self._text and self._temporary:
            self._temporary.unlink(missing_ok=True)
            with suppress(OSError):  # the disk is full, which was said: what the buffer holds is wanted no more
                self._text.close()


@contextmanager
def rejects_of(report_file: Path, layout: Layout) -> Iterator[Rejects]:
    rejects = Rejects(report_file, layout)
    try:
        yield rejects
    finally:
        rejects.abandon()
