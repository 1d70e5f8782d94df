"""What came back is written once, exactly, with its attempt."""

from collections import Counter
from datetime import timedelta

import pytest
from django.utils import timezone

from relay import ledger, reasons
from relay.models import Attempt, Recipient
from tests.relay.ledger_acts import counts, let_come_due, outcome, record
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("state", "row", "attempt"),
    [
        (
            "accepted",
            {"reason": "", "reason_detail": "", "message_id": "m-7", "delivery": "/d/7 /d/8"},
            {"outcome": "accepted", "reason": "", "status": 201, "code": "", "detail": ""},
        ),
        (
            "refused",
            {"reason": "refused", "reason_detail": "400.1", "message_id": "", "delivery": ""},
            {"outcome": "refused", "reason": "refused", "status": 400, "code": "400.1", "detail": "bad recipient"},
        ),
        (
            "unknown",
            {"reason": "no_answer", "reason_detail": "", "message_id": "", "delivery": ""},
            {"outcome": "unknown", "reason": "no_answer", "status": None, "code": "", "detail": ""},
        ),
        (
            "pending",
            {"reason": "not_connected", "reason_detail": "", "message_id": "", "delivery": ""},
            {"outcome": "returned", "reason": "not_connected", "status": None, "code": "", "detail": ""},
        ),
    ],
)
def test_an_outcome_writes_its_row_and_its_attempt_exactly(lease, bulk_send, state, row, attempt):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    started = lease.now().replace(microsecond=123_000)
    ended = started + timedelta(seconds=2)
    more = {"message_id": "m-7", "delivery": "/d/7 /d/8"} if state == "accepted" else {}
    said = outcome(
        lease,
        claimed,
        state,
        started_at=started,
        ended_at=ended,
        from_email="avisos@example.com",
        subject="Hola Ñandú",
        **more,
    )
    assert record(lease, said) == 1
    stored = Recipient.objects.values().get(pk=claimed.id)
    since = stored.pop("sending_since")
    assert abs(since - timezone.now()) < timedelta(minutes=1)
    assert stored == row | {
        "id": claimed.id,
        "bulk_send_id": bulk_send.pk,
        "row": 2,
        "email": "persona2@example.com",
        "variables": {"nombre": "Persona 2"},
        "state": state,
        "attempts": 1,
        "accepted_at": ended if state == "accepted" else None,
        "not_before": ended + timedelta(seconds=60) if state == "pending" else None,
        "lease_id": None,
        "looks": 0,
        "look_at": ledger.first_look(reasons.NO_ANSWER, ended) if state == "unknown" else None,
        "settled": False,
    }
    assert Attempt.objects.values().get() == attempt | {
        "id": Attempt.objects.get().pk,
        "recipient_id": claimed.id,
        "started_at": started,
        "ended_at": ended,
        "from_email": "avisos@example.com",
        "subject": "Hola Ñandú",
    }
    assert counts(bulk_send) == Counter({"pending": 9}) + Counter({state: 1})


def test_recording_the_same_outcomes_again_appends_nothing(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 4).claimed
    states = ["accepted", "refused", "unknown", "pending"]
    outcomes = [outcome(lease, row, state) for row, state in zip(claimed, states, strict=True)]
    assert record(lease, *outcomes) == 4
    before = list(bulk_send.recipients.order_by("row").values())
    assert record(lease, *outcomes) == 0
    assert list(bulk_send.recipients.order_by("row").values()) == before
    assert Attempt.objects.count() == 4


def test_a_later_outcome_does_not_overwrite_an_earlier_one(lease):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    record(lease, outcome(lease, claimed, "accepted"))
    assert record(lease, outcome(lease, claimed, "refused")) == 0
    assert Recipient.objects.get(pk=claimed.id).state == "accepted"
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["accepted"]


def test_an_outcome_of_another_lease_row_is_passed_over(lease, bulk_send):
    other = ledger.acquire(bulk_send.pk)
    (theirs,) = ledger.take_turn(other, [], 1).claimed
    assert record(lease, outcome(lease, theirs)) == 0
    assert Recipient.objects.get(pk=theirs.id).state == "sending"
    assert not Attempt.objects.exists()


def test_each_attempt_of_a_row_is_appended_and_counted(lease, bulk_send):
    for number in range(3):
        (claimed,) = ledger.take_turn(lease, [], 1).claimed
        assert (claimed.row, claimed.attempts) == (2, number)
        record(lease, outcome(lease, claimed, "pending" if number < 2 else "accepted"))
        let_come_due(bulk_send)
    row = Recipient.objects.get(row=2)
    assert (row.state, row.attempts) == ("accepted", 3)
    assert [attempt.outcome for attempt in row.attempt_set.all()] == ["returned", "returned", "accepted"]


def test_recording_and_claiming_are_one_commit(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 2).claimed
    turn = ledger.take_turn(lease, [outcome(lease, row) for row in claimed], 2)
    assert (turn.recorded, [row.row for row in turn.claimed], turn.status) == (2, [4, 5], "sending")
    assert counts(bulk_send) == {"accepted": 2, "sending": 2, "pending": 6}


def test_what_the_relay_says_too_long_or_with_nul_breaks_no_batch(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    odd = "ñ\0'\"\\ \U0001f600 {}[]%s\n" * 1000
    outcomes = [
        outcome(lease, claimed[0], message_id=odd, delivery=odd, code=odd, detail=odd, subject=odd, from_email=odd),
        outcome(lease, claimed[1], "refused", code=odd, detail=odd, subject=odd),
        outcome(lease, claimed[2]),
    ]
    assert record(lease, *outcomes) == 3
    assert counts(bulk_send) == {"accepted": 2, "refused": 1, "pending": 7}
    shown = odd.replace("\0", "\ufffd")
    row = Recipient.objects.get(pk=claimed[0].id)
    assert (row.message_id, row.delivery) == (shown[:2000], shown[:4000])
    attempt = row.attempt_set.get()
    assert (attempt.code, attempt.detail) == (shown[:20], shown[:500])
    assert (attempt.subject, attempt.from_email) == (shown[:1000], shown[:320])
    assert Recipient.objects.get(pk=claimed[1].id).reason_detail == shown[:20]


def test_texts_that_look_like_numbers_or_json_stay_texts(lease):
    claimed = ledger.take_turn(lease, [], 3).claimed
    ids = ["0012345678901234567890", "null", '{"id": 1}']
    record(lease, *(outcome(lease, row, message_id=id_) for row, id_ in zip(claimed, ids, strict=True)))
    assert list(Recipient.objects.order_by("row").values_list("message_id", flat=True)[:3]) == ids


def test_a_call_that_ends_before_it_began_ends_when_it_began(lease):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    now = lease.now()
    record(lease, outcome(lease, claimed, started_at=now, ended_at=now - timedelta(seconds=1)))
    attempt = Attempt.objects.get()
    assert attempt.started_at == attempt.ended_at


def test_a_large_batch_is_recorded_whole():
    bulk_send = new_bulk_send(1200)
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], 1200).claimed
    assert record(lease, *(outcome(lease, row) for row in claimed)) == 1200
    assert counts(bulk_send) == {"accepted": 1200}
    assert Attempt.objects.count() == 1200
