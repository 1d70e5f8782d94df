"""manage.py process_bulk_scheduled: the timer's command. Safe to run from several processes and hosts at once."""

from contextlib import ExitStack
from functools import partial
from typing import Any

from relay.calling import Progress
from relay.management.base import SendingBar, TimerCommand, Unfinished, run_until_signal
from relay.models import BulkSend
from relay.scheduling import Done, work_until_idle


class Command(TimerCommand):
    help = "Takes over what lost workers held, starts and settles what is due, and sends until nothing is left to do."
    switch = "BULK_SCHEDULER_ENABLED"

    def nothing_done(self) -> dict[str, Any]:
        return _result(Done())

    def work(self) -> dict[str, Any]:
        with ExitStack() as stack:
            bars = _Bars(stack)
            done = run_until_signal(partial(work_until_idle, progress_of=bars.of))
        for sentence in done.warnings:
            self.stderr.write(sentence)
        if done.failures:
            raise Unfinished(" ".join(done.failures), _result(done))
        return _result(done)


def _result(done: Done) -> dict[str, Any]:
    tally = done.tally
    return {
        "started": done.started,
        "accepted": tally.accepted,
        "refused": tally.refused,
        "unknown": tally.unknown,
    }


class _Bars:
    """A progress bar for each bulk send, however often it takes its turn."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._bars: dict[int, SendingBar] = {}

    def of(self, bulk_send: BulkSend) -> Progress:
        if bulk_send.pk not in self._bars:
            left = bulk_send.total - bulk_send.excluded_at_creation
            self._bars[bulk_send.pk] = self._stack.enter_context(SendingBar(left, bulk_send.name))
        return self._bars[bulk_send.pk].next_turn()
