"""The files of reports: their names, how one is written so that it is there whole or not at all, what killed runs left.

All of it below ATTACHMENTS_ROOT/reports, which may be a symbolic link or another volume: the temporary file of a
download lies in the same folder, so that it can be renamed.
"""

import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from reports.models import GeneratedReport

FOLDER = "reports"
_PARTIAL = re.compile(r"\.[a-z]+_[0-9-]{10}_[0-9-]{10}_[0-9a-f-]{36}\.csv\.([0-9a-f]{32})\.part", re.ASCII)
# What `reports.rejects` was writing. Nobody knows whose load goes on, so it must have been left alone for a day.
_PARTIAL_REJECTS = re.compile(r"\..+\.rejects\.csv\.[a-z0-9_]{8}", re.ASCII)
DAY_SECONDS = 86_400.0


def name_of(report: GeneratedReport) -> str:
    """Relative to ATTACHMENTS_ROOT; no other report has it."""
    return f"{FOLDER}/{report.type}_{report.first_day}_{report.last_day}_{report.uuid}.csv"


class PartialFile:
    """A file that is being written, under a name that says so. Its methods raise OSError: disk full, no permission."""

    def __init__(self, path: Path, target: Path, file: BinaryIO) -> None:
        self.path = path
        self.target = target
        self.size = 0
        self._hash = hashlib.sha256()
        self._file = file

    def write(self, piece: bytes) -> None:
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    def complete(self) -> None:
        """All of it is on the disk. May take a while."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def put_in_place(self) -> None:
        """Under its final name, whatever was there before. Bears to be repeated."""
        try:
            os.replace(self.path, self.target)
        except FileNotFoundError:
            if not self.target.exists():  # else we did it, and the commit after it failed
                raise
        _sync_folder(self.target.parent)


@contextlib.contextmanager
def partial_file(report: GeneratedReport) -> Iterator[PartialFile]:
    """Gone at the end unless it was put in place. Raises OSError."""
    target = Path(settings.ATTACHMENTS_ROOT, name_of(report))
    path = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("xb")
    try:
        if settings.FILE_UPLOAD_PERMISSIONS is not None:
            os.fchmod(file.fileno(), settings.FILE_UPLOAD_PERMISSIONS)
        yield PartialFile(path, target, file)
    finally:
        with contextlib.suppress(OSError):  # what was still to be written is not wanted: `complete` writes what is
            file.close()
        path.unlink(missing_ok=True)


def leftovers(older_than_seconds: float) -> Iterator[Path]:
    """Partial files that nobody has written to for so long."""
    folder = Path(settings.ATTACHMENTS_ROOT, FOLDER)
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            rejects = _PARTIAL_REJECTS.fullmatch(entry.name)
            if (rejects or _PARTIAL.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False):
                try:
                    age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                except FileNotFoundError:
                    continue  # its writer is done with it
                if age > max(older_than_seconds, DAY_SECONDS if rejects else 0.0):
                    yield Path(entry.path)


def remove_leftovers(older_than_seconds: float, besides: Collection[str]) -> int:
    """Removes what killed runs left. `besides` are parts of names: of reports that somebody collects just now."""
    removed = 0
    for path in leftovers(older_than_seconds):
        if not any(part in path.name for part in besides):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
