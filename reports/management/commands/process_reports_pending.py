"""manage.py process_reports_pending: the timer's command. Safe to run from several processes and hosts at once."""

import asyncio
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from relay.books import Books
from relay.management.base import CountingBar, ExplainedCommand, run_until_signal
from reports.collecting import Collected, collect_pending, standing
from reports.loading import load_waiting
from reports.models import LoadRequest
from reports.requesting import request_due
from reports.timer_lock import timer_lock


class Command(ExplainedCommand):
    help = "Asks for the reports that are due, collects all that are pending, and makes the loads that wait."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="even with REPORTS_TIMER_ENABLED=False")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if not (settings.REPORTS_TIMER_ENABLED or options["force"]):
            self.stderr.write(_("REPORTS_TIMER_ENABLED is off: nothing done (--force does it all the same)."))
            return _result(Collected())
        with timer_lock(settings.REPORTS_TIMER_LOCK_PATH) as ours:
            if not ours:
                self.stderr.write(_("Another process_reports_pending is running on this host: all is left to it."))
                now = standing()
                return _result(Collected(left_to_others=now.left_to_others + now.waiting))
            with CountingBar(_("Reports"), _("reports")) as bar:
                collected, loads = run_until_signal(partial(_work, bar))
        if collected.problem:
            self.stderr.write(collected.problem)
        if collected.left_to_others:
            self.stderr.write(
                _("%(count)d reports are collected by other processes: left to them.")
                % {"count": collected.left_to_others}
            )
        return _result(collected, loads)

    def failure_in(self, result: dict[str, Any]) -> str:
        return ""  # `error` counts reports


async def _work(bar: CountingBar, stop: asyncio.Event) -> tuple[Collected, list[LoadRequest]]:
    async with Books() as books:
        await books(request_due)
        collected = await collect_pending(stop=stop, progress=partial(_show, bar))
        return collected, await books(load_waiting, stop=stop.is_set)


def _show(bar: CountingBar, collected: Collected) -> None:
    bar.show(
        collected.ready + collected.error,
        collected.taken,
        **{_("ready"): collected.ready, _("error"): collected.error},
    )


def _result(collected: Collected, loads: list[LoadRequest] | None = None) -> dict[str, Any]:
    return {
        "ready": collected.ready,
        "error": collected.error,
        "waiting": collected.waiting,
        "left_to_others": collected.left_to_others,
        "loaded": sum(1 for request in loads or [] if request.state == LoadRequest.State.DONE),
    }
