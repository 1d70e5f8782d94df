"""What people may decide about a bulk send in each status, and that each decision is on record, or nothing happened."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from relay import decisions, ledger, reasons, stages, tallies
from relay.creating import Refused
from relay.decisions import Actor
from relay.models import BulkSend, Decision, Pace, Recipient, Suppression, WrongState
from relay.rates import of_send
from relay.typed_numbers import read_first_slice, read_rate
from tests.relay.admin_rows import State, Status, bulk_send, recipient

pytestmark = pytest.mark.django_db
BY = Actor("command: ana")


def retry(sent: BulkSend, by: Actor) -> None:
    decisions.retry(sent, by, ["400.1"])


def slow_down(sent: BulkSend, by: Actor) -> None:
    decisions.change_rate(sent, by, 5)


ACTS: dict[str, Any] = {
    "start": decisions.start,
    "pause": decisions.pause,
    "resume": decisions.resume,
    "cancel": decisions.cancel,
    "retry": retry,
    "change": slow_down,
}
# status → decision → the status it leads to; what is not named is refused.
ALLOWED: dict[str, dict[str, str]] = {
    "draft": {"cancel": "cancelled", "change": "draft"},
    "pending": {"start": "sending", "cancel": "cancelled", "change": "pending"},
    "sending": {"pause": "paused", "cancel": "cancelled", "retry": "sending", "change": "sending"},
    "paused": {"resume": "sending", "cancel": "cancelled", "retry": "paused", "change": "paused"},
    "settling": {"pause": "paused", "cancel": "cancelled", "retry": "sending", "change": "settling"},
    "done": {"retry": "sending"},
    "error": {"resume": "sending", "cancel": "cancelled", "retry": "error", "change": "error"},
    "cancelled": {},
}
DETAILS: dict[str, dict[str, Any]] = {
    "start": {},
    "pause": {},
    "cancel": {"excluded": 1},
    "retry": {"codes": ["400.1"], "retried": 1},
    "change": {"max_rate": 5, "max_rate_before": None},
}


@pytest.mark.parametrize("what", ACTS)
@pytest.mark.parametrize("status", Status.values)
def test_each_decision_is_on_record_or_refused_without_a_trace(status: str, what: str) -> None:
    sent = bulk_send(status, findings={"excluded": 1})
    recipient(sent, 2, State.PENDING)
    recipient(sent, 3, State.REFUSED)
    before = BulkSend.objects.values().get()
    leads_to = ALLOWED[status].get(what)
    if leads_to is None:
        with pytest.raises(WrongState):
            ACTS[what](sent, BY)
        assert BulkSend.objects.values().get() == before
        assert set(sent.recipients.values_list("state", flat=True)) == {"pending", "refused"}
        assert not Decision.objects.exists()
        return
    ACTS[what](sent, BY)
    sent.refresh_from_db()
    assert sent.status == leads_to
    decision = Decision.objects.get()
    assert (decision.what, decision.actor, decision.made_by) == (what, "command: ana", None)
    assert decision.details == DETAILS.get(what, {"reason": before["reason"]})


def test_a_decision_whose_record_fails_does_not_happen(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = bulk_send(Status.SENDING)

    def broken(**fields: Any) -> None:
        raise IntegrityError

    monkeypatch.setattr(Decision.objects, "create", broken)
    with pytest.raises(IntegrityError), transaction.atomic():
        decisions.pause(sent, BY)
    assert BulkSend.objects.get().status == "sending"


def test_who_decided_keeps_a_name_when_the_account_is_gone() -> None:
    ana = User.objects.create_user("ana")
    decisions.pause(bulk_send(Status.SENDING), Actor("ana", ana))
    assert Decision.objects.get().made_by == ana
    ana.delete()
    decision = Decision.objects.get()
    assert (decision.actor, decision.made_by) == ("ana", None)


def test_starting_a_draft_says_how_many_rows_stay_behind() -> None:
    sent = bulk_send(Status.DRAFT, findings={"excluded": 1})
    decisions.start(sent, BY, accept_rejects=True)
    assert Decision.objects.get().details == {"without_rejects": 1}


def test_an_old_copy_of_the_bulk_send_decides_on_what_is_true_now() -> None:
    old = bulk_send(Status.PENDING)
    decisions.start(BulkSend.objects.get(), BY)
    decisions.pause(old, BY)
    assert old.status == "paused"


# --- the first slice


def test_resuming_after_a_bad_first_slice_lets_the_rest_go() -> None:
    sent = bulk_send(Status.PAUSED, reason=reasons.FIRST_SLICE, first_slice=1, slice_ends_at_row=2)
    decisions.resume(sent, BY)
    assert BulkSend.objects.get().slice_ends_at_row is None
    assert Decision.objects.get().details == {"reason": "first_slice"}


def test_resuming_after_a_stop_loss_within_it_lets_the_rest_go_too() -> None:
    sent = bulk_send(Status.PAUSED, reason=reasons.STOP_LOSS, first_slice=1, slice_ends_at_row=2)
    decisions.resume(sent, BY)
    assert BulkSend.objects.get().slice_ends_at_row is None


def test_a_pause_in_place_of_one_that_would_end_by_itself_says_which() -> None:
    sent = bulk_send(Status.PAUSED, reason=reasons.QUOTA, resume_at=timezone.now())
    decisions.pause(sent, BY)
    assert Decision.objects.get().details == {"reason": "quota"}
    assert stages.lift_pauses() == 0


def test_resuming_another_pause_keeps_the_first_slice() -> None:
    sent = bulk_send(Status.PAUSED, first_slice=1, slice_ends_at_row=2)
    decisions.resume(sent, BY)
    assert BulkSend.objects.get().slice_ends_at_row == 2


# --- refused recipients again


def test_only_rows_refused_with_the_chosen_codes_go_again_and_at_once() -> None:
    sent = bulk_send(Status.DONE)
    again, other = recipient(sent, 2, State.REFUSED), recipient(sent, 3, State.REFUSED)
    Recipient.objects.filter(pk=other.pk).update(reason_detail="400.7")
    recipient(sent, 4, State.ACCEPTED)
    elsewhere = recipient(bulk_send(Status.DONE), 2, State.REFUSED)
    assert tallies.codes_of(sent.pk) == {"400.1": 1, "400.7": 1}
    assert decisions.retry(sent, BY, ["400.1"]) == 1
    again.refresh_from_db()
    assert (again.state, again.reason, again.reason_detail, again.attempts) == ("pending", "", "", 1)
    due_in = stages.next_due_in(sent.pk)
    assert due_in is not None
    assert due_in <= 0
    assert sent.finished_at is None
    for row in (other, elsewhere):
        row.refresh_from_db()
        assert row.state == "refused"
    # A worker finds it.
    lease = ledger.acquire(sent.pk)
    assert [claimed.id for claimed in ledger.take_turn(lease, [], 10, look_back=True).claimed] == [again.pk]


def test_an_address_that_was_suppressed_meanwhile_stays_refused() -> None:
    sent = bulk_send(Status.SENDING)
    suppressed = recipient(sent, 2, State.REFUSED, email="Ana@example.com")
    again, over = recipient(sent, 3, State.REFUSED), recipient(sent, 4, State.REFUSED, email="eva@example.com")
    Suppression.objects.create(email="ana@example.com", reason="Lo pidió")
    Suppression.objects.create(email="eva@example.com", reason="Lo pidió", until=timezone.now())
    assert decisions.retry(sent, BY, ["400.1"]) == 2
    assert set(sent.recipients.filter(state="pending")) == {again, over}
    suppressed.refresh_from_db()
    assert suppressed.state == "refused"


def test_what_is_not_there_to_be_sent_again_is_refused_with_a_sentence() -> None:
    sent = bulk_send(Status.DONE)
    recipient(sent, 2, State.REFUSED)
    for codes in (["999.9"], []):
        with pytest.raises(Refused, match=str(sent.pk)):
            decisions.retry(sent, BY, codes)
    assert BulkSend.objects.get().status == "done"
    assert not Decision.objects.exists()


# --- the pace


def test_a_changed_rate_begins_at_once_and_none_lifts_it() -> None:
    sent = bulk_send(Status.SENDING, max_rate=1)
    Pace.objects.create(name=of_send(sent.pk), promised_until=9e12)
    decisions.change_rate(sent, BY, None)
    assert BulkSend.objects.get().max_rate is None
    assert not Pace.objects.exists()
    assert Decision.objects.get().details == {"max_rate": None, "max_rate_before": 1.0}


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(Refused):
        decisions.change_rate(bulk_send(Status.SENDING), BY, rate)
    assert not Decision.objects.exists()


@pytest.mark.parametrize(("text", "rate"), [("5", 5.0), (" 2.5 ", 2.5), ("none", None), ("0.1", 0.1)])
def test_rates_as_people_type_them(text: str, rate: float | None) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize("text", ["0", "-1", "", "many", "nan", "inf", "1e999", "2,5"])
def test_what_is_no_rate_is_quoted(text: str) -> None:
    with pytest.raises(Refused, match=f"«{text}»"):
        read_rate(text)


@pytest.mark.parametrize(("text", "read"), [("500", (500, None)), ("500:0.05", (500, 0.05)), ("1:1", (1, 1.0))])
def test_first_slices_as_people_type_them(text: str, read: tuple[int, float | None]) -> None:
    assert read_first_slice(text) == read


@pytest.mark.parametrize("text", ["0", "-5", "", "2.5", "many", ":0.5", "99999999999", "5:", "5:1.1", "5:-0.1", "5:x"])
def test_what_is_no_first_slice_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        read_first_slice(text)
