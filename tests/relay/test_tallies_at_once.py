"""Tallies while several workers send, several processes fold, and people read, on PostgreSQL."""

import random
import threading
from datetime import timedelta

import pytest
from django.db import connection

from relay import ledger, tallies
from relay.models import Tally
from tests.relay.ledger_acts import ON_POSTGRESQL, in_threads, outcome
from tests.relay.rows import new_bulk_send
from tests.relay.tallied import by_hour, counted, told

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True), ON_POSTGRESQL]

ROWS = 600


@pytest.fixture
def each_second_is_old(monkeypatch):
    """What was written a moment ago is folded, too, and into hours."""
    now = tallies.database_now
    monkeypatch.setattr(tallies, "database_now", lambda: now() + timedelta(hours=3))


def test_every_read_is_right_while_rows_change_and_tallies_are_folded(each_second_is_old):
    bulk_sends = [new_bulk_send(ROWS), new_bulk_send(ROWS)]
    ids = [bulk_send.pk for bulk_send in bulk_sends]
    ended = threading.Event()
    working = threading.Semaphore(0)

    def work(number: int) -> int:
        chance = random.Random(number)
        lease = ledger.acquire(ids[number % 2])
        outcomes, calls = [], 0
        while True:
            turn = ledger.take_turn(lease, outcomes, chance.randint(1, 9), sweep=calls > 900)
            if not turn.claimed:
                break
            calls += len(turn.claimed)
            states = chance.choices(["accepted", "refused", "unknown", "pending"], [8, 2, 1, 1], k=len(turn.claimed))
            answers = zip(turn.claimed, states, strict=True)
            outcomes = [outcome(lease, row, state, code=f"400.{row.row % 3}") for row, state in answers]
        ledger.release(lease)
        working.release()
        return calls

    def fold() -> int:
        folded = 0
        while not ended.is_set():
            folded += tallies.compact()
        return folded

    def read() -> int:
        reads = 0
        while not ended.is_set():
            for counts in tallies.counts_of(ids).values():
                assert sum(counts.values()) == ROWS
                assert min(counts.values()) >= 0
            reads += 1
        return reads

    def end() -> int:
        for _ in range(4):
            working.acquire(timeout=60)
        ended.set()
        return 0

    *_works, folded, also_folded, reads, _end = in_threads(
        *(lambda number=number: work(number) for number in range(4)), fold, fold, read, end
    )
    assert reads > 5
    assert folded + also_folded > 50
    assert by_hour(told()) == by_hour(counted())
    tallies.compact()
    assert not Tally.objects.filter(span__lt=Tally.Span.HOUR).exists()
    assert by_hour(told()) == by_hour(counted())


def test_an_emptied_ledger_has_no_tallies():
    new_bulk_send(3)
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE relay_recipient CASCADE")
    assert not Tally.objects.exists()
