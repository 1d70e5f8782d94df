"""Report requests and their files (relay API notes §5)."""

import csv
import io
import socket

import pytest

from relay_sandbox.faults import REPORT_FAULTS
from tests.relay_sandbox.harness import Relay, raw_exchange

PERIOD = {"start_date": "2020-01-01T00:00:00.000Z", "end_date": "2100-01-01T00:00:00.000Z"}


def test_a_report_is_in_progress_then_ready_with_a_file_that_needs_no_key(relay: Relay) -> None:
    relay.send("ana@example.com", subject='Su "cuota", hoy', from_name="Cobranzas, S.A.")
    relay.send("luis+rebota@example.com", subject="Ñandú")
    relay.shift_clock(100)
    created = relay.call("POST", "/reports/reportrequest", {**PERIOD, "resource": "bounces", "accountId": 1})
    assert created.status == 201
    href = created.json["_links"][0]["href"]
    assert href == created.headers["location"]
    assert href.endswith(f"reportRequestId={created.json['createdResourceId']}")
    state = relay.get(href).json
    assert (state["processed"], state["file_path"]) == (False, None)

    relay.shift_clock(140)
    state = relay.get(href).json
    assert state["processed"] is True
    assert state["file_path"].startswith(f"{relay.url}/files/reports/")
    assert relay.get("/reports/reportrequests").json["items"][0] == state

    file = relay.call("GET", state["file_path"].removeprefix(relay.url), auth=None)
    assert file.headers["content-type"] == "text/csv"
    assert file.body.startswith(b"\xef\xbb\xbfSubject,Sender,SenderName,Email,Status,Date,Opens,Clicks\r\n")
    lines = file.body.decode("utf-8-sig").split("\r\n")
    assert lines[1].startswith('"Su ""cuota"", hoy",avisos@example.com,"Cobranzas, S.A.",ana@example.com,Sent,20')
    assert lines[2].startswith('"Ñandú",avisos@example.com,"Avisos",luis+rebota@example.com,Rejected,20')
    [first, _] = list(csv.DictReader(io.StringIO(file.body.decode("utf-8-sig"))))
    received = relay.messages()[0]["received_at"]
    assert first["Date"] == received[:19].replace("T", " ")


def test_a_report_without_rows_is_processed_without_a_file(relay: Relay) -> None:
    created = relay.call("POST", "/reports/reportrequest", PERIOD)
    relay.shift_clock(60)
    state = relay.get(created.headers["location"]).json
    assert (state["processed"], state["file_path"]) == (True, None)


def test_what_came_after_the_report_was_made_is_not_in_it(relay: Relay) -> None:
    relay.send("ana@example.com")
    created = relay.call("POST", "/reports/reportrequest", PERIOD)
    relay.shift_clock(60)
    path = relay.get(created.headers["location"]).json["file_path"].removeprefix(relay.url)
    before = relay.call("GET", path, auth=None).body
    relay.send("luis@example.com")
    assert relay.call("GET", path, auth=None).body == before


def test_a_file_longer_than_one_page_is_whole(relay: Relay) -> None:
    people = [{"type": "to", "email": f"p{number}@example.com"} for number in range(500)]
    for _ in range(9):
        assert relay.send(recipients=people).status == 201
    created = relay.call("POST", "/reports/reportrequest", PERIOD)
    relay.shift_clock(60)
    path = relay.get(created.headers["location"]).json["file_path"].removeprefix(relay.url)
    assert len(relay.call("GET", path, auth=None).body.splitlines()) == 1 + 9 * 500


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"start_date": None}, "400.1"),
        ({"end_date": ""}, "400.1"),
        ({"start_date": "2020-01-01T00:00:00"}, "400.1"),
        ({"start_date": 7}, "400.1"),
        ({"end_date": "2019-01-01T00:00:00Z"}, "400.2"),
    ],
)
def test_a_bad_period_is_refused(relay: Relay, changes: dict[str, object], code: str) -> None:
    assert relay.call("POST", "/reports/reportrequest", {**PERIOD, **changes}).code == code


def test_unknown_requests_and_files_are_not_found(relay: Relay) -> None:
    assert relay.get("/reports/reportrequest", reportRequestId="999999").code == "404.1"
    assert relay.get("/reports/reportrequest", reportRequestId="x").code == "404.1"
    assert relay.get("/reports/reportrequest").code == "400.1"
    assert relay.get("/files/reports/x.csv").code == "404.0"


def test_another_account_does_not_see_the_request(relay: Relay) -> None:
    href = relay.call("POST", "/reports/reportrequest", PERIOD).headers["location"]
    assert relay.call("GET", href, auth="token otra-key").code == "404.1"


def file_of(relay: Relay) -> str:
    created = relay.call("POST", "/reports/reportrequest", PERIOD)
    relay.shift_clock(60)
    return str(relay.get(created.headers["location"]).json["file_path"])


def raw_get(relay: Relay, path: str) -> bytes | str:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return raw_exchange(relay, request.encode(), timeout=0.5)


# kind: the status line or what happens instead, and a piece of the answer
SEEN_OF_FILES: dict[str, tuple[str, bytes]] = {
    "403": ("HTTP/1.1 403", b'"errorCode":1'),
    "404": ("HTTP/1.1 404", b'"errorCode":1'),
    "429": ("HTTP/1.1 429", b"Retry-After: 1"),
    "500": ("HTTP/1.1 500", b'"errorCode":0'),
    "502_html": ("HTTP/1.1 502", b"<html>"),
    "html": ("HTTP/1.1 200", b"<html>"),
    "reset": ("reset", b""),
    "close": ("closed", b""),
    "stall": ("silence", b""),
    "redirect": ("HTTP/1.1 302", b"Location: https://other.example.com/x.csv\r\n"),
    "empty": ("HTTP/1.1 200", b"Content-Length: 0\r\n"),
    "gzip": ("HTTP/1.1 200", b"\x1f\x8b"),
    "cut": ("HTTP/1.1 200", b"ana@example.com,"),
    "other_columns": ("HTTP/1.1 200", b"Uno,Dos"),
    "endless": ("HTTP/1.1 200", b"Transfer-Encoding: chunked"),
    "truncated": ("HTTP/1.1 200", b"Subject,Sender"),
    "stalled": ("HTTP/1.1 200", b"Subject,Sender"),
}


def test_every_kind_for_files_is_covered_here() -> None:
    assert set(SEEN_OF_FILES) == set(REPORT_FAULTS["file"])


@pytest.mark.parametrize("kind", [kind for kind in SEEN_OF_FILES if kind != "endless"])
def test_a_fault_of_a_file_is_seen_as_announced(relay: Relay, kind: str) -> None:
    relay.send("ana@example.com")
    path = file_of(relay).removeprefix(relay.url)
    whole = relay.call("GET", path, auth=None).body
    relay.faults(reports={"file": [kind]}, redirect_to="https://other.example.com/x.csv")
    what, piece = SEEN_OF_FILES[kind]
    seen = raw_get(relay, path)
    if isinstance(seen, bytes):
        assert (seen[: len(what)].decode() or "closed") == what
        assert piece in seen
        if kind in ("cut", "truncated", "stalled"):
            assert whole not in seen
    else:
        assert seen == what
    assert relay.call("GET", path, auth=None).body == whole


def test_an_endless_file_goes_on_until_the_caller_has_enough(relay: Relay) -> None:
    relay.send("ana@example.com")
    path = file_of(relay).removeprefix(relay.url)
    relay.faults(reports={"file": ["endless"]})
    with socket.create_connection(relay.address, timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = 0
        while received < 5_000_000:
            received += len(connection.recv(65536))
    assert relay.get("/_sandbox/stats").status == 200


def test_each_step_of_a_report_has_its_own_script(relay: Relay) -> None:
    relay.send("ana@example.com")
    relay.faults(
        reports={"create": ["500_before", "500_after", "no_id_after"], "poll": ["404"], "list": ["502_html", "ok"]},
        report_links="http://files.example.com/",
    )
    assert relay.call("POST", "/reports/reportrequest", PERIOD).status == 500
    assert relay.get("/reports/reportrequests").status == 502
    assert relay.get("/reports/reportrequests").json["items"] == []
    assert relay.call("POST", "/reports/reportrequest", PERIOD).status == 500
    nameless = relay.call("POST", "/reports/reportrequest", PERIOD)
    assert nameless.status == 200
    assert "createdResourceId" not in nameless.json
    relay.shift_clock(60)
    items = relay.get("/reports/reportrequests").json["items"]
    assert len(items) == 2
    assert items[0]["file_path"].startswith("http://files.example.com/files/reports/")
    href = items[0]["_links"][0]["href"]
    assert [relay.get(href).status, relay.get(href).status] == [404, 200]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"reports": {"ask": "500"}}, "reports.ask"),
        ({"reports": {"poll": "gzip"}}, "gzip"),
        ({"reports": {"file": ["ok", "reset_after"]}}, "reset_after"),
        ({"reports": []}, "reports"),
        ({"report_links": 1}, "report_links"),
    ],
)
def test_a_wrong_script_is_named(relay: Relay, config: dict[str, object], words: str) -> None:
    answer = relay.faults(**config)
    assert answer.status == 400
    assert words in answer.body.decode()
