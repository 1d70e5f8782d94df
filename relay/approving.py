"""Above a size (BULK_APPROVAL_ABOVE) nothing leaves that no second person has approved, as it is at that moment.

An approval is of a fingerprint: of all that a recipient and an approver would notice. Whatever of it changes later,
the approval stays on record and counts for nothing. It is asked for wherever a bulk send begins or goes on (in the
transaction that holds its row), and again before each stretch of sending, since templates are edited in the relay.
"""

import hashlib
import json

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from relay import activity
from relay.explained import Explained
from relay.models import Approval, BulkSend

Verdict = Approval.Verdict
RIGHT = "relay.approve_bulksend"
_ENDED = frozenset({BulkSend.Status.DONE, BulkSend.Status.CANCELLED})


class ApprovalMissing(Explained):
    """It may not begin before a second person has approved it; the text says who may."""


class VerdictRefused(Explained):
    """This person may not say so of this bulk send, or not any more; the text says why."""


def is_needed(bulk_send: BulkSend) -> bool:
    above = settings.BULK_APPROVAL_ABOVE
    return above is not None and bulk_send.total - bulk_send.excluded_at_creation > above


def is_missing(bulk_send: BulkSend) -> bool:
    """Needed, and nobody has approved it as it is now."""
    return is_needed(bulk_send) and not _is_approved(bulk_send)


def waits(bulk_send: BulkSend) -> bool:
    """Whether a second person is to be asked."""
    return bulk_send.status not in _ENDED and is_missing(bulk_send)


def fingerprint(bulk_send: BulkSend) -> str:
    """Of what is approved: the message, from whom, to whom and how many, when."""
    attachments = bulk_send.attachments.order_by("sha256", "filename").values_list("sha256", "filename")
    seen = {
        "template": [bulk_send.template_id, bulk_send.template_subject, bulk_send.template_html],
        "subject": bulk_send.subject,
        "from": [bulk_send.from_email, bulk_send.from_name, bulk_send.reply_to],
        "file": [bulk_send.file_sha256, bulk_send.address_column, sorted(bulk_send.variable_map.items())],
        "counts": [bulk_send.total, bulk_send.excluded_at_creation],
        "attachments": list(attachments),
        "scheduled_at": bulk_send.scheduled_at.timestamp() if bulk_send.scheduled_at else None,
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def is_of(bulk_send: BulkSend, user_id: int | None) -> bool:
    """Made or planned by this person, who therefore says nothing of it."""
    return user_id is not None and user_id in (bulk_send.created_by_id, bulk_send.scheduled_by_id)


def last_verdict(bulk_send: BulkSend) -> Approval | None:
    """What was last said of it as it is now."""
    return bulk_send.approvals.filter(fingerprint=fingerprint(bulk_send)).order_by("-id").first()


def check(bulk_send: BulkSend, *, now: bool = False) -> None:
    """Raises ApprovalMissing; with `now` also when it was approved for an hour that is still to come.

    The caller holds the row: nothing of it changes before the transaction ends.
    """
    if not is_needed(bulk_send):
        return
    if not _is_approved(bulk_send):
        raise ApprovalMissing(
            _(
                "Bulk send %(id)d has %(count)d valid recipients, more than %(above)d: a second person must approve it "
                "first. Who may: %(who)s."
            )
            % {
                "id": bulk_send.pk,
                "count": bulk_send.total - bulk_send.excluded_at_creation,
                "above": settings.BULK_APPROVAL_ABOVE,
                "who": _who_may(),
            }
        )
    if now and bulk_send.scheduled_at and bulk_send.scheduled_at > timezone.now():
        raise ApprovalMissing(
            _(
                "Bulk send %(id)d was approved for its hour, %(when)s, and not for now: it begins then by itself. "
                "To send it earlier, change its hour and have it approved anew."
            )
            % {"id": bulk_send.pk, "when": timezone.localtime(bulk_send.scheduled_at).strftime("%Y-%m-%d %H:%M %Z")}
        )


def judge(bulk_send: BulkSend, by: User, verdict: Verdict, *, seen: str, note: str = "") -> Approval:
    """Puts a verdict on record. `seen` is the fingerprint of what this person looked at.

    Raises VerdictRefused when he may not, or when it is no longer what he looked at.
    """
    note = note.strip()[:500]
    with transaction.atomic():
        bulk_send.refresh_from_db(from_queryset=BulkSend.objects.select_for_update(no_key=True))
        _check_verdict(bulk_send, by, verdict, seen, note)
        made = Approval.objects.create(
            bulk_send=bulk_send, verdict=verdict, made_by=by, actor=by.get_username(), fingerprint=seen, note=note
        )
        what = activity.What.APPROVED if verdict == Verdict.APPROVED else activity.What.REJECTED
        activity.record(what, by=by, about=bulk_send, recipients=bulk_send.total - bulk_send.excluded_at_creation)
    return made


def _check_verdict(bulk_send: BulkSend, by: User, verdict: Verdict, seen: str, note: str) -> None:
    told = {"id": bulk_send.pk, "status": bulk_send.get_status_display()}
    if not by.has_perm(RIGHT):
        raise VerdictRefused(_("You may not approve bulk sends."))
    if is_of(bulk_send, by.pk):
        raise VerdictRefused(_("Bulk send %(id)d is your own: somebody else must approve it.") % told)
    if not is_needed(bulk_send) or bulk_send.status in _ENDED:
        raise VerdictRefused(_("Bulk send %(id)d is «%(status)s»: it needs no approval.") % told)
    if seen != fingerprint(bulk_send):
        raise VerdictRefused(_("Bulk send %(id)d was changed while you looked at it: look at it again.") % told)
    if verdict == Verdict.REJECTED and not note:
        raise VerdictRefused(_("Say in a note why you refuse it: whoever prepared it reads it."))


def _is_approved(bulk_send: BulkSend) -> bool:
    """The last verdict on it as it is now, by somebody who is still not who made it."""
    last = last_verdict(bulk_send)
    return last is not None and last.verdict == Verdict.APPROVED and not is_of(bulk_send, last.made_by_id)


def _who_may() -> str:
    """Groups with the right, and administrators: never a list of people."""
    groups = Group.objects.filter(
        permissions__content_type__app_label="relay", permissions__codename="approve_bulksend"
    )
    return ", ".join([*groups.order_by("name").values_list("name", flat=True), _("administrators")])
