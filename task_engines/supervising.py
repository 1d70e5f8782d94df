"""`manage.py worker`: a child process for each queue, and between them what has to be done every few seconds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

import structlog
from django.db import DatabaseError, connection

from task_engines.engine import engine

log = structlog.get_logger(__name__)

TICK_SECONDS = 5.0
PRUNE_SECONDS = 3600.0
# A child that died at once is started again after so long, not in a loop.
RESTART_SECONDS = 2.0


class Supervisor:
    """Runs until SIGTERM; then waits for the children to end what they have begun. A second signal cuts them off."""

    def __init__(self, queues: Sequence[str], ticks: Sequence[Callable[[], None]]) -> None:
        self._queues = queues
        self._ticks = ticks
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._signals = 0

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        next_tick = next_prune = 0.0
        while not self._signals:
            self._keep_children()
            if time.monotonic() >= next_tick:
                for work in (*self._ticks, self._requeue_lost):
                    self._safely(work)
                next_tick = time.monotonic() + TICK_SECONDS
            if time.monotonic() >= next_prune:
                self._safely(engine().prune)
                next_prune = time.monotonic() + PRUNE_SECONDS
            time.sleep(0.2)
        for child in self._children.values():
            child.wait()

    def _requeue_lost(self) -> None:
        if lost := engine().requeue_lost():
            log.warning("jobs_of_lost_workers_queued_again", jobs=lost)

    def _safely(self, work: Callable[[], object]) -> None:
        """A database that is away for a while, or a fault of ours, ends no worker."""
        try:
            work()
        except DatabaseError as error:
            log.warning("database_away", error=type(error).__name__)
            connection.close()
        except Exception as error:
            log.exception("tick_failed", error=type(error).__name__)

    def _keep_children(self) -> None:
        for queue in self._queues:
            child = self._children.get(queue)
            if child is not None and child.poll() is None:
                continue
            if time.monotonic() < self._started.get(queue, float("-inf")) + RESTART_SECONDS:
                continue
            if child is not None:
                log.warning("queue_started_again", queue=queue, code=child.returncode)
            command = [sys.executable, sys.argv[0], "worker", "--queue", queue, "--parent", str(os.getpid())]
            # A session of its own: Ctrl-C reaches the children through us, once.
            self._children[queue] = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
            self._started[queue] = time.monotonic()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        for child in self._children.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)
