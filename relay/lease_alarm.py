"""Nothing leaves this process under a lease whose time is up, even if it was stopped in the middle of a call.

A process may sleep (SIGSTOP, a debugger, a frozen container) between the last look at its lease and the first byte of
a call. The kernel's timer goes on meanwhile: its signal is handled before the process does anything else, and the
handler closes the sending side of every connection. Answers can still be read.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

import structlog

log = structlog.get_logger(__name__)


class LeaseAlarm:
    """As a context manager around the calls; works in the main thread, where Python handles signals."""

    def __init__(self, stop_writing: Callable[[], None]) -> None:
        self._stop_writing = stop_writing
        self._works = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._works:
            self._before = signal.signal(signal.SIGALRM, self._ring)
        else:
            log.warning("no_lease_alarm", reason="not in the main thread")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._works:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def set(self, seconds: float) -> None:
        """Rings in so many seconds, instead of when it was set for before."""
        if self._works:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))

    def off(self) -> None:
        if self._works:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self._stop_writing()
