"""On two connections at the same time, on PostgreSQL: each row still once."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from django.utils import timezone

from relay import ledger, stages, whole_sends
from relay.ledger import HeldLease, LeaseLost
from relay.models import Attempt, BulkSend, Lease, Recipient
from tests.relay.ledger_acts import (
    HOUR,
    ON_POSTGRESQL,
    counts,
    describe,
    in_threads,
    let_expire,
    outcome,
    record,
    rows_claimed,
)
from tests.relay.rows import new_bulk_send

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True), ON_POSTGRESQL]


def wait_for_a_lock() -> None:
    """Until another session waits for something that we hold."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            # Not from within our transaction's snapshot of the statistics: locks are always told as they are.
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.02)
    raise AssertionError("nobody waits")


def four_of(rows: int) -> tuple[BulkSend, HeldLease]:
    """A bulk send of so many rows, four of which a worker holds."""
    bulk_send = new_bulk_send(rows)
    lease = ledger.acquire(bulk_send.pk)
    assert len(rows_claimed(lease, 4)) == 4
    return bulk_send, lease


def test_workers_who_claim_at_the_same_time_never_get_the_same_row():
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
    assert stages.conclude(bulk_send.pk) == "done"


def test_two_who_take_over_at_the_same_time_write_each_attempt_once():
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


def test_a_lease_is_not_taken_over_in_the_middle_of_a_turn():
    bulk_send = new_bulk_send(3)
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], 3).claimed
    let_expire(lease)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            # The turn has checked its lease and waits for this row, while another process looks for expired leases.
            Recipient.objects.select_for_update().get(pk=claimed[-1].id)
            turn = pool.submit(in_threads, lambda: record(lease, *(outcome(lease, row) for row in claimed)))
            wait_for_a_lock()
            assert in_threads(lambda: ledger.take_over_expired(describe)) == [0]
        assert turn.result(timeout=30) == [3]
    assert counts(bulk_send) == {"accepted": 3}
    assert Lease.objects.get(pk=lease.id).released_at is None


def test_a_turn_that_comes_in_the_middle_of_a_take_over_writes_nothing():
    bulk_send = new_bulk_send(6)
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], 3).claimed
    let_expire(lease)

    def late_turn():
        with pytest.raises(LeaseLost):
            ledger.take_turn(lease, [outcome(lease, row) for row in claimed], 3)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert ledger.take_over_expired(describe) == 3
            late = pool.submit(in_threads, late_turn)
            wait_for_a_lock()
        late.result(timeout=30)
    assert counts(bulk_send) == {"unknown": 3, "pending": 3}
    assert [attempt.outcome for attempt in Attempt.objects.all()] == ["unknown"] * 3


def test_two_hosts_start_what_is_due_once():
    due = {new_bulk_send(1, status="pending", scheduled_at=timezone.now() - HOUR / 60).pk for _ in range(10)}
    started = in_threads(*[stages.start_due] * 3)
    assert Counter(id_ for ids in started for id_ in ids) == Counter(due)


def test_rows_returned_while_a_cancellation_commits_are_excluded():
    bulk_send, lease = four_of(10)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            whole_sends.cancel(bulk_send)
            released = pool.submit(in_threads, lambda: ledger.release(lease))
            time.sleep(0.3)  # it is through, or waits for us
        released.result(timeout=30)
    assert counts(bulk_send) == {"excluded": 10}


def test_a_cancellation_waits_for_rows_that_are_coming_back():
    bulk_send, lease = four_of(10)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            ledger.release(lease)
            cancelled = pool.submit(in_threads, lambda: whole_sends.cancel(bulk_send))
            wait_for_a_lock()
        assert cancelled.result(timeout=30) == [10]
    assert counts(bulk_send) == {"excluded": 10}


def test_nobody_waits_to_take_over_while_a_bulk_send_is_being_cancelled():
    (bulk_send, lease), (other, others_lease) = four_of(10), four_of(5)
    let_expire(lease)
    let_expire(others_lease)
    with transaction.atomic():
        whole_sends.cancel(bulk_send)
        assert in_threads(lambda: ledger.take_over_expired(describe)) == [4]
    assert counts(other) == {"unknown": 4, "pending": 1}
    assert ledger.take_over_expired(describe) == 4
    assert counts(bulk_send) == {"unknown": 4, "excluded": 6}


def test_all_that_can_happen_to_a_bulk_send_at_once_neither_blocks_nor_leaves_anything():
    """A deadlock would be an error of one of them."""
    for _ in range(8):
        bulk_send = new_bulk_send(200)
        leases = [ledger.acquire(bulk_send.pk) for _ in range(5)]
        claimed = [ledger.take_turn(lease, [], 10).claimed for lease in leases]
        for lease in leases[3:]:
            let_expire(lease)
        together = threading.Barrier(6)

        def give_back(lease, rows, together=together):
            together.wait(timeout=30)
            record(lease, *(outcome(lease, row, "pending", retry_in=0.0) for row in rows[:5]))
            ledger.put_back(lease, [row.id for row in rows[5:8]])
            ledger.release(lease)

        def cancel(bulk_send=bulk_send, together=together):
            together.wait(timeout=30)
            whole_sends.cancel(bulk_send)

        def take_over(together=together):
            together.wait(timeout=30)
            ledger.take_over_expired(describe)

        works = [
            lambda lease=lease, rows=rows: give_back(lease, rows)
            for lease, rows in zip(leases[:3], claimed[:3], strict=True)
        ]
        in_threads(*works, cancel, take_over, take_over)
        ledger.take_over_expired(describe)  # both may have passed over what the others had locked
        assert counts(bulk_send) == {"unknown": 20, "excluded": 180}
