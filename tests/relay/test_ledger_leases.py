"""Who lost his lease writes nothing any more; what he held is taken over or put back."""

import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from relay import ledger
from relay.dialects import database_now
from relay.ledger import LeaseLost
from relay.models import Attempt, Lease, Recipient
from tests.relay.ledger_acts import connection_lost, counts, describe, let_expire, outcome, record, rows_claimed
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


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
    ledger.heartbeat(lease, calls_in_flight=12, calls_per_second=34.5, limited_by="slow")
    after = Lease.objects.get(pk=lease.id)
    assert after.expires_at - before.expires_at > timedelta(seconds=500)
    assert lease.deadline - deadline > 500
    assert (after.calls_in_flight, after.calls_per_second, after.limited_by) == (12, 34.5, "slow")


def act_heartbeat(lease, claimed):
    ledger.heartbeat(lease, calls_in_flight=0, calls_per_second=0)


def act_claim(lease, claimed):
    ledger.take_turn(lease, [], 5)


def act_record(lease, claimed):
    ledger.take_turn(lease, [outcome(lease, row) for row in claimed], 0)


def act_release(lease, claimed):
    ledger.release(lease)


ACTS = [act_heartbeat, act_claim, act_record, act_release]


@pytest.mark.parametrize(
    ("act", "then", "taken_over", "attempts"),
    [
        (act_heartbeat, {"sending": 3, "pending": 7}, 0, []),
        (act_claim, {"sending": 8, "pending": 2}, 8, ["unknown"] * 8),
        (act_record, {"accepted": 3, "pending": 7}, 0, ["accepted"] * 3),
        (act_release, {"pending": 10}, 0, []),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_who_came_back_before_anybody_took_over_still_acts(lease, bulk_send, act, then, taken_over, attempts):
    """What it knows is the truth, and nobody has written anything else meanwhile."""
    claimed = ledger.take_turn(lease, [], 3).claimed
    let_expire(lease)
    act(lease, claimed)
    assert counts(bulk_send) == then
    # Only a heartbeat renews the lease: after anything else it is still open to whoever comes.
    assert ledger.take_over_expired(describe) == taken_over
    assert [attempt.outcome for attempt in Attempt.objects.all()] == attempts
    assert (Lease.objects.get(pk=lease.id).released_at is None) == (act is act_heartbeat)


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


@pytest.mark.parametrize("act", [act_heartbeat, act_claim, act_record], ids=lambda act: act.__name__)
def test_a_released_lease_is_over(lease, act):
    ledger.release(lease)
    with pytest.raises(LeaseLost), transaction.atomic():
        act(lease, [])


def test_a_release_whose_commit_was_not_confirmed_can_be_repeated(lease, bulk_send):
    rows_claimed(lease, 3)
    ledger.release(lease)
    before = list(bulk_send.recipients.order_by("row").values()), list(Lease.objects.values())
    ledger.release(lease)
    assert (list(bulk_send.recipients.order_by("row").values()), list(Lease.objects.values())) == before


def test_a_release_that_was_not_committed_and_then_taken_over_leaves_what_was_written(lease, bulk_send, monkeypatch):
    rows_claimed(lease, 3)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "exclude_leftovers_of_cancelled", connection_lost)
        with pytest.raises(OperationalError):
            ledger.release(lease)
    assert counts(bulk_send) == {"sending": 3, "pending": 7}
    let_expire(lease)
    assert ledger.take_over_expired(describe) == 3
    ledger.release(lease)
    assert counts(bulk_send) == {"unknown": 3, "pending": 7}


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


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has no lock for all writers")
@pytest.mark.django_db(transaction=True)
def test_a_lease_that_waited_for_the_write_lock_has_the_right_time():
    """An import holds it for half a minute: what is sent then must not be dated so much later."""
    bulk_send = new_bulk_send(1)
    held = threading.Event()

    def hold_the_lock() -> None:
        with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            time.sleep(2)
            other.execute("ROLLBACK")

    holder = threading.Thread(target=hold_the_lock)
    holder.start()
    held.wait()
    began = time.monotonic()
    lease = ledger.acquire(bulk_send.pk)
    assert time.monotonic() - began > 1
    holder.join()
    assert abs((lease.now() - database_now()).total_seconds()) < 0.5
