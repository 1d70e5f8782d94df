"""manage.py process_bulk_scheduled: the timer's command. Safe to run from several processes and hosts at once."""

from argparse import ArgumentParser
from contextlib import ExitStack
from functools import partial
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from relay.calling import Progress
from relay.management.base import ExplainedCommand, SendingBar, run_until_signal
from relay.models import BulkSend
from relay.scheduling import work_until_idle


class Command(ExplainedCommand):
    help = "Takes over what lost workers held, starts and settles what is due, and sends until nothing is left to do."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="even with BULK_SCHEDULER_ENABLED=False")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if not (settings.BULK_SCHEDULER_ENABLED or options["force"]):
            self.stderr.write(_("BULK_SCHEDULER_ENABLED is off: nothing done (--force does it all the same)."))
            return {"started": 0, "accepted": 0, "refused": 0, "unknown": 0}
        with ExitStack() as stack:
            bars = _Bars(stack)
            done = run_until_signal(partial(work_until_idle, progress_of=bars.of))
        result: dict[str, Any] = {
            "started": done.started,
            "accepted": done.tally.accepted,
            "refused": done.tally.refused,
            "unknown": done.tally.unknown,
        }
        for sentence in done.warnings:
            self.stderr.write(sentence)
        if done.failures:
            result["error"] = " ".join(done.failures)
        return result


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
