"""In the console: refused recipients again, pace and window changed while it is sent, and the log of decisions."""

from datetime import time, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone, translation

from relay import decisions, reasons
from relay.admin.words import STOPS, decision_details
from relay.decisions import Actor
from relay.models import BulkSend, Decision, Recipient, Sender, SendingWindow
from tests.relay.admin_rows import HOSTILE, State, Status, bulk_send, recipient, user

pytestmark = pytest.mark.django_db
LIST = "/admin/relay/bulksend/"


@pytest.fixture
def operator(client: Client) -> Client:
    """Logged in with the two rights an operator needs, and no more."""
    client.force_login(user("operador", "view_bulksend", "change_bulksend"))
    return client


@pytest.fixture
def office() -> SendingWindow:
    return SendingWindow.objects.create(name="Oficina", opens=time(8), closes=time(20))


def page(client: Client, sent: BulkSend, name: str = "change") -> str:
    answer = client.get(f"{LIST}{sent.pk}/{name}/")
    assert answer.status_code == 200
    return answer.content.decode()


def post(client: Client, sent: BulkSend, name: str, data: dict[str, Any]) -> Any:
    return client.post(f"{LIST}{sent.pk}/{name}/", data)


def refused_with(sent: BulkSend, row: int, code: str) -> Recipient:
    made = recipient(sent, row, State.REFUSED)
    Recipient.objects.filter(pk=made.pk).update(reason_detail=code)
    return made


# --- refused recipients again


@pytest.mark.parametrize("status", [Status.DONE, Status.SETTLING, Status.SENDING, Status.PAUSED, Status.ERROR])
def test_refused_recipients_are_chosen_by_code_and_sent_again(operator: Client, status: str) -> None:
    sent = bulk_send(status)
    again, other = refused_with(sent, 2, "400.1"), refused_with(sent, 3, "400.7")
    assert f"{LIST}{sent.pk}/retry/" in page(operator, sent)
    asked = page(operator, sent, "retry")
    assert 'value="400.1"' in asked
    assert 'value="400.7"' in asked
    assert set(sent.recipients.values_list("state", flat=True)) == {"refused"}  # asking changed nothing

    assert post(operator, sent, "retry", {"codes": ["400.1"]}).status_code == 302
    again.refresh_from_db()
    other.refresh_from_db()
    assert (again.state, other.state) == ("pending", "refused")
    sent.refresh_from_db()
    assert sent.status == (status if status in {Status.PAUSED, Status.ERROR} else Status.SENDING)
    decision = Decision.objects.get()
    assert (decision.what, decision.actor) == ("retry", "operador")
    assert decision.details == {"codes": ["400.1"], "retried": 1}


@pytest.mark.parametrize("codes", [[], ["999.9"]])
def test_without_a_code_that_exists_the_question_is_asked_again(operator: Client, codes: list[str]) -> None:
    sent = bulk_send(Status.DONE)
    refused_with(sent, 2, "400.1")
    answer = post(operator, sent, "retry", {"codes": codes})
    assert answer.status_code == 200
    assert 'value="400.1"' in answer.content.decode()
    assert sent.recipients.get().state == "refused"
    assert not Decision.objects.exists()


def test_a_retry_is_offered_only_where_somebody_was_refused_and_something_may_leave(operator: Client) -> None:
    nobody, cancelled = bulk_send(Status.DONE), bulk_send(Status.CANCELLED)
    recipient(nobody, 2, State.ACCEPTED)
    refused_with(cancelled, 2, "400.1")
    for sent in (nobody, cancelled):
        assert "/retry/" not in page(operator, sent)
        assert post(operator, sent, "retry", {"codes": ["400.1"]}).status_code == 302
    assert cancelled.recipients.get().state == "refused"
    assert not Decision.objects.exists()


# --- pace and window


def test_pace_and_window_change_while_it_is_sent_each_with_its_record(operator: Client, office: SendingWindow) -> None:
    sent = bulk_send(Status.SENDING, max_rate=10)
    asked = page(operator, sent, "change-pace")
    assert 'value="10' in asked
    assert "Oficina" in asked
    assert post(operator, sent, "change-pace", {"max_rate": "2.5", "window": office.pk}).status_code == 302
    sent.refresh_from_db()
    assert (sent.status, sent.max_rate, sent.window) == ("sending", 2.5, office)
    assert [decision.actor for decision in Decision.objects.all()] == ["operador", "operador"]
    assert [decision.details for decision in Decision.objects.all()] == [
        {"max_rate": 2.5, "max_rate_before": 10.0},
        {"window": "Oficina"},
    ]
    post(operator, sent, "change-pace", {"max_rate": "", "window": office.pk})
    sent.refresh_from_db()
    assert (sent.max_rate, sent.window) == (None, office)
    assert Decision.objects.count() == 3  # the window was not changed


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "rápido"])
def test_a_rate_that_is_none_is_asked_again(operator: Client, rate: str) -> None:
    sent = bulk_send(Status.SENDING, max_rate=10)
    answer = post(operator, sent, "change-pace", {"max_rate": rate, "window": ""})
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode() or "errors" in answer.content.decode()
    sent.refresh_from_db()
    assert sent.max_rate == 10
    assert not Decision.objects.exists()


@pytest.mark.parametrize("status", [Status.DONE, Status.CANCELLED])
def test_what_has_ended_has_no_pace_to_change(operator: Client, status: str) -> None:
    sent = bulk_send(status)
    assert post(operator, sent, "change-pace", {"max_rate": "5", "window": ""}).status_code == 302
    sent.refresh_from_db()
    assert sent.max_rate is None


def test_the_page_shows_pace_window_and_first_slice(operator: Client, office: SendingWindow) -> None:
    Sender.objects.create(email="avisos@example.com", window=office)
    sent = bulk_send(max_rate=7.5, first_slice=500, first_slice_max_refused=0.05, from_email="avisos@example.com")
    shown = page(operator, sent)
    for text in ("7,5", "Oficina", "500", "5,0"):
        assert text in shown


def test_a_window_changed_in_the_console_is_looked_at_again(client: Client, office: SendingWindow) -> None:
    client.force_login(User.objects.create_superuser("lucia"))
    sent = bulk_send(Status.PAUSED, reason=reasons.WINDOW, resume_at=timezone.now() + timedelta(days=1))
    form = {"name": "Oficina", "weekdays": "1234567", "opens": "00:00", "closes": "00:00", "time_zone": ""}
    assert client.post(f"/admin/relay/sendingwindow/{office.pk}/change/", form).status_code == 302
    sent.refresh_from_db()
    assert sent.resume_at is not None
    assert sent.resume_at <= timezone.now()


# --- the log of decisions


def test_the_page_says_who_decided_what_and_when(operator: Client) -> None:
    sent = bulk_send(Status.SENDING)
    decisions.pause(sent, Actor("command: ana"))
    decisions.resume(sent, Actor(HOSTILE))
    decisions.change_rate(sent, Actor("luis"), 5)
    shown = page(operator, sent)
    for text in ("command: ana", "luis", "&lt;script&gt;alert(1)"):
        assert text in shown
    assert HOSTILE not in shown


def test_who_may_look_sees_the_log_and_nobody_can_edit_it(client: Client) -> None:
    client.force_login(user("auditora", "view_bulksend"))
    sent = bulk_send(Status.SENDING)
    decisions.pause(sent, Actor("command: ana"))
    shown = page(client, sent)
    assert "command: ana" in shown
    assert 'name="decisions-0-actor"' not in shown


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({}, ""),
        ({"reason": ""}, ""),
        ({"reason": "stop_loss"}, "It had been stopped by: too many refused or unknown."),
        ({"without_rejects": 12}, "Without the rejected rows: 12."),
        ({"excluded": 1200}, "Messages that never leave: 1,200."),
        ({"codes": ["400.1", "400.7"], "retried": 3}, "Refused with 400.1, 400.7: 3."),
        ({"max_rate": 5, "max_rate_before": None}, "Messages per second: no limit → 5."),
        ({"window": "Oficina"}, "Sending window: Oficina."),
        ({"window": None}, "Sending window: that of its sender, if it has one."),
        ({"row": 7, "verdict": "accepted"}, "Row 7: Accepted."),
        ({"of_tomorrow": 1}, "of_tomorrow: 1"),
    ],
)
def test_details_are_said_in_words(details: dict[str, Any], said: str) -> None:
    with translation.override("en"):
        assert decision_details(Decision(details=details)) == said


def test_every_reason_that_stops_a_bulk_send_has_a_short_name() -> None:
    of_recipients_and_settlements = set(reasons.SENTENCES) - set(STOPS)
    assert not of_recipients_and_settlements & {
        reasons.PERSON,
        reasons.QUOTA,
        reasons.WINDOW,
        reasons.WINDOW_NEVER,
        reasons.STOP_LOSS,
        reasons.FIRST_SLICE,
        reasons.MISSED,
        reasons.MISCONFIGURED,
    }
