"""Claim, record, release, take over: each row once, by whoever's hand, on both databases."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from relay import ledger, reasons
from relay.ledger import HeldLease, LeaseLost, Outcome
from relay.models import Attempt, BulkSend, Lease, Recipient, Suppression, WrongState

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def needs_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time: nothing here can happen at once")


def new_bulk_send(rows: int, **fields) -> BulkSend:
    bulk_send = BulkSend.objects.create(
        **{
            "name": "Cobranza de marzo",
            "status": "sending",
            "template_id": "aviso",
            "template_html": "<p>Hola {{nombre}}</p>",
            "file_name": "lista.csv",
            "address_column": "correo",
            "total": rows,
        }
        | fields
    )
    Recipient.objects.bulk_create(
        Recipient(
            bulk_send=bulk_send,
            row=row,
            email=f"persona{row}@example.com",
            variables={"nombre": f"Persona {row}"},
            state="pending",
        )
        for row in range(2, rows + 2)
    )
    return bulk_send


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send(10)


@pytest.fixture
def lease(bulk_send) -> HeldLease:
    return ledger.acquire(bulk_send.pk)


def rows_claimed(lease: HeldLease, wanted: int, **options) -> list[int]:
    return [claimed.row for claimed in ledger.take_turn(lease, [], wanted, **options).claimed]


def outcome(lease: HeldLease, claimed, state: str = "accepted", **fields) -> Outcome:
    whole = {
        "accepted": {"message_id": f"m-{claimed.id}", "delivery": f"/d/{claimed.id}", "status": 201},
        "refused": {"reason": reasons.REFUSED, "status": 400, "code": "400.1", "detail": "bad recipient"},
        "unknown": {"reason": reasons.NO_ANSWER},
        "pending": {"reason": reasons.NOT_CONNECTED, "retry_in": 60.0},
    }[state]
    now = lease.now()
    return Outcome(
        recipient_id=claimed.id, state=state, **({"started_at": now, "ended_at": lease.now()} | whole | fields)
    )


def record(lease: HeldLease, *outcomes: Outcome) -> int:
    return ledger.take_turn(lease, outcomes, 0).recorded


def let_expire(lease: HeldLease) -> None:
    Lease.objects.filter(pk=lease.id).update(expires_at=timezone.now() - timedelta(seconds=1))


def let_come_due(bulk_send: BulkSend, *, ago: float = 1, **which) -> None:
    past = timezone.now() - timedelta(seconds=ago)
    bulk_send.recipients.filter(not_before__isnull=False, **which).update(not_before=past)


def describe(bulk_send_id, email, variables):
    return "avisos@example.com", f"Hola {variables['nombre']} <{email}>"


def counts(bulk_send: BulkSend) -> dict[str, int]:
    return {state: count for state, count in bulk_send.recipients.counts().items() if count}


# --- Claiming


def test_rows_are_claimed_in_the_order_of_the_file_and_no_more_than_wanted(lease):
    assert rows_claimed(lease, 4) == [2, 3, 4, 5]
    assert rows_claimed(lease, 4) == [6, 7, 8, 9]
    assert rows_claimed(lease, 4) == [10, 11]
    assert rows_claimed(lease, 4) == []


def test_claiming_nothing_claims_nothing(lease, bulk_send):
    assert rows_claimed(lease, 0) == []
    assert counts(bulk_send) == {"pending": 10}


def test_a_claimed_row_is_sending_under_its_lease_since_now(lease, bulk_send):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    assert (claimed.row, claimed.attempts, claimed.email) == (2, 0, "persona2@example.com")
    assert claimed.variables == {"nombre": "Persona 2"}
    row = Recipient.objects.get(pk=claimed.id)
    assert (row.state, row.lease_id) == ("sending", lease.id)
    assert abs(row.sending_since - timezone.now()) < timedelta(minutes=1)


def test_what_a_claim_says_on_a_screen_shows_nobody(lease):
    turn = ledger.take_turn(lease, [], 1)
    assert "persona2" not in repr(turn)
    assert "Persona" not in repr(turn)
    shown = repr(outcome(lease, turn.claimed[0], subject="Deuda de Ana", detail="ana@example.com no existe"))
    assert "Ana" not in shown
    assert "ana@" not in shown


def test_the_rows_of_two_leases_never_overlap(lease, bulk_send):
    other = ledger.acquire(bulk_send.pk)
    mine, theirs = [], []
    for wanted in (1, 2, 3, 4):
        mine += rows_claimed(lease, wanted)
        theirs += rows_claimed(other, wanted, sweep=True)
    assert sorted(mine + theirs) == list(range(2, 12))
    assert dict(bulk_send.recipients.values_list("row", "lease_id")) == dict.fromkeys(mine, lease.id) | dict.fromkeys(
        theirs, other.id
    )


def test_a_lease_claims_rows_of_its_own_bulk_send_only(lease, bulk_send):
    other = new_bulk_send(3)
    assert len(rows_claimed(lease, 100)) == 10
    assert counts(other) == {"pending": 3}


def test_a_row_that_came_back_is_claimed_when_it_is_due_and_not_before(lease, bulk_send):
    (first,) = ledger.take_turn(lease, [], 1).claimed
    record(lease, outcome(lease, first, "pending", retry_in=3600))
    assert rows_claimed(lease, 100, sweep=True) == list(range(3, 12))
    assert rows_claimed(lease, 1, sweep=True) == []
    let_come_due(bulk_send)
    (again,) = ledger.take_turn(lease, [], 5).claimed
    assert (again.id, again.attempts) == (first.id, 1)
    row = Recipient.objects.get(pk=first.id)
    assert (row.not_before, row.reason, row.state) == (None, "", "sending")


def test_rows_that_came_back_go_before_new_ones_the_longest_due_first(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 4).claimed
    record(lease, *(outcome(lease, row, "pending") for row in claimed))
    for row in claimed:
        let_come_due(bulk_send, ago=row.row, row=row.row)
    assert rows_claimed(lease, 2) == [4, 5]
    assert rows_claimed(lease, 4) == [2, 3, 6, 7]


def test_the_next_due_row_is_told_in_seconds(lease, bulk_send):
    assert ledger.next_due_in(bulk_send.pk) is None
    first, second = ledger.take_turn(lease, [], 2).claimed
    record(lease, outcome(lease, first, "pending", retry_in=300), outcome(lease, second, "pending", retry_in=30))
    assert 25 < ledger.next_due_in(bulk_send.pk) <= 30.5
    let_come_due(bulk_send, ago=5)
    assert -10 < ledger.next_due_in(bulk_send.pk) <= -4


@pytest.mark.parametrize("decision", ["pause", "cancel", "stop_with_error", "begin_settling", "finish"])
def test_a_bulk_send_that_is_not_sending_gives_no_rows(lease, bulk_send, decision):
    arguments = {"reason": reasons.MISCONFIGURED} if decision == "stop_with_error" else {}
    getattr(bulk_send, decision)(**arguments)
    turn = ledger.take_turn(lease, [], 5, sweep=True)
    assert (turn.claimed, turn.status) == ([], bulk_send.status)
    assert not bulk_send.recipients.filter(state="sending").exists()


def test_outcomes_are_recorded_although_the_bulk_send_was_paused(lease, bulk_send):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    bulk_send.pause()
    turn = ledger.take_turn(lease, [outcome(lease, claimed)], 5)
    assert (turn.recorded, turn.claimed, turn.status) == (1, [], "paused")
    assert counts(bulk_send) == {"pending": 9, "accepted": 1}


def test_a_sweep_finds_what_the_cursor_has_passed(lease, bulk_send):
    other = ledger.acquire(bulk_send.pk)
    with transaction.atomic():  # a claim that fails leaves its rows behind
        rows_claimed(other, 3)
        transaction.set_rollback(True)
    lease.cursor = 6
    assert rows_claimed(lease, 2) == [7, 8]
    assert rows_claimed(lease, 100, sweep=True) == [2, 3, 4, 5, 6, 9, 10, 11]


def test_after_a_sweep_the_claims_go_on_from_there(lease):
    lease.cursor = 11
    assert rows_claimed(lease, 3) == []
    assert rows_claimed(lease, 3, sweep=True) == [2, 3, 4]
    assert rows_claimed(lease, 3) == [5, 6, 7]


def test_a_row_that_came_back_does_not_take_the_cursor_past_rows_never_looked_at(lease, bulk_send):
    other = ledger.acquire(bulk_send.pk)
    other.cursor = 9
    assert rows_claimed(other, 1) == [10]
    ledger.release(other)
    assert rows_claimed(lease, 2) == [2, 10]
    assert rows_claimed(lease, 100) == [3, 4, 5, 6, 7, 8, 9, 11]


# --- Recording


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


# --- Leases


def test_a_lease_lasts_as_long_as_the_setting_says(settings, bulk_send):
    settings.RELAY_LEASE_SECONDS = 7
    lease = ledger.acquire(bulk_send.pk)
    stored = Lease.objects.get(pk=lease.id)
    assert abs((stored.expires_at - stored.acquired_at).total_seconds() - 7) < 0.1
    assert 6 < lease.deadline - time.monotonic() <= 7
    assert lease.holds()
    lease.deadline = time.monotonic()
    assert not lease.holds()


def test_a_lease_tells_the_time_by_the_clock_of_the_database(lease):
    stored = Lease.objects.get(pk=lease.id)
    assert timedelta(0) <= lease.now() - stored.acquired_at < timedelta(seconds=5)
    first = lease.now()
    assert lease.now() >= first


def test_the_first_lease_says_when_the_sending_began_and_later_ones_leave_it(bulk_send):
    ledger.acquire(bulk_send.pk)
    bulk_send.refresh_from_db()
    began = bulk_send.processing_started_at
    assert abs(began - timezone.now()) < timedelta(minutes=1)
    ledger.acquire(bulk_send.pk)
    bulk_send.refresh_from_db()
    assert bulk_send.processing_started_at == began


def test_a_heartbeat_prolongs_the_lease_and_tells_how_it_goes(settings, lease):
    before, deadline = Lease.objects.get(pk=lease.id), lease.deadline
    settings.RELAY_LEASE_SECONDS = 600
    ledger.heartbeat(lease, calls_in_flight=12, calls_per_second=34.5)
    after = Lease.objects.get(pk=lease.id)
    assert after.expires_at - before.expires_at > timedelta(seconds=500)
    assert lease.deadline - deadline > 500
    assert (after.calls_in_flight, after.calls_per_second) == (12, 34.5)


def act_heartbeat(lease, claimed):
    ledger.heartbeat(lease, calls_in_flight=0, calls_per_second=0)


def act_claim(lease, claimed):
    ledger.take_turn(lease, [], 5)


def act_record(lease, claimed):
    ledger.take_turn(lease, [outcome(lease, row) for row in claimed], 0)


def act_release(lease, claimed):
    ledger.release(lease)


ACTS = [act_heartbeat, act_claim, act_record, act_release]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_who_came_back_before_anybody_took_over_still_records(lease, bulk_send, act):
    """What it knows is the truth, and nobody has written anything else meanwhile."""
    claimed = ledger.take_turn(lease, [], 3).claimed
    let_expire(lease)
    act(lease, claimed)
    assert ledger.take_over_expired(describe) == 0 or act is not act_heartbeat


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_who_lost_the_lease_can_write_nothing_any_more(lease, bulk_send, act):
    claimed = ledger.take_turn(lease, [], 3).claimed
    let_expire(lease)
    assert ledger.take_over_expired(describe) == 3
    before = list(bulk_send.recipients.order_by("row").values()), list(Attempt.objects.values())
    leases, deadline, cursor = list(Lease.objects.values()), lease.deadline, lease.cursor
    with pytest.raises(LeaseLost), transaction.atomic():
        act(lease, claimed)
    assert (list(bulk_send.recipients.order_by("row").values()), list(Attempt.objects.values())) == before
    assert list(Lease.objects.values()) == leases
    assert (lease.deadline, lease.cursor) == (deadline, cursor)


def test_late_outcomes_leave_the_attempts_unknown(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    let_expire(lease)
    ledger.take_over_expired(describe)
    with pytest.raises(LeaseLost), transaction.atomic():
        act_record(lease, claimed)
    assert counts(bulk_send) == {"unknown": 3, "pending": 7}
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["unknown"] * 3


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_a_released_lease_is_over(lease, act):
    ledger.release(lease)
    with pytest.raises(LeaseLost), transaction.atomic():
        act(lease, [])


def test_a_release_returns_what_was_not_touched_and_keeps_what_was_recorded(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 4).claimed
    record(lease, outcome(lease, claimed[0]))
    ledger.release(lease)
    assert counts(bulk_send) == {"accepted": 1, "pending": 9}
    returned = bulk_send.recipients.filter(row__in=[3, 4, 5])
    assert {(row.attempts, row.lease_id, row.reason) for row in returned} == {(0, None, "")}
    assert Attempt.objects.count() == 1
    stored = Lease.objects.get(pk=lease.id)
    assert stored.released_at is not None
    assert (stored.calls_in_flight, stored.calls_per_second) == (0, 0)


def test_a_worker_whose_cursor_has_passed_them_gets_the_rows_another_returned(lease, bulk_send):
    other = ledger.acquire(bulk_send.pk)
    assert rows_claimed(lease, 3) == [2, 3, 4]
    assert rows_claimed(other, 3) == [5, 6, 7]
    ledger.release(lease)
    assert rows_claimed(other, 4) == [2, 3, 4, 8]


def test_a_release_leaves_the_rows_of_other_leases(lease, bulk_send):
    other = ledger.acquire(bulk_send.pk)
    rows_claimed(lease, 3)
    rows_claimed(other, 3)
    ledger.release(lease)
    assert bulk_send.recipients.filter(state="sending", lease_id=other.id).count() == 3


def test_only_expired_leases_are_taken_over(lease, bulk_send):
    rows_claimed(lease, 3)
    lost = ledger.acquire(bulk_send.pk)
    rows_claimed(lost, 2)
    assert ledger.take_over_expired(describe) == 0
    let_expire(lost)
    assert ledger.take_over_expired(describe) == 2
    assert counts(bulk_send) == {"sending": 3, "unknown": 2, "pending": 5}
    assert Lease.objects.get(pk=lost.id).released_at is not None
    assert Lease.objects.get(pk=lease.id).released_at is None


def test_taking_over_twice_changes_nothing_more(lease, bulk_send):
    rows_claimed(lease, 3)
    let_expire(lease)
    assert ledger.take_over_expired(describe) == 3
    before = list(bulk_send.recipients.order_by("row").values()), list(Attempt.objects.values())
    assert ledger.take_over_expired(describe) == 0
    assert (list(bulk_send.recipients.order_by("row").values()), list(Attempt.objects.values())) == before


def test_a_take_over_stores_what_a_settlement_looks_for(lease, bulk_send):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    let_expire(lease)
    ledger.take_over_expired(describe)
    row, attempt = Recipient.objects.get(pk=claimed.id), Attempt.objects.get()
    assert (row.state, row.reason, row.attempts, row.lease_id) == ("unknown", "worker_lost", 1, None)
    assert (attempt.outcome, attempt.reason, attempt.recipient_id) == ("unknown", "worker_lost", claimed.id)
    assert (attempt.from_email, attempt.subject) == ("avisos@example.com", "Hola Persona 2 <persona2@example.com>")
    assert attempt.started_at == row.sending_since
    assert timedelta(0) <= attempt.ended_at - attempt.started_at < timedelta(minutes=1)


def test_a_take_over_of_more_rows_than_one_statement_takes_is_whole():
    bulk_send = new_bulk_send(1100)
    lease = ledger.acquire(bulk_send.pk)
    rows_claimed(lease, 1100)
    let_expire(lease)
    assert ledger.take_over_expired(describe) == 1100
    assert Attempt.objects.filter(outcome="unknown").count() == 1100


def test_a_lease_without_rows_is_taken_over_too(lease):
    let_expire(lease)
    assert ledger.take_over_expired(describe) == 0
    assert Lease.objects.get(pk=lease.id).released_at is not None


# --- Cancelling


def test_a_cancellation_excludes_what_has_not_left_and_lets_the_rest_finish(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    record(lease, outcome(lease, claimed[0], "pending"))
    ledger.cancel(bulk_send)
    assert counts(bulk_send) == {"sending": 2, "excluded": 8}
    assert set(bulk_send.recipients.filter(state="excluded").values_list("reason", "reason_detail")) == {
        ("cancelled", "")
    }
    record(lease, outcome(lease, claimed[1]))
    assert counts(bulk_send) == {"sending": 1, "accepted": 1, "excluded": 8}


def test_rows_returned_after_a_cancellation_are_excluded_when_the_lease_ends(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    ledger.cancel(bulk_send)
    record(lease, outcome(lease, claimed[0], "pending"), outcome(lease, claimed[1]))
    ledger.release(lease)
    assert counts(bulk_send) == {"accepted": 1, "excluded": 9}
    assert set(bulk_send.recipients.filter(state="excluded").values_list("reason", flat=True)) == {"cancelled"}


def test_rows_returned_after_a_cancellation_by_a_lost_worker_are_excluded_too(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    ledger.cancel(bulk_send)
    record(lease, outcome(lease, claimed[0], "pending"))
    let_expire(lease)
    ledger.take_over_expired(describe)
    assert counts(bulk_send) == {"unknown": 2, "excluded": 8}


def test_what_cannot_be_cancelled_excludes_nothing(bulk_send):
    bulk_send.finish()
    with pytest.raises(WrongState), transaction.atomic():
        ledger.cancel(bulk_send)
    assert counts(bulk_send) == {"pending": 10}


# --- Concluding


def finished(bulk_send: BulkSend, **states: int) -> None:
    """Calls every row, with so many outcomes of each kind."""
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], sum(states.values())).claimed
    wanted = [state for state, count in states.items() for _ in range(count)]
    record(lease, *(outcome(lease, row, state) for row, state in zip(claimed, wanted, strict=True)))
    ledger.release(lease)


@pytest.mark.parametrize(
    ("states", "then"),
    [
        ({"accepted": 10}, "done"),
        ({"refused": 10}, "done"),
        ({"accepted": 9, "refused": 1}, "done"),
        ({"accepted": 9, "unknown": 1}, "settling"),
        ({"unknown": 10}, "settling"),
        ({"accepted": 9, "pending": 1}, "sending"),
        ({"accepted": 8, "unknown": 1, "pending": 1}, "sending"),
        ({"accepted": 9}, "sending"),
    ],
)
def test_a_bulk_send_is_done_only_when_its_rows_say_so(bulk_send, states, then):
    finished(bulk_send, **states)
    assert ledger.conclude(bulk_send.pk) == then
    bulk_send.refresh_from_db()
    assert bulk_send.status == then
    assert (bulk_send.finished_at is not None) == (then == "done")


def test_a_row_under_way_keeps_the_bulk_send_sending(bulk_send):
    finished(bulk_send, accepted=9)
    lease = ledger.acquire(bulk_send.pk)
    assert rows_claimed(lease, 5) == [11]
    assert ledger.conclude(bulk_send.pk) == "sending"


@pytest.mark.parametrize("total", [9, 11])
def test_rows_that_do_not_add_up_to_the_total_are_never_called_done(bulk_send, total):
    BulkSend.objects.filter(pk=bulk_send.pk).update(total=total)
    finished(bulk_send, accepted=10)
    assert ledger.conclude(bulk_send.pk) == "settling"


def test_settling_ends_when_nothing_is_unknown_any_more(bulk_send):
    finished(bulk_send, accepted=9, unknown=1)
    assert ledger.conclude(bulk_send.pk) == "settling"
    assert ledger.conclude(bulk_send.pk) == "settling"
    bulk_send.recipients.filter(state="unknown").update(
        state="accepted", reason="", message_id="m-11", accepted_at=timezone.now()
    )
    assert ledger.conclude(bulk_send.pk) == "done"
    assert ledger.conclude(bulk_send.pk) == "done"


@pytest.mark.parametrize("decision", ["pause", "cancel"])
def test_what_a_person_stopped_is_not_concluded(bulk_send, decision):
    finished(bulk_send, accepted=10)
    getattr(bulk_send, decision)()
    assert ledger.conclude(bulk_send.pk) == bulk_send.status == {"pause": "paused", "cancel": "cancelled"}[decision]


# --- What others left


@pytest.mark.parametrize("decision", [None, "pause", "cancel"])
def test_a_worker_without_rows_is_told_what_others_left(bulk_send, decision):
    other = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(other, [], 10).claimed
    assert ledger.left_by_others(bulk_send.pk) == ledger.Left.WORKERS
    record(other, outcome(other, claimed[0], "pending"))
    assert ledger.left_by_others(bulk_send.pk) == ledger.Left.WORKERS  # not due yet
    let_come_due(bulk_send)
    assert ledger.left_by_others(bulk_send.pk) == ledger.Left.ROWS
    if decision:
        getattr(bulk_send, decision)()
        assert ledger.left_by_others(bulk_send.pk) == ledger.Left.NOTHING


def test_nothing_is_left_when_the_last_worker_recorded_all(bulk_send):
    finished(bulk_send, accepted=10)
    assert ledger.left_by_others(bulk_send.pk) == ledger.Left.NOTHING


# --- Hours and pauses


def test_what_is_scheduled_starts_when_its_hour_has_come_and_once():
    now = timezone.now()
    due = new_bulk_send(1, status="pending", scheduled_at=now - timedelta(seconds=1))
    for status, scheduled_at in [
        ("pending", now + HOUR),
        ("pending", None),
        ("draft", now - HOUR),
        ("settling", now - HOUR),
    ]:
        new_bulk_send(1, status=status, scheduled_at=scheduled_at)
    new_bulk_send(1, status="paused", reason=reasons.PERSON, scheduled_at=now - HOUR)
    new_bulk_send(1, status="cancelled", finished_at=now, scheduled_at=now - HOUR)
    assert ledger.start_due() == [due.pk]
    due.refresh_from_db()
    assert due.status == "sending"
    assert ledger.start_due() == []
    assert BulkSend.objects.filter(status="sending").count() == 1


def test_a_pause_is_lifted_when_its_time_has_come_and_never_one_of_a_person():
    now = timezone.now()
    over = new_bulk_send(1)
    over.pause(reasons.QUOTA, now - timedelta(seconds=1), period="hour")
    kept = []
    for reason, resume_at in [
        (reasons.QUOTA, now + HOUR),
        (reasons.QUOTA, None),
        (reasons.PERSON, now - HOUR),
        (reasons.PERSON, None),
    ]:
        bulk_send = new_bulk_send(1)
        bulk_send.pause(reason, resume_at)
        kept.append(bulk_send.pk)
    failed = new_bulk_send(1)
    failed.stop_with_error(reasons.MISCONFIGURED)
    assert ledger.lift_pauses() == 1
    over.refresh_from_db()
    assert (over.status, over.reason, over.reason_params, over.resume_at) == ("sending", "", {}, None)
    assert BulkSend.objects.filter(pk__in=kept, status="paused").count() == 4
    assert BulkSend.objects.get(pk=failed.pk).status == "error"
    assert ledger.lift_pauses() == 0


def test_hours_and_pauses_go_by_the_clock_of_the_database(monkeypatch):
    new_bulk_send(1, status="pending", scheduled_at=timezone.now() + HOUR)
    new_bulk_send(1).pause(reasons.QUOTA, timezone.now() + HOUR)
    lease = ledger.acquire(new_bulk_send(1).pk)
    rows_claimed(lease, 1)
    ahead = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert ledger.start_due() == []
    assert ledger.lift_pauses() == 0
    assert ledger.take_over_expired(describe) == 0


# --- Suppressions and repeats


@pytest.mark.parametrize(
    ("until", "excluded"), [(None, 1), (HOUR, 1), (-HOUR, 0)], ids=["for ever", "until later", "until an hour ago"]
)
def test_a_suppressed_address_is_excluded_while_the_suppression_lasts(bulk_send, until, excluded):
    Suppression.objects.create(email="persona4@example.com", reason="Lo pidió", until=until and timezone.now() + until)
    Suppression.objects.create(email="otra@example.com", reason="No está en la lista")
    assert ledger.exclude_suppressed(bulk_send.pk) == excluded
    found = bulk_send.recipients.filter(state="excluded").values_list("row", "reason", "reason_detail")
    assert list(found) == [(4, "suppressed", "Lo pidió")] * excluded
    assert ledger.exclude_suppressed(bulk_send.pk) == 0


def test_a_suppression_holds_for_the_address_in_any_case(bulk_send):
    bulk_send.recipients.filter(row=4).update(email="Persona4@example.com")
    Suppression.objects.create(email="persona4@example.com", reason="Lo pidió")
    assert ledger.exclude_suppressed(bulk_send.pk) == 1


def test_a_suppression_changes_neither_what_left_nor_another_bulk_send(lease, bulk_send):
    other = new_bulk_send(3)
    claimed = ledger.take_turn(lease, [], 2).claimed
    record(lease, outcome(lease, claimed[0]))
    for row in (2, 3):
        Suppression.objects.create(email=f"persona{row}@example.com", reason="Lo pidió")
    assert ledger.exclude_suppressed(bulk_send.pk) == 0
    assert counts(bulk_send) == {"accepted": 1, "sending": 1, "pending": 8}
    assert counts(other) == {"pending": 3}


def test_a_row_that_came_back_is_excluded_when_its_address_was_suppressed_meanwhile(lease, bulk_send):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    record(lease, outcome(lease, claimed, "pending"))
    Suppression.objects.create(email=claimed.email, reason="Lo pidió")
    with transaction.atomic():
        assert ledger.exclude_suppressed(bulk_send.pk) == 1
    row = Recipient.objects.get(pk=claimed.id)
    assert (row.state, row.reason, row.not_before) == ("excluded", "suppressed", None)


def with_addresses(*rows: tuple[str, dict]) -> BulkSend:
    bulk_send = new_bulk_send(0, total=len(rows))
    for number, (email, variables) in enumerate(rows, 2):
        Recipient.objects.create(bulk_send=bulk_send, row=number, email=email, variables=variables, state="pending")
    return bulk_send


@pytest.mark.parametrize(
    ("only_equal_rows", "repeats"), [(False, {4: "2", 5: "2", 7: "3"}), (True, {5: "2"})], ids=["address", "row"]
)
def test_of_a_repeated_address_the_first_row_stays(only_equal_rows, repeats):
    bulk_send = with_addresses(
        ("Ana@example.com", {"monto": "1", "mes": "marzo"}),
        ("luis@example.com", {"monto": "1", "mes": "marzo"}),
        ("ana@example.com", {"monto": "2", "mes": "marzo"}),
        ("ANA@example.com", {"monto": "1", "mes": "marzo"}),
        ("eva@example.com", {"monto": "1", "mes": "marzo"}),
        ("luis@example.com", {"monto": "1", "mes": "Marzo"}),
    )
    assert ledger.exclude_repeats(bulk_send.pk, only_equal_rows=only_equal_rows) == len(repeats)
    excluded = bulk_send.recipients.filter(state="excluded", reason="duplicate")
    assert dict(excluded.values_list("row", "reason_detail")) == repeats
    assert ledger.exclude_repeats(bulk_send.pk, only_equal_rows=only_equal_rows) == 0


def test_the_first_valid_row_of_an_address_stays_not_the_first():
    bulk_send = with_addresses(("ana@example.com", {}), ("ana@example.com", {}), ("ana@example.com", {}))
    bulk_send.recipients.filter(row=2).update(state="excluded", reason=reasons.MISSING_VARIABLE)
    ledger.exclude_repeats(bulk_send.pk, only_equal_rows=False)
    assert dict(bulk_send.recipients.values_list("row", "state")) == {2: "excluded", 3: "pending", 4: "excluded"}
    assert Recipient.objects.get(row=4).reason_detail == "3"


def test_an_address_of_another_bulk_send_is_no_repeat():
    first, second = (with_addresses(("ana@example.com", {})) for _ in range(2))
    assert ledger.exclude_repeats(first.pk, only_equal_rows=False) == 0
    assert counts(second) == {"pending": 1}


# --- At the same time, on two connections


def in_threads(*works):
    """Runs each work in a thread with a connection of its own; gives their results."""

    def alone(work):
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '10s'")  # a wait that never ends is a failure, not a hang
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(alone, work) for work in works]]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_workers_who_claim_at_the_same_time_never_get_the_same_row():
    needs_postgresql()
    bulk_send = new_bulk_send(600)
    together = threading.Barrier(4)

    def work():
        lease = ledger.acquire(bulk_send.pk)
        rows, idle = [], 0
        together.wait(timeout=30)
        while idle < 2:
            turn = ledger.take_turn(lease, [], 7, sweep=idle > 0)
            idle = 0 if turn.claimed else idle + 1
            rows += [claimed.row for claimed in turn.claimed]
            record(lease, *(outcome(lease, claimed) for claimed in turn.claimed))
        ledger.release(lease)
        return rows

    results = in_threads(*[work] * 4)
    assert sorted(row for rows in results for row in rows) == list(range(2, 602))
    assert counts(bulk_send) == {"accepted": 600}
    assert Attempt.objects.count() == 600
    assert ledger.conclude(bulk_send.pk) == "done"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_who_take_over_at_the_same_time_write_each_attempt_once():
    needs_postgresql()
    bulk_send = new_bulk_send(200)
    for _ in range(4):
        lease = ledger.acquire(bulk_send.pk)
        rows_claimed(lease, 50)
        let_expire(lease)
    together = threading.Barrier(3)

    def work():
        together.wait(timeout=30)
        return ledger.take_over_expired(describe)

    assert sum(in_threads(*[work] * 3)) == 200
    assert counts(bulk_send) == {"unknown": 200}
    assert Attempt.objects.count() == 200


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_lease_is_not_taken_over_in_the_middle_of_a_turn(monkeypatch):
    needs_postgresql()
    bulk_send = new_bulk_send(3)
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], 3).claimed
    recording = ledger._record
    taken = []

    def record_while_it_expires(*arguments):
        # The lease runs out after its check and before the commit: another process looks for expired ones.
        monkeypatch.setattr(ledger, "_now", lambda: "clock_timestamp() + interval '1 hour'")
        taken.extend(in_threads(lambda: ledger.take_over_expired(describe)))
        monkeypatch.undo()
        return recording(*arguments)

    monkeypatch.setattr(ledger, "_record", record_while_it_expires)
    assert record(lease, *(outcome(lease, row) for row in claimed)) == 3
    assert taken == [0]
    assert counts(bulk_send) == {"accepted": 3}


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_hosts_start_what_is_due_once():
    needs_postgresql()
    due = {new_bulk_send(1, status="pending", scheduled_at=timezone.now() - HOUR).pk for _ in range(10)}
    started = in_threads(*[ledger.start_due] * 3)
    assert Counter(id_ for ids in started for id_ in ids) == Counter(due)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_rows_returned_while_a_cancellation_commits_are_excluded():
    needs_postgresql()
    bulk_send = new_bulk_send(10)
    lease = ledger.acquire(bulk_send.pk)
    rows_claimed(lease, 4)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            ledger.cancel(bulk_send)
            released = pool.submit(in_threads, lambda: ledger.release(lease))
            time.sleep(0.3)  # it is through, or waits for us
        released.result(timeout=30)
    assert counts(bulk_send) == {"excluded": 10}
