"""The lock file of the timer: one `process_reports_pending` on a host at a time (REPORTS_TIMER_LOCK_PATH).

Held with flock: it ends with the process, however that ends; the file itself stays and means nothing.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from django.utils.translation import gettext as _

from relay.explained import Explained


class LockUnusable(Explained):
    """The lock file cannot be opened; the text says why and which variable names it."""


@contextlib.contextmanager
def timer_lock(path: Path) -> Iterator[bool]:
    """Whether it is ours; it never waits. Raises LockUnusable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _opened(path)
    except OSError as error:
        raise LockUnusable(
            _("The lock file %(path)s cannot be opened (%(problem)s): see REPORTS_TIMER_LOCK_PATH.")
            % {"path": path, "problem": error.strerror}
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o660)
    except PermissionError:  # made by another user, say by hand as root: to lock it, reading is enough
        return os.open(path, os.O_RDONLY)
