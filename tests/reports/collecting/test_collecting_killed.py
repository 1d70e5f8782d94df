"""Collectors are killed again and again at random points: each report is asked for once, each file is whole.

REPORT_KILLS=50 for a longer run.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executioner import Ledger
from tests.installation import Installation
from tests.reports.collecting.sent import send
from tests.sandbox import Sandbox

KILLS = int(os.environ.get("REPORT_KILLS", "6"))

# Half of them are of one period: a lost request of theirs must not be taken for another's.
MAKE = """
from datetime import timedelta
from django.utils import timezone
from reports.models import GeneratedReport
moment = timezone.now().replace(microsecond=0)
GeneratedReport.objects.bulk_create(GeneratedReport(
    type='deliveries', first_day=moment.date(), last_day=moment.date(),
    starts_at=moment - timedelta(hours=12, seconds=number // 2 * (number % 2)), ends_at=moment,
) for number in range({count}))
"""


class Victims:
    """Two collectors that are started again whenever they end, on hosts of their own."""

    def __init__(self, installation: Installation, environment: dict[str, str]) -> None:
        self.installation = installation
        self.environment = environment
        self.processes: list[subprocess.Popen[bytes] | None] = [None, None]
        self.log = installation.folder / "collectors.log"

    def keep(self) -> None:
        for number, process in enumerate(self.processes):
            if process is None or process.poll() is not None:
                lock = str(self.installation.folder / f"host-{number}.lock")
                with self.log.open("ab") as log:
                    self.processes[number] = self.installation.start_logged(
                        log, "process_reports_pending", "--json", REPORTS_TIMER_LOCK_PATH=lock, **self.environment
                    )

    def kill(self, pid: int) -> bool:
        for process in self.processes:
            if process is not None and process.pid == pid and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=60)
                return True
        return False

    def end(self) -> None:
        for process in self.processes:
            if process is not None:
                process.kill()
                process.wait(timeout=60)


@pytest.fixture
def victims(installation: Installation) -> Iterator[Victims]:
    victims = Victims(
        installation,
        {
            "DOPPLER_REPORTS_POLL_INITIAL_DELAY": "0.1",
            "DOPPLER_REPORTS_POLL_MAX_DELAY": "0.3",
            "DOPPLER_REPORTS_TIMEOUT": "1",
            "RELAY_TIMEOUT_SECONDS": "1",
            "RELAY_LEASE_SECONDS": "1.5",
            "REPORTS_AUTO_ENABLED": "False",
        },
    )
    yield victims
    victims.end()


@pytest.fixture
def ledger(installation: Installation) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(installation.environment)) as ledger:
        yield ledger


def test_killed_at_random_points_each_report_is_asked_for_once_and_whole(
    installation: Installation, sandbox: Sandbox, victims: Victims, ledger: Ledger
) -> None:
    chance = random.Random(KILLS)
    send(sandbox, 5)
    count = max(KILLS * 3, 45)  # enough for the kills to find something under way
    made = installation.run("shell", "-v0", "-c", MAKE.format(count=count))
    assert made.code == 0, made.errors
    # Every step takes a while, so that there is something to interrupt.
    sandbox.faults(latency_ms=120, latency_spread_ms=100)
    kills: list[str] = []
    deadline = time.monotonic() + 60 + KILLS * 12

    while not _finished(ledger) and time.monotonic() < deadline:
        victims.keep()
        if len(kills) < KILLS and _holding(ledger):
            time.sleep(chance.uniform(0.0, 1.2))
            holding = _holding(ledger)
            # Mostly in the middle of something, and now and then just after it was taken.
            busy = [one for one in holding if one[1] != "taken"]
            candidates = busy if busy and chance.random() < 0.8 else holding
            if candidates:
                pid, _step = chance.choice(candidates)
                steps = {step for victim, step in holding if victim == pid}
                if victims.kill(pid):
                    kills.append(" and ".join(sorted(steps)))
        time.sleep(0.05)
    victims.end()

    assert _finished(ledger)
    assert len(kills) == KILLS, kills
    numbers = [number for (number,) in ledger.rows("SELECT request_id FROM reports_generatedreport")]
    assert len(set(numbers)) == count
    assert len(_requests_made(sandbox)) == count  # as many as there are reports: none was asked for twice
    _collect_one_more(installation, victims)
    _check_files(ledger, installation)
    assert b"Traceback" not in victims.log.read_bytes()
    print(f"killed while: {sorted(kills)}")


def _collect_one_more(installation: Installation, victims: Victims) -> None:
    """Whoever collects after the leases of the killed have run out removes what they left."""
    time.sleep(float(victims.environment["RELAY_LEASE_SECONDS"]) + 0.5)
    assert installation.run("shell", "-v0", "-c", MAKE.format(count=1)).code == 0
    assert installation.run("process_reports_pending", **victims.environment).code == 0


def _requests_made(sandbox: Sandbox) -> list[str]:
    """All pages of the relay's list."""
    found: list[str] = []
    while True:
        page = json.loads(
            sandbox.ask("GET", f"/reports/reportrequests?per_page=200&page={len(found) // 200 + 1}").decode()
        )
        found += [item["name"] for item in page["items"]]
        if len(found) >= page["itemsCount"]:
            return found


def _finished(ledger: Ledger) -> bool:
    ((left,),) = ledger.rows("SELECT count(*) FROM reports_generatedreport WHERE state <> 'READY'")
    return not left


def _holding(ledger: Ledger) -> list[tuple[int, str]]:
    """Processes that collect something, and how far that is."""
    rows = ledger.rows(
        "SELECT collector, asked_at, request_id FROM reports_generatedreport"
        " WHERE state IN ('PENDING', 'PROCESSING') AND collector_until IS NOT NULL"
    )
    return [
        (int(collector.split(":")[-2]), "polling" if number else "asking" if asked else "taken")
        for collector, asked, number in rows
    ]


def _check_files(ledger: Ledger, installation: Installation) -> None:
    root = installation.folder / "attachments"
    described = ledger.rows('SELECT file, size, sha256, "rows" FROM reports_generatedreport')
    assert {rows for _file, _size, _sha256, rows in described} == {5}
    for file, size, sha256, _rows in described:
        content = (root / file).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
    assert {Path(file).name for file, *_ in described} == {path.name for path in (root / "reports").iterdir()}
