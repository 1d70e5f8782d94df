"""`bulk audit` and the tests that people sent to themselves: a test is no double."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from relay import auditing, ledger, models
from relay.auditing import Audit
from relay.log_reading import Window
from relay.models import BulkSend, Recipient
from relay_client import Delivery
from tests.relay.ledger_acts import outcome, record
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


@pytest.fixture
def row() -> Recipient:
    """Sent, accepted and on record with its link."""
    bulk_send = new_bulk_send(1)
    lease = ledger.acquire(bulk_send.pk)
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    record(lease, outcome(lease, claimed, "accepted", from_email="a@example.com", subject="Aviso"))
    return bulk_send.recipients.get()


def entry(row: Recipient, link: str, date: datetime) -> Delivery:
    return Delivery("a@example.com", row.email, "Aviso", date, "sent", None, 0, 0, link)


def audited(bulk_send: BulkSend, *entries: Delivery) -> Audit:
    now = timezone.now()
    shelf = auditing._Shelf()
    for one in entries:
        shelf.put(one)
    window = Window.around(now - timedelta(hours=1), now, 0, 60)
    try:
        return auditing._Comparison(bulk_send.pk, window, shelf).run()
    finally:
        shelf.close()


def tried(row: Recipient, outcome: str, delivery: str = "") -> None:
    now = timezone.now()
    models.TestSend.objects.create(
        bulk_send=row.bulk_send,
        row=row.row,
        email=row.email,
        subject="Aviso",
        started_at=now,
        ended_at=now if outcome else None,
        outcome=outcome,
        message_id="m-test" if outcome == "accepted" else "",
        delivery=delivery,
    )


def test_without_a_test_a_second_entry_is_a_double(row: Recipient) -> None:
    now = timezone.now()
    found = audited(row.bulk_send, entry(row, row.delivery, now), entry(row, "/d/test", now))
    assert (found.both, found.only_theirs) == (1, 1)


@pytest.mark.parametrize(("outcome", "delivery"), [("accepted", "/d/test"), ("unknown", ""), ("", "")])
def test_the_entry_of_a_test_is_no_double(row: Recipient, outcome: str, delivery: str) -> None:
    tried(row, outcome, delivery)
    now = timezone.now()
    found = audited(row.bulk_send, entry(row, row.delivery, now), entry(row, "/d/test", now))
    assert (found.both, found.only_theirs, found.only_ours) == (1, 0, 0)


def test_the_entry_of_a_test_is_not_taken_for_the_rows(row: Recipient) -> None:
    tried(row, "accepted", "/d/test")
    found = audited(row.bulk_send, entry(row, "/d/test", timezone.now()))
    assert (found.both, found.only_ours) == (0, 1)
