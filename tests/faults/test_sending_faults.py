"""A relay and a machine that misbehave: nothing doubled, nothing lost, every row's state true."""

import signal
import time

import pytest

from tests.installation import Installation, kill, people, states
from tests.sandbox import Sandbox

# The fault, the state in which it leaves the row for good, and whether the relay has the message.
FAULTS = [
    ("400", "refused", False),
    ("413_html", "refused", False),
    ("500_before", "unknown", False),
    ("500_after", "unknown", True),
    ("502_html_before", "unknown", False),
    ("502_html_after", "unknown", True),
    ("reset_before", "unknown", False),
    ("reset_after", "unknown", True),
    ("close_before", "unknown", False),
    ("close_after", "unknown", True),
    ("truncated_after", "unknown", True),
    ("stall_before", "unknown", False),
    ("stall_after", "unknown", True),
    ("html_after", "unknown", True),
    ("no_id_after", "unknown", True),
]
COMES_BACK = ["429", "429_bare"]
STOPS = ["401", "402", "403", "404"]
IMPATIENT = {"RELAY_TIMEOUT_SECONDS": "2"}


def test_each_answer_leaves_the_row_in_its_true_state(installation: Installation, sandbox: Sandbox) -> None:
    names = [fault for fault, _, _ in FAULTS]
    addresses = {f"{name.replace('_', '-')}@example.com": name for name in names}
    sandbox.faults(recipients=addresses)
    file = installation.write_file([("Ana", address, "1", "1", "1") for address in addresses])
    bulk_send = installation.create(sandbox.template, file)
    status = installation.json("bulk", "start", str(bulk_send), "--drain", **IMPATIENT)
    assert status["status"] == "settling"
    found = {addresses[row["email"]]: row["state"] for row in installation.results(bulk_send)}
    assert found == {fault: state for fault, state, _ in FAULTS}
    accepted = sandbox.accepted()
    assert {name: accepted[address] for address, name in addresses.items()} == {
        fault: int(has_it) for fault, _, has_it in FAULTS
    }
    assert len(sandbox.calls()) == len(FAULTS)
    # Unknown is not called again, however often the timer comes.
    installation.json("process_bulk_scheduled", **IMPATIENT)
    assert len(sandbox.calls()) == len(FAULTS)


@pytest.mark.parametrize("fault", COMES_BACK)
def test_told_to_wait_it_waits_and_goes_on(installation: Installation, sandbox: Sandbox, fault: str) -> None:
    sandbox.faults(recipients={"persona3@example.com": [fault, fault, "ok"]})
    bulk_send = installation.create(sandbox.template, installation.write_file(people(10)))
    status = installation.json("bulk", "start", str(bulk_send), "--drain")
    assert (status["status"], status["accepted"]) == ("done", 10)
    assert {row["email"]: row["attempts"] for row in installation.results(bulk_send)}["persona3@example.com"] == "3"
    assert set(sandbox.accepted().values()) == {1}


@pytest.mark.parametrize("fault", STOPS)
def test_an_answer_about_the_account_stops_the_send_and_keeps_the_row(
    installation: Installation, sandbox: Sandbox, fault: str
) -> None:
    sandbox.faults(recipients={"persona3@example.com": [fault, "ok"]}, reset_in_seconds=1)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(10)))
    result = installation.run("bulk", "start", str(bulk_send), "--drain", "--json", RELAY_MAX_CONNECTIONS="1")
    status = installation.json("bulk", "status", str(bulk_send))
    assert status["status"] == ("paused" if fault == "402" else "error")
    assert result.code == (0 if fault == "402" else 1)
    assert status["reason"]
    assert status["accepted"] == 3
    assert status["pending"] == 7
    if fault == "402":
        assert status["resume_at"]
        time.sleep(2)  # the pause ends by itself, through the timer
    else:
        installation.json("bulk", "resume", str(bulk_send))
    assert installation.json("process_bulk_scheduled")["accepted"] == 7
    assert set(sandbox.accepted().values()) == {1}


def test_two_percent_of_every_fault_doubles_and_loses_nothing(installation: Installation, sandbox: Sandbox) -> None:
    rates = dict.fromkeys([*(name for name, _, _ in FAULTS), *COMES_BACK, *STOPS], 0.02)
    sandbox.faults(seed=7, latency_ms=5, latency_spread_ms=5, reset_in_seconds=0, rates=rates)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(250)))
    installation.json("bulk", "start", str(bulk_send))
    for _ in range(400):
        status = installation.json("bulk", "status", str(bulk_send))
        if status["status"] == "settling":
            break
        if status["status"] == "error":
            installation.json("bulk", "resume", str(bulk_send))
        result = installation.run("process_bulk_scheduled", "--json", RELAY_TIMEOUT_SECONDS="1")
        assert result.code == 0, result.errors
    assert status["status"] == "settling", status
    _ledger_is_true(installation, sandbox, bulk_send, 250)


def test_killed_in_the_middle_nobody_is_called_twice(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=150)
    environment = {"RELAY_LEASE_SECONDS": "4", "RELAY_TIMEOUT_SECONDS": "3", "RELAY_MAX_CONNECTIONS": "20"}
    bulk_send = installation.create(sandbox.template, installation.write_file(people(1200)))
    sender = installation.start("bulk", "start", str(bulk_send), "--drain", "--json", **environment)
    installation.wait_until(bulk_send, "accepted", 100)
    kill(sender)
    left = installation.json("bulk", "status", str(bulk_send))
    assert 0 < left["sending"] <= 2 * 20
    # Right away: it sends the rest, waits until the dead worker's lease has run out, and takes over.
    first = installation.json("process_bulk_scheduled", **environment)
    assert first["unknown"] == left["sending"]
    status = installation.json("bulk", "status", str(bulk_send))
    assert (status["status"], status["pending"], status["sending"]) == ("settling", 0, 0)
    assert status["unknown"] == left["sending"]
    _ledger_is_true(installation, sandbox, bulk_send, 1200)


def test_sigterm_ends_cleanly_and_a_later_run_completes(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=150)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(1000)))
    sender = installation.start("bulk", "start", str(bulk_send), "--drain", "--json")
    installation.wait_until(bulk_send, "accepted", 50)
    sender.send_signal(signal.SIGTERM)
    sender.communicate(timeout=30)
    assert sender.returncode == 0
    status = installation.json("bulk", "status", str(bulk_send))
    assert status["sending"] == status["unknown"] == 0
    assert status["pending"] > 0
    assert installation.json("process_bulk_scheduled")["accepted"] == status["pending"]
    assert set(sandbox.accepted().values()) == {1}
    assert len(sandbox.calls()) == 1000


def _ledger_is_true(installation: Installation, sandbox: Sandbox, bulk_send: int, total: int) -> None:
    """Row by row against what the relay has: each state says what is so, and nobody got two messages."""
    results = installation.results(bulk_send)
    accepted, ids = sandbox.accepted(), sandbox.accepted_ids()
    assert len(results) == total
    assert max(accepted.values()) == 1
    for row in results:
        if row["state"] == "accepted":
            assert ids[row["message_id"]] == row["email"]
        else:
            assert row["state"] in {"refused", "unknown"}
        if row["state"] == "refused":
            assert accepted[row["email"]] == 0
    assert set(accepted) <= {row["email"] for row in results if row["state"] != "refused"}
    assert states(results)["accepted"] >= total // 3
