"""What all our commands share: `--json`, one line for each failure, a progress bar, an end on SIGTERM."""

import asyncio
import gc
import json
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError
from django.utils.translation import gettext as _
from tqdm import tqdm

from relay.calling import Tally
from relay.creating import Refused
from relay.explained import Explained


class Unfinished(Explained):
    """The command did something and still ends with 1: `result` is told all the same, with the sentence as `error`."""

    def __init__(self, sentence: str, result: dict[str, Any]) -> None:
        super().__init__(sentence)
        self.result = result


class ExplainedCommand(BaseCommand):
    """Exit 0 with a result, or 1 with a sentence; with `--json` one object on standard output and nothing else."""

    # Django's own checks write to the database (on SQLite they would wait for an import to end).
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help=_("One JSON object on standard output."))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _refuse_undecodable(options)
            self._tell(self.run(options), options)
        except Unfinished as problem:
            self._tell(problem.result | ({"error": str(problem)} if options["json"] else {}), options)
            self.stderr.write(str(problem))
            sys.exit(1)
        except (Explained, OSError) as problem:
            self._fail(str(problem), options)
        except DatabaseError as problem:
            # The first line only: the rest may quote a row.
            first_line = str(problem).partition("\n")[0]
            self._fail(
                _("The database cannot be used (%(problem)s). Is it running, and migrated (manage.py migrate)?")
                % {"problem": first_line},
                options,
            )

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        """Does it, and returns what is told of it. Raises what is explained; Unfinished where there is both."""
        raise NotImplementedError

    def _tell(self, result: dict[str, Any], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(result, ensure_ascii=False, default=str))
        else:
            for line in self.describe(result):
                self.stdout.write(line)

    def describe(self, result: dict[str, Any]) -> list[str]:
        """The result as lines for a person."""
        return [f"{key}: {value}" for key, value in result.items() if value not in (None, "", {}, [])]

    def _fail(self, sentence: str, options: dict[str, Any]) -> None:
        # One line, whatever a header or a file name contains.
        sentence = "".join(character if character.isprintable() else " " for character in sentence)
        if options["json"]:
            self.stdout.write(json.dumps({"error": sentence}, ensure_ascii=False))
        self.stderr.write(sentence)
        sys.exit(1)


class TimerCommand(ExplainedCommand):
    """A command that timers run: `switch`, a setting, turns it off for them; --force does it all the same."""

    switch: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--force", action="store_true", help=f"even with {self.switch}=False")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        if not (getattr(settings, self.switch) or options["force"]):
            told = _("%(switch)s is off: nothing done (--force does it all the same).") % {"switch": self.switch}
            self.stderr.write(told)
            return self.nothing_done()
        return self.work()

    def nothing_done(self) -> dict[str, Any]:
        raise NotImplementedError

    def work(self) -> dict[str, Any]:
        """As `run`."""
        raise NotImplementedError


def _refuse_undecodable(options: dict[str, Any]) -> None:
    """Arguments that are not UTF-8 reach Python as half characters, which neither database nor JSON can hold."""
    for value in options.values():
        texts = str(value) if isinstance(value, str | Path) else repr(value) if isinstance(value, list) else ""
        if "\\udc" in texts or any("\udc80" <= character <= "\udcff" for character in texts):
            raise Refused(_("An argument or a file name is not UTF-8: rename it."))


def run_until_signal[R](work: Callable[[asyncio.Event], Awaitable[R]]) -> R:
    """Runs `work`; SIGTERM and SIGINT set its event, so that it ends cleanly by itself."""
    # What Django loaded stays for good: looking through it again and again costs a tenth of the sending rate.
    gc.collect()
    gc.freeze()

    async def main() -> R:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    return asyncio.run(main())


class SendingBar:
    """A progress bar on a terminal: rate, accepted, refused, unknown, time left. Elsewhere nothing."""

    def __init__(self, total: int, label: str) -> None:
        self._before = Tally()
        self._so_far = Tally()
        self._bar = tqdm(total=total, desc=label, unit=" msg", file=sys.stderr, disable=not sys.stderr.isatty())

    def __enter__(self) -> "SendingBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def next_turn(self) -> "SendingBar":
        """What comes counts from 0 again, and adds to what was."""
        self._before += self._so_far
        self._so_far = Tally()
        return self

    def __call__(self, tally: Tally, in_flight: int) -> None:
        if self._bar.disable:
            return
        self._so_far = tally
        tally = Tally() + self._before + tally
        self._bar.n = tally.accepted + tally.refused + tally.unknown
        self._bar.set_postfix(
            {
                str(_("accepted")): tally.accepted,
                str(_("refused")): tally.refused,
                str(_("unknown")): tally.unknown,
                str(_("in flight")): in_flight,
            },
            refresh=False,
        )
        self._bar.update(0)


class CountingBar:
    """A progress bar on a terminal over things that are counted. Elsewhere nothing."""

    def __init__(self, label: str, unit: str) -> None:
        self._bar = tqdm(total=None, desc=label, unit=f" {unit}", file=sys.stderr, disable=not sys.stderr.isatty())

    def __enter__(self) -> "CountingBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, done: int, total: int, **notes: object) -> None:
        if self._bar.disable:
            return
        self._bar.total = total
        self._bar.n = done
        if notes:
            self._bar.set_postfix(notes, refresh=False)
        self._bar.refresh()
