"""Reports by a worker: what is requested is collected and loaded without a timer, on each engine."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.executioner import Ledger
from tests.installation import Installation
from tests.reports.collecting.sent import send
from tests.sandbox import Sandbox

ENGINES = ["db", "procrastinate"] if os.environ.get("USE_SQLITE") == "0" else ["db"]
TODAY = datetime.now(UTC).date()
DAYS = ("--from", str(TODAY - timedelta(days=1)), "--to", str(TODAY))
Made = Callable[[], list[dict[str, Any]]]


@pytest.fixture(params=ENGINES)
def installation(request: pytest.FixtureRequest, installation: Installation) -> Installation:
    installation.environment |= {
        "TASKS_ENGINE": request.param,
        "DOPPLER_REPORTS_POLL_INITIAL_DELAY": "0.5",
        "DOPPLER_REPORTS_POLL_MAX_DELAY": "1",
        "DOPPLER_REPORTS_TIMEOUT": "2",
        "TIME_ZONE": "UTC",
    }
    return installation


@contextlib.contextmanager
def running_worker(installation: Installation) -> Iterator[subprocess.Popen[str]]:
    worker = installation.start("worker", "--queues", "reports")
    try:
        yield worker
    finally:
        worker.send_signal(signal.SIGTERM)
        _output, errors = worker.communicate(timeout=60)
        assert "Traceback" not in errors, errors


def test_a_job_for_later_keeps_nobody_from_collecting_now(installation: Installation) -> None:
    told = jobs_waiting(
        installation,
        "tasks.ask_to_collect(in_seconds=600); print(engine().waits(tasks.collect, within=0))\n"
        "tasks.ask_to_collect(); print(engine().waits(tasks.collect, within=0))",
    )
    assert told.split() == ["False", "True"]


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def jobs_waiting(installation: Installation, statements: str) -> str:
    code = f"from reports import tasks; from task_engines.engine import engine\n{statements}"
    result = installation.run("shell", "-v0", "-c", code)
    assert result.code == 0, result.errors
    return result.output.strip()


def test_a_worker_collects_what_is_requested_and_loads_what_is_asked_for(
    installation: Installation, sandbox: Sandbox, requests_made: Made
) -> None:
    send(sandbox, 3)
    ledger = Ledger(installation.environment)

    def states() -> list[str]:
        return [state for (state,) in ledger.rows("SELECT state FROM reports_generatedreport ORDER BY id")]

    with running_worker(installation):
        first = installation.json("report", "request", "--type", "sent", *DAYS)["id"]
        wait_for(lambda: states() == ["READY"])
        # Asked for in the console, say: only the request is there.
        jobs_waiting(
            installation,
            "from reports.models import GeneratedReport; from reports.loading import request_load\n"
            f"request_load(GeneratedReport.objects.get(pk={first}), 'default', by=None)",
        )
        wait_for(lambda: ledger.rows("SELECT state FROM reports_loadrequest") == [("done",)])
    assert len(requests_made()) == 1
    (load,) = installation.json("report", "status", str(first))["loads"]
    assert load["rows"] == 3
    ledger.close()


def test_jobs_are_queued_once_however_often_they_are_asked_for(installation: Installation) -> None:
    said = jobs_waiting(
        installation,
        "print(engine().waits(tasks.collect), engine().waits(tasks.load, 7))\n"
        "for _ in range(3): tasks.ask_to_collect(); tasks.ask_to_load(7)\n"
        "print(engine().waits(tasks.collect), engine().waits(tasks.load, 7), engine().waits(tasks.load, 8))",
    )
    assert said.splitlines() == ["False False", "True True False"]
    table, column = (
        ("procrastinate_jobs", "args")
        if installation.environment["TASKS_ENGINE"] == "procrastinate"
        else ("django_tasks_database_dbtaskresult", "task_path")
    )
    ledger = Ledger(installation.environment)
    rows = ledger.rows(f"SELECT {column} FROM {table}")
    ledger.close()
    assert sum("reports.tasks" in str(row) for row in rows) == 2


def test_a_worker_without_a_key_waits_for_one(installation: Installation, requests_made: Made) -> None:
    installation.json("report", "request", "--type", "sent", *DAYS)
    key = installation.environment["DOPPLER_RELAY_API_KEY"]
    installation.environment["DOPPLER_RELAY_API_KEY"] = ""
    with running_worker(installation):
        wait_for(lambda: jobs_waiting(installation, "print(engine().waits(tasks.collect))") == "True")
    installation.environment["DOPPLER_RELAY_API_KEY"] = key
    assert requests_made() == []
    assert installation.json("process_reports_pending")["ready"] == 1


def test_a_killed_worker_leaves_a_report_that_the_next_goes_on_with(
    installation: Installation, sandbox: Sandbox, requests_made: Made
) -> None:
    send(sandbox, 1)
    installation.environment |= {"RELAY_LEASE_SECONDS": "3", "RELAY_TIMEOUT_SECONDS": "2"}
    installation.json("report", "request", "--type", "sent", *DAYS)
    sandbox.faults(latency_ms=1500)
    worker = installation.start("worker", "--queues", "reports")
    ledger = Ledger(installation.environment)
    wait_for(lambda: ledger.rows("SELECT id FROM reports_generatedreport WHERE asked_at IS NOT NULL") != [])
    children = subprocess.run(["pgrep", "-P", str(worker.pid)], capture_output=True, text=True).stdout.split()
    for pid in (worker.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    worker.communicate(timeout=60)
    sandbox.faults()
    with running_worker(installation):
        wait_for(lambda: ledger.rows("SELECT state FROM reports_generatedreport") == [("READY",)], seconds=120)
    ledger.close()
    assert len(requests_made()) == 1
