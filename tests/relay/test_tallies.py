"""The tallies say what a count of the rows would say, whoever changed them; folding changes no sum."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction

from relay import ledger, reasons, tallies, whole_sends
from relay.models import BulkSend, Recipient, Tally
from tests.relay.admin_rows import in_every_state, recipient
from tests.relay.ledger_acts import outcome, record
from tests.relay.rows import add_recipients, new_bulk_send
from tests.relay.tallied import by_hour, counted, told

pytestmark = pytest.mark.django_db

State = Recipient.State
QUITO = ZoneInfo("America/Guayaquil")


def accepted_at(bulk_send: BulkSend, *moments: datetime) -> None:
    """So many more recipients, accepted at these moments."""
    first = bulk_send.recipients.count() + 2
    add_recipients(bulk_send, *range(first, first + len(moments)))
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], len(moments)).claimed
    ended = zip(claimed, moments, strict=True)
    record(lease, *(outcome(lease, row, started_at=at, ended_at=at) for row, at in ended))
    ledger.release(lease)


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send()


# --- Kept by the database -----------------------------------------------------------------------------------------


def test_every_state_is_counted_as_the_rows_are(bulk_send):
    in_every_state(bulk_send)
    in_every_state(new_bulk_send())
    assert told() == counted()
    assert tallies.counts_of([bulk_send.pk]) == {bulk_send.pk: dict.fromkeys(State.values, 1)}


def test_a_turn_that_records_and_claims_at_once_is_counted(bulk_send):
    add_recipients(bulk_send, *range(2, 12))
    lease = ledger.acquire(bulk_send.pk)
    first = ledger.take_turn(lease, [], 4).claimed
    answers = zip(first, ["accepted", "refused", "unknown", "pending"], strict=True)
    ledger.take_turn(lease, [outcome(lease, row, state) for row, state in answers], 3)
    assert told() == counted()
    assert {state: n for state, n in tallies.counts_of([bulk_send.pk])[bulk_send.pk].items() if n} == {
        "pending": 4,
        "sending": 3,
        "accepted": 1,
        "refused": 1,
        "unknown": 1,
    }


def test_what_is_rolled_back_is_not_counted(bulk_send):
    add_recipients(bulk_send, 2, 3)
    with transaction.atomic():
        bulk_send.recipients.update(state=State.EXCLUDED, reason=reasons.CANCELLED)
        assert tallies.counts_of([bulk_send.pk])[bulk_send.pk]["excluded"] == 2
        transaction.set_rollback(True)
    assert told() == counted()
    assert tallies.counts_of([bulk_send.pk])[bulk_send.pk]["pending"] == 2


def test_a_change_that_says_nothing_new_writes_nothing(bulk_send):
    add_recipients(bulk_send, 2, 3)
    before = list(Tally.objects.values())
    bulk_send.recipients.update(variables={"nombre": "Otra"}, email="otra@example.com")
    assert list(Tally.objects.values()) == before


def test_rows_that_are_deleted_are_counted_no_more(bulk_send):
    in_every_state(bulk_send)
    Recipient.objects.filter(state__in=[State.PENDING, State.EXCLUDED]).delete()
    assert told() == counted()


def test_a_bulk_send_nobody_has_heard_of_counts_nothing():
    assert tallies.counts_of([4711]) == {4711: dict.fromkeys(State.values, 0)}
    assert tallies.counts_of([]) == {}


def test_reasons_and_codes_by_how_often_they_occur(bulk_send):
    add_recipients(bulk_send, *range(2, 8))
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], 5).claimed
    codes = ["400.1", "400.7", "400.7", "400.7", "400.1"]
    record(lease, *(outcome(lease, row, "refused", code=code) for row, code in zip(claimed, codes, strict=True)))
    bulk_send.recipients.filter(state="pending").update(state="excluded", reason=reasons.DUPLICATE, reason_detail="2")
    assert tallies.reasons_of(bulk_send.pk, State.REFUSED) == {reasons.REFUSED: 5}
    assert tallies.codes_of(bulk_send.pk) == {"400.1": 2, "400.7": 3}
    assert tallies.reasons_of(bulk_send.pk, State.EXCLUDED) == {reasons.DUPLICATE: 1}
    today = datetime.now(QUITO).date()
    assert tallies.refused_reasons(today, today, zone=QUITO) == {"400.7": 3, "400.1": 2}
    whole_sends.retry_refused(bulk_send.pk, ["400.7"])
    assert tallies.codes_of(bulk_send.pk) == {"400.1": 2}


def test_unknown_recipients_that_wait_for_a_person_are_told_apart(bulk_send):
    in_every_state(bulk_send)
    other = new_bulk_send()
    in_every_state(other)
    other.recipients.filter(state=State.UNKNOWN).update(look_at=datetime(2026, 3, 2, tzinfo=UTC))
    assert tallies.for_a_person() == {bulk_send.pk: 1}
    assert tallies.for_a_person([other.pk]) == {}
    assert told() == counted()


# --- Minutes and days ---------------------------------------------------------------------------------------------


def test_minutes_are_told_without_gaps_up_to_this_one(bulk_send):
    now = ledger.acquire(bulk_send.pk).now()
    accepted_at(bulk_send, now, now, now - timedelta(minutes=2), now - timedelta(hours=1))
    told = tallies.per_minute(bulk_send.pk, minutes=5)
    begin = told[0].at
    assert [(minute.at - begin) / timedelta(minutes=1) for minute in told] == [0, 1, 2, 3, 4]
    assert sum(minute.accepted for minute in told) == 3
    assert {minute.accepted for minute in told} <= {0, 1, 2}
    assert sum(minute.accepted for minute in tallies.per_minute(bulk_send.pk, minutes=90)) == 4


@pytest.mark.parametrize("minutes", [0, -1, tallies.MINUTES_KEPT + 1])
def test_more_minutes_than_are_kept_cannot_be_asked_for(bulk_send, minutes):
    with pytest.raises(ValueError, match="minutes are kept"):
        tallies.per_minute(bulk_send.pk, minutes=minutes)


def test_a_day_is_a_day_of_the_zone(bulk_send):
    # 04:59 and 05:00 UTC lie on both sides of midnight in Quito.
    accepted_at(bulk_send, datetime(2026, 3, 2, 4, 59, tzinfo=UTC), datetime(2026, 3, 2, 5, 0, tzinfo=UTC))
    accepted_at(new_bulk_send(), datetime(2026, 3, 4, 15, tzinfo=UTC))
    days = tallies.per_day(date(2026, 3, 1), date(2026, 3, 3), zone=QUITO)
    assert [(day.day.day, day.accepted) for day in days] == [(1, 1), (2, 1), (3, 0)]
    in_utc = tallies.per_day(date(2026, 3, 1), date(2026, 3, 4), zone=ZoneInfo("UTC"))
    assert [day.accepted for day in in_utc] == [0, 2, 0, 1]


def test_what_is_sent_again_leaves_the_day_on_which_it_was_refused(bulk_send):
    add_recipients(bulk_send, 2)
    lease = ledger.acquire(bulk_send.pk)
    (row,) = ledger.take_turn(lease, [], 1).claimed
    record(lease, outcome(lease, row, "refused"))
    bulk_send.recipients.update(sending_since=datetime(2026, 3, 2, 15, tzinfo=UTC))
    march = (date(2026, 3, 2), date(2026, 3, 2))
    assert [day.refused for day in tallies.per_day(*march, zone=QUITO)] == [1]
    whole_sends.retry_refused(bulk_send.pk, ["400.1"])
    assert [day.refused for day in tallies.per_day(*march, zone=QUITO)] == [0]


# --- Folding ------------------------------------------------------------------------------------------------------


def test_folding_keeps_every_sum_and_leaves_one_row_for_each_hour(bulk_send):
    long_ago = datetime(2026, 3, 2, 15, 10, tzinfo=UTC)
    for number in range(4):
        accepted_at(bulk_send, long_ago + timedelta(minutes=number), long_ago + timedelta(hours=1))
    in_every_state(new_bulk_send())
    before = by_hour(counted())
    tallies.compact()
    assert by_hour(told()) == before
    hours = Tally.objects.filter(bulk_send=bulk_send, state=State.ACCEPTED).order_by("at")
    assert list(hours.values_list("at", "span", "n")) == [
        (long_ago.replace(minute=0), 60, 4),
        (long_ago.replace(hour=16, minute=0), 60, 4),
    ]
    assert tallies.compact() == 0


def test_what_comes_late_is_folded_into_the_hour_that_there_is(bulk_send):
    long_ago = datetime(2026, 3, 2, 15, 10, tzinfo=UTC)
    for _ in range(3):
        accepted_at(bulk_send, long_ago)
        tallies.compact()
    assert list(Tally.objects.filter(state=State.ACCEPTED).values_list("span", "n")) == [(60, 3)]
    assert tallies.counts_of([bulk_send.pk])[bulk_send.pk]["accepted"] == 3


def test_what_has_ended_is_folded_into_days_of_the_installation(bulk_send, settings):
    settings.TIME_ZONE = "America/Guayaquil"
    midnight = datetime(2026, 3, 2, 5, tzinfo=UTC)
    recipient(bulk_send, 999, State.EXCLUDED)
    accepted_at(bulk_send, midnight - timedelta(hours=1), midnight, midnight + timedelta(hours=23))
    tallies.compact()
    assert Tally.objects.filter(state=State.ACCEPTED, span=60).count() == 3
    BulkSend.objects.update(status="done", finished_at=midnight)
    tallies.compact()
    days = Tally.objects.filter(state=State.ACCEPTED).order_by("at")
    assert list(days.values_list("at", "span", "n")) == [(midnight - timedelta(days=1), 1440, 1), (midnight, 1440, 2)]
    assert told().keys() >= {key for key in counted() if key[1] != State.ACCEPTED}
    per_day = tallies.per_day(date(2026, 3, 1), date(2026, 3, 2), zone=QUITO)
    assert [day.accepted for day in per_day] == [1, 2]


def test_rows_can_change_after_their_tallies_were_folded(bulk_send):
    in_every_state(bulk_send)
    tallies.compact()
    bulk_send.recipients.filter(state=State.PENDING).update(state=State.EXCLUDED, reason=reasons.CANCELLED)
    Recipient.objects.filter(state=State.REFUSED).update(state=State.PENDING, reason="", reason_detail="")
    assert tallies.counts_of([bulk_send.pk])[bulk_send.pk] == bulk_send.recipients.counts()
    tallies.compact()
    assert tallies.counts_of([bulk_send.pk])[bulk_send.pk] == bulk_send.recipients.counts()


# --- The migration ------------------------------------------------------------------------------------------------


def test_the_migration_counts_what_exists(bulk_send):
    """Its own statement on the rows of every state, after the table was emptied."""
    migration = import_module("relay.migrations.20251029151220_tallies")
    in_every_state(bulk_send)
    accepted_at(bulk_send, datetime(2026, 3, 2, 15, 59, tzinfo=UTC))
    Tally.objects.all().delete()
    editor = connection.schema_editor()  # not entered: SQLite would want no transaction around it
    migration.take_down(None, editor)
    assert told() == Counter()
    migration.put_up(None, editor)
    assert by_hour(told()) == by_hour(counted())
    in_every_state(new_bulk_send())
    assert by_hour(told()) == by_hour(counted())
