"""What the benchmarks share: an installation set as in production, what a command takes, the table."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests import postgres
from tests.installation import Installation, new_database

# With DEBUG Django keeps the text of every statement, which costs time and memory that production does not pay.
PRODUCTION = {"DEBUG": "False", "SECRET_KEY": "only-for-measuring-" * 3, "LOG_LEVEL": "WARNING"}


@contextlib.contextmanager
def new_installation(*, sqlite: bool = False, durable: bool = True) -> Iterator[Installation]:
    """With an empty database; on PostgreSQL its commits reach the disk, unless only reading is measured."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-bench-")))
        if sqlite:
            os.environ["USE_SQLITE"] = "1"
        else:
            say("starting PostgreSQL")
            os.environ |= stack.enter_context(postgres.server(durable=durable)).environment("postgres")
        yield Installation(folder, {**stack.enter_context(new_database(folder)), **PRODUCTION})


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command that succeeded."""

    result: dict[str, Any]
    seconds: float
    peak_mb: float  # its own memory; NaN where the system does not tell


def run(installation: Installation, *arguments: str, **environment: str) -> Run:
    started = time.perf_counter()
    process = installation.start(*arguments, "--json", **environment)
    peak = float("nan")
    # Looked at while it runs (the mark only rises): what the system accounts for an ended child includes what its
    # parent had when it started it.
    while True:
        with contextlib.suppress(OSError, TypeError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, errors = process.communicate(timeout=0.1)
            break
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"bench: manage.py {' '.join(arguments)} failed:\n{output}{errors}")
    return Run(json.loads(output), seconds, peak)


def use_django(installation: Installation) -> None:
    """The product's own modules may be imported in this process after that."""
    os.environ |= installation.environment
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django

    django.setup()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a sample for each repetition, and of the ceiling measured beside it."""

    work: str
    unit: str
    samples: Sequence[float]
    ceiling: Sequence[float] = ()
    goal: float | None = None  # the least share of the ceiling
    at_most: float | None = None  # or the highest value
    at_least: float | None = None  # or the lowest

    def __str__(self) -> str:
        value = median(self.samples)
        text = f"{self.work:42}{value:9,.0f} {self.unit:8}{_spread(self.samples):>5}"
        if self.ceiling:
            # Each repetition against its own ceiling: what disturbed one disturbed the other.
            share = median(sample / limit for sample, limit in zip(self.samples, self.ceiling, strict=True))
            text += f"{median(self.ceiling):11,.0f}{_spread(self.ceiling):>8}{share:8.2f}"
            text += "" if self.goal is None else f"   ≥ {self.goal:.2f} {_verdict(share >= self.goal)}"
        if self.at_least is not None:
            text += f"{'' if self.ceiling else ' ' * 27}   ≥ {self.at_least:,.0f} {_verdict(value >= self.at_least)}"
        elif self.at_most is not None:
            text += f"{'':30}≤ {self.at_most:.0f} {_verdict(value <= self.at_most)}"
        return text


def show(lines: Sequence[Line]) -> None:
    print(f"\n{'':42}{'median':>9}{'spread':>14}{'ceiling':>11}{'spread':>8}{'share':>8}   goal", *lines, sep="\n")


def _spread(samples: Sequence[float]) -> str:
    return f"{(max(samples) - min(samples)) / median(samples):.0%}" if max(samples) > min(samples) else "—"


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
