"""Senders that only some groups may write from, and where that holds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.utils import translation

from relay import decisions, senders
from relay.creating import Order, create_bulk_send
from relay.decisions import Actor
from relay.models import BulkSend, Sender
from relay.senders import SenderNotAllowed
from tests.relay.admin_rows import Status, bulk_send, user
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def collections() -> Group:
    return Group.objects.create(name="Cobranzas")


@pytest.fixture
def limited(collections: Group) -> Sender:
    sender = Sender.objects.create(email="cobranza@example.com")
    sender.groups.add(collections)
    sender.groups.add(Group.objects.create(name="Jefatura"))
    return sender


def addresses(by: User) -> list[str]:
    return [sender.email for sender in senders.senders_for(by)]


def test_a_sender_with_groups_is_for_their_members_and_others_are_for_all(collections: Group, limited: Sender) -> None:
    Sender.objects.create(email="avisos@example.com")
    Sender.objects.create(email="viejo@example.com", active=False)
    ana, luis = user("ana"), user("luis")
    ana.groups.set(Group.objects.all())
    assert addresses(ana) == ["avisos@example.com", "cobranza@example.com"]
    assert addresses(luis) == ["avisos@example.com"]
    assert addresses(User.objects.create_superuser("lucia")) == ["avisos@example.com", "cobranza@example.com"]


def test_who_may_not_write_from_it_cannot_start_with_it(collections: Group, limited: Sender) -> None:
    luis = user("luis", "change_bulksend")
    sent = bulk_send(Status.PENDING, from_email="Cobranza@Example.com")
    with pytest.raises(SenderNotAllowed, match="Cobranzas, Jefatura"):
        decisions.start(sent, Actor("luis", luis))
    assert BulkSend.objects.get().status == Status.PENDING
    luis.groups.add(collections)
    decisions.start(sent, Actor("luis", luis))
    assert sent.status == Status.SENDING


def test_a_command_of_the_operator_may(limited: Sender) -> None:
    sent = bulk_send(Status.PENDING, from_email=limited.email)
    decisions.start(sent, Actor("command: root"))
    assert sent.status == Status.SENDING


def test_an_address_that_is_no_sender_is_limited_to_nobody(limited: Sender) -> None:
    senders.check_sender(user("luis"), "plantilla@example.com")
    senders.check_sender(user("rosa"), "")


@pytest.mark.usefixtures("new")
def test_who_may_not_write_from_it_creates_nothing_with_it(limited: Sender, sandbox: Sandbox, tmp_path: Path) -> None:
    people = tmp_path / "lista.csv"
    people.write_text("nombre;correo;cedula;monto;vence\nAna;ana@example.com;1;10;2026-12-15\n")
    order = Order(template_id=sandbox.template, recipients=people, sender=limited.email, created_by=user("luis"))
    with pytest.raises(SenderNotAllowed):
        create_bulk_send(order)
    assert not BulkSend.objects.exists()
