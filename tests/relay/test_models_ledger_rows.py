"""What the database refuses of recipients and attempts, by whatever path a write comes."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from django.db import IntegrityError, connection, transaction

from relay import ledger, reasons
from relay.models import (
    Attempt,
    BulkSend,
    Lease,
    Recipient,
)
from tests.relay.rows import new_bulk_send
from tests.relay.writing import INSERTS, UPDATES, by_queryset, called, refused

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
LATER = MOMENT + timedelta(hours=1)


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send(total=3)


@pytest.fixture
def lease(bulk_send) -> Lease:
    return Lease.objects.create(bulk_send=bulk_send, owner="uno:1", acquired_at=MOMENT, expires_at=LATER)


# --- Recipients

FIELDS = {
    "pending": {},
    "sending": {"lease_id": "?", "sending_since": MOMENT},
    "accepted": {"message_id": "m-1", "delivery": "/d/1", "accepted_at": MOMENT, "attempts": 1},
    "refused": {"reason": reasons.REFUSED, "attempts": 1},
    "unknown": {"reason": reasons.NO_ANSWER, "attempts": 1},
    "excluded": {"reason": reasons.CANCELLED},
}
NOTHING = {
    "lease_id": None,
    "sending_since": None,
    "accepted_at": None,
    "message_id": "",
    "delivery": "",
    "reason": "",
    "not_before": None,
    "attempts": 1,
}
HOW_TO_GET = {"pending": [], "sending": ["sending"], "excluded": ["excluded"]} | {
    state: ["sending", state] for state in ("accepted", "refused", "unknown")
}


def whole(state: str, lease: Lease) -> dict:
    """All columns of a row that is rightly in `state`."""
    fields = {"state": state} | NOTHING | FIELDS[state]
    return fields | ({"lease_id": lease.pk} if fields["lease_id"] else {})


@pytest.fixture
def recipient_in(bulk_send, lease):
    def create(state: str) -> Recipient:
        recipient = Recipient.objects.create(
            bulk_send=bulk_send, row=2, email="ana@example.com", variables={"nombre": "Ana"}, state="pending"
        )
        for step in HOW_TO_GET[state]:
            by_queryset(recipient, whole(step, lease))
        recipient.refresh_from_db()
        return recipient

    return create


PROOF, LEASED, REASON = "recipient_accepted_has_proof", "recipient_sending_has_lease", "recipient_end_has_reason"
ATTEMPTED, WAITS = "recipient_outcome_has_attempt", "recipient_only_pending_waits"

# (from, to, what is wrong with it, the rule that refuses it)
IMPOSSIBLE = [
    ("sending", "accepted", {"message_id": ""}, PROOF),
    ("sending", "accepted", {"accepted_at": None}, PROOF),
    ("sending", "accepted", {"attempts": 0}, ATTEMPTED),
    ("sending", "accepted", {"lease_id": "?"}, LEASED),
    ("sending", "accepted", {"not_before": LATER}, WAITS),
    ("pending", "sending", {"lease_id": None}, LEASED),
    ("pending", "sending", {"sending_since": None}, LEASED),
    ("pending", "sending", {"not_before": LATER}, WAITS),
    ("pending", "sending", {"message_id": "m-1"}, PROOF),
    ("sending", "sending", {"lease_id": None}, LEASED),
    ("sending", "pending", {"lease_id": "?"}, LEASED),
    ("sending", "pending", {"message_id": "m-1"}, PROOF),
    ("sending", "refused", {"reason": ""}, REASON),
    ("sending", "refused", {"attempts": 0}, ATTEMPTED),
    ("sending", "refused", {"message_id": "m-1"}, PROOF),
    ("sending", "refused", {"lease_id": "?"}, LEASED),
    ("sending", "refused", {"not_before": LATER}, WAITS),
    ("sending", "unknown", {"reason": ""}, REASON),
    ("sending", "unknown", {"attempts": 0}, ATTEMPTED),
    ("sending", "unknown", {"delivery": "/d/1"}, PROOF),
    ("sending", "unknown", {"accepted_at": MOMENT}, PROOF),
    ("sending", "unknown", {"lease_id": "?"}, LEASED),
    ("sending", "unknown", {"not_before": LATER}, WAITS),
    ("pending", "excluded", {"reason": ""}, REASON),
    ("pending", "excluded", {"not_before": LATER}, WAITS),
    ("pending", "excluded", {"message_id": "m-1"}, PROOF),
    ("pending", "pending", {"message_id": "m-1"}, PROOF),
    ("pending", "pending", {"accepted_at": MOMENT}, PROOF),
    ("pending", "pending", {"lease_id": "?"}, LEASED),
    ("unknown", "unknown", {"reason": ""}, REASON),
    ("unknown", "unknown", {"not_before": LATER}, WAITS),
    ("unknown", "accepted", {"message_id": ""}, PROOF),
    ("unknown", "excluded", {"reason": ""}, REASON),
    ("excluded", "excluded", {"reason": ""}, REASON),
    ("refused", "refused", {"attempts": 0}, ATTEMPTED),
]


@pytest.mark.parametrize("update", UPDATES, ids=called)
@pytest.mark.parametrize(("before", "after", "wrong", "rule"), IMPOSSIBLE, ids=called)
def test_a_recipient_cannot_be_in_an_impossible_state(recipient_in, lease, before, after, wrong, rule, update):
    recipient = recipient_in(before)
    wrong = {name: lease.pk if value == "?" else value for name, value in wrong.items()}
    refused(update, recipient, whole(after, lease) | wrong, because=rule)
    # Only what is called wrong was wrong.
    update(recipient, whole(after, lease))
    recipient.refresh_from_db()
    assert recipient.state == after


# As §3 of the design draws them, and a refused row that a person sends again.
ALLOWED = {
    ("pending", "sending"),
    ("pending", "excluded"),
    ("sending", "accepted"),
    ("sending", "refused"),
    ("sending", "unknown"),
    ("sending", "pending"),
    ("unknown", "accepted"),
    ("unknown", "pending"),
    ("unknown", "excluded"),
    ("refused", "pending"),
}
PAIRS = list(permutations(FIELDS, 2))


@pytest.mark.parametrize(("before", "after"), [pair for pair in PAIRS if pair in ALLOWED])
def test_an_allowed_transition_passes(recipient_in, lease, before, after):
    recipient = recipient_in(before)
    by_queryset(recipient, whole(after, lease))
    recipient.refresh_from_db()
    assert recipient.state == after


@pytest.mark.parametrize("update", UPDATES, ids=called)
@pytest.mark.parametrize(("before", "after"), [pair for pair in PAIRS if pair not in ALLOWED])
def test_a_forbidden_transition_is_refused_by_every_path(recipient_in, lease, before, after, update):
    recipient = recipient_in(before)
    refused(update, recipient, whole(after, lease), because="cannot")
    recipient.refresh_from_db()
    assert recipient.state == before


def test_the_two_lists_of_transitions_are_all_there_are():
    assert len(PAIRS) == 30
    assert set(PAIRS) >= ALLOWED
    assert set(FIELDS) == set(Recipient.State.values)


@pytest.mark.parametrize("update", UPDATES, ids=called)
@pytest.mark.parametrize("before", ["pending", "sending", "unknown"])
def test_a_state_without_a_name_is_refused(recipient_in, before, update):
    refused(update, recipient_in(before), {"state": "sent"}, because="cannot|recipient_state_known")


@pytest.mark.parametrize("insert", INSERTS, ids=called)
@pytest.mark.parametrize("state", ["sending", "accepted", "refused", "unknown", "sent"])
def test_a_new_row_is_pending_or_excluded(bulk_send, lease, state, insert):
    fields = whole(state, lease) if state in FIELDS else NOTHING | {"state": state}
    row = Recipient(bulk_send=bulk_send, row=2, email="ana@example.com", variables={}, **fields)
    refused(insert, row, because=r"\(new\) cannot|a new row is pending or excluded")
    assert not Recipient.objects.exists()


@pytest.mark.parametrize("insert", INSERTS, ids=called)
@pytest.mark.parametrize("state", ["pending", "excluded"])
def test_a_new_row_may_be_pending_or_excluded(bulk_send, lease, state, insert):
    insert(Recipient(bulk_send=bulk_send, row=2, email="ana@example.com", variables={}, **whole(state, lease)))
    assert Recipient.objects.get().state == state


@pytest.mark.parametrize("insert", INSERTS, ids=called)
def test_a_new_row_that_is_excluded_says_why(bulk_send, lease, insert):
    fields = whole("excluded", lease) | {"reason": ""}
    refused(insert, Recipient(bulk_send=bulk_send, row=2, email="", variables={}, **fields), because=REASON)


@pytest.mark.parametrize("insert", INSERTS, ids=called)
def test_a_row_of_the_file_is_one_recipient_of_a_bulk_send(bulk_send, lease, recipient_in, insert):
    recipient_in("pending")
    again = {"row": 2, "email": "otra@example.com", "variables": {}} | whole("pending", lease)
    refused(insert, Recipient(bulk_send=bulk_send, **again), because=r"(?i)unique")
    insert(Recipient(bulk_send=new_bulk_send(total=3), **again))
    assert Recipient.objects.count() == 2


def test_a_row_that_the_database_fills_in_has_neither_reason_nor_proof(bulk_send):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO relay_recipient (bulk_send_id, row, email, variables, state)"
            " VALUES (%s, 2, 'ana@example.com', '{}', 'pending')",
            [bulk_send.pk],
        )
    row = Recipient.objects.get()
    assert (row.reason, row.reason_detail, row.message_id, row.delivery, row.attempts) == ("", "", "", "", 0)


def test_counts_name_every_state(recipient_in, bulk_send):
    recipient_in("refused")
    Recipient.objects.create(bulk_send=bulk_send, row=3, email="b@example.com", variables={}, state="pending")
    assert bulk_send.recipients.order_by("row").counts() == {
        "pending": 1,
        "sending": 0,
        "accepted": 0,
        "refused": 1,
        "unknown": 0,
        "excluded": 0,
    }


def test_a_bulk_send_with_recipients_cannot_be_deleted(recipient_in, bulk_send):
    recipient_in("pending")
    with pytest.raises(IntegrityError):
        bulk_send.delete()


@pytest.mark.parametrize(
    "changed",
    [
        {"message_id": "otro"},
        {"message_id": ""},
        {"accepted_at": None},
        {"delivery": "/d/9"},
        {"accepted_at": "2020-01-01T00:00:00Z"},
    ],
)
def test_the_proof_of_an_accepted_message_is_never_rewritten(recipient_in, changed):
    accepted = recipient_in("accepted")
    with pytest.raises(IntegrityError), transaction.atomic():
        Recipient.objects.filter(pk=accepted.pk).update(**changed)
    assert Recipient.objects.get(pk=accepted.pk).message_id == accepted.message_id


def test_every_reason_that_is_stored_fits_its_column():
    longest = Recipient._meta.get_field("reason").max_length
    codes = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert codes <= set(reasons.SENTENCES)
    assert max(map(len, codes)) <= longest
    assert ledger.State is Recipient.State


# --- Attempts


@pytest.fixture
def attempt(recipient_in) -> Attempt:
    return Attempt.objects.create(
        recipient=recipient_in("refused"), started_at=MOMENT, ended_at=MOMENT, outcome="refused", code="400.1"
    )


@pytest.mark.parametrize("update", UPDATES, ids=called)
@pytest.mark.parametrize(
    "changes", [{"outcome": "accepted"}, {"detail": "otra cosa"}, {"ended_at": LATER}, {"code": "400.1"}], ids=called
)
def test_an_attempt_is_never_changed(attempt, update, changes):
    refused(update, attempt, changes, because="attempts are never changed")


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"outcome": "sent"}, "attempt_outcome_known"),
        ({"outcome": "pending"}, "attempt_outcome_known"),
        ({"ended_at": MOMENT - timedelta(microseconds=1000)}, "attempt_ends_after_start"),
    ],
    ids=called,
)
def test_an_attempt_is_written_right_or_not_at_all(recipient_in, wrong, rule):
    right = {"recipient": recipient_in("pending"), "outcome": "returned", "started_at": MOMENT, "ended_at": MOMENT}
    refused(Attempt(**right | wrong).save, because=rule)
    refused(Attempt.objects.bulk_create, [Attempt(**right | wrong)], because=rule)
    Attempt(**right).save()
