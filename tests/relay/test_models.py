"""What the database itself refuses, by whatever path a write comes; and from where each decision may be taken."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone, translation

from relay import ledger, reasons, stages
from relay.addresses import check_address
from relay.models import (
    Attachment,
    Attempt,
    BulkSend,
    Lease,
    Recipient,
    Sender,
    Suppression,
    WrongState,
)
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
LATER = MOMENT + timedelta(hours=1)


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send(total=3)


@pytest.fixture
def lease(bulk_send) -> Lease:
    return Lease.objects.create(bulk_send=bulk_send, owner="uno:1", acquired_at=MOMENT, expires_at=LATER)


# --- Writing by every path there is. `changes` are column values; the lease is named by its id.


def by_save(instance, changes):
    for name, value in changes.items():
        setattr(instance, name, value)
    instance.save()


def by_queryset(instance, changes):
    type(instance).objects.filter(pk=instance.pk).update(**changes)


def by_bulk_update(instance, changes):
    for name, value in changes.items():
        setattr(instance, name, value)
    type(instance).objects.bulk_update([instance], ["lease" if name == "lease_id" else name for name in changes])


def by_sql(instance, changes):
    table = type(instance)._meta.db_table
    marks = ", ".join(f'"{name}" = %s' for name in changes)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {marks} WHERE id = %s", [*changes.values(), instance.pk])


UPDATES = [by_save, by_queryset, by_bulk_update, by_sql]


def insert_by_save(recipient):
    recipient.save()


def insert_by_bulk_create(recipient):
    Recipient.objects.bulk_create([recipient])


def insert_by_sql(recipient):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO relay_recipient (bulk_send_id, row, email, variables, state, reason, message_id, attempts,"
            " accepted_at, lease_id, sending_since) VALUES (%s, %s, %s, '{}', %s, %s, %s, %s, %s, %s, %s)",
            [
                recipient.bulk_send_id,
                recipient.row,
                recipient.email,
                recipient.state,
                recipient.reason,
                recipient.message_id,
                recipient.attempts,
                recipient.accepted_at,
                recipient.lease_id,
                recipient.sending_since,
            ],
        )


INSERTS = [insert_by_save, insert_by_bulk_create, insert_by_sql]


def refused(write, *arguments, because: str = "") -> None:
    """The write fails in the database, for that reason (the name of the rule stands in both databases' words)."""
    with pytest.raises(IntegrityError, match=because), transaction.atomic():
        write(*arguments)


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


def called(case) -> str:
    return case.__name__ if callable(case) else "+".join(case) if isinstance(case, dict) else str(case)


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


# --- Suppressions, senders, attachments


@pytest.mark.parametrize("address", ["Ana@example.com", "ana@EXAMPLE.com"])
def test_a_suppression_is_kept_in_lower_case(address):
    written = Suppression(email=address, reason="Lo pidió")
    refused(written.save, because="suppression_email_lower_case")
    refused(Suppression.objects.bulk_create, [written], because="suppression_email_lower_case")
    written.full_clean()
    written.save()
    assert Suppression.objects.get().email == "ana@example.com"


def test_a_suppression_stands_once():
    Suppression.objects.create(email="ana@example.com", reason="Lo pidió")
    again = Suppression(email="ANA@example.com", reason="Otra vez")
    with pytest.raises(ValidationError, match=r"(?i)ya existe|already exists"):
        again.full_clean()
    refused(again.save, because=r"(?i)unique")


def test_a_sender_stands_once():
    sender = Sender.objects.create(email="cobranzas@example.com", name="Cobranzas")
    assert str(sender) == "Cobranzas <cobranzas@example.com>"
    refused(Sender(email="cobranzas@example.com").save, because=r"(?i)unique")


def test_a_content_is_kept_once_under_a_name():
    stored = {"content_type": "application/pdf", "size": 3, "sha256": "a" * 64}
    Attachment.objects.create(filename="estado.pdf", **stored)
    Attachment.objects.create(filename="otro.pdf", **stored)
    refused(Attachment(filename="estado.pdf", **stored).save, because=r"(?i)unique")


# --- Bulk sends

STATUSES = BulkSend.Status.values
AT_REST = {
    status: {
        "reason": reasons.PERSON if status in ("paused", "error") else "",
        "finished_at": MOMENT if status in ("done", "cancelled") else None,
    }
    for status in STATUSES
}
UPDATES_OF_SENDS = [by_save, by_queryset, by_sql]


@pytest.mark.parametrize("update", UPDATES_OF_SENDS, ids=called)
@pytest.mark.parametrize(
    ("status", "wrong", "rule"),
    [
        ("paused", {"reason": ""}, "bulksend_stop_has_reason"),
        ("error", {"reason": ""}, "bulksend_stop_has_reason"),
        ("done", {"finished_at": None}, "bulksend_end_has_time"),
        ("cancelled", {"finished_at": None}, "bulksend_end_has_time"),
        *((status, {"resume_at": LATER}, "bulksend_only_pauses_resume") for status in STATUSES if status != "paused"),
    ],
    ids=called,
)
def test_a_bulk_send_cannot_be_in_an_impossible_status(bulk_send, status, wrong, rule, update):
    refused(update, bulk_send, {"status": status} | AT_REST[status] | wrong, because=rule)
    bulk_send.resume_at = None
    update(bulk_send, {"status": status} | AT_REST[status])
    bulk_send.refresh_from_db()
    assert bulk_send.status == status


@pytest.mark.parametrize("update", UPDATES_OF_SENDS, ids=called)
def test_a_status_without_a_name_is_refused(bulk_send, update):
    refused(update, bulk_send, {"status": "sent"}, because="bulksend_status_known")


DECISIONS = {
    "start": ({"draft", "pending"}, "sending"),
    "pause": ({"sending", "settling"}, "paused"),
    "resume": ({"paused", "error"}, "sending"),
    "cancel": ({"draft", "pending", "sending", "paused", "settling", "error"}, "cancelled"),
    "stop_with_error": ({"sending"}, "error"),
    "begin_settling": ({"sending", "settling"}, "settling"),
    "finish": ({"sending", "settling"}, "done"),
}
ARGUMENTS = {"start": {"accept_rejects": True}, "stop_with_error": {"reason": reasons.MISCONFIGURED}}


def decide(bulk_send: BulkSend, decision: str) -> None:
    getattr(bulk_send, decision)(**ARGUMENTS.get(decision, {}))


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("decision", DECISIONS)
def test_a_decision_is_taken_only_from_where_it_makes_sense(decision, status):
    allowed, then = DECISIONS[decision]
    bulk_send = new_bulk_send(total=3, status=status, **AT_REST[status])
    before = BulkSend.objects.values().get()
    if status in allowed:
        decide(bulk_send, decision)
        assert bulk_send.status == BulkSend.objects.get().status == then
    else:
        with pytest.raises(WrongState) as caught, translation.override("en"):
            decide(bulk_send, decision)
        with translation.override("en"):
            assert f"«{BulkSend.Status(status).label}»" in str(caught.value)
        assert BulkSend.objects.values().get() == before


@pytest.mark.parametrize("first", ["pause", "cancel", "stop_with_error", "finish"])
@pytest.mark.parametrize("second", ["pause", "stop_with_error", "finish"])
def test_of_two_who_decide_at_once_the_second_is_told(bulk_send, first, second):
    mine, theirs = BulkSend.objects.get(), BulkSend.objects.get()
    decide(theirs, first)
    with pytest.raises(WrongState):
        decide(mine, second)
    assert mine.status == theirs.status == BulkSend.objects.get().status == DECISIONS[first][1]
    assert mine.reason == theirs.reason


def test_of_two_who_start_a_draft_at_once_the_second_is_told():
    new_bulk_send(total=3, status="draft")
    mine, theirs = BulkSend.objects.get(), BulkSend.objects.get()
    theirs.start(accept_rejects=True)
    with pytest.raises(WrongState):
        mine.start(accept_rejects=True)


def test_a_draft_starts_only_when_its_rejected_rows_are_accepted():
    draft = new_bulk_send(total=3, status="draft", findings={"excluded": 1})
    with pytest.raises(WrongState, match="--accept-rejects"):
        draft.start()
    assert BulkSend.objects.get().status == "draft"
    draft.start(accept_rejects=True)
    assert BulkSend.objects.get().accept_rejects


def test_a_draft_whose_rejected_rows_were_accepted_before_starts():
    new_bulk_send(total=3, status="draft", accept_rejects=True).start()
    assert BulkSend.objects.get().status == "sending"


def test_a_bulk_send_that_was_not_a_draft_accepted_nothing_by_starting():
    new_bulk_send(total=3, status="pending").start(accept_rejects=True)
    assert not BulkSend.objects.get().accept_rejects


@pytest.mark.parametrize("status", ["draft", "pending"])
def test_a_bulk_send_without_a_valid_recipient_does_not_start(status):
    empty = new_bulk_send(status=status, total=3, findings={"excluded": 3})
    with pytest.raises(WrongState, match=str(empty.pk)):
        empty.start(accept_rejects=True)
    assert BulkSend.objects.get().status == status


def test_a_pause_says_why_and_until_when_and_leaving_it_forgets_both(bulk_send):
    bulk_send.pause(reasons.QUOTA, LATER, period="hour")
    assert (bulk_send.reason, bulk_send.reason_params, bulk_send.resume_at) == ("quota", {"period": "hour"}, LATER)
    assert "(hour)" in bulk_send.reason_text
    bulk_send.resume()
    assert (bulk_send.reason, bulk_send.reason_params, bulk_send.resume_at) == ("", {}, None)
    assert bulk_send.reason_text == ""


def test_a_person_turns_a_pause_that_would_end_by_itself_into_one_that_does_not(bulk_send):
    bulk_send.pause(reasons.QUOTA, LATER, period="hour")
    bulk_send.pause()
    assert (bulk_send.status, bulk_send.reason, bulk_send.resume_at) == ("paused", "person", None)


@pytest.mark.parametrize("reason", [reasons.STOP_LOSS, reasons.FIRST_SLICE, reasons.PERSON])
def test_a_pause_that_waits_for_a_person_keeps_its_reason(bulk_send, reason):
    bulk_send.pause(reason)
    with pytest.raises(WrongState):
        bulk_send.pause()
    assert BulkSend.objects.get().reason == reason


@pytest.mark.parametrize("status", ["settling", "paused"])
def test_a_machine_pauses_only_what_is_being_sent(status):
    standing = new_bulk_send(status=status, **AT_REST[status])
    with pytest.raises(WrongState):
        standing.pause(reasons.QUOTA, LATER)


def test_a_changed_window_lets_what_rests_look_again_and_nothing_else(bulk_send):
    resting, never, person = new_bulk_send(), new_bulk_send(), new_bulk_send()
    resting.pause(reasons.WINDOW, LATER + timedelta(days=10_000))
    never.pause(reasons.WINDOW_NEVER)
    person.pause()
    assert BulkSend.objects.look_at_windows_again() == 2
    assert stages.lift_pauses() == 2
    assert set(BulkSend.objects.filter(status="sending")) == {bulk_send, resting, never}


def test_an_error_says_which_code_the_relay_gave(bulk_send):
    bulk_send.stop_with_error(reasons.MISCONFIGURED, code="401.2")
    assert bulk_send.reason == "misconfigured"
    assert "401.2" in bulk_send.reason_text


@pytest.mark.parametrize("decision", ["finish", "cancel"])
def test_the_end_has_a_time(bulk_send, decision):
    decide(bulk_send, decision)
    assert abs(bulk_send.finished_at - timezone.now()) < timedelta(minutes=1)


def test_cancelling_a_pause_with_a_resume_time_forgets_the_time(bulk_send):
    bulk_send.pause(reasons.QUOTA, LATER)
    bulk_send.cancel()
    assert (bulk_send.resume_at, bulk_send.reason) == (None, "")


def test_an_edited_template_is_adopted_and_an_equal_one_writes_nothing(bulk_send, django_assert_num_queries):
    bulk_send.adopt_template(subject="Nuevo", html="<p>{{nombre}}</p>")
    stored = BulkSend.objects.get()
    assert (stored.template_subject, stored.template_html) == ("Nuevo", "<p>{{nombre}}</p>")
    with django_assert_num_queries(0):
        bulk_send.adopt_template(subject="Nuevo", html="<p>{{nombre}}</p>")


def test_workers_take_the_longest_waiting_first_and_the_never_begun_last(bulk_send):
    late = new_bulk_send(total=3, processing_started_at=LATER)
    early = new_bulk_send(total=3, processing_started_at=MOMENT)
    new_bulk_send(total=3, status="paused", reason=reasons.PERSON)
    assert list(BulkSend.objects.open_to_workers()) == [early, late, bulk_send]


def test_every_reason_that_is_stored_fits_its_column():
    longest = Recipient._meta.get_field("reason").max_length
    codes = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert codes <= set(reasons.SENTENCES)
    assert max(map(len, codes)) <= longest
    assert ledger.State is Recipient.State


def test_a_suppression_is_kept_in_the_form_in_which_recipients_are():
    suppression = Suppression(email="ana@Ñandú.example.com", reason="Lo pidió")
    suppression.full_clean()
    assert suppression.email == check_address("ana@ñandú.example.com")


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
