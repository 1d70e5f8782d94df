"""In which statuses a bulk send can be, and from where each decision may be taken."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone, translation

from relay import reasons, stages
from relay.models import (
    BulkSend,
    WrongState,
)
from tests.relay.rows import new_bulk_send
from tests.relay.writing import by_queryset, by_save, by_sql, called, refused

pytestmark = pytest.mark.django_db

MOMENT = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
LATER = MOMENT + timedelta(hours=1)


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send(total=3)


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
