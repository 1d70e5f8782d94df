"""Takes recipients out of `unknown`: claims the looks that are due, tells what the ledger owns, writes the verdicts.

Besides `relay.ledger` the only module that writes `Recipient.state`. A look is claimed by putting off the next one, so
two passes never make the same; a claim that comes to nothing is due again after the time of a lease. Every write asks
that the row is still as it was read: unknown, with as many looks and attempts.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Case, OuterRef, Subquery, When
from django.db.models.functions import Lower, Now

from relay import activity, dialects, reasons, stages
from relay.addresses import comparison_key
from relay.matching import MARGIN, Candidate, Entry, link_key
from relay.models import Attempt, BulkSend, Decision, Recipient, Settlement, TestSend

State = Recipient.State
# Attempts are numbered about as they end: controls are looked for among so many neighbours.
_REACH = 5000
_NEIGHBOURS = 20
_CONTROLS_AT_EACH_END = 3
TEST_MAY_COME_LATE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Due:
    """An unknown row whose look is ours to make, as it was when it was claimed."""

    recipient_id: int
    bulk_send_id: int
    looks: int  # made before
    attempts: int
    attempt_id: int
    reason: str
    started_at: datetime
    ended_at: datetime
    address: str = field(repr=False)  # in the form in which addresses are compared

    @property
    def seconds_after(self) -> float:
        return _seconds_after(self.reason)


@dataclass(frozen=True, slots=True)
class Control:
    """An accepted message of ours: the relay's log must show it, or it cannot prove that another is absent."""

    links: frozenset[str] = field(repr=False)  # as `link_key` makes them; one of them is enough
    address: str = field(repr=False)
    started_at: datetime
    ended_at: datetime


@dataclass(slots=True)
class Known:
    """What the ledger knows of one address; links as `link_key` makes them."""

    unowning: list[Candidate] = field(default_factory=list)  # attempts that own no entry by its link
    owning: list[tuple[Candidate, frozenset[str]]] = field(default_factory=list, repr=False)
    owned: set[str] = field(default_factory=set, repr=False)
    # Test sends to this address that may own an entry, each with the links that prove which.
    tests: list[tuple[Candidate, frozenset[str]]] = field(default_factory=list, repr=False)

    def candidates(self, entries: Sequence[Entry], shown: Container[str]) -> list[Candidate]:
        """Who may own an entry that is not owned by its link. Where the log hides links that is everybody whose own
        entry it does not show by its link."""
        if all(entry.link for entry in entries):
            return self.unowning
        return self.unowning + _hidden(self.owning, shown)

    def tests_among(self, entries: Sequence[Entry], shown: Container[str]) -> list[Candidate]:
        """Test sends that may own an entry that is not owned by its link."""
        if all(entry.link for entry in entries):
            return [test for test, links in self.tests if not links]
        return _hidden(self.tests, shown)


def _hidden(owning: Iterable[tuple[Candidate, frozenset[str]]], shown: Container[str]) -> list[Candidate]:
    return [one for one, links in owning if not any(link in shown for link in links)]


@dataclass(slots=True)
class Verdict:
    due: Due
    verdict: str  # of Settlement.Verdict
    reason: str
    params: dict[str, Any] = field(default_factory=dict)
    delivery: str = field(default="", repr=False)
    accepted_at: datetime | None = None
    next_look: datetime | None = None  # should it stay unknown; None: a person decides


def _seconds_after(reason: str) -> float:
    """So long after an attempt ended a message may still turn out to be its: who was taken for dead may wake."""
    waking = settings.RELAY_LEASE_SECONDS + settings.RELAY_TIMEOUT_SECONDS
    return MARGIN + (waking if reason == reasons.WORKER_LOST else 0.0)


# --- claiming looks -------------------------------------------------------------------------------------------


def looks_are_due(bulk_send_id: int | None) -> bool:
    rows = Recipient.objects.filter(look_at__lte=Now())
    return (rows if bulk_send_id is None else rows.filter(bulk_send_id=bulk_send_id)).exists()


def looks_are_ahead() -> bool:
    return Recipient.objects.filter(look_at__isnull=False).exists()


def claim_looks(bulk_send_id: int | None, limit: int) -> list[Due]:
    """Up to `limit` rows whose look is due, the longest waiting first: ours for the time of a lease."""
    which, params = ("", []) if bulk_send_id is None else (" AND bulk_send_id = %s", [bulk_send_id])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"WITH due AS (SELECT id FROM relay_recipient WHERE look_at <= {dialects.now()}{which}"
            f" ORDER BY look_at LIMIT %s{dialects.lock('UPDATE SKIP LOCKED')})"
            f" UPDATE relay_recipient SET look_at = {dialects.now_plus()} WHERE id IN (SELECT id FROM due)"
            " RETURNING id, bulk_send_id, email, looks, attempts",
            [*params, limit, settings.RELAY_LEASE_SECONDS],
        )
        rows = cursor.fetchall()
        attempts = _last_unknown_attempts([row[0] for row in rows])
    return [_due(attempts[row[0]], *row) for row in sorted(rows)]


def _due(attempt: Attempt, recipient_id: int, bulk_send_id: int, email: str, looks: int, attempts: int) -> Due:
    return Due(
        recipient_id=recipient_id,
        bulk_send_id=bulk_send_id,
        looks=looks,
        attempts=attempts,
        attempt_id=attempt.pk,
        reason=attempt.reason,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        address=comparison_key(email),
    )


def _last_unknown_attempts(recipient_ids: Collection[int]) -> dict[int, Attempt]:
    found = Attempt.objects.filter(recipient_id__in=recipient_ids, outcome=Attempt.Outcome.UNKNOWN).order_by("pk")
    return {attempt.recipient_id: attempt for attempt in found}


def put_off(batch: Iterable[Due], seconds: float) -> None:
    """Their look is due in so many seconds, whoever makes it then: to go on holding them, or to give them back."""
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for due in batch:
        alike[due.looks, due.attempts].append(due.recipient_id)
    with transaction.atomic(), connection.cursor() as cursor:
        for (looks, attempts), recipient_ids in alike.items():
            cursor.execute(
                f"UPDATE relay_recipient SET look_at = {dialects.now_plus()}"
                f" WHERE id IN ({dialects.ids()}) AND state = 'unknown' AND looks = %s AND attempts = %s",
                [seconds, json.dumps(sorted(recipient_ids)), looks, attempts],
            )


# --- what the ledger knows ------------------------------------------------------------------------------------


def controls_for(batch: Sequence[Due]) -> list[Control]:
    """Accepted messages with a link, of about the time of the first and of the last attempt of the batch."""
    first = min(batch, key=lambda due: due.attempt_id)
    last = max(batch, key=lambda due: due.attempt_id)
    bulk_sends = {due.bulk_send_id for due in batch}
    near = Attempt.objects.filter(outcome=Attempt.Outcome.ACCEPTED).exclude(recipient__delivery="")
    found: dict[int, Attempt] = {}
    for end in (last, first):
        neighbours = [
            *near.filter(pk__gt=end.attempt_id, pk__lt=end.attempt_id + _REACH)
            .order_by("pk")
            .select_related("recipient")[:_NEIGHBOURS],
            *near.filter(pk__lt=end.attempt_id, pk__gt=end.attempt_id - _REACH)
            .order_by("-pk")
            .select_related("recipient")[:_NEIGHBOURS],
        ]
        neighbours.sort(
            key=lambda attempt: (
                attempt.recipient.bulk_send_id not in bulk_sends,
                abs(attempt.ended_at - end.ended_at),
            )
        )
        found |= {attempt.pk: attempt for attempt in neighbours[:_CONTROLS_AT_EACH_END]}
    return [
        Control(
            links=frozenset(map(link_key, attempt.recipient.delivery.split())),
            address=comparison_key(attempt.recipient.email),
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
        )
        for attempt in found.values()
    ]


def known_of(addresses: Collection[str], start: datetime, end: datetime) -> dict[str, Known]:
    """Of all bulk sends: who may own an entry between these moments, and which entries are owned for certain.

    To be read after the log, and in this order: a row that moves on meanwhile is then seen twice, and never not at all.
    """
    known: dict[str, Known] = defaultdict(Known)
    now = dialects.database_now()
    of_them = Recipient.objects.annotate(address=Lower("email")).filter(address__in=addresses)
    for address, pk, since in of_them.filter(state=State.SENDING).values_list("address", "pk", "sending_since"):
        since = since or now
        known[address].unowning.append(Candidate(-pk, since, max(now, since), under_way=True))
    for address, candidate, delivery in _possible_owners(addresses, start, end):
        if delivery:
            known[address].owning.append((candidate, frozenset(map(link_key, delivery.split()))))
        else:
            known[address].unowning.append(candidate)
    for address, delivery in of_them.exclude(delivery="").values_list("address", "delivery"):
        known[address].owned.update(map(link_key, delivery.split()))
    for address, test, links in _tests(addresses):
        known[address].tests.append((test, links))
        known[address].owned.update(links)
    return known


def _tests(addresses: Collection[str]) -> Iterable[tuple[str, Candidate, frozenset[str]]]:
    """All that ever went to these addresses, of which the relay may have a message; they are few.

    One that got no answer may be accepted much later by an overloaded relay, and the template that the relay renders
    may have another subject than ours: what such a test may own is drawn widely, for it only ever leaves a row to a
    person who can look into his own inbox.
    """
    outcomes = TestSend.Outcome
    tests = TestSend.objects.annotate(address=Lower("email")).filter(address__in=addresses)
    for test in tests.exclude(outcome__in=[outcomes.REFUSED, outcomes.NOT_SENT]).order_by("pk"):
        ended_at = test.ended_at or test.started_at
        if test.outcome != outcomes.ACCEPTED:
            ended_at += TEST_MAY_COME_LATE
        subject = test.subject if test.rendered_here else None
        candidate = Candidate(test.pk, test.started_at, ended_at, test.from_email, subject)
        yield test.address, candidate, frozenset(map(link_key, test.delivery.split()))


def _possible_owners(
    addresses: Collection[str], start: datetime, end: datetime
) -> Iterable[tuple[str, Candidate, str]]:
    """Accepted attempts, and unknown ones whatever was decided about them; with the link that proves each, or ""."""
    proofs = Settlement.objects.filter(attempt=OuterRef("pk")).exclude(delivery="").values("delivery")
    own = Case(When(outcome=Attempt.Outcome.ACCEPTED, then="recipient__delivery"), default=Subquery(proofs[:1]))
    attempts = (
        Attempt.objects.annotate(address=Lower("recipient__email"), link=own)
        .filter(
            outcome__in=[Attempt.Outcome.UNKNOWN, Attempt.Outcome.ACCEPTED],
            address__in=addresses,
            started_at__lte=end,
            ended_at__gte=start,
        )
        .order_by("pk")
        .values_list("address", "pk", "started_at", "ended_at", "from_email", "subject", "reason", "link")
    )
    for address, pk, started_at, ended_at, sender, subject, reason, link in attempts:
        after = _seconds_after(reason)
        yield address, Candidate(pk, started_at, ended_at, sender, subject, seconds_after=after), link or ""


# --- verdicts -------------------------------------------------------------------------------------------------


def lock_statuses(bulk_send_ids: Collection[int]) -> dict[int, str]:
    """Until the transaction ends nobody cancels or concludes them."""
    locked = BulkSend.objects.select_for_update(no_key=True).filter(pk__in=bulk_send_ids).order_by("pk")
    return dict(locked.values_list("pk", "status"))


def record(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Writes the verdicts on rows that are still as they were read, each with its Settlement; returns those written.

    To be called inside a transaction. A delivery that proves another row already proves none here: that row stays
    unknown.
    """
    verdicts = _still_as_read(verdicts)
    _claim_deliveries([verdict for verdict in verdicts if verdict.delivery])
    Settlement.objects.bulk_create(
        [_settlement(verdict) for verdict in verdicts if not verdict.delivery], batch_size=1000
    )
    _write(verdicts)
    return verdicts


def _still_as_read(verdicts: Sequence[Verdict]) -> list[Verdict]:
    ids = [verdict.due.recipient_id for verdict in verdicts]
    locked = Recipient.objects.select_for_update(no_key=True).filter(pk__in=ids, state=State.UNKNOWN).order_by("pk")
    now = {pk: (looks, attempts) for pk, looks, attempts in locked.values_list("pk", "looks", "attempts")}
    return [
        verdict
        for verdict in verdicts
        if now.get(verdict.due.recipient_id) == (verdict.due.looks, verdict.due.attempts)
    ]


def _claim_deliveries(verdicts: Sequence[Verdict]) -> None:
    """The unique index decides: who comes second with a delivery is unknown again."""
    in_order = sorted(verdicts, key=lambda verdict: verdict.delivery)  # two passes never wait for each other
    Settlement.objects.bulk_create([_settlement(one) for one in in_order], ignore_conflicts=True, batch_size=1000)
    deliveries = [verdict.delivery for verdict in in_order]
    owners = dict(Settlement.objects.filter(delivery__in=deliveries).values_list("delivery", "attempt_id"))
    for verdict in in_order:
        if owners.get(verdict.delivery) != verdict.due.attempt_id:
            verdict.verdict, verdict.reason, verdict.params = Settlement.Verdict.UNKNOWN, reasons.UNDER_WAY, {}
            verdict.delivery, verdict.accepted_at = "", None


def _settlement(verdict: Verdict) -> Settlement:
    return Settlement(
        recipient_id=verdict.due.recipient_id,
        attempt_id=verdict.due.attempt_id,
        look=verdict.due.looks + 1,
        verdict=verdict.verdict,
        reason=verdict.reason,
        reason_params=verdict.params,
        delivery=verdict.delivery,
    )


_STATES = {
    Settlement.Verdict.ACCEPTED: State.ACCEPTED,
    Settlement.Verdict.RETURNED: State.PENDING,
    Settlement.Verdict.EXCLUDED: State.EXCLUDED,
    Settlement.Verdict.UNKNOWN: State.UNKNOWN,
}

_FIELDS = (
    ("recipient_id", "bigint"),
    ("state", "text"),
    ("delivery", "text"),
    ("accepted_at", "timestamptz"),
    ("looks", "smallint"),
    ("look_at", "timestamptz"),
)


def _write(verdicts: Sequence[Verdict]) -> None:
    if dialects.is_postgresql():
        fields = ", ".join(f"{name} {type_}" for name, type_ in _FIELDS)
        source = f"json_to_recordset(%s::json) AS v({fields})"
    else:
        columns = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name, _type in _FIELDS)
        source = f"(SELECT {columns} FROM json_each(%s)) AS v"
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE relay_recipient SET state = v.state,"
            " reason = CASE v.state WHEN 'unknown' THEN reason WHEN 'excluded' THEN %s ELSE '' END,"
            " reason_detail = CASE v.state WHEN 'unknown' THEN reason_detail ELSE '' END,"
            " delivery = v.delivery, settled = (v.state = 'accepted'), accepted_at = v.accepted_at,"
            f" not_before = CASE v.state WHEN 'pending' THEN {dialects.now()} END,"
            " looks = v.looks, look_at = v.look_at"
            f" FROM {source} WHERE relay_recipient.id = v.recipient_id AND relay_recipient.state = 'unknown'",
            [reasons.CANCELLED, json.dumps([_as_object(verdict) for verdict in verdicts])],
        )


def _as_object(verdict: Verdict) -> dict[str, Any]:
    state = _STATES[Settlement.Verdict(verdict.verdict)]
    look_at = verdict.next_look if state == State.UNKNOWN else None
    return {
        "recipient_id": verdict.due.recipient_id,
        "state": state,
        "delivery": verdict.delivery,
        "accepted_at": verdict.accepted_at and dialects.as_parameter(verdict.accepted_at),
        "looks": verdict.due.looks + 1,
        "look_at": look_at and dialects.as_parameter(look_at),
    }


def decide(recipient: Recipient, *, sent: bool, note: str, by: User | None, actor: str) -> bool:
    """A person's verdict on an unknown row; False when it is not unknown (any more)."""
    with transaction.atomic():
        cancelled = lock_statuses([recipient.bulk_send_id])[recipient.bulk_send_id] == BulkSend.Status.CANCELLED
        locked = Recipient.objects.select_for_update(no_key=True).filter(pk=recipient.pk, state=State.UNKNOWN).first()
        if locked is None:
            return False
        attempt = _last_unknown_attempts([locked.pk])[locked.pk]
        not_sent = Settlement.Verdict.EXCLUDED if cancelled else Settlement.Verdict.RETURNED
        due = _due(attempt, locked.pk, locked.bulk_send_id, locked.email, locked.looks - 1, locked.attempts)
        verdict = Verdict(due, Settlement.Verdict.ACCEPTED if sent else not_sent, reasons.BY_PERSON)
        verdict.accepted_at = attempt.ended_at if sent else None
        settlement = _settlement(verdict)
        # No look was made: `looks` stays as it is.
        settlement.look, settlement.note, settlement.decided_by = 0, note, by
        settlement.save()
        _write([verdict])
        Decision.objects.create(
            bulk_send_id=locked.bulk_send_id,
            made_by=by,
            actor=actor,
            what=Decision.What.SETTLE,
            details={"row": locked.row, "verdict": verdict.verdict},
        )
        activity.record(
            activity.What.DECIDED,
            by=by or actor,
            about=locked.bulk_send,
            decision=Decision.What.SETTLE,
            row=locked.row,
            verdict=verdict.verdict,
        )
        stages.go_on_after_settlement(locked.bulk_send_id)
    return True
