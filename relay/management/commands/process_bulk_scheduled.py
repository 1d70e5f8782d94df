"""manage.py process_bulk_scheduled: the timer's command. Safe to run from several processes and hosts at once."""

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from relay import ledger, sending
from relay.management.base import ExplainedCommand, SendingBar, run_until_signal
from relay.models import BulkSend


class Command(ExplainedCommand):
    help = "Takes over what lost workers held, starts what is due, and sends until nothing is left to do now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help="even with BULK_SCHEDULER_ENABLED=False")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if not (settings.BULK_SCHEDULER_ENABLED or options["force"]):
            self.stderr.write(_("BULK_SCHEDULER_ENABLED is off: nothing done (--force does it all the same)."))
            return {"started": 0, "accepted": 0, "refused": 0, "unknown": 0}
        lost = sending.take_over_expired()
        started = ledger.start_due()
        ledger.lift_pauses()
        tally, failures = run_until_signal(_send_all)
        result: dict[str, Any] = {
            "started": len(started),
            "accepted": tally.accepted,
            "refused": tally.refused,
            "unknown": tally.unknown + lost,
        }
        if failures:
            result["error"] = " ".join(dict.fromkeys(failures))
        return result


async def _send_all(stop: asyncio.Event) -> tuple[sending.Tally, list[str]]:
    """One bulk send that cannot go on now keeps no other waiting; what it said is told at the end."""
    done = sending.Tally()
    failures = []
    for bulk_send in await asyncio.to_thread(lambda: list(BulkSend.objects.open_to_workers())):
        if stop.is_set():
            break
        with SendingBar(bulk_send.total - bulk_send.excluded_at_creation, bulk_send.name) as bar:
            try:
                done += await sending.drain(bulk_send.pk, stop=stop, progress=bar)
            except (sending.RelayOutOfReach, ledger.LeaseLost) as problem:
                failures.append(str(problem))
    return done, failures
