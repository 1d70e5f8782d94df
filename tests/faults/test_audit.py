"""The ledger against the relay's log: agreement is counted, and each kind of disagreement is found."""

import json
import urllib.request
from typing import Any

import pytest

from tests.installation import Installation, people
from tests.sandbox import Sandbox

NOTHING = {"both": 0, "only_ours": 0, "only_theirs": 0, "different": 0, "unknown_found": 0}


def sent(installation: Installation, sandbox: Sandbox, count: int = 10) -> int:
    bulk_send = installation.create(sandbox.template, installation.write_file(people(count)))
    installation.json("bulk", "start", str(bulk_send), "--drain", RELAY_TIMEOUT_SECONDS="2")
    return bulk_send


def audit(installation: Installation, bulk_send: int) -> tuple[dict[str, int], dict[str, list[int]]]:
    result = installation.json("bulk", "audit", str(bulk_send))
    examples = result.pop("examples")
    return result, examples


def send_again(sandbox: Sandbox, person: int) -> None:
    """Somebody calls the relay past our ledger, with the very message that we sent."""
    like = next(one for one in sandbox.messages() if one["recipients"] == [f"persona{person}@example.com"])
    body: dict[str, Any] = {"recipients": [{"type": "to", "email": like["recipients"][0]}], "model": like["model"]}
    request = urllib.request.Request(
        f"{sandbox.url}/accounts/{sandbox.account}/templates/{like['template_id']}/message",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"token {sandbox.key}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201


@pytest.mark.parametrize("log", [{}, {"hide_links": True}], ids=["links", "no links"])
def test_a_send_that_went_well_is_in_both(installation: Installation, sandbox: Sandbox, log: dict[str, Any]) -> None:
    bulk_send = sent(installation, sandbox)
    sandbox.log(**log)
    assert audit(installation, bulk_send) == (NOTHING | {"both": 10}, {})


def test_a_double_is_told_with_its_row(installation: Installation, sandbox: Sandbox) -> None:
    bulk_send = sent(installation, sandbox)
    send_again(sandbox, 3)
    assert audit(installation, bulk_send) == (NOTHING | {"both": 10, "only_theirs": 1}, {"only_theirs": [5]})
    printed = installation.run("bulk", "audit", str(bulk_send)).output
    assert "5" in printed
    assert "persona3" not in printed


def test_other_bulk_sends_to_the_same_people_are_not_doubles(installation: Installation, sandbox: Sandbox) -> None:
    sends = [sent(installation, sandbox) for _ in range(2)]
    for bulk_send in sends:
        assert audit(installation, bulk_send)[0] == NOTHING | {"both": 10}


def test_what_the_relay_does_not_have_and_what_is_unknown(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.faults(recipients={"persona1@example.com": "reset_after", "persona2@example.com": "reset_before"})
    bulk_send = sent(installation, sandbox)
    assert audit(installation, bulk_send) == (NOTHING | {"both": 8, "unknown_found": 1}, {"unknown_found": [3]})
    sandbox.ask("DELETE", "/_sandbox/messages")
    found, examples = audit(installation, bulk_send)
    assert found == NOTHING | {"only_ours": 8}
    assert examples == {"only_ours": [2, 5, 6, 7, 8, 9, 10, 11]}


def test_a_send_that_never_began_has_nothing_to_compare(installation: Installation, sandbox: Sandbox) -> None:
    bulk_send = installation.create(sandbox.template, installation.write_file(people(3)))
    assert audit(installation, bulk_send) == (NOTHING, {})


def test_a_log_that_cannot_be_read_is_one_sentence(installation: Installation, sandbox: Sandbox) -> None:
    bulk_send = sent(installation, sandbox, 3)
    sandbox.faults(reads={"500": 1.0})
    assert "registro" in installation.refusal("bulk", "audit", str(bulk_send))
