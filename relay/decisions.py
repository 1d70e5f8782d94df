"""What people decide about a bulk send: each decision and its record are one transaction.

What machines decide (a quota, a window, a halt, an hour that has come) leaves no record here: the bulk send's own
reason tells it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from relay import rates, reasons, whole_sends
from relay.creating import Refused
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
        bulk_send.start(accept_rejects=accept_rejects)
        details = {"without_rejects": bulk_send.excluded_at_creation} if before.status == Status.DRAFT else {}
        _record(bulk_send, by, What.START, **details)


def pause(bulk_send: BulkSend, by: Actor) -> None:
    with transaction.atomic():
        before = _locked(bulk_send)
        bulk_send.pause()
        _record(bulk_send, by, What.PAUSE, **({"reason": before.reason} if before.reason else {}))


def resume(bulk_send: BulkSend, by: Actor) -> None:
    """Whoever resumes after a bad first slice, or a stop-loss within it, has judged it: all the rest goes."""
    with transaction.atomic():
        before = _locked(bulk_send)
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


def _wrong(bulk_send: BulkSend) -> WrongState:
    return WrongState(
        _("Bulk send %(id)d is «%(status)s»: this cannot be done from there.")
        % {"id": bulk_send.pk, "status": bulk_send.get_status_display()}
    )
