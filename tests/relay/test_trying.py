"""A test goes to whoever asks for it, by the call by which the mail would leave, and is on record whatever happens."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from relay import models, trying
from relay.account import NotConfigured
from relay.creating import Refused
from relay.models import BulkSend, Recipient, Suppression
from tests.relay.rows import new_bulk_send
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db
Outcome = models.TestSend.Outcome


@pytest.fixture
def maria() -> User:
    return User.objects.create_user("maria", email="maria@example.com")


@pytest.fixture
def row(new: Callable[..., BulkSend]) -> Recipient:
    """The second of a draft, whose mail is rendered here."""
    return new(3, status="draft").recipients.get(row=3)


def test_it_goes_to_who_asked_and_to_nobody_else(sandbox: Sandbox, row: Recipient, maria: User) -> None:
    test = trying.send_test(row, maria)
    assert dict(sandbox.accepted()) == {"maria@example.com": 1}
    assert sandbox.messages()[0]["subject"] == "Hola Persona 3"
    assert (test.outcome, test.row, test.by, test.email) == (Outcome.ACCEPTED, 3, maria, "maria@example.com")
    assert (test.subject, test.from_email) == ("Hola Persona 3", "avisos@example.com")
    assert test.message_id in sandbox.accepted_ids()
    assert test.delivery
    assert test.started_at <= test.ended_at
    assert "maria@example.com" in trying.sentence_for(test)


def test_no_row_of_the_bulk_send_changes(sandbox: Sandbox, row: Recipient, maria: User) -> None:
    before = list(Recipient.objects.order_by("pk").values())
    trying.send_test(row, maria)
    assert list(Recipient.objects.order_by("pk").values()) == before


def test_without_a_subject_of_its_own_the_relays_template_is_called(
    sandbox: Sandbox, new: Callable[..., BulkSend], maria: User
) -> None:
    bulk_send = new_bulk_send(1, status="draft", template_id=sandbox.template, from_email="avisos@example.com")
    new(0)  # the settings of the sandbox
    trying.send_test(bulk_send.recipients.get(), maria)
    assert sandbox.messages()[0]["template_id"] == sandbox.template


def test_a_variable_that_is_the_address_shows_that_of_the_row(
    sandbox: Sandbox, new: Callable[..., BulkSend], maria: User
) -> None:
    bulk_send = new(0, status="draft", template_html="{{correo}}")
    row = Recipient.objects.create(
        bulk_send=bulk_send, row=2, email="ana@example.com", variables={"nombre": "Ana"}, state="pending"
    )
    trying.send_test(row, maria)
    assert "ana@example.com" in sandbox.messages()[0]["html"]


@pytest.mark.parametrize(
    ("fault", "outcome", "arrived"),
    [
        ("400", "refused", 0),
        ("reset_after", "unknown", 1),
        ("reset_before", "unknown", 0),
        ("429", "not_sent", 0),
    ],
)
def test_what_became_of_it_is_on_record(
    sandbox: Sandbox, row: Recipient, maria: User, fault: str, outcome: str, arrived: int
) -> None:
    sandbox.faults(recipients={"maria@example.com": [fault]})
    test = trying.send_test(row, maria)
    test.refresh_from_db()
    assert test.outcome == outcome
    assert test.ended_at is not None
    assert sandbox.accepted()["maria@example.com"] == arrived
    assert len(sandbox.calls()) == 1, "never repeated by itself"
    assert trying.sentence_for(test)


def test_a_relay_that_does_not_answer_is_waited_for_as_long_as_is_set(
    sandbox: Sandbox, row: Recipient, maria: User, settings: Any
) -> None:
    settings.RELAY_TIMEOUT_SECONDS = 0.5
    sandbox.faults(recipients={"maria@example.com": ["stall_after"]})
    test = trying.send_test(row, maria)
    assert test.outcome == "unknown"
    assert (test.ended_at - test.started_at).total_seconds() < 5


def test_a_fault_of_ours_in_the_middle_leaves_it_unknown(
    row: Recipient, maria: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(trying, "_call", broken)
    with pytest.raises(ZeroDivisionError):
        trying.send_test(row, maria)
    assert models.TestSend.objects.get().outcome == "unknown"


def test_it_stays_on_record_when_its_draft_is_discarded(sandbox: Sandbox, row: Recipient, maria: User) -> None:
    """The relay's log keeps it, too."""
    test = trying.send_test(row, maria)
    BulkSend.objects.filter(pk=row.bulk_send_id).update(status="draft")
    Recipient.objects.all().delete()
    BulkSend.objects.all().delete()
    test.refresh_from_db()
    assert (test.bulk_send, test.rendered_here, test.outcome) == (None, True, Outcome.ACCEPTED)


# --- What is refused before anything leaves


@pytest.mark.parametrize("email", ["", "no es una dirección"])
def test_without_an_address_that_can_be_written_to_nothing_leaves(sandbox: Sandbox, row: Recipient, email: str) -> None:
    with pytest.raises(Refused):
        trying.send_test(row, User.objects.create_user("pedro", email=email))
    assert sandbox.calls() == []
    assert not models.TestSend.objects.exists()


def test_a_suppressed_address_gets_no_test(sandbox: Sandbox, row: Recipient, maria: User) -> None:
    Suppression.objects.create(email="maria@example.com", reason="pidió la baja")
    with pytest.raises(Refused):
        trying.send_test(row, maria)
    assert sandbox.calls() == []


@pytest.mark.parametrize("status", ["sending", "settling"])
def test_what_is_being_sent_is_not_tried_any_more(sandbox: Sandbox, row: Recipient, maria: User, status: str) -> None:
    BulkSend.objects.update(status=status)
    row.refresh_from_db()
    with pytest.raises(Refused):
        trying.send_test(Recipient.objects.get(pk=row.pk), maria)
    assert sandbox.calls() == []


def test_without_a_key_nothing_is_on_record(row: Recipient, maria: User, settings: Any) -> None:
    settings.DOPPLER_RELAY_API_KEY = ""
    with pytest.raises(NotConfigured):
        trying.send_test(row, maria)
    assert not models.TestSend.objects.exists()


def test_so_many_an_hour_and_no_more(sandbox: Sandbox, row: Recipient, maria: User) -> None:
    now = timezone.now()
    for number in range(trying.MOST_AN_HOUR):
        models.TestSend.objects.create(
            bulk_send=row.bulk_send,
            row=2,
            email="maria@example.com",
            by=maria,
            started_at=now - timedelta(minutes=number),
        )
    with pytest.raises(Refused):
        trying.send_test(row, maria)
    assert sandbox.calls() == []
    models.TestSend.objects.update(started_at=now - timedelta(minutes=61))
    assert trying.send_test(row, maria).outcome == Outcome.ACCEPTED
