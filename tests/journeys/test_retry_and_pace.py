"""Decisions by command: refused recipients again, a rate, a first slice, and what is refused."""

import pytest

from tests.installation import Installation, people, states
from tests.sandbox import Sandbox


def test_refused_recipients_go_again_by_a_decision_and_each_is_accepted_once(
    installation: Installation, sandbox: Sandbox
) -> None:
    refused = [f"persona{number}@example.com" for number in (2, 3, 4)]
    sandbox.faults(recipients=dict.fromkeys(refused, "400"))
    bulk_send = str(installation.create(sandbox.template, installation.write_file(people(10))))
    status = installation.json("bulk", "start", bulk_send, "--drain")
    assert (status["status"], status["accepted"], status["refused"]) == ("done", 7, 3)
    (code,) = {row["reason"] for row in installation.results(int(bulk_send)) if row["state"] == "refused"}
    assert code == "refused"
    assert bulk_send in installation.refusal("bulk", "retry", bulk_send, "--code", "999.9")

    sandbox.faults()
    retried = installation.json("bulk", "retry", bulk_send, "--all")
    assert (retried["retried"], retried["status"], retried["pending"], retried["refused"]) == (3, "sending", 3, 0)
    assert installation.json("process_bulk_scheduled")["accepted"] == 3
    assert installation.json("bulk", "status", bulk_send)["status"] == "done"
    results = installation.results(int(bulk_send))
    assert states(results) == {"accepted": 10}
    assert {row["email"]: row["attempts"] for row in results if row["attempts"] != "1"} == dict.fromkeys(refused, "2")
    assert sandbox.accepted() == dict.fromkeys((row["email"] for row in results), 1)
    assert bulk_send in installation.refusal("bulk", "retry", bulk_send, "--all")


def test_the_rate_and_the_first_slice_of_a_bulk_send(installation: Installation, sandbox: Sandbox) -> None:
    file = installation.write_file([("Ana", "no es una dirección", "1", "1", "1"), *people(10)])
    more = ("--accept-rejects", "--rate", "200", "--first-slice", "3:0.5")
    bulk_send = str(installation.create(sandbox.template, file, *more))
    assert installation.json("bulk", "status", bulk_send)["max_rate"] == 200
    first = [row["email"] for row in installation.results(int(bulk_send))][1:4]
    sandbox.faults(recipients=dict.fromkeys(first, "400"))
    status = installation.json("bulk", "start", bulk_send, "--drain")
    assert (status["status"], status["reason_code"], status["refused"]) == ("paused", "first_slice", 3)
    assert installation.json("bulk", "rate", bulk_send, "none")["max_rate"] is None
    assert installation.json("bulk", "rate", bulk_send, "50.5")["max_rate"] == 50.5
    assert installation.json("bulk", "resume", bulk_send)["status"] == "sending"
    assert installation.json("process_bulk_scheduled")["accepted"] == 7


@pytest.mark.parametrize("value", ["0", "-1", "many", "nan"])
def test_a_rate_that_is_none_is_refused_before_anything_is_stored(
    installation: Installation, sandbox: Sandbox, value: str
) -> None:
    file = installation.write_file(people(2))
    create = ("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
    assert value in installation.refusal(*create, f"--rate={value}")
    assert value in installation.refusal(*create, f"--first-slice={value}")
    assert "1" in installation.refusal("bulk", "status", "1")


def test_a_first_slice_as_long_as_the_file_keeps_nobody_back(installation: Installation, sandbox: Sandbox) -> None:
    file = installation.write_file(people(3))
    bulk_send = str(installation.create(sandbox.template, file, "--first-slice", "3:0"))
    sandbox.faults(recipients={"persona2@example.com": "400"})
    status = installation.json("bulk", "start", bulk_send, "--drain")
    assert (status["status"], status["accepted"]) == ("done", 2)
