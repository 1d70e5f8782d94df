"""The only module that writes `Recipient.state`: claim, record, release, take over, exclude, conclude.

A worker acquires a lease on a bulk send, claims rows under it (`sending`, committed before any call leaves), and
records what became of them. Every write first proves that nobody has taken the lease over; a lease
that ran out is taken over: its rows become `unknown`, and its former holder can write nothing any more.

Rows are claimed in the order of the file by a cursor, so that no index has to know the state (each message is updated
twice in place); rows that came back carry `not_before` and are found by their own small index.
"""

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, cast

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from relay import reasons
from relay.models import Attempt, BulkSend, Lease, Recipient, Suppression

State = Recipient.State
_ROWS_PER_STATEMENT = 500


class LeaseLost(Exception):
    """The lease ran out or was taken over: its holder may neither call nor write any more."""

    def __str__(self) -> str:
        return _(
            "This process was out of touch with the database for longer than its lease (RELAY_LEASE_SECONDS). "
            "What it had under way counts as unknown; a later run goes on with the rest."
        )


@dataclass(slots=True)
class HeldLease:
    """A lease as its holder sees it. `clock_*` translate this process's monotonic clock into the database's time."""

    id: int
    bulk_send_id: int
    clock_database: datetime
    clock_monotonic: float
    deadline: float  # monotonic; counted from before the renewal was asked for, hence never too late
    cursor: int = 0  # rows up to here have been looked at

    def now(self) -> datetime:
        """The time by the database's clock."""
        return self.clock_database + timedelta(seconds=_ticks() - self.clock_monotonic)

    def holds(self) -> bool:
        """Calls may leave. After that the holder may still record, until somebody takes the lease over."""
        return _ticks() < self.deadline

    def overdue(self) -> bool:
        return _ticks() > self.deadline + settings.RELAY_LEASE_SECONDS


@dataclass(slots=True)  # one for each message: freezing would make it three times as slow to make
class Claimed:
    """A recipient that is now `sending` under our lease."""

    id: int
    row: int
    attempts: int  # calls made for it before
    email: str = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)


@dataclass(slots=True)
class Outcome:
    """What one call did to one recipient: the next state, and the attempt to append."""

    recipient_id: int
    state: str
    started_at: datetime
    ended_at: datetime
    reason: str = ""
    message_id: str = field(default="", repr=False)
    delivery: str = field(default="", repr=False)
    status: int | None = None
    code: str = ""
    detail: str = field(default="", repr=False)
    from_email: str = field(default="", repr=False)
    subject: str = field(default="", repr=False)
    retry_in: float = 0.0  # seconds; for `pending` only


# --- leases -------------------------------------------------------------------------------------------------


def acquire(bulk_send_id: int) -> HeldLease:
    """A lease on a bulk send for this process. Several workers may each hold one on the same bulk send."""
    asked = _ticks()
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO relay_lease"
            " (bulk_send_id, owner, acquired_at, expires_at, calls_in_flight, calls_per_second)"
            f" VALUES (%s, %s, {_now()}, {_now_plus()}, 0, 0) RETURNING id, acquired_at",
            [bulk_send_id, owner, settings.RELAY_LEASE_SECONDS],
        )
        lease_id, acquired_at = cursor.fetchone()
    BulkSend.objects.filter(pk=bulk_send_id, processing_started_at=None).update(processing_started_at=Now())
    return HeldLease(
        id=lease_id,
        bulk_send_id=bulk_send_id,
        clock_database=_as_datetime(acquired_at),
        clock_monotonic=asked,
        deadline=asked + settings.RELAY_LEASE_SECONDS,
    )


def heartbeat(lease: HeldLease, *, calls_in_flight: int, calls_per_second: float) -> None:
    """Renews the lease and tells how it goes. Raises LeaseLost when it has been taken over."""
    asked = _ticks()
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE relay_lease SET expires_at = {_now_plus()}, calls_in_flight = %s, calls_per_second = %s"
            " WHERE id = %s AND released_at IS NULL",
            [settings.RELAY_LEASE_SECONDS, calls_in_flight, calls_per_second, lease.id],
        )
        if cursor.rowcount != 1:
            raise LeaseLost
    lease.deadline = asked + settings.RELAY_LEASE_SECONDS


def release(lease: HeldLease) -> None:
    """Ends the lease. All its outcomes are recorded, so what is still `sending` under it never left: back it goes."""
    with transaction.atomic():
        _fence(lease)
        _return_untouched(lease)
        Lease.objects.filter(pk=lease.id).update(released_at=Now(), calls_in_flight=0, calls_per_second=0)
    _exclude_leftovers_of_cancelled(lease.bulk_send_id)


def _fence(lease: HeldLease) -> str:
    """Locks the lease against a take-over until the transaction ends; returns the status of its bulk send."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.status FROM relay_lease l JOIN relay_bulksend b ON b.id = l.bulk_send_id"
            " WHERE l.id = %s AND l.released_at IS NULL" + _lock("SHARE OF l"),
            [lease.id],
        )
        found = cursor.fetchone()
    if found is None:
        raise LeaseLost
    return str(found[0])


def _return_untouched(lease: HeldLease) -> None:
    # `not_before` marks them as rows that came back: the cursors of other workers have passed them.
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE relay_recipient SET state = 'pending', lease_id = NULL, not_before = {_now()}"
            " WHERE bulk_send_id = %s AND state = 'sending' AND lease_id = %s",
            [lease.bulk_send_id, lease.id],
        )


Describe = Callable[[int, str, Mapping[str, str]], tuple[str, str]]
"""(bulk send id, address, variables) → From address and subject of the message: what a settlement looks for."""


def take_over_expired(describe: Describe) -> int:
    """Turns what lost workers held into `unknown`; returns how many rows. Safe to run anywhere at any time."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, bulk_send_id FROM relay_lease"
                f" WHERE released_at IS NULL AND expires_at <= {_now()}" + _lock("UPDATE SKIP LOCKED"),
                [],
            )
            expired = cursor.fetchall()
        lost = sum(_take_over(lease_id, bulk_send_id, describe) for lease_id, bulk_send_id in expired)
    for bulk_send_id in {lease[1] for lease in expired}:
        _exclude_leftovers_of_cancelled(bulk_send_id)
    return lost


def _take_over(lease_id: int, bulk_send_id: int, describe: Describe) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE relay_recipient SET state = 'unknown', reason = %s, attempts = attempts + 1, lease_id = NULL"
            " WHERE bulk_send_id = %s AND state = 'sending' AND lease_id = %s"
            f" RETURNING id, email, variables, sending_since, {_now()}",
            [reasons.WORKER_LOST, bulk_send_id, lease_id],
        )
        rows = cursor.fetchall()
    attempts = []
    for recipient_id, email, variables, sending_since, now in rows:
        from_email, subject = describe(bulk_send_id, email, json.loads(variables))
        attempts.append(
            Attempt(
                recipient_id=recipient_id,
                started_at=_as_datetime(sending_since),
                ended_at=max(_as_datetime(now), _as_datetime(sending_since)),  # the clock may have been set back
                outcome=Attempt.Outcome.UNKNOWN,
                reason=reasons.WORKER_LOST,
                from_email=from_email,
                subject=subject,
            )
        )
    Attempt.objects.bulk_create(attempts, batch_size=_ROWS_PER_STATEMENT)
    Lease.objects.filter(pk=lease_id).update(released_at=Now(), calls_in_flight=0, calls_per_second=0)
    return len(rows)


# --- the worker's turn: record what came back, claim what goes next -----------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    status: str  # of the bulk send, as it was when the rows were claimed
    claimed: list[Claimed]
    recorded: int


def take_turn(
    lease: HeldLease, outcomes: Sequence[Outcome], wanted: int, *, sweep: bool = False, look_back: bool = True
) -> Turn:
    """Records outcomes and claims up to `wanted` rows, in one commit. Raises LeaseLost, and then wrote nothing.

    Outcomes of rows that are no longer ours are passed over, so a turn whose commit was not confirmed can be taken
    again. With `sweep` the cursor starts anew: rows that a failed claim of another worker left behind are found.
    Without `look_back` rows that came back are not looked for: they wait for seconds, turns are many a second.
    """
    with transaction.atomic():
        status = _fence(lease)
        recorded = _record(lease, outcomes) if outcomes else 0
        claimed = _claim(lease, wanted, sweep, look_back) if wanted and status == BulkSend.Status.SENDING else []
    return Turn(status=status, claimed=claimed, recorded=recorded)


def _claim(lease: HeldLease, wanted: int, sweep: bool, look_back: bool) -> list[Claimed]:
    came_back: list[Claimed] = []
    if look_back:
        came_back = _claim_where(lease, f"not_before <= {_now()}", [], "not_before", wanted)
    if len(came_back) == wanted:
        return came_back
    if sweep:
        lease.cursor = 0
    fresh = _claim_where(
        lease,
        "\"row\" > %s AND state = 'pending' AND not_before IS NULL",
        [lease.cursor],
        '"row"',
        wanted - len(came_back),
    )
    if fresh:
        # Only these: rows that came back may lie far down the file. Should the commit fail, the sweep finds them.
        lease.cursor = fresh[-1].row
    return sorted(came_back + fresh, key=lambda claimed: claimed.row)


def _claim_where(lease: HeldLease, condition: str, params: Sequence[Any], order: str, limit: int) -> list[Claimed]:
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH picked AS (SELECT id FROM relay_recipient"
            f" WHERE bulk_send_id = %s AND {condition} ORDER BY {order} LIMIT %s{_lock('UPDATE SKIP LOCKED')})"
            " UPDATE relay_recipient SET state = 'sending', lease_id = %s, not_before = NULL, reason = '',"
            f" reason_detail = '', sending_since = {_now()} WHERE id IN (SELECT id FROM picked)"
            ' RETURNING id, "row", attempts, email, variables',
            [lease.bulk_send_id, *params, limit, lease.id],
        )
        rows = cursor.fetchall()
    claimed = [
        Claimed(id_, row, attempts, email, json.loads(variables)) for id_, row, attempts, email, variables in rows
    ]
    return sorted(claimed, key=lambda row: row.row)


# One JSON object an outcome, with these keys, for both databases (psycopg takes three times as long for arrays).
_OUTCOME_FIELDS = (
    ("recipient_id", "bigint"),
    ("state", "text"),
    ("reason", "text"),
    ("message_id", "text"),
    ("delivery", "text"),
    ("status", "smallint"),
    ("code", "text"),
    ("detail", "text"),
    ("from_email", "text"),
    ("subject", "text"),
    ("started_at", "timestamptz"),
    ("ended_at", "timestamptz"),
    ("not_before", "timestamptz"),
)

_SETTLE = """
    UPDATE relay_recipient SET
        state = o.state, reason = o.reason, reason_detail = o.code, message_id = o.message_id, delivery = o.delivery,
        accepted_at = CASE WHEN o.state = 'accepted' THEN o.ended_at END,
        attempts = attempts + 1, not_before = o.not_before, lease_id = NULL
    FROM {outcomes} o
    WHERE relay_recipient.id = o.recipient_id AND relay_recipient.state = 'sending'
        AND relay_recipient.lease_id = %s
    RETURNING relay_recipient.id
"""

_APPEND = """
    INSERT INTO relay_attempt
        (recipient_id, started_at, ended_at, outcome, reason, status, code, detail, from_email, subject)
    SELECT o.recipient_id, o.started_at, o.ended_at,
        CASE o.state WHEN 'pending' THEN 'returned' ELSE o.state END,
        o.reason, o.status, o.code, o.detail, o.from_email, o.subject
    FROM {outcomes} o WHERE o.recipient_id IN {settled}
"""


def _record(lease: HeldLease, outcomes: Sequence[Outcome]) -> int:
    """Settles all rows and appends their attempts; only rows still `sending` under this lease."""
    data = json.dumps([_as_object(outcome) for outcome in outcomes])
    return _record_postgresql(lease, data) if _is_postgresql() else _record_sqlite(lease, data)


def _as_object(outcome: Outcome) -> dict[str, Any]:
    not_before = outcome.ended_at + timedelta(seconds=outcome.retry_in) if outcome.state == State.PENDING else None
    moment = str if _is_postgresql() else _sqlite_datetime
    return {
        "recipient_id": outcome.recipient_id,
        "state": outcome.state,
        "reason": outcome.reason,
        "message_id": _text(outcome.message_id, 2000),
        "delivery": _text(outcome.delivery, 4000),
        "status": outcome.status,
        "code": _text(outcome.code, 20),
        "detail": _text(outcome.detail, 500),
        "from_email": _text(outcome.from_email, 320),
        "subject": _text(outcome.subject, 1000),
        "started_at": moment(outcome.started_at),
        "ended_at": moment(max(outcome.started_at, outcome.ended_at)),
        "not_before": not_before and moment(not_before),
    }


def _record_postgresql(lease: HeldLease, data: str) -> int:
    fields = ", ".join(f"{name} {type_}" for name, type_ in _OUTCOME_FIELDS)
    statement = (
        f"WITH o AS MATERIALIZED (SELECT * FROM json_to_recordset(%s::json) AS o({fields})),"
        f" settled AS ({_SETTLE.format(outcomes='o')})"
        + _APPEND.format(outcomes="o", settled="(SELECT id FROM settled)")
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [data, lease.id])
        return cast(int, cursor.rowcount)


def _record_sqlite(lease: HeldLease, data: str) -> int:
    columns = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name, _type in _OUTCOME_FIELDS)
    outcomes = f"(SELECT {columns} FROM json_each(%s))"
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE.format(outcomes=outcomes), [data, lease.id])
        settled = json.dumps([row[0] for row in cursor.fetchall()])
        cursor.execute(_APPEND.format(outcomes=outcomes, settled="(SELECT value FROM json_each(%s))"), [data, settled])
        return cast(int, cursor.rowcount)


# --- whole bulk sends ---------------------------------------------------------------------------------------


def next_due_in(bulk_send_id: int) -> float | None:
    """Seconds until the next row that came back is due (≤ 0: now); None when no row waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT min(not_before), {_now()} FROM relay_recipient WHERE bulk_send_id = %s AND not_before IS NOT NULL",
            [bulk_send_id],
        )
        due, now = cursor.fetchone()
    return None if due is None else (_as_datetime(due) - _as_datetime(now)).total_seconds()


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
    due = Q(not_before=None) | Q(not_before__lte=Now())
    if Recipient.objects.filter(due, bulk_send_id=bulk_send_id, state=State.PENDING).exists():
        return Left.ROWS
    return Left.WORKERS if workers else Left.NOTHING


def start_due() -> list[int]:
    """Lets what is scheduled and due begin; returns the ids that this call, and no other, started."""
    started = []
    for bulk_send_id in BulkSend.objects.due().values_list("pk", flat=True):
        # The status is asked again by the UPDATE itself: of two hosts one starts it.
        if BulkSend.objects.due().filter(pk=bulk_send_id).update(status=BulkSend.Status.SENDING):
            started.append(bulk_send_id)
    return started


def lift_pauses() -> int:
    """Lets go on what was paused until a time that has come; never a pause that a person set."""
    return BulkSend.objects.pause_over().update(
        status=BulkSend.Status.SENDING, reason="", reason_params={}, resume_at=None
    )


def cancel(bulk_send: BulkSend) -> None:
    """Cancels it from any state before `done`; what has not left is excluded, what is in flight finishes."""
    with transaction.atomic():
        bulk_send.cancel()
        _exclude(bulk_send.pk, reasons.CANCELLED)


def _exclude_leftovers_of_cancelled(bulk_send_id: int) -> None:
    """Rows that came back after the cancellation go the way of the others."""
    with transaction.atomic():
        # Locked: a cancellation that is just being committed has not seen the rows that came back.
        bulk_send = BulkSend.objects.select_for_update().only("status").get(pk=bulk_send_id)
        if bulk_send.status == BulkSend.Status.CANCELLED:
            _exclude(bulk_send_id, reasons.CANCELLED)


def _exclude(bulk_send_id: int, reason: str) -> None:
    Recipient.objects.filter(bulk_send_id=bulk_send_id, state=State.PENDING).update(
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
            f" AND (s.until IS NULL OR s.until > {_now()})",
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


# --- what the two databases say differently -----------------------------------------------------------------


def _ticks() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def _now() -> str:
    """The database's clock as SQL; on PostgreSQL at the statement's start, not the transaction's, and not
    `clock_timestamp()`, with which the planner uses no index."""
    return "statement_timestamp()" if _is_postgresql() else "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def _now_plus() -> str:
    """The database's clock plus a parameter in seconds, as SQL."""
    if _is_postgresql():
        return "statement_timestamp() + %s * interval '1 second'"
    return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')"


def _lock(mode: str) -> str:
    # SQLite has one writer at a time, from BEGIN IMMEDIATE on: nothing to lock.
    return f" FOR {mode}" if _is_postgresql() else ""


def _as_datetime(value: datetime | str) -> datetime:
    """SQLite gives text or naive datetimes, depending on the column; both are UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _sqlite_datetime(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def _text(value: str, limit: int) -> str:
    # PostgreSQL's text holds no NUL, and the relay's words are not ours to trust.
    return value and value.replace("\0", "\ufffd")[:limit]
