"""How a bulk send moves on as a whole: it begins, waits for what came back, is judged, goes on, and is done."""

from datetime import datetime
from enum import Enum
from typing import Any, cast

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from relay import approving, reasons
from relay.dialects import as_datetime, now
from relay.models import BulkSend, Lease, Recipient, RecipientQuerySet

State = Recipient.State


def next_due_in(bulk_send_id: int) -> float | None:
    """Seconds until the next row that came back is due (≤ 0: now); None when no row waits."""
    return _seconds_until_first("not_before", bulk_send_id)


def next_look_in(bulk_send_id: int) -> float | None:
    """Seconds until the next look for an unknown row is due (≤ 0: now); None when none is to be made."""
    return _seconds_until_first("look_at", bulk_send_id)


def _seconds_until_first(column: str, bulk_send_id: int) -> float | None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT min({column}), {now()} FROM relay_recipient WHERE bulk_send_id = %s AND {column} IS NOT NULL",
            [bulk_send_id],
        )
        first, at = cursor.fetchone()
    return None if first is None else (as_datetime(first) - as_datetime(at)).total_seconds()


class Left(Enum):
    """What a worker that has nothing more to claim finds."""

    ROWS = "rows"  # somebody returned some, and they are due
    WORKERS = "workers"  # others hold the rest
    NOTHING = "nothing"


def left_by_others(bulk_send_id: int) -> Left:
    """Whether others still hold rows of this bulk send, or left some that can go now."""
    if not BulkSend.objects.filter(pk=bulk_send_id, status=BulkSend.Status.SENDING).exists():
        return Left.NOTHING
    # Asked before the rows: who ends in between has returned his rows by then.
    workers = Lease.objects.filter(bulk_send_id=bulk_send_id, released_at=None).exists()
    if _can_go_now(bulk_send_id):
        return Left.ROWS
    return Left.WORKERS if workers else Left.NOTHING


def _can_go_now(bulk_send_id: int) -> bool:
    due = Q(not_before=None) | Q(not_before__lte=Now())
    return _reachable(bulk_send_id).filter(due, state=State.PENDING).exists()


def _reachable(bulk_send_id: int) -> RecipientQuerySet:
    """Its rows, without those that wait until the first slice has been judged."""
    rows = Recipient.objects.filter(bulk_send_id=bulk_send_id)
    slice_end = BulkSend.objects.values_list("slice_ends_at_row", flat=True).get(pk=bulk_send_id)
    return rows if slice_end is None else rows.filter(row__lte=slice_end)


def judge_first_slice(bulk_send_id: int) -> bool:
    """When all of the first slice has been called: lets the rest go, or pauses the bulk send. True: the rest may go.

    Also when it had been let go before, by another worker or by a call whose commit was not confirmed.
    """
    with transaction.atomic():
        bulk_send = BulkSend.objects.select_for_update().get(pk=bulk_send_id)
        if bulk_send.status != BulkSend.Status.SENDING:
            return False
        if bulk_send.slice_ends_at_row is not None:
            return _judge(bulk_send)
    # Unlocked: it looks through all rows. Those that come back later do not count: a drain that went on for them would
    # find nothing, again and again.
    return _can_go_now(bulk_send_id)


def _judge(bulk_send: BulkSend) -> bool:
    counts = _reachable(bulk_send.pk).counts()
    if counts[State.PENDING] or counts[State.SENDING]:
        return False
    bad = counts[State.REFUSED] + counts[State.UNKNOWN]
    outcomes = bad + counts[State.ACCEPTED]
    if bad > bulk_send.first_slice_max_refused * outcomes:
        told: dict[str, Any] = {
            "outcomes": outcomes,
            "refused": counts[State.REFUSED],
            "unknown": counts[State.UNKNOWN],
        }
        bulk_send.pause(reasons.FIRST_SLICE, **told)
        return False
    bulk_send.slice_ends_at_row = None
    bulk_send.save(update_fields=["slice_ends_at_row"])
    return True


def start_due() -> list[int]:
    """Lets what is scheduled and due begin; returns the ids that this call, and no other, started.

    What is due for too long waits for a person: a reminder that arrives a day late may be worse than none.
    """
    started = []
    for bulk_send_id, scheduled_at in BulkSend.objects.due().values_list("pk", "scheduled_at"):
        late = _pause_missed(bulk_send_id, cast(datetime, scheduled_at))  # what is due has an hour
        if not late and _begin_if_approved(bulk_send_id):
            started.append(bulk_send_id)
    return started


def _begin_if_approved(bulk_send_id: int) -> bool:
    """Of two hosts one starts it; nobody changes it between the look at its approval and the start."""
    with transaction.atomic():
        bulk_send = BulkSend.objects.due().select_for_update(no_key=True).filter(pk=bulk_send_id).first()
        if bulk_send is None:
            return False
        due = BulkSend.objects.due().filter(pk=bulk_send_id)
        if approving.is_missing(bulk_send):
            due.update(status=BulkSend.Status.PAUSED, reason=reasons.APPROVAL)
            return False
        return bool(due.update(status=BulkSend.Status.SENDING))


def _pause_missed(bulk_send_id: int, scheduled_at: datetime) -> bool:
    told = {"scheduled_at": timezone.localtime(scheduled_at).strftime("%Y-%m-%d %H:%M %Z")}
    missed = BulkSend.objects.missed().filter(pk=bulk_send_id, scheduled_at=scheduled_at)
    return bool(missed.update(status=BulkSend.Status.PAUSED, reason=reasons.MISSED, reason_params=told))


def lift_pauses() -> int:
    """Lets go on what was paused until a time that has come; never a pause that a person set."""
    return BulkSend.objects.pause_over().update(
        status=BulkSend.Status.SENDING, reason="", reason_params={}, resume_at=None
    )


def conclude(bulk_send_id: int) -> str:
    """Moves a bulk send on when nothing is left to call: `settling` while some are unknown, else `done`.

    `done` is proven by counting the rows. Returns the status it has then.
    """
    with transaction.atomic():
        bulk_send = BulkSend.objects.select_for_update().get(pk=bulk_send_id)
        if bulk_send.status not in {BulkSend.Status.SENDING, BulkSend.Status.SETTLING}:
            return bulk_send.status
        counts = Recipient.objects.filter(bulk_send_id=bulk_send_id).counts()
        if counts[State.PENDING] or counts[State.SENDING]:
            return bulk_send.status
        ended = counts[State.ACCEPTED] + counts[State.REFUSED] + counts[State.EXCLUDED]
        if counts[State.UNKNOWN] or ended != bulk_send.total:
            bulk_send.begin_settling()
        else:
            bulk_send.finish()
        return bulk_send.status


def go_on_after_settlement(bulk_send_id: int) -> None:
    """A bulk send that only waited for its unknown rows sends again what came back, or ends. Cheap to ask."""
    with transaction.atomic():
        bulk_send = BulkSend.objects.select_for_update().get(pk=bulk_send_id)
        if bulk_send.status != BulkSend.Status.SETTLING:
            return  # sending: its worker concludes it; else a person decides
        rows = Recipient.objects.filter(bulk_send_id=bulk_send_id)
        if rows.filter(not_before__isnull=False).exists():
            bulk_send.send_what_came_back()
        elif not rows.filter(look_at__isnull=False).exists():
            conclude(bulk_send_id)
