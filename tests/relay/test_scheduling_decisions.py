"""What a person decides about when: one decision for each, on record, and never about something else than was seen."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from relay import decisions
from relay.creating import Refused
from relay.decisions import Actor, ChangedMeanwhile, Plan, fingerprint
from relay.models import BulkSend, Decision, SendingWindow, WrongState
from tests.relay.admin_rows import Status, bulk_send, draft, recipient
from tests.relay.ledger_acts import ON_POSTGRESQL

pytestmark = pytest.mark.django_db
MARIA = Actor("maria")


def tomorrow() -> datetime:
    return timezone.now() + timedelta(days=1)


def schedule(sent: BulkSend, at: datetime | None = None, **plan: Any) -> BulkSend:
    decisions.schedule(sent, MARIA, Plan(at, **plan), seen=fingerprint(sent))
    return BulkSend.objects.get(pk=sent.pk)


def accepted_draft(**fields: Any) -> BulkSend:
    return draft(accept_rejects=True, **fields)


def test_now_is_now() -> None:
    sent = schedule(accepted_draft())
    assert (sent.status, sent.scheduled_at) == (Status.SENDING, None)
    decision = Decision.objects.get()
    assert (decision.what, decision.actor) == ("start", "maria")
    assert decision.details["scheduled_for"] is None
    assert decision.details["without_rejects"] == 1


def test_an_hour_is_waited_for() -> None:
    at = tomorrow()
    sent = schedule(accepted_draft(), at)
    assert (sent.status, sent.scheduled_at) == (Status.PENDING, at)
    assert Decision.objects.get().details["scheduled_for"] == at.isoformat()


def test_rate_window_and_slice_are_decided_with_it() -> None:
    window = SendingWindow.objects.create(name="Oficina", opens="08:00", closes="18:00")
    sent = accepted_draft(total=3)
    recipient(sent, 4, "pending")
    sent = schedule(sent, tomorrow(), window=window, max_rate=5.0, first_slice=1)
    assert (sent.window, sent.max_rate, sent.first_slice, sent.slice_ends_at_row) == (window, 5.0, 1, 2)
    assert Decision.objects.get().details["window"] == "Oficina"


def test_a_draft_without_rejected_rows_needs_nobody_to_accept_them() -> None:
    sent = bulk_send(Status.DRAFT, findings={"excluded": 0, "valid": 2})
    assert schedule(sent).status == Status.SENDING


def test_rejected_rows_that_nobody_has_accepted_let_nothing_go() -> None:
    sent = draft()
    with pytest.raises(WrongState):
        schedule(sent, tomorrow())
    sent.refresh_from_db()
    assert (sent.status, sent.scheduled_at) == (Status.DRAFT, None)
    assert not Decision.objects.exists()


def test_to_accept_them_is_a_decision_of_its_own_made_once() -> None:
    sent = draft()
    decisions.accept_rejects(sent, MARIA)
    decisions.accept_rejects(sent, MARIA)
    assert Decision.objects.get().details == {"accepted_rejects": 1}
    assert schedule(sent).status == Status.SENDING


def test_what_waits_for_its_hour_can_be_given_another() -> None:
    sent = schedule(accepted_draft(), tomorrow())
    later = tomorrow() + timedelta(days=1)
    sent = schedule(sent, later)
    assert (sent.status, sent.scheduled_at) == (Status.PENDING, later)
    assert [one.what for one in Decision.objects.all()] == ["start", "change"]
    assert schedule(sent).status == Status.SENDING


def test_of_two_who_decide_at_once_one_is_told_that_the_other_was_first() -> None:
    sent = accepted_draft()
    other, seen = BulkSend.objects.get(pk=sent.pk), fingerprint(sent)
    decisions.schedule(sent, MARIA, Plan(tomorrow()), seen=seen)
    with pytest.raises(ChangedMeanwhile):
        decisions.schedule(other, Actor("pedro"), Plan(tomorrow() + timedelta(days=2)), seen=seen)
    assert Decision.objects.get().actor == "maria"


def test_what_has_begun_is_not_scheduled_any_more() -> None:
    sent = accepted_draft()
    seen = fingerprint(sent)
    schedule(sent)
    with pytest.raises(WrongState):
        decisions.schedule(sent, MARIA, Plan(tomorrow()), seen=seen)


@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_of_many_at_the_same_moment_one_decides() -> None:
    sent = accepted_draft()
    seen = fingerprint(sent)
    ready = Barrier(4)

    def decide(number: int) -> bool:
        try:
            mine = BulkSend.objects.get(pk=sent.pk)
            ready.wait(20)
            decisions.schedule(mine, Actor(f"persona{number}"), Plan(tomorrow()), seen=seen)
        except ChangedMeanwhile:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as people:
        assert sorted(people.map(decide, range(4))) == [False, False, False, True]
    assert Decision.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Otro"},
        {"template_html": "<p>Otro</p>"},
        {"from_email": "otra@example.com"},
        {"max_rate": 2.0},
        {"total": 5},
        {"file_sha256": "1" * 64},
    ],
)
def test_whatever_changes_after_it_was_seen_is_to_be_seen_again(change: dict[str, Any]) -> None:
    sent = accepted_draft()
    seen = fingerprint(sent)
    BulkSend.objects.update(**change)
    with pytest.raises(ChangedMeanwhile):
        decisions.schedule(sent, MARIA, Plan(tomorrow()), seen=seen)
    assert BulkSend.objects.get().status == Status.DRAFT


@pytest.mark.parametrize(
    "plan", [Plan(datetime(2020, 1, 1, tzinfo=UTC)), Plan(max_rate=0.0), Plan(max_rate=float("inf"))]
)
def test_a_plan_that_cannot_be_is_refused(plan: Plan) -> None:
    sent = accepted_draft()
    with pytest.raises(Refused):
        decisions.schedule(sent, MARIA, plan, seen=fingerprint(sent))
    assert BulkSend.objects.get().status == Status.DRAFT


def test_it_is_on_record_who_scheduled_it() -> None:
    lucia = User.objects.create_user("lucia")
    sent = accepted_draft()
    decisions.schedule(sent, Actor("lucia", lucia), Plan(tomorrow()), seen=fingerprint(sent))
    assert BulkSend.objects.get().scheduled_by == lucia
