"""Unknown recipients, settled from the relay's log: to exactly what is true, or left for a person. Never a double."""

import json
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.faults.test_sending_faults import FAULTS
from tests.installation import Installation, kill, people, states
from tests.sandbox import Sandbox

QUICK = {"RELAY_SETTLEMENT_LOOKS": "1,2,3", "RELAY_TIMEOUT_SECONDS": "2"}
UNKNOWN = {fault: has_it for fault, state, has_it in FAULTS if state == "unknown"}


def send(installation: Installation, bulk_send: int, **environment: str) -> dict[str, Any]:
    return installation.json("bulk", "start", str(bulk_send), "--drain", **{**QUICK, **environment})


def settle(installation: Installation, bulk_send: int, **environment: str) -> dict[str, Any]:
    return installation.json("bulk", "settle", str(bulk_send), **{**QUICK, **environment})


def settle_until(installation: Installation, bulk_send: int, seconds: float = 30, **environment: str) -> dict[str, int]:
    """Passes until nothing is to be looked for any more; what they did together."""
    done: Counter[str] = Counter()
    for _ in range(int(seconds / 0.5)):
        result = settle(installation, bulk_send, **environment)
        done.update({name: result[name] for name in ("accepted", "returned")})
        if not result["still_unknown"]:
            break
        time.sleep(0.5)
    return {**done, "still_unknown": result["still_unknown"]}


def addresses(names: list[str]) -> dict[str, str]:
    return {f"{name.replace('_', '-')}@example.com": name for name in names}


def some_well(installation: Installation, sandbox: Sandbox, count: int = 3) -> None:
    """Messages whose answers came: the log can be checked by them."""
    bulk_send = installation.create(sandbox.template, installation.write_file(people(count), "well.csv"))
    assert send(installation, bulk_send)["status"] == "done"


def test_all_that_is_unknown_becomes_exactly_what_is_true(installation: Installation, sandbox: Sandbox) -> None:
    faults = addresses(list(UNKNOWN))
    sandbox.faults(recipients={address: [fault] for address, fault in faults.items()})
    rows = [("Ana", address, "1", "1", "1") for address in faults] + people(5)
    bulk_send = installation.create(sandbox.template, installation.write_file(rows))
    status = send(installation, bulk_send)
    assert (status["status"], status["unknown"]) == ("settling", len(UNKNOWN))
    done = settle_until(installation, bulk_send)
    assert done == {
        "accepted": sum(UNKNOWN.values()),
        "returned": len(UNKNOWN) - sum(UNKNOWN.values()),
        "still_unknown": 0,
    }
    # What never arrived goes out now, once; then it is done.
    assert installation.json("bulk", "status", str(bulk_send))["status"] == "sending"
    assert installation.json("process_bulk_scheduled", **QUICK)["accepted"] == done["returned"]
    assert installation.json("bulk", "status", str(bulk_send))["status"] == "done"
    assert set(sandbox.accepted().values()) == {1}
    assert states(installation.results(bulk_send)) == {"accepted": len(rows)}


def test_looks_are_made_when_they_are_due_and_only_the_last_proves_an_absence(
    installation: Installation, sandbox: Sandbox
) -> None:
    sandbox.faults(recipients={"persona1@example.com": ["reset_before"], "persona2@example.com": ["reset_after"]})
    bulk_send = installation.create(sandbox.template, installation.write_file(people(6)))
    looks = {"RELAY_SETTLEMENT_LOOKS": "1,600"}
    assert send(installation, bulk_send, **looks)["unknown"] == 2
    assert settle(installation, bulk_send, **looks)["checked"] in (0, 2)  # due after a second
    time.sleep(1.5)
    settle(installation, bulk_send, **looks)
    assert states(installation.results(bulk_send)) == {"accepted": 5, "unknown": 1}
    assert settle(installation, bulk_send, **looks) == {
        "checked": 0,
        "accepted": 0,
        "returned": 0,
        "excluded": 0,
        "still_unknown": 1,
    }


def test_one_person_in_two_bulk_sends_with_one_subject(installation: Installation, sandbox: Sandbox) -> None:
    """One of the two arrived, seconds apart: the log says which."""
    some_well(installation, sandbox)
    sandbox.faults(recipients={"ana@example.com": ["reset_after", "reset_before"]})
    sends = [
        installation.create(sandbox.template, installation.write_file([("Ana", "ana@example.com", "1", "1", "1")]))
        for _ in range(2)
    ]
    send(installation, sends[0])
    time.sleep(4)
    send(installation, sends[1])
    done = [settle_until(installation, bulk_send) for bulk_send in sends]
    assert [(one["accepted"], one["returned"]) for one in done] == [(1, 0), (0, 1)]
    sandbox.faults()
    installation.json("process_bulk_scheduled", **QUICK)
    assert sandbox.accepted()["ana@example.com"] == 2


def test_one_person_twice_at_once_of_whom_one_arrived_waits_for_a_person(
    installation: Installation, sandbox: Sandbox
) -> None:
    some_well(installation, sandbox)
    sandbox.faults(recipients={"ana@example.com": ["stall_after", "stall_before"]})
    rows = [("Ana", "ana@example.com", str(number), "1", "1") for number in range(2)]
    bulk_send = installation.create(
        sandbox.template, installation.write_file(rows), "--allow-repeats", "--subject", "Aviso"
    )
    assert send(installation, bulk_send)["unknown"] == 2
    time.sleep(3.5)
    result = settle(installation, bulk_send)
    assert (result["checked"], result["accepted"], result["returned"], result["still_unknown"]) == (2, 0, 0, 2)
    time.sleep(1)
    assert settle(installation, bulk_send)["checked"] == 0  # no look is left
    assert "nota" in installation.refusal("bulk", "settle", str(bulk_send), "--row", "2", "--verdict", "accepted")
    decided = ["bulk", "settle", str(bulk_send), "--note", "Lo confirma el registro del relay"]
    assert installation.json(*decided, "--row", "2", "--verdict", "accepted")["accepted"] == 1
    assert installation.json(*decided, "--row", "3", "--verdict", "not-sent")["returned"] == 1
    installation.refusal(*decided, "--row", "2", "--verdict", "not-sent")
    installation.refusal(*decided, "--row", "9", "--verdict", "not-sent")
    sandbox.faults()
    assert installation.json("process_bulk_scheduled", **QUICK)["accepted"] == 1
    assert installation.json("bulk", "status", str(bulk_send))["status"] == "done"
    assert sandbox.accepted()["ana@example.com"] == 2


@pytest.mark.parametrize("searched", ["subject", "ignored"])
def test_a_filter_that_does_not_search_addresses_misleads_nobody(
    installation: Installation, sandbox: Sandbox, searched: str
) -> None:
    sandbox.log(filter=searched)
    _half_arrives(installation, sandbox)


def test_a_log_without_links_settles_without_them(installation: Installation, sandbox: Sandbox) -> None:
    """No control can be shown by such a log, so nothing is absent; what it shows of each person is enough to find."""
    sandbox.log(hide_links=True)
    sandbox.faults(recipients={"ana@example.com": ["reset_after"]})
    rows = [("Ana", "ana@example.com", "1", "1", "1")]
    bulk_send = installation.create(sandbox.template, installation.write_file(rows))
    send(installation, bulk_send)
    assert settle_until(installation, bulk_send) == {"accepted": 1, "returned": 0, "still_unknown": 0}
    (row,) = installation.results(bulk_send)
    assert (row["state"], row["message_id"], row["delivery"]) == ("accepted", "", "")


def test_a_log_that_lags_proves_nothing_until_it_has_caught_up(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.log(lag_seconds=3600)
    faults = {"persona1@example.com": ["reset_before"], "persona2@example.com": ["reset_after"]}
    sandbox.faults(recipients=faults)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(6)))
    send(installation, bulk_send)
    time.sleep(3.5)
    result = settle(installation, bulk_send)
    assert (result["accepted"], result["returned"], result["still_unknown"]) == (0, 0, 2)
    sandbox.log()
    assert settle_until(installation, bulk_send) == {"accepted": 1, "returned": 1, "still_unknown": 0}


@pytest.mark.parametrize("offset", [30, -30, 3600])
def test_a_relay_whose_clock_is_off_leads_to_a_person(
    installation: Installation, sandbox: Sandbox, offset: int
) -> None:
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": offset})
    faults = {"persona1@example.com": ["reset_before"], "persona2@example.com": ["reset_after"]}
    sandbox.faults(recipients=faults)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(6)))
    send(installation, bulk_send)
    time.sleep(3.5)
    result = settle(installation, bulk_send)
    assert (result["checked"], result["accepted"], result["returned"], result["still_unknown"]) == (2, 0, 0, 2)
    assert installation.json("process_bulk_scheduled", **QUICK)["accepted"] == 0
    assert set(sandbox.accepted().values()) == {1}


def test_in_a_cancelled_bulk_send_what_never_arrived_stays_unsent(installation: Installation, sandbox: Sandbox) -> None:
    faults = {"persona1@example.com": ["reset_before"], "persona2@example.com": ["reset_after"]}
    sandbox.faults(recipients=faults)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(6)))
    send(installation, bulk_send)
    installation.json("bulk", "cancel", str(bulk_send))
    settle_until(installation, bulk_send)
    found = {row["email"]: (row["state"], row["reason"]) for row in installation.results(bulk_send)}
    assert found["persona1@example.com"] == ("excluded", "cancelled")
    assert found["persona2@example.com"] == ("accepted", "")
    assert installation.json("bulk", "status", str(bulk_send))["status"] == "cancelled"
    assert len(sandbox.calls()) == 6


def test_a_relay_that_cannot_be_asked_makes_no_look(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.faults(recipients={"persona1@example.com": ["reset_after"]})
    bulk_send = installation.create(sandbox.template, installation.write_file(people(3)))
    send(installation, bulk_send)
    time.sleep(1.5)
    for fault in ("500", "401"):
        sandbox.faults(reads={fault: 1.0})
        assert "relay" in installation.refusal("bulk", "settle", str(bulk_send), **QUICK)
        time.sleep(1.2)
    sandbox.faults()
    assert settle_until(installation, bulk_send) == {"accepted": 1, "returned": 0, "still_unknown": 0}


def test_a_pass_killed_in_the_middle_is_made_again(installation: Installation, sandbox: Sandbox) -> None:
    lease = {"RELAY_LEASE_SECONDS": "3"}
    sandbox.faults(recipients={f"persona{number}@example.com": ["reset_before"] for number in range(5)})
    bulk_send = installation.create(sandbox.template, installation.write_file(people(20)))
    send(installation, bulk_send)
    time.sleep(3.5)
    sandbox.faults(reads={"stall": 1.0})
    killed = installation.start("bulk", "settle", str(bulk_send), "--json", **QUICK, **lease)
    time.sleep(3)
    kill(killed)
    sandbox.faults()
    assert settle_until(installation, bulk_send, **lease) == {"accepted": 0, "returned": 5, "still_unknown": 0}
    installation.json("process_bulk_scheduled", **QUICK)
    assert sandbox.accepted() == dict.fromkeys((f"persona{number}@example.com" for number in range(20)), 1)


def test_two_passes_at_once_settle_each_row_once(installation: Installation, sandbox: Sandbox) -> None:
    kinds = ["reset_before", "reset_after"]
    sandbox.faults(recipients={f"persona{number}@example.com": [kinds[number % 2]] for number in range(40)})
    bulk_send = installation.create(sandbox.template, installation.write_file(people(50)))
    assert send(installation, bulk_send)["unknown"] == 40
    time.sleep(3.5)
    passes = [installation.start("bulk", "settle", str(bulk_send), "--json", **QUICK) for _ in range(2)]
    done: Counter[str] = Counter()
    for one in passes:
        output, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors
        done.update({name: json.loads(output)[name] for name in ("checked", "accepted", "returned")})
    assert done == {"checked": 40, "accepted": 20, "returned": 20}
    installation.json("process_bulk_scheduled", **QUICK)
    assert set(sandbox.accepted().values()) == {1}


def _half_arrives(installation: Installation, sandbox: Sandbox) -> None:
    kinds = ["reset_before", "reset_after"]
    sandbox.faults(recipients={f"persona{number}@example.com": [kinds[number % 2]] for number in range(10)})
    bulk_send = installation.create(sandbox.template, installation.write_file(people(20)))
    assert send(installation, bulk_send)["unknown"] == 10
    assert settle_until(installation, bulk_send) == {"accepted": 5, "returned": 5, "still_unknown": 0}
    installation.json("process_bulk_scheduled", **QUICK)
    assert sandbox.accepted() == dict.fromkeys((f"persona{number}@example.com" for number in range(20)), 1)


def test_where_the_log_hides_links_the_message_of_another_bulk_send_is_not_taken_for_this_one(
    installation: Installation, sandbox: Sandbox
) -> None:
    sandbox.faults(recipients={"ana@example.com": ["ok", "reset_before"]})
    rows = [("Ana", "ana@example.com", str(number), "1", "1") for number in range(2)]
    bulk_send = installation.create(
        sandbox.template, installation.write_file(rows), "--allow-repeats", "--subject", "Aviso"
    )
    assert send(installation, bulk_send)["unknown"] == 1
    sandbox.log(hide_links=True)
    time.sleep(3.5)
    result = settle(installation, bulk_send)
    assert (result["checked"], result["accepted"], result["returned"]) == (1, 0, 0)


def test_told_to_stop_a_pass_gives_back_the_looks_it_was_making(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.faults(recipients={"persona1@example.com": ["reset_after"]})
    bulk_send = installation.create(sandbox.template, installation.write_file(people(3)))
    send(installation, bulk_send)
    time.sleep(1.5)
    sandbox.faults(reads={"stall": 1.0})
    stopped = installation.start("bulk", "settle", str(bulk_send), "--json", **QUICK, RELAY_LEASE_SECONDS="600")
    time.sleep(3)
    stopped.send_signal(signal.SIGTERM)
    output, _errors = stopped.communicate(timeout=30)
    assert (stopped.returncode, json.loads(output)["checked"]) == (0, 0)
    sandbox.faults()
    assert settle(installation, bulk_send)["accepted"] == 1
