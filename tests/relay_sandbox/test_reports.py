"""Report requests and their files (relay API notes §5)."""

import csv
import io

import pytest

from tests.relay_sandbox.harness import Relay

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
