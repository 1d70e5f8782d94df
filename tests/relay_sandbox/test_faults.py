"""Each kind of fault: what a client on a bare socket sees, and whether the message was accepted."""

import http.client
import socket
import time

import pytest

from relay_sandbox.faults import READ_FAULTS, SEND_FAULTS
from tests.relay_sandbox.harness import Relay, message, raw_exchange, raw_send, running

# kind: (status line or what happens instead, a piece of the answer, accepted)
SEEN: dict[str, tuple[str, bytes, bool]] = {
    "429": ("HTTP/1.1 429", b"Retry-After: 1\r\n", False),
    "429_bare": ("HTTP/1.1 429", b'"errorCode":1', False),
    "402": ("HTTP/1.1 402", b'"resetDate":"', False),
    "400": ("HTTP/1.1 400", b'"errors":[{"key":', False),
    "401": ("HTTP/1.1 401", b'"errorCode":1', False),
    "403": ("HTTP/1.1 403", b'"errorCode":1', False),
    "404": ("HTTP/1.1 404", b'"errorCode":1', False),
    "413_html": ("HTTP/1.1 413", b"<html>", False),
    "500_before": ("HTTP/1.1 500", b'"errorCode":0', False),
    "500_after": ("HTTP/1.1 500", b'"errorCode":0', True),
    "502_html_before": ("HTTP/1.1 502", b"<html>", False),
    "502_html_after": ("HTTP/1.1 502", b"<html>", True),
    "reset_before": ("reset", b"", False),
    "reset_after": ("reset", b"", True),
    "close_before": ("closed", b"", False),
    "close_after": ("closed", b"", True),
    "truncated_after": ("HTTP/1.1 201", b'{"createdResourceId"', True),
    "stall_before": ("silence", b"", False),
    "stall_after": ("silence", b"", True),
    "html_after": ("HTTP/1.1 200", b"Content-Type: text/html", True),
    "no_id_after": ("HTTP/1.1 200", b'"message"', True),
}


def test_every_kind_is_covered_here() -> None:
    assert set(SEEN) == set(SEND_FAULTS)


@pytest.mark.parametrize("kind", SEEN)
def test_a_fault_is_seen_as_announced_and_accepts_or_not(relay: Relay, kind: str) -> None:
    what, piece, accepted = SEEN[kind]
    relay.faults(recipients={"Ana@Example.com": kind})
    seen = raw_exchange(relay, raw_send(), timeout=0.3 if "stall" in kind else 5)
    if isinstance(seen, bytes):
        assert (seen[: len(what)].decode() or "closed") == what
        assert piece in seen
    else:
        assert seen == what
    assert relay.accepted() == (["ana@example.com"] if accepted else [])
    assert relay.get("/_sandbox/stats").json["by_fault"] == {kind: 1}


def test_a_bare_429_says_nothing_about_when(relay: Relay) -> None:
    relay.faults(recipients={"ana@example.com": "429_bare"})
    assert "retry-after" not in relay.send().headers


def test_the_end_of_a_quota_fault_can_be_set(relay: Relay) -> None:
    relay.faults(recipients={"ana@example.com": "402"}, reset_in_seconds=7200)
    now = time.time()
    reset = time.strptime(relay.send().json["resetDate"], "%Y-%m-%dT%H:%M:%SZ")
    assert 7195 <= time.mktime(reset) - time.timezone - now <= 7205


def test_a_truncated_answer_promises_more_than_it_has(relay: Relay) -> None:
    relay.faults(recipients={"ana@example.com": "truncated_after"})
    with pytest.raises(http.client.IncompleteRead):
        relay.send()


def test_an_answer_without_id_carries_no_other_way_to_it(relay: Relay) -> None:
    relay.faults(recipients={"ana@example.com": "no_id_after"})
    answer = relay.send()
    assert answer.json == {"message": "Message accepted", "_links": []}
    assert "location" not in answer.headers


def test_a_script_is_used_up_one_call_at_a_time_then_all_is_well(relay: Relay) -> None:
    relay.faults(recipients={"ana@example.com": ["429", "ok", "500_after"]}, rates={"400": 1})
    assert [relay.send().status for _ in range(5)] == [429, 201, 500, 201, 201]
    assert relay.send("luis@example.com").status == 400


def test_a_stalled_call_is_in_flight_until_its_caller_leaves(relay: Relay) -> None:
    relay.faults(recipients={"ana@example.com": "stall_after"})
    with socket.create_connection(relay.address) as connection:
        connection.sendall(raw_send())
        deadline = time.monotonic() + 5
        while relay.get("/_sandbox/stats").json["in_flight"] != 1:
            assert time.monotonic() < deadline
    while relay.get("/_sandbox/stats").json["in_flight"] != 0:
        assert time.monotonic() < deadline


def statuses(relay: Relay, count: int = 60) -> list[int]:
    return [relay.send(f"p{number}@example.com").status for number in range(count)]


def test_rates_repeat_with_the_same_seed_and_differ_with_another(relay: Relay) -> None:
    rates = {"429": 0.3, "500_after": 0.2}
    relay.faults(seed=7, rates=rates)
    first = statuses(relay)
    relay.faults(seed=7, rates=rates)
    assert statuses(relay) == first
    relay.faults(seed=8, rates=rates)
    assert statuses(relay) != first
    assert set(first) == {201, 429, 500}


def test_a_script_for_one_recipient_does_not_move_the_draws_of_others(relay: Relay) -> None:
    relay.faults(seed=7, rates={"429": 0.5})
    plain = statuses(relay, 30)
    relay.faults(seed=7, rates={"429": 0.5}, recipients={"p0@example.com": "400"})
    assert statuses(relay, 30)[1:] == plain[1:]


def test_a_refusal_of_its_own_goes_before_an_accepting_fault(relay: Relay) -> None:
    relay.faults(rates={"500_after": 1})
    assert relay.send(subject=None).code == "400.1"
    assert relay.send("ana@example.com").status == 500


READ_SEEN = {
    "429": "HTTP/1.1 429",
    "429_bare": "HTTP/1.1 429",
    "401": "HTTP/1.1 401",
    "403": "HTTP/1.1 403",
    "404": "HTTP/1.1 404",
    "500": "HTTP/1.1 500",
    "502_html": "HTTP/1.1 502",
    "html": "HTTP/1.1 200",
    "truncated": "HTTP/1.1 200",
    "reset": "reset",
    "close": "closed",
    "stall": "silence",
}


def test_every_kind_of_read_fault_is_covered_here() -> None:
    assert set(READ_SEEN) == set(READ_FAULTS)


@pytest.mark.parametrize("kind", READ_SEEN)
def test_reads_have_faults_of_their_own(relay: Relay, kind: str) -> None:
    relay.faults(reads={kind: 1})
    request = (
        b"GET /accounts/1/domains HTTP/1.1\r\nHost: localhost\r\nAuthorization: token sandbox-key\r\n"
        b"Connection: close\r\n\r\n"
    )
    seen = raw_exchange(relay, request, timeout=0.3 if kind == "stall" else 5)
    if isinstance(seen, bytes):
        seen = seen.decode()[: len(READ_SEEN[kind])] or "closed"
    assert seen == READ_SEEN[kind]
    assert relay.send().status == 201


def test_latency_delays_every_call_of_the_api(relay: Relay) -> None:
    relay.faults(latency_ms=120, latency_spread_ms=20)
    for call in (relay.send, lambda: relay.get("/accounts/1/domains")):
        started = time.monotonic()
        call()
        assert 0.095 < time.monotonic() - started < 1


def test_settings_are_shown_and_cleared(relay: Relay) -> None:
    shown = relay.faults(seed=3, rates={"429": 0.5}).json
    assert relay.get("/_sandbox/faults").json == shown
    assert shown["rates"] == {"429": 0.5}
    cleared = relay.call("DELETE", "/_sandbox/faults").json
    assert cleared == {"seed": 0, "latency_ms": 0, "latency_spread_ms": 0}
    assert relay.send().status == 201


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"rate": {}}, '"rate"'),
        ({"rates": {"418": 0.1}}, '"rates.418"'),
        ({"rates": {"429": 1.5}}, '"rates.429"'),
        ({"rates": {"429": True}}, '"rates.429"'),
        ({"rates": {"429": 0.6, "400": 0.6}}, '"rates"'),
        ({"rates": []}, '"rates"'),
        ({"reads": {"500_after": 0.1}}, '"reads.500_after"'),
        ({"recipients": {"ana@example.com": "boom"}}, '"recipients.ana@example.com"'),
        ({"recipients": {"ana@example.com": ["ok", 3]}}, '"recipients.ana@example.com"'),
        ({"recipients": "ana@example.com"}, '"recipients"'),
        ({"templates": {"write": "400"}}, '"templates.write"'),
        ({"templates": {"get": "500_after"}}, '"templates.get"'),
        ({"seed": "x"}, '"seed"'),
        ({"latency_ms": -1}, '"latency_ms"'),
        ({"reset_in_seconds": "soon"}, '"reset_in_seconds"'),
    ],
)
def test_bad_settings_are_refused_by_name_and_change_nothing(
    relay: Relay, config: dict[str, object], named: str
) -> None:
    relay.faults(rates={"429": 1})
    answer = relay.faults(**config)
    assert answer.status == 400
    assert named in answer.json["detail"]
    assert relay.send().status == 429


def test_faults_and_latency_can_be_given_at_start(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("faults") / "faults.json"
    file.write_text('{"recipients": {"ana@example.com": "404"}}')
    with running("--faults", f"@{file}", "--seed", "5") as relay:
        assert relay.send().status == 404
        assert relay.get("/_sandbox/faults").json["seed"] == 5
        relay.call("DELETE", "/_sandbox/faults")
        assert relay.call("POST", "/accounts/1/messages", message()).status == 201
