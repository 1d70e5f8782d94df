"""Senders that die, and one that wakes up too late: nobody is lost, nobody is written to twice."""

import random
import signal
import time
from typing import Any

from tests.executioner import LEASE_SECONDS, SHORT_TIMES, Executioner, Ledger, Plan
from tests.installation import Installation, people, states
from tests.sandbox import Sandbox


def test_ten_kills_and_more_lose_nobody_and_double_nobody(installation: Installation, sandbox: Sandbox) -> None:
    senders = 2 if installation.environment["USE_SQLITE"] == "0" else 1
    plan = Plan(kills=10, senders=senders, recipients=200 * senders, seed=random.randrange(10**6), timeout=240)
    # The database itself lives: it is that of the other tests too. `./dev bench kill` restarts it.
    report = Executioner(plan, installation, sandbox).run()
    assert report.right, report.what_is_wrong()
    assert report.comparison.recipients == plan.recipients
    assert report.unexplained_ends == 0


def test_a_stopped_sender_that_wakes_after_its_lease_changes_nothing(
    installation: Installation, sandbox: Sandbox
) -> None:
    sandbox.faults(latency_ms=150)
    # So late that no settlement mends anything meanwhile: what stands there is what the workers wrote.
    environment = {**SHORT_TIMES, "RELAY_SETTLEMENT_LOOKS": "600", "RELAY_MAX_CONNECTIONS": "10"}
    bulk_send = installation.create(sandbox.template, installation.write_file(people(400)))
    sleeper = installation.start("bulk", "start", str(bulk_send), "--drain", "--json", **environment)
    installation.wait_until(bulk_send, "accepted", 30)
    sleeper.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        installation.json("process_bulk_scheduled", **environment)
        status = installation.json("bulk", "status", str(bulk_send))
        assert (status["status"], status["pending"], status["sending"]) == ("settling", 0, 0)
        assert 10 <= status["unknown"] <= 20  # what the sleeper holds, and believes to hold
        assert time.monotonic() > stopped + LEASE_SECONDS - 1
        before = _everything(installation, sandbox)
    finally:
        sleeper.send_signal(signal.SIGCONT)
    output, errors = sleeper.communicate(timeout=60)
    assert sleeper.returncode == 1, (output, errors)
    assert "Traceback" not in errors
    assert _everything(installation, sandbox) == before
    assert states(installation.results(bulk_send))["unknown"] == status["unknown"]
    assert max(sandbox.accepted().values()) == 1


def _everything(installation: Installation, sandbox: Sandbox) -> list[Any]:
    ledger = Ledger(installation.environment)
    tables = ("relay_recipient", "relay_attempt", "relay_lease", "relay_bulksend")
    rows = [ledger.rows(f"SELECT * FROM {table} ORDER BY id") for table in tables]
    ledger.close()
    return [*rows, sandbox.deliveries(), sandbox.calls()]
