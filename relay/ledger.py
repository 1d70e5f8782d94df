"""Writes `Recipient.state` for workers: claim, record, release, take over. (Two other modules write it, and no more:
`relay.verdicts` takes rows out of `unknown`, `relay.whole_sends` excludes and retries what nobody is calling.)

A worker acquires a lease on a bulk send, claims rows under it (`sending`, committed before any call leaves), and
records what became of them. Every write first proves that nobody has taken the lease over; a lease
that ran out is taken over: its rows become `unknown`, and its former holder can write nothing any more.

Rows are claimed in the order of the file by a cursor, so that no index has to know the state (each message is updated
twice in place); rows that came back carry `not_before` and are found by their own small index.
"""

import json
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import psycopg
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from relay import reasons
from relay.dialects import as_datetime as _as_datetime
from relay.dialects import ids as _ids
from relay.dialects import is_postgresql as _is_postgresql
from relay.dialects import lock as _lock
from relay.dialects import now as _now
from relay.dialects import now_plus as _now_plus
from relay.dialects import sqlite_datetime as _sqlite_datetime
from relay.explained import Explained
from relay.lease_clock import LeaseClock, read_clocks, ticks
from relay.models import Attempt, BulkSend, Lease, Recipient
from relay.whole_sends import exclude_leftovers_of_cancelled, lock_status

State = Recipient.State
_ROWS_PER_STATEMENT = 500
LAST_ROW = 2**31 - 1


class LeaseLost(Explained):
    """The lease ran out or was taken over: its holder may neither call nor write any more."""

    def __str__(self) -> str:
        return _(
            "This process was out of touch with the database for longer than its lease (RELAY_LEASE_SECONDS). "
            "What it had under way counts as unknown; a later run goes on with the rest."
        )


@dataclass(slots=True, kw_only=True)
class HeldLease(LeaseClock):
    """A lease as its holder sees it."""

    id: int
    bulk_send_id: int
    cursor: int = 0  # rows up to here have been looked at
    given_back: bool = False  # as far as we know: the commit may have failed, or been made without our hearing of it


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
    asked = ticks()
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO relay_lease"
            " (bulk_send_id, owner, acquired_at, expires_at, calls_in_flight, calls_per_second)"
            f" VALUES (%s, %s, {_now()}, {_now_plus()}, 0, 0) RETURNING id",
            [bulk_send_id, owner, settings.RELAY_LEASE_SECONDS],
        )
        (lease_id,) = cursor.fetchone()
    BulkSend.objects.filter(pk=bulk_send_id, processing_started_at=None).update(processing_started_at=Now())
    # Not `acquired_at`: on SQLite the lock may have been waited for, for as long as an import takes.
    clock_database, clock_ticks = read_clocks()
    return HeldLease(
        id=lease_id,
        bulk_send_id=bulk_send_id,
        clock_database=clock_database,
        clock_ticks=clock_ticks,
        deadline=asked + settings.RELAY_LEASE_SECONDS,
    )


def heartbeat(lease: HeldLease, *, calls_in_flight: int, calls_per_second: float, limited_by: str = "") -> None:
    """Renews the lease and tells how it goes (`limited_by`: a `Lease.Limit`, or nothing). Raises LeaseLost when it has
    been taken over."""
    asked = ticks()
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE relay_lease SET expires_at = {_now_plus()}, calls_in_flight = %s, calls_per_second = %s,"
            " limited_by = %s WHERE id = %s AND released_at IS NULL",
            [settings.RELAY_LEASE_SECONDS, calls_in_flight, calls_per_second, limited_by, lease.id],
        )
        if cursor.rowcount != 1:
            raise LeaseLost
    lease.deadline = asked + settings.RELAY_LEASE_SECONDS


def release(lease: HeldLease) -> None:
    """Ends the lease. All its outcomes are recorded, so what is still `sending` under it never left: back it goes.

    Whoever was not told that this was committed may ask again.
    """
    with transaction.atomic():
        status = lock_status(lease.bulk_send_id)
        try:
            _fence(lease)
        except LeaseLost:
            if lease.given_back and not _has_rows(lease):
                return  # it was committed; or taken over since, and then nothing is ours to give back either
            raise
        lease.given_back = True
        _return_untouched(lease)
        Lease.objects.filter(pk=lease.id).update(released_at=Now(), calls_in_flight=0, calls_per_second=0)
        exclude_leftovers_of_cancelled(lease.bulk_send_id, status)


def _has_rows(lease: HeldLease) -> bool:
    return Recipient.objects.filter(bulk_send_id=lease.bulk_send_id, state=State.SENDING, lease_id=lease.id).exists()


def _fence(lease: HeldLease) -> tuple[str, int | None]:
    """Locks the lease against a take-over until the transaction ends.

    Returns the status of its bulk send, and the row after which nothing may be claimed yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.status, b.slice_ends_at_row FROM relay_lease l JOIN relay_bulksend b ON b.id = l.bulk_send_id"
            " WHERE l.id = %s AND l.released_at IS NULL" + _lock("SHARE OF l"),
            [lease.id],
        )
        found = cursor.fetchone()
    if found is None:
        raise LeaseLost
    return str(found[0]), found[1]


def put_back(lease: HeldLease, recipient_ids: Sequence[int]) -> None:
    """What was claimed and will not be called by us: others may, at once. Nothing of it may have left."""
    with transaction.atomic():
        status = lock_status(lease.bulk_send_id)
        _fence(lease)
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE relay_recipient SET state = 'pending', lease_id = NULL, not_before = {_now()}"
                f" WHERE id IN ({_ids()}) AND state = 'sending' AND lease_id = %s",
                [json.dumps(list(recipient_ids)), lease.id],
            )
        exclude_leftovers_of_cancelled(lease.bulk_send_id, status)


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
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT bulk_send_id FROM relay_lease WHERE released_at IS NULL AND expires_at <= {_now()}", []
        )
        found = cursor.fetchall()
    return sum(_take_over_of(bulk_send_id, describe) for (bulk_send_id,) in found)


def _take_over_of(bulk_send_id: int, describe: Describe) -> int:
    with transaction.atomic():
        # Every worker comes here every few seconds: none waits while one bulk send is being cancelled, say.
        status = lock_status(bulk_send_id, waits=False)
        if status is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM relay_lease"
                f" WHERE bulk_send_id = %s AND released_at IS NULL AND expires_at <= {_now()}"
                + _lock("UPDATE SKIP LOCKED"),
                [bulk_send_id],
            )
            expired = cursor.fetchall()
        lost = sum(_take_over(lease_id, bulk_send_id, describe) for (lease_id,) in expired)
        # Also those that the lost workers had recorded as come back.
        exclude_leftovers_of_cancelled(bulk_send_id, status)
    return lost


def _take_over(lease_id: int, bulk_send_id: int, describe: Describe) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE relay_recipient SET state = 'unknown', reason = %s, attempts = attempts + 1, lease_id = NULL,"
            f" looks = 0, look_at = {_now_plus()}"
            " WHERE bulk_send_id = %s AND state = 'sending' AND lease_id = %s"
            f" RETURNING id, email, variables, sending_since, {_now()}",
            [reasons.WORKER_LOST, seconds_until_look(reasons.WORKER_LOST, 0), bulk_send_id, lease_id],
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
    after = 0 if sweep else lease.cursor
    moment: Callable[[datetime], str] = str if _is_postgresql() else _sqlite_datetime  # asked once, not for each row
    data = json.dumps([_as_object(outcome, moment) for outcome in outcomes])
    take = _take_turn_postgresql if _is_postgresql() else _take_turn_sqlite
    status, recorded, came_back, fresh = take(lease, data, wanted, after, look_back)
    # Only these: rows that came back may lie far down the file. Should the commit fail, the sweep finds them.
    lease.cursor = max((claimed.row for claimed in fresh), default=after)
    return Turn(status, sorted(came_back + fresh, key=lambda claimed: claimed.row), recorded)


_Taken = tuple[str, int, list[Claimed], list[Claimed]]
"""Status of the bulk send, rows recorded, rows claimed that came back, rows claimed for the first time."""


def _take_turn_postgresql(lease: HeldLease, data: str, wanted: int, after: int, look_back: bool) -> _Taken:
    """All of it in one statement: a turn costs one round trip, and a worker that is stopped holds no transaction.

    Prepared by psycopg, for to plan it anew each time is a quarter of its time; Django's own cursors never prepare.
    """
    parameters = {
        "lease": lease.id,
        "bulk_send": lease.bulk_send_id,
        "outcomes": data,
        "wanted": wanted,
        "after": after,
        "look_back": look_back,
    }
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        found = cursor.execute(_TURN, parameters).fetchall()
    if not found:
        raise LeaseLost
    status, recorded = found[0][:2]
    came_back: list[Claimed] = []
    fresh: list[Claimed] = []
    for _status, _recorded, is_fresh, *row in found:
        if is_fresh is not None:  # nothing was claimed: one line, without a row
            (fresh if is_fresh else came_back).append(_as_claimed(row))
    return status, recorded, came_back, fresh


def _take_turn_sqlite(lease: HeldLease, data: str, wanted: int, after: int, look_back: bool) -> _Taken:
    with transaction.atomic():
        status, slice_end = _fence(lease)
        recorded = _record_sqlite(lease, data) if data != "[]" else 0
        if not wanted or status != BulkSend.Status.SENDING:
            return status, recorded, [], []
        came_back = _claim_where(lease, f"not_before <= {_now()}", [], "not_before", wanted) if look_back else []
        fresh = _claim_where(
            lease,
            '"row" > %s AND "row" <= %s AND state = \'pending\' AND not_before IS NULL',
            [after, LAST_ROW if slice_end is None else slice_end],
            '"row"',
            wanted - len(came_back),
        )
    return status, recorded, came_back, fresh


def _claim_where(lease: HeldLease, condition: str, params: Sequence[Any], order: str, limit: int) -> list[Claimed]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH picked AS (SELECT id FROM relay_recipient WHERE bulk_send_id = %s AND {condition}"
            f" ORDER BY {order} LIMIT %s)"
            " UPDATE relay_recipient SET state = 'sending', lease_id = %s, not_before = NULL, reason = '',"
            f" reason_detail = '', sending_since = {_now()} WHERE id IN (SELECT id FROM picked)"
            ' RETURNING id, "row", attempts, email, variables',
            [lease.bulk_send_id, *params, limit, lease.id],
        )
        return [_as_claimed(row) for row in cursor.fetchall()]


def _as_claimed(row: Sequence[Any]) -> Claimed:
    id_, number, attempts, email, variables = row
    return Claimed(id_, number, attempts, email, json.loads(variables))


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
    ("look_at", "timestamptz"),
)

_SETTLE = """
    UPDATE relay_recipient SET
        state = o.state, reason = o.reason, reason_detail = o.code, message_id = o.message_id, delivery = o.delivery,
        accepted_at = CASE WHEN o.state = 'accepted' THEN o.ended_at END,
        attempts = attempts + 1, not_before = o.not_before, looks = 0, look_at = o.look_at, lease_id = NULL
    FROM {outcomes} o
    WHERE relay_recipient.id = o.recipient_id AND relay_recipient.state = 'sending'
        AND relay_recipient.lease_id = {lease}
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


def _as_object(outcome: Outcome, moment: Callable[[datetime], str]) -> dict[str, Any]:
    not_before = outcome.ended_at + timedelta(seconds=outcome.retry_in) if outcome.state == State.PENDING else None
    look_at = first_look(outcome.reason, outcome.ended_at) if outcome.state == State.UNKNOWN else None
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
        "look_at": look_at and moment(look_at),
    }


_TURN = """
    WITH fence AS (  -- locks the lease against a take-over; nothing is done below without it
        SELECT b.status, CASE b.status WHEN 'sending' THEN coalesce(b.slice_ends_at_row, {last_row}) END AS last_row
        FROM relay_lease l JOIN relay_bulksend b ON b.id = l.bulk_send_id
        WHERE l.id = %(lease)s AND l.released_at IS NULL FOR SHARE OF l
    ), o AS MATERIALIZED (
        SELECT o.* FROM fence, json_to_recordset(%(outcomes)s::json) AS o({fields})
    ), settled AS (
        {settle}
    ), appended AS (
        {append}
    ), came_back AS (
        SELECT id FROM relay_recipient
        WHERE %(look_back)s AND bulk_send_id = %(bulk_send)s AND not_before <= statement_timestamp()
            AND "row" <= (SELECT last_row FROM fence)
        ORDER BY not_before LIMIT %(wanted)s FOR UPDATE SKIP LOCKED
    ), fresh AS (
        SELECT id FROM relay_recipient
        WHERE bulk_send_id = %(bulk_send)s AND "row" > %(after)s AND "row" <= (SELECT last_row FROM fence)
            AND state = 'pending' AND not_before IS NULL
        ORDER BY "row" LIMIT %(wanted)s FOR UPDATE SKIP LOCKED
    ), picked AS (
        SELECT id, FALSE AS is_fresh FROM came_back
        UNION ALL (SELECT id, TRUE FROM fresh LIMIT %(wanted)s - (SELECT count(*) FROM came_back))
    ), claimed AS (
        UPDATE relay_recipient r SET state = 'sending', lease_id = %(lease)s, not_before = NULL, reason = '',
            reason_detail = '', sending_since = statement_timestamp()
        FROM picked WHERE r.id = picked.id
        RETURNING picked.is_fresh, r.id, r."row", r.attempts, r.email, r.variables
    )
    SELECT fence.status, (SELECT count(*) FROM settled), claimed.* FROM fence LEFT JOIN claimed ON TRUE
""".format(
    last_row=LAST_ROW,
    fields=", ".join(f"{name} {type_}" for name, type_ in _OUTCOME_FIELDS),
    settle=_SETTLE.format(outcomes="o", lease="%(lease)s"),
    append=_APPEND.format(outcomes="o", settled="(SELECT id FROM settled)"),
)


def _record_sqlite(lease: HeldLease, data: str) -> int:
    columns = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name, _type in _OUTCOME_FIELDS)
    outcomes = f"(SELECT {columns} FROM json_each(%s))"
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE.format(outcomes=outcomes, lease="%s"), [data, lease.id])
        settled = json.dumps([row[0] for row in cursor.fetchall()])
        cursor.execute(_APPEND.format(outcomes=outcomes, settled="(SELECT value FROM json_each(%s))"), [data, settled])
        return cast(int, cursor.rowcount)


# --- when the relay's log is asked ----------------------------------------------------------------------------


def seconds_until_look(reason: str, looks_made: int) -> float:
    """From the end of an unknown attempt until its next look: RELAY_SETTLEMENT_LOOKS[looks_made].

    The last one, which may call a message absent, comes after the last moment at which a worker that was taken for
    dead could still have called: its lease and the time-out of a call.
    """
    looks = settings.RELAY_SETTLEMENT_LOOKS
    seconds = float(looks[looks_made])
    if reason == reasons.WORKER_LOST and looks_made == len(looks) - 1:
        return max(seconds, settings.RELAY_LEASE_SECONDS + settings.RELAY_TIMEOUT_SECONDS)
    return seconds


def first_look(reason: str, ended_at: datetime) -> datetime:
    return ended_at + timedelta(seconds=seconds_until_look(reason, 0))


# --- small things ---------------------------------------------------------------------------------------------


def _text(value: str, limit: int) -> str:
    # PostgreSQL's text holds no NUL, and the relay's words are not ours to trust.
    return value and value.replace("\0", "\ufffd")[:limit]
