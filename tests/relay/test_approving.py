"""A second person approves what is large: what that approval is of, who may, and that nothing begins without it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone, translation

from relay import approving, decisions, reasons, stages
from relay.approving import ApprovalMissing, Verdict, VerdictRefused
from relay.decisions import Actor
from relay.models import Activity, Approval, Attachment, BulkSend
from tests.console import page
from tests.relay.admin_rows import Status, bulk_send, draft, user

pytestmark = pytest.mark.django_db
OPERATOR = Actor("command: root")


@pytest.fixture(autouse=True)
def above_one(settings: Any) -> None:
    settings.BULK_APPROVAL_ABOVE = 1


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def paula() -> User:
    return user("paula", "view_bulksend", "approve_bulksend")


def approve(sent: BulkSend, by: User, verdict: Verdict = Verdict.APPROVED, note: str = "") -> Approval:
    return approving.judge(sent, by, verdict, seen=approving.fingerprint(sent), note=note)


def waiting(**fields: Any) -> BulkSend:
    """Two valid recipients: one too many to go without a second person."""
    return bulk_send(Status.PENDING, **fields)


# --- when it is needed


@pytest.mark.parametrize(("above", "needed"), [(None, False), (2, False), (1, True), (0, True)])
def test_it_is_needed_above_the_set_number_of_valid_recipients(settings: Any, above: int | None, needed: bool) -> None:
    settings.BULK_APPROVAL_ABOVE = above
    assert approving.is_needed(waiting(total=5, findings={"excluded": 3})) is needed


def test_unset_it_changes_nothing(settings: Any) -> None:
    settings.BULK_APPROVAL_ABOVE = None
    sent = waiting()
    decisions.start(sent, OPERATOR)
    assert sent.status == Status.SENDING


def test_without_it_nobody_starts_it_and_the_sentence_says_who_may_approve(paula: User) -> None:
    cobranzas = Group.objects.create(name="Jefas de cobranza")
    cobranzas.permissions.set(paula.user_permissions.filter(codename="approve_bulksend"))
    sent = waiting()
    for by in (OPERATOR, Actor("ana", user("ana", "change_bulksend"))):
        with pytest.raises(ApprovalMissing, match="Jefas de cobranza"):
            decisions.start(sent, by)
    assert BulkSend.objects.get().status == Status.PENDING


def test_approved_it_starts(paula: User) -> None:
    sent = waiting()
    approve(sent, paula)
    decisions.start(sent, OPERATOR)
    assert sent.status == Status.SENDING


def test_a_draft_with_an_hour_is_not_scheduled_without_it_either(paula: User) -> None:
    sent = draft(total=3, scheduled_at=timezone.now() + timedelta(hours=1))
    with pytest.raises(ApprovalMissing):
        decisions.start(sent, OPERATOR, accept_rejects=True)
    approve(sent, paula)
    decisions.start(sent, OPERATOR, accept_rejects=True)
    assert BulkSend.objects.get().status == Status.PENDING


# --- who may


def test_nobody_approves_what_he_made_or_scheduled(paula: User) -> None:
    for sent in (waiting(created_by=paula), waiting(scheduled_by=paula)):
        with pytest.raises(VerdictRefused, match="your own"):
            approve(sent, paula)
    assert not Approval.objects.exists()


def test_it_is_not_offered_to_who_made_it(client: Client) -> None:
    maker, other = (user(name, "view_bulksend", "approve_bulksend") for name in ("maria", "pedro"))
    sent = waiting(created_by=maker)
    for who, offered in ((maker, False), (other, True)):
        client.force_login(who)
        shown = page(client, f"/admin/relay/bulksend/{sent.pk}/change/")
        assert (f"/admin/relay/bulksend/{sent.pk}/approve/" in shown) is offered


def test_not_even_an_administrator_does() -> None:
    lucia = User.objects.create_superuser("lucia")
    with pytest.raises(VerdictRefused):
        approve(waiting(created_by=lucia), lucia)


def test_who_has_not_the_right_does_not(paula: User) -> None:
    with pytest.raises(VerdictRefused):
        approve(waiting(), user("ana", "view_bulksend", "change_bulksend"))


def test_who_approved_it_and_schedules_it_then_has_made_it_his_own(paula: User) -> None:
    sent = waiting(scheduled_at=timezone.now() + timedelta(hours=1))
    approve(sent, paula)
    BulkSend.objects.update(scheduled_by=paula)
    sent.refresh_from_db()
    assert approving.is_missing(sent)


def test_a_refusal_needs_a_reason_and_takes_an_approval_back(paula: User) -> None:
    sent = waiting()
    approve(sent, paula)
    with pytest.raises(VerdictRefused):
        approve(sent, paula, Verdict.REJECTED, note="  ")
    approve(sent, paula, Verdict.REJECTED, note="El asunto está equivocado")
    with pytest.raises(ApprovalMissing):
        decisions.start(sent, OPERATOR)
    last = approving.last_verdict(sent)
    assert last is not None
    assert (last.verdict, last.note) == ("rejected", "El asunto está equivocado")


# --- what it is of


def _with_attachment(sent: BulkSend) -> None:
    sent.attachments.add(Attachment.objects.create(filename="a.pdf", content_type="x", size=1, sha256="a" * 64))


CHANGES: dict[str, Callable[[BulkSend], object]] = {
    "template": lambda sent: BulkSend.objects.update(template_html="<p>Otra cosa</p>"),
    "template's subject": lambda sent: BulkSend.objects.update(template_subject="Otro"),
    "subject": lambda sent: BulkSend.objects.update(subject="Otro"),
    "sender": lambda sent: BulkSend.objects.update(from_email="otra@example.com"),
    "name of the sender": lambda sent: BulkSend.objects.update(from_name="Otra"),
    "reply to": lambda sent: BulkSend.objects.update(reply_to="otra@example.com"),
    "file": lambda sent: BulkSend.objects.update(file_sha256="b" * 64),
    "variables": lambda sent: BulkSend.objects.update(variable_map={"nombre": "apellido"}),
    "count": lambda sent: BulkSend.objects.update(total=3),
    "hour": lambda sent: BulkSend.objects.update(scheduled_at=timezone.now() + timedelta(hours=1)),
    "attachments": _with_attachment,
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_is_changed_afterwards_makes_it_void(paula: User, what: str) -> None:
    sent = waiting()
    approve(sent, paula)
    CHANGES[what](sent)
    stale = BulkSend.objects.get()
    with pytest.raises(ApprovalMissing):
        decisions.start(stale, OPERATOR)
    assert BulkSend.objects.get().status == Status.PENDING


def test_what_changes_between_the_approval_and_the_start_is_seen_although_the_page_is_older(paula: User) -> None:
    """The one who starts holds an object of before; the row is read again under its lock."""
    sent = waiting()
    approve(sent, paula)
    BulkSend.objects.filter(pk=sent.pk).update(template_html="<p>Otra cosa</p>")
    assert sent.template_html == "<p>{{nombre}}</p>"
    with pytest.raises(ApprovalMissing):
        decisions.start(sent, OPERATOR)


def test_what_is_changed_while_the_approver_looks_is_not_approved(paula: User) -> None:
    sent = waiting()
    seen = approving.fingerprint(sent)
    BulkSend.objects.update(subject="Otro")
    with pytest.raises(VerdictRefused):
        approving.judge(sent, paula, Verdict.APPROVED, seen=seen)


def test_changing_the_pace_is_no_change_of_what_was_approved(paula: User) -> None:
    sent = waiting()
    approve(sent, paula)
    decisions.change_rate(sent, OPERATOR, 5)
    decisions.start(sent, OPERATOR)
    assert sent.status == Status.SENDING


def test_accepting_the_rejected_rows_is_part_of_it(paula: User) -> None:
    sent = draft(total=3)
    approve(sent, paula)
    decisions.start(sent, OPERATOR, accept_rejects=True)
    assert sent.status == Status.SENDING


# --- when its hour comes


def an_hour_ago() -> Any:
    return timezone.now() - timedelta(minutes=5)


def test_at_its_hour_what_is_approved_begins_and_what_is_not_waits_with_a_sentence(paula: User) -> None:
    approved, not_approved = waiting(scheduled_at=an_hour_ago()), waiting(scheduled_at=an_hour_ago())
    approve(approved, paula)
    assert stages.start_due() == [approved.pk]
    not_approved.refresh_from_db()
    assert (not_approved.status, not_approved.reason) == (Status.PAUSED, reasons.APPROVAL)
    assert "second person" in not_approved.reason_text
    with pytest.raises(ApprovalMissing):
        decisions.resume(not_approved, OPERATOR)
    approve(not_approved, paula)
    decisions.resume(not_approved, OPERATOR)
    assert not_approved.status == Status.SENDING


def test_approved_for_its_hour_it_does_not_leave_before(paula: User) -> None:
    sent = waiting(scheduled_at=timezone.now() + timedelta(hours=1))
    approve(sent, paula)
    with pytest.raises(ApprovalMissing, match="for its hour"):
        decisions.start(sent, OPERATOR)


# --- what stays


def test_each_verdict_is_on_record(paula: User) -> None:
    sent = waiting()
    approve(sent, paula)
    made = Activity.objects.get()
    assert (made.what, made.by, made.about_id) == ("approved", "paula", str(sent.pk))


def test_the_database_refuses_to_change_one(paula: User) -> None:
    approve(waiting(), paula)
    with pytest.raises(IntegrityError, match="never"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE relay_approval SET verdict = 'rejected'")


def test_with_a_draft_that_is_discarded_it_goes_and_stays_on_record(paula: User) -> None:
    sent = bulk_send(Status.DRAFT)
    approve(sent, paula)
    sent.delete()
    assert not Approval.objects.exists()
    assert Activity.objects.get().what == "approved"


def test_an_account_that_goes_leaves_its_verdict(paula: User) -> None:
    sent = waiting()
    approve(sent, paula)
    paula.delete()
    assert Approval.objects.get().actor == "paula"
    assert not approving.is_missing(sent)
