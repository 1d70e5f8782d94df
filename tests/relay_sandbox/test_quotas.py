"""Quotas per UTC hour, day and month (relay API notes §4.5, §6.2)."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.relay_sandbox.harness import Relay, message, running


def to_half_past() -> float:
    """Seconds to the middle of this hour: no window may end while a test runs."""
    now = datetime.now(UTC)
    return (now.replace(minute=30, second=0) - now).total_seconds()


def test_a_used_up_quota_says_when_it_ends_and_ends_then(relay: Relay) -> None:
    half_past = to_half_past()
    relay.shift_clock(half_past)
    relay.call("PUT", "/_sandbox/limits", {"hourly": 2})
    assert [relay.send().status for _ in range(3)] == [201, 201, 402]
    problem = relay.send()
    assert problem.code == "402.1"
    assert (problem.json["limit"], problem.json["deliveriesCount"], problem.json["period"]) == (2, 2, "hourly")
    reset = datetime.fromisoformat(problem.json["resetDate"])
    assert (reset.minute, reset.second) == (0, 0)
    assert timedelta(minutes=29) < reset - datetime.now(UTC) - timedelta(seconds=half_past) < timedelta(minutes=31)
    assert len(relay.messages()) == 2

    relay.shift_clock(half_past + 3600)
    assert [relay.send().status for _ in range(3)] == [201, 201, 402]
    relay.shift_clock(half_past)
    assert relay.send().code == "402.1"


def test_every_recipient_counts_and_a_message_is_taken_whole_or_not(relay: Relay) -> None:
    relay.call("PUT", "/_sandbox/limits", {"daily": 3})
    two = [{"type": "to", "email": "ana@example.com"}, {"type": "bcc", "email": "luis@example.com"}]
    assert [relay.send(recipients=two).status for _ in range(2)] == [201, 402]
    assert relay.send().status == 201


def test_limits_are_shown_with_what_remains(relay: Relay) -> None:
    assert relay.get("/accounts/sandbox/status/limits").json["noLimits"] is True
    relay.send()
    assert relay.call("PUT", "/_sandbox/limits", {"hourly": 5, "monthly": 100}).json == {"hourly": 5, "monthly": 100}
    limits = relay.get("/accounts/sandbox/status/limits").json
    assert limits["hourly"]["limit"] == 5
    assert limits["hourly"]["remaining"] == 4
    assert limits["monthly"]["reset"].endswith("-01T00:00:00Z")
    assert "noLimits" not in limits
    assert relay.call("PUT", "/_sandbox/limits", {"hourly": None}).json == {"monthly": 100}


@pytest.mark.parametrize("body", [{"weekly": 3}, {"hourly": -1}, {"hourly": "3"}, {"hourly": True}])
def test_bad_limits_are_refused_by_name(relay: Relay, body: dict[str, object]) -> None:
    answer = relay.call("PUT", "/_sandbox/limits", body)
    assert answer.status == 400
    assert next(iter(body)) in answer.json["detail"]


@pytest.mark.parametrize("body", [{}, {"offset_seconds": "1"}, {"offset_seconds": 1e12}, {"offset_seconds": 1, "x": 1}])
def test_a_bad_clock_is_refused(relay: Relay, body: dict[str, object]) -> None:
    assert relay.call("PUT", "/_sandbox/clock", body).status == 400


def test_quotas_given_at_start_hold_and_zero_means_none() -> None:
    with running("--quota-hourly", "1", "--quota-daily", "0") as relay:
        assert relay.send().code == "402.1"
        relay.call("PUT", "/_sandbox/limits", {"daily": None})
        assert [relay.send().status for _ in range(2)] == [201, 402]
        other = relay.call("POST", "/accounts/otra/messages", message(), auth="token otra-key")
        assert other.status == 201
