"""What a person may decide about a bulk send: when it is offered, what the confirmation asks, what it does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from relay import approving, decisions, reasons
from relay.admin.forms import ApprovalForm, PaceForm, RejectionForm, RetryForm
from relay.admin.unfolded import Text
from relay.decisions import Actor
from relay.explained import Explained
from relay.models import BulkSend
from relay.tallies import codes_of

Status = BulkSend.Status


def _something_to_send(bulk_send: BulkSend) -> bool:
    return bulk_send.total > bulk_send.excluded_at_creation


def _would_go_on(bulk_send: BulkSend) -> bool:
    """Also a pause that would end by itself can be turned into one that does not."""
    by_itself = bulk_send.resume_at is not None and bulk_send.reason != reasons.PERSON
    return bulk_send.status != Status.PAUSED or by_itself


def _has_refused(bulk_send: BulkSend) -> bool:
    return bool(codes_of(bulk_send.pk))


def _change_pace(bulk_send: BulkSend, by: Actor, wanted: dict[str, Any]) -> None:
    with transaction.atomic():
        if wanted["max_rate"] != bulk_send.max_rate:
            decisions.change_rate(bulk_send, by, wanted["max_rate"])
        if wanted["window"] != bulk_send.window:
            decisions.change_window(bulk_send, by, wanted["window"])


def _judge(verdict: approving.Verdict) -> "Callable[[BulkSend, Actor, dict[str, Any]], object]":
    def judge(bulk_send: BulkSend, by: Actor, filled: dict[str, Any]) -> object:
        assert by.user is not None  # noqa: S101  (see actor_of)
        return approving.judge(bulk_send, by.user, verdict, seen=filled["seen"], note=filled["note"])

    return judge


@dataclass(frozen=True, slots=True)
class Offer:
    name: str  # of the method of BulkSendAdmin and of the address
    button: Text
    question: Text  # on the confirmation page; may say %(left)s (messages that have not left) and what it is
    done: Text  # afterwards, to the person and in the history
    offered_in: frozenset[str]
    carry_out: Callable[[BulkSend, Actor, dict[str, Any]], object]  # with what was filled in
    icon: str
    offered_if: Callable[[BulkSend], bool] = lambda bulk_send: True
    form: Callable[[BulkSend, Any], forms.Form] | None = None
    for_good: bool = False
    right: str = "send"  # of BulkSendAdmin's has_…_permission methods

    def is_offered(self, bulk_send: BulkSend) -> bool:
        return bulk_send.status in self.offered_in and self.offered_if(bulk_send)


START = Offer(
    name="start",
    button=_("Send now"),
    question=_("Messages to send: %(left)s. They leave as soon as a sending process takes them."),
    done=_("Allowed to be sent."),
    offered_in=frozenset({Status.PENDING}),
    offered_if=_something_to_send,
    carry_out=lambda bulk_send, by, _filled: decisions.start(bulk_send, by),
    icon="send",
)
START_VALID = Offer(
    name="start_valid",
    button=_("Send only the valid ones"),
    question=_(
        "Messages to send: %(left)s. They leave at the hour it is scheduled for, if that is still to come, else as soon"
        " as a sending process takes them; the rejected rows get nothing."
    ),
    done=_("Allowed to be sent without the rejected rows."),
    offered_in=frozenset({Status.DRAFT}),
    offered_if=_something_to_send,
    carry_out=lambda bulk_send, by, _filled: decisions.start(bulk_send, by, accept_rejects=True),
    icon="send",
)
PAUSE = Offer(
    name="pause",
    button=_("Pause"),
    question=_("No new message leaves until somebody resumes it. What is on its way right now still arrives."),
    done=_("Paused."),
    offered_in=frozenset({Status.SENDING, Status.SETTLING, Status.PAUSED}),
    offered_if=_would_go_on,
    carry_out=lambda bulk_send, by, _filled: decisions.pause(bulk_send, by),
    icon="pause",
)
RESUME = Offer(
    name="resume",
    button=_("Resume"),
    question=_("Messages still to send: %(left)s. It goes on where it stopped; nobody receives anything twice."),
    done=_("Resumed."),
    offered_in=frozenset({Status.PAUSED, Status.ERROR}),
    carry_out=lambda bulk_send, by, _filled: decisions.resume(bulk_send, by),
    icon="play_arrow",
)
CANCEL = Offer(
    name="cancel",
    button=_("Cancel for good"),
    question=_(
        "Messages that will never leave: %(left)s. What is on its way right now still arrives. This cannot be undone."
    ),
    done=_("Cancelled."),
    offered_in=frozenset(set(Status) - {Status.DONE, Status.CANCELLED}),
    carry_out=lambda bulk_send, by, _filled: decisions.cancel(bulk_send, by),
    icon="block",
    for_good=True,
)
RETRY = Offer(
    name="retry",
    button=_("Send refused ones again"),
    question=_(
        "Choose by the code with which the relay refused them. They are sent anew; whoever is suppressed by now is not."
    ),
    done=_("The refused recipients are sent again."),
    offered_in=frozenset(set(Status) - {Status.DRAFT, Status.PENDING, Status.CANCELLED}),
    offered_if=_has_refused,
    carry_out=lambda bulk_send, by, filled: decisions.retry(bulk_send, by, filled["codes"]),
    icon="replay",
    form=RetryForm,
)
CHANGE_PACE = Offer(
    name="change_pace",
    button=_("Change pace or window"),
    question=_("It holds about a second from now on, also for what is being sent. What is on its way is not cut."),
    done=_("Pace and window are as chosen."),
    offered_in=frozenset(set(Status) - {Status.DONE, Status.CANCELLED}),
    carry_out=_change_pace,
    icon="speed",
    form=PaceForm,
)
APPROVE = Offer(
    name="approve",
    button=_("Approve"),
    question=_(
        "Messages to send: %(left)s. Subject: «%(subject)s». From: %(from)s. Hour: %(hour)s. Should anything of the"
        " message, its recipients or its hour be changed afterwards, it needs a new approval."
    ),
    done=_("Approved."),
    offered_in=frozenset(set(Status) - {Status.DONE, Status.CANCELLED}),
    offered_if=approving.waits,
    carry_out=_judge(approving.Verdict.APPROVED),
    icon="verified",
    form=ApprovalForm,
    right="approve",
)
REJECT = Offer(
    name="reject",
    button=_("Refuse approval"),
    question=_("It does not leave as it is. Whoever prepared it reads your note."),
    done=_("Approval refused."),
    offered_in=APPROVE.offered_in,
    offered_if=approving.is_needed,
    carry_out=_judge(approving.Verdict.REJECTED),
    icon="cancel",
    form=RejectionForm,
    right="approve",
)
DECISIONS = {
    offer.name: offer for offer in (START, START_VALID, APPROVE, REJECT, PAUSE, RESUME, RETRY, CHANGE_PACE, CANCEL)
}


def actor_of(request: HttpRequest) -> Actor:
    """Who is logged in; nobody else reaches a decision."""
    assert isinstance(request.user, User)  # noqa: S101
    return Actor(request.user.get_username(), request.user)


@dataclass(frozen=True, slots=True)
class Started:
    """What the list action did with one bulk send."""

    started: bool
    sentence: str
    failed: bool = False


def start_from_list(bulk_send: BulkSend, by: Actor) -> Started:
    """Lets a pending bulk send begin. It only queues: the page never waits for the relay."""
    told = {"id": bulk_send.pk, "name": bulk_send.name}
    if bulk_send.status == Status.SENDING:
        return Started(False, _("Bulk send %(id)d «%(name)s» is already being sent.") % told)
    try:
        decisions.start(bulk_send, by)
    except Explained as problem:
        return Started(False, str(problem), failed=True)
    return Started(True, _("Bulk send %(id)d «%(name)s» is queued: its messages begin to leave shortly.") % told)
