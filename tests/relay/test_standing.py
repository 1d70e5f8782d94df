"""Where a bulk send stands, and its results as people open them."""

import csv
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from relay import ledger, reasons, standing
from relay.models import BulkSend, Lease, Recipient
from tests.relay.rows import add_recipients, new_bulk_send

pytestmark = pytest.mark.django_db


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send(total=6)


@pytest.fixture
def in_every_state(bulk_send) -> BulkSend:
    """Row 2 accepted, 3 refused, 4 unknown, 5 sending, 6 pending, 7 excluded."""
    add_recipients(bulk_send, 7, 6, 5, 4, 3, 2)
    bulk_send.recipients.filter(row=7).update(state="excluded", reason=reasons.SUPPRESSED, reason_detail="=1+1")
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], 4).claimed
    moment = datetime(2026, 3, 2, 15, 4, 5, tzinfo=UTC)
    answers = [
        {"state": "accepted", "message_id": "=cmd()", "delivery": "-1+1"},
        {"state": "refused", "reason": reasons.REFUSED, "code": "400.1"},
        {"state": "unknown", "reason": reasons.NO_ANSWER},
    ]
    ledger.take_turn(
        lease,
        [
            ledger.Outcome(recipient_id=row.id, started_at=moment, ended_at=moment, **answer)
            for row, answer in zip(claimed[:3], answers, strict=True)
        ],
        0,
    )
    return bulk_send


# --- Standing


def test_the_standing_counts_every_state(in_every_state):
    found = standing.standing(in_every_state)
    states = {state: found[state] for state in Recipient.State.values}
    assert states == dict.fromkeys(Recipient.State.values, 1)
    assert sum(states.values()) == found["total"] == 6
    assert (found["id"], found["name"], found["status"]) == (in_every_state.pk, "Cobranza de marzo", "sending")


AGREED_KEYS = """
    id status reason resume_at total pending sending in_flight accepted refused unknown excluded
    rate_per_second eta_seconds
"""


def test_the_standing_has_the_agreed_keys(in_every_state):
    assert set(standing.standing(in_every_state)) >= set(AGREED_KEYS.split())


def test_without_a_worker_there_is_no_rate_and_no_end_in_sight(in_every_state):
    Lease.objects.update(released_at=timezone.now(), calls_in_flight=7, calls_per_second=9.0)
    found = standing.standing(in_every_state)
    assert (found["in_flight"], found["rate_per_second"], found["eta_seconds"]) == (0, 0, None)


def test_rate_and_flight_are_the_sum_of_the_living_workers(in_every_state):
    Lease.objects.update(released_at=timezone.now(), calls_in_flight=50, calls_per_second=50.0)
    for in_flight, rate in ((3, 0.11), (4, 0.15)):
        ledger.heartbeat(ledger.acquire(in_every_state.pk), calls_in_flight=in_flight, calls_per_second=rate)
    expired = ledger.acquire(in_every_state.pk)
    ledger.heartbeat(expired, calls_in_flight=50, calls_per_second=50.0)
    Lease.objects.filter(pk=expired.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    found = standing.standing(in_every_state)
    assert (found["in_flight"], found["rate_per_second"]) == (7, 0.3)
    assert found["eta_seconds"] == round(2 / 0.26)  # pending and sending are left


def test_a_pause_is_told_with_its_reason_and_its_end(in_every_state):
    until = datetime(2026, 3, 2, 16, tzinfo=UTC)
    in_every_state.pause(reasons.QUOTA, until, period="hour")
    found = standing.standing(in_every_state)
    assert (found["status"], found["reason_code"]) == ("paused", "quota")
    assert "(hour)" in found["reason"]
    assert datetime.fromisoformat(found["resume_at"]) == until


def test_the_standing_of_one_bulk_send_knows_nothing_of_another(in_every_state):
    found = standing.standing(new_bulk_send())
    assert sum(found[state] for state in Recipient.State.values) == 0


# --- Results


def test_the_results_have_the_agreed_columns_in_the_order_of_the_file(in_every_state, tmp_path):
    target = tmp_path / "resultados.csv"
    assert standing.write_results(in_every_state, target) == 6
    with target.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["row", "email", "state", "reason", "message_id", "delivery", "attempts", "accepted_at"]
    assert [row[:4] + row[6:] for row in rows] == [
        ["2", "persona2@example.com", "accepted", "", "1", "2026-03-02T15:04:05+00:00"],
        ["3", "persona3@example.com", "refused", "refused", "1", ""],
        ["4", "persona4@example.com", "unknown", "no_answer", "1", ""],
        ["5", "persona5@example.com", "sending", "", "0", ""],
        ["6", "persona6@example.com", "pending", "", "0", ""],
        ["7", "persona7@example.com", "excluded", "suppressed", "0", ""],
    ]
    assert [row[4:6] for row in rows] == [["'=cmd()", "'-1+1"]] + [["", ""]] * 5
    assert list(tmp_path.iterdir()) == [target]


def test_an_address_that_a_spreadsheet_would_compute_is_neutralised(bulk_send, tmp_path):
    for row, email in enumerate(["=HYPERLINK(1)@example.com", "+ana@example.com", "ana=@example.com"], 2):
        Recipient.objects.create(bulk_send=bulk_send, row=row, email=email, variables={}, state="pending")
    standing.write_results(bulk_send, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        emails = [row["email"] for row in csv.DictReader(file)]
    assert emails == ["'=HYPERLINK(1)@example.com", "'+ana@example.com", "ana=@example.com"]


def test_results_that_cannot_be_written_leave_the_old_file_and_no_remains(in_every_state, tmp_path, monkeypatch):
    target = tmp_path / "resultados.csv"
    target.write_text("de ayer")

    def fail(cell):
        raise OSError("disk full")

    monkeypatch.setattr(standing, "neutralised", fail)
    with pytest.raises(OSError, match="disk full"):
        standing.write_results(in_every_state, target)
    assert target.read_text() == "de ayer"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@suma", "'@suma"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        ("ana@example.com", "ana@example.com"),
        ("", ""),
        ("'=1", "'=1"),
        ("1-1", "1-1"),
    ],
)
def test_no_cell_is_one_that_a_spreadsheet_computes(cell, shown):
    assert standing.neutralised(cell) == shown
