"""manage.py sandbox: a local Doppler Relay to send to and look at, for people without an account."""

import os
import sys
from argparse import REMAINDER, ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Runs the sandbox relay until Ctrl-C; all its options: python -m relay_sandbox --help"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", default="8025")
        parser.add_argument("--store", default="sandbox.sqlite3", metavar="FILE")
        parser.add_argument("--json", action="store_true", help="its first line on standard output is JSON in any case")
        parser.add_argument("more", nargs=REMAINDER, metavar="…", help="further options of relay_sandbox")

    def handle(self, *args: Any, **options: Any) -> None:
        command = [sys.executable, "-m", "relay_sandbox", "--port", options["port"], "--store", options["store"]]
        os.execv(sys.executable, command + options["more"])  # noqa: S606  (its own process, its own signals)
