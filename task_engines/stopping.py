"""A worker's SIGTERM, as its running job sees it."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

_requested = False
_wakers: set[Callable[[], None]] = set()


def request() -> None:
    """Jobs end as soon as they can, and none begins after them. For the main thread, where signals are handled."""
    global _requested
    _requested = True
    for wake in list(_wakers):
        wake()


def is_requested() -> bool:
    return _requested


@contextlib.contextmanager
def stop_event() -> Iterator[asyncio.Event]:
    """Is set when this worker is to stop."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(event.set)

    _wakers.add(wake)
    try:
        if _requested:
            event.set()
        yield event
    finally:
        _wakers.discard(wake)


def follow(parent: int) -> None:
    """Stops this process, as SIGTERM does, when its parent is gone: nobody would end it any more."""

    def watch() -> None:
        while os.getppid() == parent:
            pause.wait(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    pause = threading.Event()
    threading.Thread(target=watch, name="follow-parent", daemon=True).start()
