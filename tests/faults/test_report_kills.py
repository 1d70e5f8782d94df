"""Reports whose processes are killed at random points: each asked once, fetched whole, and loaded once.

`REPORT_KILLS=50` in the environment makes more of them than the six of every day.
"""

import csv
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from tests.installation import Installation, kill, people
from tests.sandbox import Sandbox

KILLS = int(os.environ.get("REPORT_KILLS", "6"))
TYPES = ("deliveries", "bounces", "opens", "clicks", "spam", "unsubscribed", "sent")
# Short, so that whoever comes after a killed process need not wait for its lease.
QUICK = {
    "RELAY_LEASE_SECONDS": "2",
    "RELAY_TIMEOUT_SECONDS": "1",
    "DOPPLER_REPORTS_POLL_INITIAL_DELAY": "0.2",
    "DOPPLER_REPORTS_POLL_MAX_DELAY": "0.5",
}
PEOPLE = 2_000


def test_killed_at_any_point_a_report_is_asked_once_and_loaded_once(
    installation: Installation, sandbox: Sandbox
) -> None:
    _send(installation, sandbox)
    installation.environment |= QUICK
    rng = random.Random(os.environ.get("SEED", "11"))
    sandbox.faults(latency_ms=30, latency_spread_ms=60)
    today = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 5 * 3600))  # as in Guayaquil
    reports: list[int] = []
    killed = 0
    while killed < KILLS:
        asked = ("--type", rng.choice(TYPES), "--from", today, "--to", today)
        reports.append(int(installation.json("report", "request", *asked)["id"]))
        killed += _killed(installation, rng, "process_reports_pending")
        killed += _killed(installation, rng, "report", "load", str(rng.choice(reports)), "--database", "default")
    sandbox.faults()
    _collect_all(installation, reports)
    _load_all(installation, reports)

    assert json.loads(sandbox.ask("GET", "/reports/reportrequests"))["itemsCount"] == len(reports)
    standing = [installation.json("report", "status", str(report)) for report in reports]
    for report in standing:
        assert (report["state"], report["rows"]) == ("READY", PEOPLE), report
        (load,) = report["loads"]
        assert load["rows"] == load["inserted"] + load["updated"] + load["unchanged"] == PEOPLE
    assert sum(report["loads"][0]["inserted"] for report in standing) == PEOPLE
    files = [Path(report["file"]) for report in standing]
    assert {path.name for path in files} == set(os.listdir(files[0].parent))  # and nothing of the killed ones
    assert {len(set(_recipients(path))) for path in files} == {PEOPLE}
    assert _rows_in_table(installation) == PEOPLE


def _send(installation: Installation, sandbox: Sandbox) -> None:
    bulk_send = installation.create(sandbox.template, installation.write_file(people(PEOPLE)))
    assert installation.json("bulk", "start", str(bulk_send), "--drain")["accepted"] == PEOPLE
    time.sleep(1)  # a report ends at a whole second: one of this very second would lack the last messages


def _killed(installation: Installation, rng: random.Random, *command: str) -> int:
    process = installation.start(*command)
    time.sleep(rng.uniform(0.7, 2.5))  # a second passes before it begins to work
    running = process.poll() is None
    kill(process)
    return running


def _collect_all(installation: Installation, reports: list[int]) -> None:
    deadline = time.monotonic() + 120
    while any(_state(installation, report) != "READY" for report in reports):
        assert time.monotonic() < deadline
        done = installation.json("process_reports_pending")
        assert done["error"] == 0


def _load_all(installation: Installation, reports: list[int]) -> None:
    for report in reports:
        result = installation.run("report", "load", str(report), "--database", "default", "--json")
        # 1: a killed process had loaded it, and says so now.
        assert result.code in (0, 1), result.errors


def _state(installation: Installation, report: int) -> str:
    return str(installation.json("report", "status", str(report))["state"])


def _recipients(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row["Email"] for row in csv.DictReader(file)]


def _rows_in_table(installation: Installation) -> int:
    count = "from reports.models import Delivery; print(Delivery.objects.count())"
    result: Any = installation.run("shell", "-v0", "-c", count)
    return int(result.output)
