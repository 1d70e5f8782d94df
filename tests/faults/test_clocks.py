"""Hosts whose clocks disagree share one bulk send as if they did not."""

import json
import time
from datetime import datetime

import pytest

from tests.clocks import apart
from tests.executioner import SHORT_TIMES, Ledger, compare
from tests.installation import Installation, people, states
from tests.sandbox import Sandbox

# Seconds by which four hosts are wrong: more than any lease, in both directions.
APART = (-86_400, -47, 0, 7_200)


def test_workers_whose_clocks_are_set_apart_share_a_bulk_send(installation: Installation, sandbox: Sandbox) -> None:
    if installation.environment["USE_SQLITE"] == "1":
        pytest.skip("SQLite is for one host, which has one clock")
    sandbox.faults(latency_ms=100)
    began = time.time()
    bulk_send = installation.create(sandbox.template, installation.write_file(people(1000)))
    installation.json("bulk", "start", str(bulk_send))
    environment = {**SHORT_TIMES, "RELAY_MAX_CONNECTIONS": "10"}
    workers = [
        installation.start("process_bulk_scheduled", "--json", **environment, **apart(seconds)) for seconds in APART
    ]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(APART), said
    tallies = [json.loads(output) for output, _errors in said]
    assert all(tally["accepted"] > 0 for tally in tallies), tallies
    assert sum(tally["accepted"] for tally in tallies) == 1000
    assert installation.json("bulk", "status", str(bulk_send))["status"] == "done"
    results = installation.results(bulk_send)
    comparison = compare(results, sandbox, (row[1] for row in people(1000)))
    assert comparison.right, comparison
    assert states(results) == {"accepted": 1000}  # nobody's lease was thought to be over
    # Every hour that was written is that of the database, whoever wrote it.
    assert all(began - 1 <= datetime.fromisoformat(row["accepted_at"]).timestamp() <= time.time() for row in results)
    ledger = Ledger(installation.environment)
    assert all(began - 1 <= acquired <= time.time() for _pid, acquired, _released in ledger.leases())
    ledger.close()


@pytest.mark.parametrize("seconds", APART)
def test_a_clock_set_apart_is_wrong_by_so_much(installation: Installation, seconds: int) -> None:
    code = "import time; from django.utils import timezone; print(time.time(), timezone.now().timestamp())"
    shown = installation.run("shell", "-v0", "-c", code, **apart(seconds))
    assert shown.code == 0, shown.errors
    assert [round((float(told) - time.time() - seconds) / 30) for told in shown.output.split()] == [0, 0]
