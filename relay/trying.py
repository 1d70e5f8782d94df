"""A test of a bulk send: the mail of one row, by the very call by which it would leave, to the person who asks for it.

It is on record before the call and after it, and never repeated by itself. No recipient's row is touched. What the
relay's log shows of it is told apart from messages of recipients in `relay.verdicts` and `relay.matching`.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from relay import activity, dialects, reasons
from relay.account import open_relay
from relay.addresses import AddressProblem, check_address, comparison_key
from relay.composing import Composed, Composer
from relay.creating import Refused
from relay.halts import halt_for
from relay.models import BulkSend, Recipient, Suppression, TestSend
from relay.senders import check_sender
from relay_client import (
    RelayClient,
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayQuotaExceeded,
    RelayRejected,
    RelayUnavailable,
)

log = structlog.get_logger(__name__)

MOST_AN_HOUR = 20  # of one person
MAY_BE_TRIED_IN = frozenset({BulkSend.Status.DRAFT, BulkSend.Status.PENDING})

Outcome = TestSend.Outcome


def send_test(recipient: Recipient, to: User) -> TestSend:
    """Sends the mail of this row to this person, and to nobody else; what the relay said is in what is returned.

    Raises Refused or SenderNotAllowed when nothing was tried.
    """
    bulk_send = recipient.bulk_send
    email = _own_address(to)
    if bulk_send.status not in MAY_BE_TRIED_IN:
        raise Refused(
            _("Bulk send %(id)d is «%(status)s»: tests are sent before it is sent.")
            % {"id": bulk_send.pk, "status": bulk_send.get_status_display()}
        )
    if recipient.state != Recipient.State.PENDING:
        raise Refused(_("Row %(row)d is not sent: choose one that is.") % {"row": recipient.row})
    check_sender(to, bulk_send.from_email)
    composed = _composed(recipient, email)
    client = open_relay(max_connections=1)
    test = _put_on_record(recipient, email, to, composed)
    try:
        said = _call(composed, client)
    except BaseException:
        _record(test, {"outcome": Outcome.UNKNOWN, "reason": reasons.NO_ANSWER})  # it may have left
        raise
    _record(test, said)
    log.info("test_sent", bulk_send=bulk_send.pk, test=test.pk, outcome=test.outcome)
    return test


def _own_address(to: User) -> str:
    if not to.email:
        raise Refused(_("Your account has no e-mail address: ask an administrator to write it in your user."))
    address = check_address(to.email)
    if isinstance(address, AddressProblem):
        raise Refused(_("The e-mail address of your account cannot be written to: %s") % address.sentence)
    in_force = Q(until=None) | Q(until__gt=timezone.now())
    if Suppression.objects.filter(in_force, email=comparison_key(address)).exists():
        raise Refused(_("The address of your account is suppressed: nothing is sent to it."))
    return address


def _composed(recipient: Recipient, email: str) -> Composed:
    composer = Composer(recipient.bulk_send)
    try:
        composer.read_attachments()
    except OSError as error:
        raise Refused(reasons.sentence(reasons.ATTACHMENT_MISSING, {})) from error
    return composer.compose(recipient.email, recipient.variables, to=email)


def _put_on_record(recipient: Recipient, email: str, to: User, composed: Composed) -> TestSend:
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=to.pk)  # who presses twice is counted twice
        now = dialects.database_now()
        lately = TestSend.objects.filter(by=to, started_at__gt=now - timedelta(hours=1))
        if lately.count() >= MOST_AN_HOUR:
            raise Refused(
                _("You have sent %(count)d tests within the last hour: wait a while before the next one.")
                % {"count": MOST_AN_HOUR}
            )
        activity.record(activity.What.TESTED, by=to, about=recipient.bulk_send, row=recipient.row)
        return TestSend.objects.create(
            bulk_send=recipient.bulk_send,
            row=recipient.row,
            email=email,
            by=to,
            started_at=now,
            from_email=composed.from_email,
            subject=composed.subject[:1000],
            rendered_here=not composed.template_id,
        )


def _call(composed: Composed, client: RelayClient) -> Mapping[str, Any]:
    async def call() -> Mapping[str, Any]:
        async with client:
            accepted = await composed.send(client)
        return {
            "outcome": Outcome.ACCEPTED,
            "message_id": accepted.message_id,
            "delivery": " ".join(accepted.deliveries),
        }

    try:
        return asyncio.run(call())
    except RelayUnavailable as error:
        reason = reasons.THROTTLED if error.throttled else reasons.NOT_CONNECTED
        return {"outcome": Outcome.NOT_SENT, "reason": reason, **_said(error)}
    except RelayRejected as error:
        return {"outcome": Outcome.REFUSED, "reason": reasons.REFUSED, **_said(error)}
    except (RelayQuotaExceeded, RelayNotFound, RelayMisconfigured) as error:
        halt = halt_for(error)
        return {"outcome": Outcome.REFUSED, "reason": halt.reason, "reason_params": halt.params, **_said(error)}
    except RelayError as error:
        reason = reasons.SERVER_ERROR if (error.status or 0) >= 500 else reasons.NO_ANSWER
        return {"outcome": Outcome.UNKNOWN, "reason": reason, **_said(error)}


def _said(error: RelayError | RelayMisconfigured) -> dict[str, Any]:
    return {"code": (error.code or str(error.status or ""))[:20], "detail": error.detail[:500]}


def _record(test: TestSend, said: Mapping[str, Any]) -> None:
    for name, value in said.items():
        setattr(test, name, value)
    test.ended_at = max(test.started_at, dialects.database_now())
    test.save(update_fields=[*said, "ended_at"])


def sentence_for(test: TestSend) -> str:
    """What became of it, for the person who sent it."""
    told = {"email": test.email, "row": test.row, "seconds": round(settings.RELAY_TIMEOUT_SECONDS)}
    match test.outcome:
        case Outcome.ACCEPTED:
            return (
                _("The relay accepted the test with the data of row %(row)d: look into the inbox of %(email)s.") % told
            )
        case Outcome.REFUSED:
            return _("The relay refused the test: %(why)s") % {"why": test.reason_text}
        case Outcome.NOT_SENT:
            return _("The test did not leave: %(why)s") % {"why": test.reason_text}
    return (
        _(
            "The relay gave no usable answer within %(seconds)d seconds: the test may have left or not. Look into the "
            "inbox of %(email)s before you send another one; it is not repeated by itself."
        )
        % told
    )
