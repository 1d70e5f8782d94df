"""The ledger of a whole bulk send: cancelled, concluded, left by others, started at its hour."""

from datetime import timedelta

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from relay import decisions, ledger, reasons, stages, whole_sends
from relay.decisions import Actor
from relay.models import BulkSend, Lease, WrongState
from tests.relay.ledger_acts import (
    HOUR,
    connection_lost,
    counts,
    describe,
    let_come_due,
    let_expire,
    outcome,
    record,
    rows_claimed,
)
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


# --- Cancelling


def test_a_cancellation_excludes_what_has_not_left_and_lets_the_rest_finish(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    record(lease, outcome(lease, claimed[0], "pending"))
    whole_sends.cancel(bulk_send)
    assert counts(bulk_send) == {"sending": 2, "excluded": 8}
    assert set(bulk_send.recipients.filter(state="excluded").values_list("reason", "reason_detail")) == {
        ("cancelled", "")
    }
    record(lease, outcome(lease, claimed[1]))
    assert counts(bulk_send) == {"sending": 1, "accepted": 1, "excluded": 8}


def test_rows_returned_after_a_cancellation_are_excluded_when_the_lease_ends(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    whole_sends.cancel(bulk_send)
    record(lease, outcome(lease, claimed[0], "pending"), outcome(lease, claimed[1]))
    ledger.release(lease)
    assert counts(bulk_send) == {"accepted": 1, "excluded": 9}
    assert set(bulk_send.recipients.filter(state="excluded").values_list("reason", flat=True)) == {"cancelled"}


def test_rows_returned_after_a_cancellation_by_a_lost_worker_are_excluded_too(lease, bulk_send):
    claimed = ledger.take_turn(lease, [], 3).claimed
    whole_sends.cancel(bulk_send)
    record(lease, outcome(lease, claimed[0], "pending"))
    let_expire(lease)
    ledger.take_over_expired(describe)
    assert counts(bulk_send) == {"unknown": 2, "excluded": 8}


def act_release(lease, claimed):
    ledger.release(lease)


def act_put_back(lease, claimed):
    ledger.put_back(lease, [row.id for row in claimed])


def act_take_over(lease, claimed):
    let_expire(lease)
    ledger.take_over_expired(describe)


@pytest.mark.parametrize(
    ("act", "then"),
    [
        (act_release, {"excluded": 10}),
        (act_put_back, {"excluded": 10}),
        (act_take_over, {"unknown": 2, "excluded": 8}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_who_dies_while_rows_come_back_to_a_cancelled_one_leaves_all_to_do(lease, bulk_send, monkeypatch, act, then):
    """They come back and are excluded in one commit: else nobody would look at them any more."""
    claimed = ledger.take_turn(lease, [], 3).claimed
    whole_sends.cancel(bulk_send)
    record(lease, outcome(lease, claimed.pop(0), "pending"))
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "exclude_leftovers_of_cancelled", connection_lost)
        with pytest.raises(OperationalError):
            act(lease, claimed)
    assert counts(bulk_send) == {"sending": 2, "pending": 1, "excluded": 7}
    assert Lease.objects.get().released_at is None
    act(lease, claimed)
    assert counts(bulk_send) == then


def test_what_cannot_be_cancelled_excludes_nothing(bulk_send):
    bulk_send.finish()
    with pytest.raises(WrongState), transaction.atomic():
        whole_sends.cancel(bulk_send)
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
    assert stages.conclude(bulk_send.pk) == then
    bulk_send.refresh_from_db()
    assert bulk_send.status == then
    assert (bulk_send.finished_at is not None) == (then == "done")


def test_a_row_under_way_keeps_the_bulk_send_sending(bulk_send):
    finished(bulk_send, accepted=9)
    lease = ledger.acquire(bulk_send.pk)
    assert rows_claimed(lease, 5) == [11]
    assert stages.conclude(bulk_send.pk) == "sending"


@pytest.mark.parametrize("total", [9, 11])
def test_rows_that_do_not_add_up_to_the_total_are_never_called_done(bulk_send, total):
    BulkSend.objects.filter(pk=bulk_send.pk).update(total=total)
    finished(bulk_send, accepted=10)
    assert stages.conclude(bulk_send.pk) == "settling"


def test_settling_ends_when_nothing_is_unknown_any_more(bulk_send):
    finished(bulk_send, accepted=9, unknown=1)
    assert stages.conclude(bulk_send.pk) == "settling"
    assert stages.conclude(bulk_send.pk) == "settling"
    bulk_send.recipients.filter(state="unknown").update(
        state="accepted", reason="", message_id="m-11", accepted_at=timezone.now(), look_at=None
    )
    assert stages.conclude(bulk_send.pk) == "done"
    assert stages.conclude(bulk_send.pk) == "done"


@pytest.mark.parametrize("decision", ["pause", "cancel"])
def test_what_a_person_stopped_is_not_concluded(bulk_send, decision):
    finished(bulk_send, accepted=10)
    getattr(bulk_send, decision)()
    assert stages.conclude(bulk_send.pk) == bulk_send.status == {"pause": "paused", "cancel": "cancelled"}[decision]


# --- What others left


@pytest.mark.parametrize("decision", [None, "pause", "cancel"])
def test_a_worker_without_rows_is_told_what_others_left(bulk_send, decision):
    other = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(other, [], 10).claimed
    assert stages.left_by_others(bulk_send.pk) == stages.Left.WORKERS
    record(other, outcome(other, claimed[0], "pending"))
    assert stages.left_by_others(bulk_send.pk) == stages.Left.WORKERS  # not due yet
    let_come_due(bulk_send)
    assert stages.left_by_others(bulk_send.pk) == stages.Left.ROWS
    if decision:
        getattr(bulk_send, decision)()
        assert stages.left_by_others(bulk_send.pk) == stages.Left.NOTHING


def test_nothing_is_left_when_the_last_worker_recorded_all(bulk_send):
    finished(bulk_send, accepted=10)
    assert stages.left_by_others(bulk_send.pk) == stages.Left.NOTHING


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
    assert stages.start_due() == [due.pk]
    due.refresh_from_db()
    assert due.status == "sending"
    assert stages.start_due() == []
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
    assert stages.lift_pauses() == 1
    over.refresh_from_db()
    assert (over.status, over.reason, over.reason_params, over.resume_at) == ("sending", "", {}, None)
    assert BulkSend.objects.filter(pk__in=kept, status="paused").count() == 4
    assert BulkSend.objects.get(pk=failed.pk).status == "error"
    assert stages.lift_pauses() == 0


def test_hours_and_pauses_go_by_the_clock_of_the_database(monkeypatch):
    new_bulk_send(1, status="pending", scheduled_at=timezone.now() + HOUR)
    new_bulk_send(1).pause(reasons.QUOTA, timezone.now() + HOUR)
    lease = ledger.acquire(new_bulk_send(1).pk)
    rows_claimed(lease, 1)
    ahead = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert stages.start_due() == []
    assert stages.lift_pauses() == 0
    assert ledger.take_over_expired(describe) == 0


# --- an hour that was missed


def test_what_is_late_by_less_than_the_limit_starts(settings):
    settings.BULK_MISSED_AFTER_MIN = 60
    late = new_bulk_send(1, status="pending", scheduled_at=timezone.now() - timedelta(minutes=59))
    assert stages.start_due() == [late.pk]


def test_what_is_later_than_that_waits_for_a_person_and_no_timer_lifts_it(settings):
    settings.BULK_MISSED_AFTER_MIN = 60
    settings.TIME_ZONE = "America/Guayaquil"
    hour = timezone.now() - timedelta(minutes=61)
    missed = new_bulk_send(1, status="pending", scheduled_at=hour)
    assert stages.start_due() == []
    assert stages.lift_pauses() == 0
    assert stages.start_due() == []
    missed.refresh_from_db()
    assert (missed.status, missed.reason, missed.resume_at) == ("paused", "missed", None)
    assert timezone.localtime(hour).strftime("%Y-%m-%d %H:%M") in missed.reason_text
    decisions.resume(missed, Actor("ana"))
    assert missed.status == "sending"


def test_a_missed_hour_goes_by_the_clock_of_the_database(settings, monkeypatch):
    settings.BULK_MISSED_AFTER_MIN = 60
    late = new_bulk_send(1, status="pending", scheduled_at=timezone.now() - timedelta(minutes=5))
    ahead = timezone.now() + timedelta(days=1)
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert stages.start_due() == [late.pk]


# --- The first slice


def test_who_was_not_told_that_the_first_slice_passed_hears_it_when_asking_again():
    """And does not end before the rest of the file."""
    bulk_send = new_bulk_send(4, first_slice=2, slice_ends_at_row=3)
    lease = ledger.acquire(bulk_send.pk)
    record(lease, *(outcome(lease, claimed) for claimed in ledger.take_turn(lease, [], 4).claimed))
    ledger.release(lease)
    assert counts(bulk_send) == {"accepted": 2, "pending": 2}
    assert stages.judge_first_slice(bulk_send.pk)
    assert stages.judge_first_slice(bulk_send.pk)
    bulk_send.recipients.filter(state="pending").update(not_before=timezone.now() + HOUR)
    assert not stages.judge_first_slice(bulk_send.pk)


def test_a_bad_first_slice_is_bad_however_often_it_is_judged():
    bulk_send = new_bulk_send(4, first_slice=2, slice_ends_at_row=3)
    lease = ledger.acquire(bulk_send.pk)
    record(lease, *(outcome(lease, claimed, "refused") for claimed in ledger.take_turn(lease, [], 4).claimed))
    ledger.release(lease)
    assert not stages.judge_first_slice(bulk_send.pk)
    assert not stages.judge_first_slice(bulk_send.pk)
    bulk_send.refresh_from_db()
    assert (bulk_send.status, bulk_send.reason) == ("paused", reasons.FIRST_SLICE)


@pytest.mark.parametrize(("row_state", "more"), [("pending", True), ("excluded", False)])
def test_without_a_first_slice_only_rows_that_are_left_let_a_drain_go_on(row_state, more):
    bulk_send = new_bulk_send(1)
    bulk_send.recipients.update(state=row_state, reason="" if row_state == "pending" else reasons.CANCELLED)
    assert stages.judge_first_slice(bulk_send.pk) is more
