"""Something small that is repeated beside the work of a thread: signs of life, how far it is."""

import threading
from collections.abc import Callable
from typing import Self

from django.db import connections


class Beside:
    """Does `work` every so many seconds, by database connections of its own, until the block ends or it says False."""

    def __init__(self, work: Callable[[], bool], *, every: float, possible: bool = True) -> None:
        self._work = work
        self._every = every
        self._ended = threading.Event()
        # Who called us within a transaction shows nobody anything.
        possible = possible and not connections["default"].in_atomic_block
        self._thread = threading.Thread(target=self._repeat, daemon=True) if possible else None

    def __enter__(self) -> Self:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _repeat(self) -> None:
        try:
            while not self._ended.wait(self._every) and self._work():
                pass
        finally:
            connections.close_all()
