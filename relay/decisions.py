"""What people decide about a bulk send: each decision and its record are one transaction.

What machines decide (a quota, a window, a halt, an hour that has come) leaves no record here: the bulk send's own
reason tells it.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from relay import activity, approving, rates, reasons, senders, whole_sends
from relay.creating import Refused, check_schedule, slice_end
from relay.explained import Explained
from relay.models import BulkSend, Decision, SendingWindow, WrongState

Status = BulkSend.Status
What = Decision.What


@dataclass(frozen=True, slots=True)
class Actor:
    name: str
    user: User | None = None  # None: by a command


def start(bulk_send: BulkSend, by: Actor, *, accept_rejects: bool = False) -> None:
    with transaction.atomic():
        before = _locked(bulk_send)
        if before.status in {Status.DRAFT, Status.PENDING}:
            senders.check_sender(by.user, bulk_send.from_email)
            approving.check(bulk_send, now=before.status == Status.PENDING)
        bulk_send.start(accept_rejects=accept_rejects)
        details = {"without_rejects": bulk_send.excluded_at_creation} if before.status == Status.DRAFT else {}
        _record(bulk_send, by, What.START, **details)


def accept_rejects(bulk_send: BulkSend, by: Actor) -> None:
    """Only the valid rows of this draft are to be sent, whenever that is decided. Done twice it is done once."""
    with transaction.atomic():
        before = _locked(bulk_send)
        if before.status != Status.DRAFT:
            raise _wrong(bulk_send)
        if bulk_send.accept_rejects:
            return
        bulk_send.accept_rejects = True
        bulk_send.save(update_fields=["accept_rejects"])
        _record(bulk_send, by, What.CHANGE, accepted_rejects=bulk_send.excluded_at_creation)


@dataclass(frozen=True, slots=True)
class Plan:
    """When and how fast a bulk send is to leave."""

    at: datetime | None = None  # None: at once
    window: SendingWindow | None = None
    max_rate: float | None = None
    first_slice: int = 0


class ChangedMeanwhile(Explained):
    """What was decided about is no longer what the page showed: another person decided, or it was changed."""


def schedule(bulk_send: BulkSend, by: Actor, plan: Plan, *, seen: str) -> bool:
    """Decides when what waits, or was only prepared, is sent: at once, or at its hour. Also anew, until it begins.

    False: the plan is kept, and a second person must approve it before it may begin. `seen` is the `fingerprint`
    of what the person had before his eyes. Raises WrongState, Refused or ChangedMeanwhile.
    """
    check_schedule(plan.at)
    if plan.max_rate is not None and not 0 < plan.max_rate < math.inf:
        raise Refused(_("A rate is a number above 0: so many messages a second."))
    with transaction.atomic():
        before = _locked(bulk_send)
        if before.status not in {Status.DRAFT, Status.PENDING}:
            raise _wrong(bulk_send)
        if fingerprint(bulk_send) != seen:
            raise ChangedMeanwhile(
                _("Bulk send %(id)d was changed since the page was shown: look at it again before you decide.")
                % {"id": bulk_send.pk}
            )
        senders.check_sender(by.user, bulk_send.from_email)
        _write_plan(bulk_send, by, plan)
        begins = before.status == Status.DRAFT or plan.at is None
        # An approval is of the plan, too: only what is planned can be approved.
        approved = not approving.is_missing(bulk_send)
        if begins and approved:
            nothing_rejected = not bulk_send.excluded_at_creation
            bulk_send.start(accept_rejects=nothing_rejected)
        _record(
            bulk_send,
            by,
            What.START if begins and approved else What.CHANGE,
            scheduled_for=plan.at.isoformat() if plan.at else None,
            max_rate=plan.max_rate,
            window=plan.window.name if plan.window else None,
            first_slice=plan.first_slice,
            without_rejects=bulk_send.excluded_at_creation,
        )
    return approved


def _write_plan(bulk_send: BulkSend, by: Actor, plan: Plan) -> None:
    bulk_send.scheduled_at, bulk_send.scheduled_by = plan.at, by.user if plan.at else None
    bulk_send.window, bulk_send.max_rate, bulk_send.first_slice = plan.window, plan.max_rate, plan.first_slice
    bulk_send.slice_ends_at_row = slice_end(bulk_send)
    bulk_send.save(
        update_fields=["scheduled_at", "scheduled_by", "window", "max_rate", "first_slice", "slice_ends_at_row"]
    )
    rates.forget(bulk_send.pk)


def fingerprint(bulk_send: BulkSend) -> str:
    """Another one whenever anything that a person decides about is another: who gets what, from whom, and when."""
    facts = [
        bulk_send.pk,
        bulk_send.status,
        bulk_send.file_sha256,
        bulk_send.total,
        bulk_send.excluded_at_creation,
        bulk_send.accept_rejects,
        bulk_send.template_id,
        bulk_send.template_subject,
        bulk_send.template_html,
        bulk_send.subject,
        bulk_send.from_email,
        bulk_send.from_name,
        bulk_send.reply_to,
        bulk_send.variable_map,
        sorted(bulk_send.attachments.values_list("sha256", flat=True)),
        bulk_send.scheduled_at and bulk_send.scheduled_at.timestamp(),
        bulk_send.window_id,
        bulk_send.max_rate,
        bulk_send.first_slice,
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def pause(bulk_send: BulkSend, by: Actor) -> None:
    with transaction.atomic():
        before = _locked(bulk_send)
        bulk_send.pause()
        _record(bulk_send, by, What.PAUSE, **({"reason": before.reason} if before.reason else {}))


def resume(bulk_send: BulkSend, by: Actor) -> None:
    """Whoever resumes after a bad first slice, or a stop-loss within it, has judged it: all the rest goes."""
    with transaction.atomic():
        before = _locked(bulk_send)
        if before.status in {Status.PAUSED, Status.ERROR}:
            approving.check(bulk_send)
        bulk_send.resume()
        if before.reason in {reasons.FIRST_SLICE, reasons.STOP_LOSS}:
            bulk_send.slice_ends_at_row = None
            bulk_send.save(update_fields=["slice_ends_at_row"])
        _record(bulk_send, by, What.RESUME, reason=before.reason)


def cancel(bulk_send: BulkSend, by: Actor) -> None:
    with transaction.atomic():
        _locked(bulk_send)
        excluded = whole_sends.cancel(bulk_send)
        _record(bulk_send, by, What.CANCEL, excluded=excluded)


def retry(bulk_send: BulkSend, by: Actor, codes: Sequence[str]) -> int:
    """Sends again what the relay refused with one of these codes; returns how many rows that are.

    What has ended goes on sending. What is paused or stands on an error stays so: that is a decision of its own.
    """
    with transaction.atomic():
        before = _locked(bulk_send)
        if before.status in {Status.DRAFT, Status.PENDING, Status.CANCELLED}:
            raise _wrong(bulk_send)
        retried = whole_sends.retry_refused(bulk_send.pk, codes)
        if not retried:
            raise Refused(_("Bulk send %(id)d has no refused recipients with these codes.") % {"id": bulk_send.pk})
        if before.status in {Status.DONE, Status.SETTLING}:
            bulk_send.send_again()
        _record(bulk_send, by, What.RETRY, codes=sorted(codes), retried=retried)
    return retried


def change_rate(bulk_send: BulkSend, by: Actor, rate: float | None) -> None:
    """Messages a second; None: as fast as the account allows. Workers follow within a second."""
    if rate is not None and not 0 < rate < math.inf:
        raise Refused(_("A rate is a number above 0: so many messages a second."))
    with transaction.atomic():
        before = _locked(bulk_send)
        if before.status in {Status.DONE, Status.CANCELLED}:
            raise _wrong(bulk_send)
        bulk_send.max_rate = rate
        bulk_send.save(update_fields=["max_rate"])
        rates.forget(bulk_send.pk)
        _record(bulk_send, by, What.CHANGE, max_rate=rate, max_rate_before=before.max_rate)


def change_window(bulk_send: BulkSend, by: Actor, window: SendingWindow | None) -> None:
    """Holds within a second for what is being sent. What rested because of the former goes on; should the one that is
    in force now be closed too, its worker rests again, until that opens."""
    with transaction.atomic():
        before = _locked(bulk_send)
        if before.status in {Status.DONE, Status.CANCELLED}:
            raise _wrong(bulk_send)
        bulk_send.window = window
        bulk_send.save(update_fields=["window"])
        if before.status == Status.PAUSED and before.reason in {reasons.WINDOW, reasons.WINDOW_NEVER}:
            bulk_send.resume()
        _record(bulk_send, by, What.CHANGE, window=window.name if window else None)


@dataclass(frozen=True, slots=True)
class _Before:
    status: str
    reason: str
    max_rate: float | None


def _locked(bulk_send: BulkSend) -> _Before:
    """As it is now, and stays until this decision is committed: workers and other people wait for it."""
    try:
        bulk_send.refresh_from_db(from_queryset=BulkSend.objects.select_for_update(no_key=True))
    except BulkSend.DoesNotExist:
        raise WrongState(_("Bulk send %(id)d has been discarded.") % {"id": bulk_send.pk}) from None
    return _Before(bulk_send.status, bulk_send.reason, bulk_send.max_rate)


def _record(bulk_send: BulkSend, by: Actor, what: Decision.What, **details: Any) -> None:
    Decision.objects.create(bulk_send=bulk_send, made_by=by.user, actor=by.name[:200], what=what, details=details)
    activity.record(activity.What.DECIDED, by=by.user or by.name, about=bulk_send, decision=what, **details)


def _wrong(bulk_send: BulkSend) -> WrongState:
    return WrongState(
        _("Bulk send %(id)d is «%(status)s»: this cannot be done from there.")
        % {"id": bulk_send.pk, "status": bulk_send.get_status_display()}
    )
