"""What is decided for many recipients of a bulk send at once: excluded, cancelled, sent again."""

from collections.abc import Sequence
from typing import cast

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower, Now

from relay import reasons
from relay.dialects import now
from relay.models import BulkSend, Recipient, Suppression

State = Recipient.State


def cancel(bulk_send: BulkSend) -> int:
    """Cancels it from any state before `done`; what has not left is excluded, what is in flight finishes.

    Returns how many rows it excluded.
    """
    with transaction.atomic():
        bulk_send.cancel()
        return _exclude(bulk_send.pk, reasons.CANCELLED)


def retry_refused(bulk_send_id: int, codes: Sequence[str]) -> int:
    """Refused rows with one of these codes of the relay go again; `relay.decisions` asks and records who wants it.

    An address that was suppressed meanwhile stays refused: a worker that is sending looks for those no more.
    """
    suppressed = Suppression.objects.filter(Q(until=None) | Q(until__gt=Now()), email=Lower(OuterRef("email")))
    return Recipient.objects.filter(
        ~Exists(suppressed), bulk_send_id=bulk_send_id, state=State.REFUSED, reason_detail__in=list(codes)
    ).update(state=State.PENDING, reason="", reason_detail="", not_before=Now())


def has_attempts(bulk_send_id: int) -> bool:
    """Whether any of its recipients was ever called, or is no longer as the import left it."""
    as_imported = Q(state__in=[State.PENDING, State.EXCLUDED], attempts=0, sending_since=None, not_before=None)
    return Recipient.objects.filter(~as_imported, bulk_send_id=bulk_send_id).exists()


def delete_recipients(bulk_send_id: int) -> int:
    """Of a draft that is discarded; `relay.preparing` has locked it and seen that nothing has left. Returns how many.

    By SQL: Django would load every row to look for attempts, of which the database itself refuses to lose any.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM relay_recipient WHERE bulk_send_id = %s", [bulk_send_id])
        return int(cursor.rowcount)


def lock_status(bulk_send_id: int, *, waits: bool = True) -> str | None:
    """Until the transaction ends nobody else cancels it, or gives rows back to it.

    None: somebody does, and it was not to be waited for. Whoever also locks leases or recipients locks this first.
    """
    locked = BulkSend.objects.select_for_update(no_key=True, skip_locked=not waits).filter(pk=bulk_send_id)
    return locked.values_list("status", flat=True).first()


def exclude_leftovers_of_cancelled(bulk_send_id: int, status: str | None) -> None:
    """Rows that came back after the cancellation go the way of the others; in the transaction that brought them back.

    `status` is what `lock_status` said in it: a cancellation that is just being committed has not seen those rows.
    """
    if status == BulkSend.Status.CANCELLED:
        _exclude(bulk_send_id, reasons.CANCELLED)


def _exclude(bulk_send_id: int, reason: str) -> int:
    return Recipient.objects.filter(bulk_send_id=bulk_send_id, state=State.PENDING).update(
        state=State.EXCLUDED, reason=reason, reason_detail="", not_before=None
    )


def exclude_suppressed(bulk_send_id: int) -> int:
    """Takes out the pending rows whose address is suppressed now."""
    if not Suppression.objects.exists():
        return 0  # the rule on most installations: a million rows need not be looked at
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE relay_recipient SET state = 'excluded', reason = %s, reason_detail = s.reason, not_before = NULL"
            " FROM relay_suppression s"
            " WHERE bulk_send_id = %s AND state = 'pending' AND lower(relay_recipient.email) = s.email"
            f" AND (s.until IS NULL OR s.until > {now()})",
            [reasons.SUPPRESSED, bulk_send_id],
        )
        return cast(int, cursor.rowcount)


def exclude_repeats(bulk_send_id: int, *, only_equal_rows: bool) -> int:
    """Takes out all pending rows but the first of each address, or of each address and equal cells."""
    same = "lower(email), variables" if only_equal_rows else "lower(email)"
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE relay_recipient SET state = 'excluded', reason = %s,"
            " reason_detail = CAST(repeats.first AS varchar(20)) FROM ("
            f'   SELECT id, "row", min("row") OVER (PARTITION BY {same}) AS first FROM relay_recipient'
            "    WHERE bulk_send_id = %s AND state = 'pending') repeats"
            ' WHERE relay_recipient.id = repeats.id AND repeats."row" > repeats.first',
            [reasons.DUPLICATE, bulk_send_id],
        )
        return cast(int, cursor.rowcount)
