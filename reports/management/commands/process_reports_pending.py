"""manage.py process_reports_pending: the timer's command. Safe to run from several processes and hosts at once."""

import asyncio
from functools import partial
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from relay.books import Books
from relay.management.base import CountingBar, TimerCommand, run_until_signal
from reports.collecting import Collected, collect_pending, standing
from reports.loading import load_waiting
from reports.models import LoadRequest
from reports.requesting import request_due
from reports.timer_lock import timer_lock


class Command(TimerCommand):
    help = "Asks for the reports that are due, collects all that are pending, and makes the loads that wait."
    switch = "REPORTS_TIMER_ENABLED"

    def nothing_done(self) -> dict[str, Any]:
        return _result(Collected())

    def work(self) -> dict[str, Any]:
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
