"""Approval against the clock: what is changed while it begins, and templates edited in the relay afterwards."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.utils import timezone

from relay import approving, decisions, reasons, sending, stages
from relay.approving import ApprovalMissing, Verdict
from relay.creating import fetch_template
from relay.decisions import Actor
from relay.models import BulkSend
from tests.relay.admin_rows import Status
from tests.relay.ledger_acts import ON_POSTGRESQL
from tests.relay.rows import new_bulk_send
from tests.relay.test_ledger_at_once import wait_for_a_lock
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def above_one(settings: Any) -> None:
    settings.BULK_APPROVAL_ABOVE = 1


@pytest.fixture
def paula() -> User:
    made = User.objects.create_user("paula")
    made.user_permissions.add(Permission.objects.get(codename="approve_bulksend"))
    return made


def approve(sent: BulkSend, by: User) -> None:
    approving.judge(sent, by, Verdict.APPROVED, seen=approving.fingerprint(sent))


def by_a_person(bulk_send_id: int) -> None:
    with pytest.raises(ApprovalMissing):
        decisions.start(BulkSend.objects.get(pk=bulk_send_id), Actor("command: root"))


def by_its_hour(bulk_send_id: int) -> None:
    assert stages.start_due() == []
    stands = BulkSend.objects.get(pk=bulk_send_id)
    assert (stands.status, stands.reason) == (Status.PAUSED, reasons.APPROVAL)


@pytest.mark.postgres
@ON_POSTGRESQL
@pytest.mark.parametrize("begin", [by_a_person, by_its_hour])
def test_what_another_is_changing_right_now_does_not_begin_as_it_was_approved(
    paula: User, begin: Callable[[int], None]
) -> None:
    sent = new_bulk_send(3, status="pending", scheduled_at=timezone.now() - timedelta(minutes=1))
    approve(sent, paula)
    changed = threading.Event()

    def work() -> None:
        try:
            changed.wait(timeout=30)
            begin(sent.pk)  # it waits for the row, and reads it again
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            BulkSend.objects.filter(pk=sent.pk).update(template_html="<p>Otra cosa</p>")
            beginning = pool.submit(work)
            changed.set()
            wait_for_a_lock()
        beginning.result(timeout=60)
    assert BulkSend.objects.get(pk=sent.pk).status != Status.SENDING


# --- while it is sent


def drain(sent: BulkSend) -> None:
    async def run() -> None:
        async with asyncio.timeout(60):
            await sending.drain(sent.pk, stop=asyncio.Event())

    asyncio.run(run())


def test_nothing_leaves_of_what_is_not_approved_however_it_came_to_be_sent(
    new: Callable[..., BulkSend], sandbox: Sandbox, paula: User
) -> None:
    sent = new(3)  # «sending» already: as if the rule had come after it
    drain(sent)
    sent.refresh_from_db()
    assert (sent.status, sent.reason) == (Status.ERROR, reasons.APPROVAL)
    assert not sandbox.accepted()
    approve(sent, paula)
    decisions.resume(sent, Actor("command: root"))
    drain(sent)
    assert len(sandbox.accepted()) == 3


def test_a_template_that_is_edited_in_the_relay_after_the_approval_stops_it(
    new: Callable[..., BulkSend], sandbox: Sandbox, paula: User
) -> None:
    sent = new(3, template_id=sandbox.template, template_html="Hola", template_subject="Hola")
    BulkSend.objects.filter(pk=sent.pk).update(subject="", status="pending", **needs_of(sandbox))
    sent.refresh_from_db()
    approve(sent, paula)
    decisions.start(sent, Actor("command: root"))
    drain(sent)
    sent.refresh_from_db()
    assert (sent.status, sent.reason) == (Status.ERROR, reasons.APPROVAL)
    assert not sandbox.accepted()
    assert approving.is_missing(sent)  # what the page shows now is what is to be approved


def needs_of(sandbox: Sandbox) -> dict[str, str]:
    """A content that needs what the relay's template needs, and reads otherwise."""
    template = fetch_template(sandbox.template)
    return {"template_subject": template.subject, "template_html": template.html + "<p>Antes</p>"}
