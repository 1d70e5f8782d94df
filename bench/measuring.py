"""What the benchmarks share: an installation set as in production, what a command takes, medians, the table."""

import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import postgres
from tests.installation import Installation, new_database

# With DEBUG Django keeps the text of every statement, which costs time and memory that production does not pay.
PRODUCTION = {"DEBUG": "False", "SECRET_KEY": "only-for-measuring-" * 3, "LOG_LEVEL": "WARNING"}


@contextlib.contextmanager
def new_installation(*, sqlite: bool = False) -> Iterator[Installation]:
    """With an empty database; on PostgreSQL its commits reach the disk."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-bench-")))
        if sqlite:
            os.environ["USE_SQLITE"] = "1"
        else:
            say("starting PostgreSQL")
            os.environ |= stack.enter_context(postgres.server(durable=True)).environment("postgres")
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
    # Looked at while it runs (the mark only rises): the system's account of ended children includes what the
    # parent had when it started them.
    while True:
        with contextlib.suppress(OSError, TypeError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]
        try:
            output, errors = process.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            continue
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"bench: manage.py {' '.join(arguments)} failed:\n{output}{errors}")
        return Run(json.loads(output), seconds, peak)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: the samples of all repetitions, and of the ceiling measured between them."""

    work: str
    unit: str
    samples: Sequence[float]
    ceiling: Sequence[float] = ()
    goal: float | None = None  # the least share of the ceiling
    at_most: float | None = None  # or the highest value

    def __str__(self) -> str:
        value = statistics.median(self.samples)
        text = f"{self.work:48}{value:9,.0f} {self.unit:7}{_spread(self.samples):>5}"
        if self.ceiling:
            share = value / statistics.median(self.ceiling)
            text += f"{statistics.median(self.ceiling):11,.0f}{_spread(self.ceiling):>6}{share:8.3f}"
            if self.goal is not None:
                text += f"  ≥ {self.goal:.2f} {_verdict(share >= self.goal)}"
        elif self.at_most is not None:
            text += f"{'':25}  ≤ {self.at_most:.0f} {_verdict(value <= self.at_most)}"
        return text


def show(lines: Sequence[Line]) -> None:
    print(f"\n{'':48}{'median':>9}{'spread':>13}{'ceiling':>11}{'spread':>6}{'share':>8}  goal")
    for line in lines:
        print(line)


def _spread(samples: Sequence[float]) -> str:
    if len(samples) < 2:
        return "—"
    return f"{(max(samples) - min(samples)) / statistics.median(samples):.0%}"


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
