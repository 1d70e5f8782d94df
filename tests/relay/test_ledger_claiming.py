"""Which rows a worker gets, and in which order."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from relay import ledger, reasons, stages
from relay.models import Recipient
from tests.relay.ledger_acts import counts, let_come_due, outcome, record, rows_claimed
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


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
    assert stages.next_due_in(bulk_send.pk) is None
    first, second = ledger.take_turn(lease, [], 2).claimed
    record(lease, outcome(lease, first, "pending", retry_in=300), outcome(lease, second, "pending", retry_in=30))
    assert 25 < stages.next_due_in(bulk_send.pk) <= 30.5
    let_come_due(bulk_send, ago=5)
    assert -10 < stages.next_due_in(bulk_send.pk) <= -4


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
