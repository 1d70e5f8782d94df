"""Rows that must not leave any more: suppressed addresses, repeats."""

import pytest
from django.db import transaction
from django.utils import timezone

from relay import ledger, reasons, whole_sends
from relay.models import BulkSend, Recipient, Suppression
from tests.relay.ledger_acts import HOUR, counts, outcome, record
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("until", "excluded"), [(None, 1), (HOUR, 1), (-HOUR, 0)], ids=["for ever", "until later", "until an hour ago"]
)
def test_a_suppressed_address_is_excluded_while_the_suppression_lasts(bulk_send, until, excluded):
    Suppression.objects.create(email="persona4@example.com", reason="Lo pidió", until=until and timezone.now() + until)
    Suppression.objects.create(email="otra@example.com", reason="No está en la lista")
    assert whole_sends.exclude_suppressed(bulk_send.pk) == excluded
    found = bulk_send.recipients.filter(state="excluded").values_list("row", "reason", "reason_detail")
    assert list(found) == [(4, "suppressed", "Lo pidió")] * excluded
    assert whole_sends.exclude_suppressed(bulk_send.pk) == 0


def test_a_suppression_holds_for_the_address_in_any_case(bulk_send):
    bulk_send.recipients.filter(row=4).update(email="Persona4@example.com")
    Suppression.objects.create(email="persona4@example.com", reason="Lo pidió")
    assert whole_sends.exclude_suppressed(bulk_send.pk) == 1


def test_a_suppression_changes_neither_what_left_nor_another_bulk_send(lease, bulk_send):
    other = new_bulk_send(3)
    claimed = ledger.take_turn(lease, [], 2).claimed
    record(lease, outcome(lease, claimed[0]))
    for row in (2, 3):
        Suppression.objects.create(email=f"persona{row}@example.com", reason="Lo pidió")
    assert whole_sends.exclude_suppressed(bulk_send.pk) == 0
    assert counts(bulk_send) == {"accepted": 1, "sending": 1, "pending": 8}
    assert counts(other) == {"pending": 3}


def test_a_row_that_came_back_is_excluded_when_its_address_was_suppressed_meanwhile(lease, bulk_send):
    (claimed,) = ledger.take_turn(lease, [], 1).claimed
    record(lease, outcome(lease, claimed, "pending"))
    Suppression.objects.create(email=claimed.email, reason="Lo pidió")
    with transaction.atomic():
        assert whole_sends.exclude_suppressed(bulk_send.pk) == 1
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
    assert whole_sends.exclude_repeats(bulk_send.pk, only_equal_rows=only_equal_rows) == len(repeats)
    excluded = bulk_send.recipients.filter(state="excluded", reason="duplicate")
    assert dict(excluded.values_list("row", "reason_detail")) == repeats
    assert whole_sends.exclude_repeats(bulk_send.pk, only_equal_rows=only_equal_rows) == 0


def test_the_first_valid_row_of_an_address_stays_not_the_first():
    bulk_send = with_addresses(("ana@example.com", {}), ("ana@example.com", {}), ("ana@example.com", {}))
    bulk_send.recipients.filter(row=2).update(state="excluded", reason=reasons.MISSING_VARIABLE)
    whole_sends.exclude_repeats(bulk_send.pk, only_equal_rows=False)
    assert dict(bulk_send.recipients.values_list("row", "state")) == {2: "excluded", 3: "pending", 4: "excluded"}
    assert Recipient.objects.get(row=4).reason_detail == "3"


def test_an_address_of_another_bulk_send_is_no_repeat():
    first, second = (with_addresses(("ana@example.com", {})) for _ in range(2))
    assert whole_sends.exclude_repeats(first.pk, only_equal_rows=False) == 0
    assert counts(second) == {"pending": 1}
