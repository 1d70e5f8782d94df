"""manage.py worker: runs the configured background engine (TASKS_ENGINE) until SIGTERM."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from relay.creating import Refused
from relay.management.base import ExplainedCommand
from task_engines import stopping, ticking
from task_engines.engine import engine
from task_engines.supervising import Supervisor

QUEUES = list(settings.TASKS["default"]["QUEUES"])


class Command(ExplainedCommand):
    help = "Runs background work until SIGTERM: a process for each queue, and what is due every few seconds."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--queues", default=",".join(QUEUES), help="comma-separated; default: all of them")
        parser.add_argument("--queue", help="this one only, in this process, without what is due (for supervisors)")
        parser.add_argument("--parent", type=int, help="end when this process is gone")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        queues = [options["queue"]] if options["queue"] else options["queues"].split(",")
        for queue in queues:
            if queue not in QUEUES:
                raise Refused(
                    _("There is no queue %(name)s; there are: %(all)s.") % {"name": queue, "all": ", ".join(QUEUES)}
                )
        if options["parent"]:
            stopping.follow(options["parent"])
        if options["queue"]:
            engine().run_worker(queues)
        else:
            Supervisor(queues, ticking.registered()).run()
        return {"queues": queues}
