"""Workers come, claim, call, record, die, are taken over and wake up again; settlers and people decide on what is
unknown; all in any order: the ledger stays the truth.

A plain model in Python says after every step what each row must be, and knows what nobody else does: which messages
the relay really has. No row is ever claimed again once the relay has its message.
"""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from relay import ledger, reasons, stages, tallies, verdicts, whole_sends
from relay.ledger import HeldLease, LeaseLost, Outcome
from relay.models import Attempt, BulkSend, Lease, Recipient, Settlement, WrongState
from relay.verdicts import Due, Verdict
from tests.relay.rows import new_bulk_send
from tests.relay.tallied import by_hour, counted, told

FIELDS = {
    "accepted": {"message_id": "m", "delivery": "/d"},
    "refused": {"reason": reasons.REFUSED, "code": "400.1"},
    "unknown": {"reason": reasons.NO_ANSWER},
    "pending": {"reason": reasons.NOT_CONNECTED, "retry_in": 3600.0},
}
# Most often a row comes back or is unknown, so that runs last longer than their rows.
ANSWERS = st.lists(st.sampled_from(["pending", "pending", "unknown", "unknown but it arrived", *FIELDS]), max_size=4)
SAYS = st.lists(st.sampled_from(["truth", "truth", "later", "never"]), min_size=5)
WORKER = st.integers(0, 2)


@dataclass
class Row:
    """What the model knows of a recipient."""

    state: str = "pending"
    due: bool = True  # may be claimed now
    came_back: bool = False  # found by whoever comes next, wherever his cursor stands
    holder: int | None = None  # lease id
    outcomes: list[str] = field(default_factory=list)  # one for each call that ended, in whatever way
    called: bool = False  # under the lease that holds it
    arrived: int = 0  # messages of it that the relay has
    looks: int = 0
    sought: bool = False  # a look is planned
    verdicts: list[str] = field(default_factory=list)


@dataclass
class Worker:
    lease: HeldLease
    held: list[int] = field(default_factory=list)  # what it believes to hold
    last: list[Outcome] = field(default_factory=list)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.savepoint = transaction.atomic()
        self.savepoint.__enter__()
        self.rows: dict[int, Row] = {}
        self.workers: list[Worker] = []
        self.expired: list[Worker] = []
        self.lost: list[Worker] = []
        self.settlers: list[list[Due]] = []  # looks that were claimed and not made yet
        self.status = "sending"
        self.turns = 0  # since somebody decided something

    def teardown(self):
        transaction.set_rollback(True)
        self.savepoint.__exit__(None, None, None)

    @initialize(rows=st.integers(3, 12), wanted=st.integers(1, 5), answers=ANSWERS, looks=st.integers(1, 2))
    def begin(self, rows, wanted, answers, looks):
        self.looks = looks  # after so many a message may be called absent
        self.bulk_send = new_bulk_send(rows)
        self.rows = {pk: Row() for pk in self.bulk_send.recipients.values_list("pk", flat=True)}
        self._take_turn(0, [], wanted, False)
        self._take_turn(0, answers, wanted, False)

    # --- Workers. The turn stands here three times because it is what workers do most.

    @rule(number=WORKER, answers=ANSWERS, wanted=st.integers(0, 5), sweep=st.booleans())
    def take_turn(self, number, answers, wanted, sweep):
        self._take_turn(number, answers, wanted, sweep)

    @rule(number=WORKER, answers=ANSWERS, wanted=st.integers(1, 5))
    def take_another_turn(self, number, answers, wanted):
        self._take_turn(number, answers, wanted, True)

    @rule(number=WORKER, wanted=st.integers(1, 5), sweep=st.booleans())
    def claim(self, number, wanted, sweep):
        self._take_turn(number, [], wanted, sweep)

    @rule(number=WORKER)
    def record_again(self, number):
        """The commit was not confirmed, so the outcomes are recorded again."""
        worker = self._worker(number)
        again = [outcome for outcome in worker.last if self.rows[outcome.recipient_id].holder != worker.lease.id]
        assert ledger.take_turn(worker.lease, again, 0).recorded == 0

    @precondition(lambda self: len(self.workers) > 1)
    @rule(number=WORKER)
    def record_what_another_holds(self, number):
        worker = self._worker(number)
        others = [self._outcome(worker, pk, "accepted") for other in self.workers for pk in other.held]
        others = [outcome for outcome in others if outcome.recipient_id not in worker.held]
        assert ledger.take_turn(worker.lease, others, 0).recorded == 0

    @rule(number=WORKER)
    def release(self, number):
        worker = self._worker(number)
        # Whoever ends in order records first what may have left.
        under_way = [pk for pk in worker.held if self.rows[pk].called]
        self._record(worker, [self._outcome(worker, pk, self._possible(pk, "accepted")) for pk in under_way])
        ledger.release(worker.lease)
        self._leave(worker)
        for row in self._held_by(worker):
            row.state, row.holder, row.due, row.came_back = "pending", None, True, True
        self._exclude_leftovers()

    @rule(number=WORKER, arrives=st.booleans(), which=st.integers(0, 4))
    def call(self, number, arrives, which):
        """The call leaves. Whether the relay has it now is known to nobody until an answer is recorded."""
        worker = self._worker(number)
        uncalled = [pk for pk in worker.held if not self.rows[pk].called]
        for pk in uncalled[which : which + 1]:
            self.rows[pk].called = True
            self.rows[pk].arrived += arrives

    @rule(number=WORKER)
    def heartbeat(self, number):
        ledger.heartbeat(self._worker(number).lease, calls_in_flight=1, calls_per_second=2.0)

    @rule(number=WORKER)
    def expire(self, number):
        worker = self._worker(number)
        Lease.objects.filter(pk=worker.lease.id).update(expires_at=timezone.now() - timedelta(seconds=1))
        self._leave(worker)
        self.expired.append(worker)

    @precondition(lambda self: self.expired)
    @rule()
    def take_over(self):
        held = [row for worker in self.expired for row in self._held_by(worker)]
        for expected in (len(held), 0):
            assert ledger.take_over_expired(lambda *_: ("avisos@example.com", "Aviso")) == expected
        for row in held:
            self._note_outcome(row, "unknown")
        self._exclude_leftovers()
        self.lost += self.expired
        self.expired.clear()

    @precondition(lambda self: self.lost)
    @rule(number=st.integers(0, 5), act=st.sampled_from(["record", "claim", "release", "heartbeat"]))
    def wake_up_late(self, number, act):
        worker = self.lost[number % len(self.lost)]
        outcomes = [self._outcome(worker, pk, "accepted") for pk in worker.held] + worker.last
        acts = {
            "record": lambda: ledger.take_turn(worker.lease, outcomes, 3),
            "claim": lambda: ledger.take_turn(worker.lease, [], 3, sweep=True),
            "release": lambda: ledger.release(worker.lease),
            "heartbeat": lambda: ledger.heartbeat(worker.lease, calls_in_flight=0, calls_per_second=0),
        }
        with pytest.raises(LeaseLost), transaction.atomic():
            acts[act]()

    # --- Settlement

    @precondition(lambda self: any(row.sought for row in self.rows.values()))
    @rule()
    def looks_come_due(self):
        """Also those that a settler has claimed and forgotten."""
        past = timezone.now() - timedelta(seconds=1)
        self.bulk_send.recipients.filter(look_at__isnull=False).update(look_at=past)
        self.settlers.append(verdicts.claim_looks(self.bulk_send.pk, 5))
        assert all(self.rows[due.recipient_id].sought for due in self.settlers[-1])

    @precondition(lambda self: self.settlers)
    @rule(number=st.integers(0, 5), says=SAYS)
    def make_looks(self, number, says):
        """The log tells the truth, or nothing for now, or nothing at all: then a person has to decide."""
        batch = self.settlers.pop(number % len(self.settlers))
        found = [self._verdict(due, say) for due, say in zip(batch, says, strict=False)]
        current = [verdict for verdict in found if self._as_it_was(verdict.due)]
        with transaction.atomic():
            assert verdicts.record(found) == current
            for verdict in current:
                self._note_verdict(self.rows[verdict.due.recipient_id], verdict)
            self._go_on()
            stages.go_on_after_settlement(self.bulk_send.pk)

    @precondition(lambda self: any(row.sought for row in self.rows.values()))
    @rule(says=SAYS, times=st.integers(1, 2))
    def settle(self, says, times):
        """As a pass does it: claimed and made at once. Twice is often enough to call a message absent."""
        for _ in range(times):
            self.looks_come_due()
            self.make_looks(-1, says)

    @precondition(lambda self: any(row.state == "unknown" for row in self.rows.values()))
    @rule(which=st.integers(0, 11))
    def person_decides(self, which):
        pk, row = list(self.rows.items())[which % len(self.rows)]
        was_unknown = row.state == "unknown"
        recipient = Recipient.objects.get(pk=pk)
        decided = verdicts.decide(recipient, sent=row.arrived > 0, note="Llamé.", by=None, actor="Ana")
        assert decided == was_unknown
        if was_unknown:
            self._note_verdict(row, None, looks=row.looks)
            self._go_on()

    def _verdict(self, due, says):
        row = self.rows[due.recipient_id]
        if says == "truth" and row.arrived:
            found = Verdict(due, Settlement.Verdict.ACCEPTED, reasons.FOUND, delivery=f"/d/{due.attempt_id}")
            found.accepted_at = due.ended_at
            return found
        if says == "truth" and due.looks + 1 >= self.looks:
            absent = Settlement.Verdict.EXCLUDED if self.status == "cancelled" else Settlement.Verdict.RETURNED
            return Verdict(due, absent, reasons.ABSENT)
        next_look = None if says == "never" else timezone.now() + timedelta(hours=1)
        return Verdict(due, Settlement.Verdict.UNKNOWN, reasons.NOT_YET, next_look=next_look)

    def _as_it_was(self, due):
        row = self.rows[due.recipient_id]
        return row.state == "unknown" and (row.looks, len(row.outcomes)) == (due.looks, due.attempts)

    def _note_verdict(self, row, verdict, looks=None):
        """Without a verdict it is that of a person, who knows the truth."""
        absent = "excluded" if self.status == "cancelled" else "returned"
        said = verdict.verdict if verdict else "accepted" if row.arrived else absent
        row.verdicts.append(str(said))
        row.looks = row.looks + 1 if looks is None else looks
        row.sought = said == "unknown" and verdict.next_look is not None
        row.state = "pending" if said == "returned" else str(said)
        row.due = row.came_back = said == "returned"

    def _go_on(self):
        """What only waited for its unknown rows sends again what came back, or ends."""
        if self.status != "settling":
            return
        if any(row.state == "pending" for row in self.rows.values()):
            self.status = "sending"
        elif not any(row.sought for row in self.rows.values()):
            self._conclude()

    # --- Time and people

    @precondition(lambda self: not all(row.due for row in self.rows.values()))
    @rule()
    def rows_come_due(self):
        self.bulk_send.recipients.filter(not_before__isnull=False).update(
            not_before=timezone.now() - timedelta(seconds=1)
        )
        for row in self.rows.values():
            row.due = True

    @precondition(lambda self: self.turns > 3)
    @rule()
    def pause(self):
        self._decide(self.bulk_send.pause, {"sending", "settling"}, "paused")

    @precondition(lambda self: self.status == "paused")
    @rule()
    def resume(self):
        self._decide(self.bulk_send.resume, {"paused"}, "sending")

    @precondition(lambda self: self.turns > 4)
    @rule(number=WORKER, wanted=st.integers(1, 5))
    def cancel(self, number, wanted):
        self._take_turn(number, [], wanted, True)  # so that something is under way
        if self._decide(lambda: whole_sends.cancel(self.bulk_send), {"sending", "paused", "settling"}, "cancelled"):
            self._exclude_leftovers()

    @rule()
    def conclude(self):
        self._conclude()
        assert stages.conclude(self.bulk_send.pk) == self.status

    @rule()
    def fold_the_tallies(self):
        tallies.compact()

    def _conclude(self):
        states = {row.state for row in self.rows.values()}
        if self.status in ("sending", "settling") and not states & {"pending", "sending"}:
            self.status = "settling" if "unknown" in states else "done"

    # --- What must hold after each step

    @invariant()
    def every_row_is_what_the_model_says(self):
        if not self.rows:
            return
        stored = {row.pk: (row.state, row.lease_id, row.attempts) for row in self.bulk_send.recipients.all()}
        assert stored == {pk: (row.state, row.holder, len(row.outcomes)) for pk, row in self.rows.items()}
        states = [row.state for row in self.rows.values()]
        assert self.bulk_send.recipients.counts() == {state: states.count(state) for state in Recipient.State.values}

    @invariant()
    def the_tallies_say_what_the_rows_say(self):
        assert by_hour(told()) == by_hour(counted())

    @invariant()
    def every_call_has_exactly_one_attempt(self):
        written: dict[int, list[str]] = {pk: [] for pk in self.rows}
        for pk, outcome in Attempt.objects.order_by("pk").values_list("recipient_id", "outcome"):
            written[pk].append(outcome)
        assert written == {pk: row.outcomes for pk, row in self.rows.items()}
        for row in self.rows.values():
            # Only a call that was proven not to have left, or not to have arrived, may be followed by another.
            assert set(row.outcomes[:-1]) <= {"returned", "unknown"}
            assert row.outcomes[:-1].count("unknown") <= row.verdicts.count("returned")

    @invariant()
    def the_ledger_never_says_what_is_not_so(self):
        for row in self.rows.values():
            assert row.arrived <= 1
            assert row.arrived == {"accepted": 1, "refused": 0, "pending": 0, "excluded": 0}.get(row.state, row.arrived)

    @invariant()
    def every_verdict_is_kept(self):
        written: dict[int, list[str]] = {pk: [] for pk in self.rows}
        for pk, verdict in Settlement.objects.order_by("pk").values_list("recipient_id", "verdict"):
            written[pk].append(verdict)
        assert {pk: sorted(found) for pk, found in written.items()} == {
            pk: sorted(row.verdicts) for pk, row in self.rows.items()
        }

    @invariant()
    def the_status_is_what_was_decided(self):
        if self.rows:
            assert BulkSend.objects.get(pk=self.bulk_send.pk).status == self.status

    # --- The model

    def _worker(self, number) -> Worker:
        """One of those alive, at most three; where there is none of that number, a new one comes."""
        if number >= len(self.workers):
            self.workers.append(Worker(ledger.acquire(self.bulk_send.pk)))
        return self.workers[min(number, len(self.workers) - 1)]

    def _leave(self, worker):
        self.workers = [other for other in self.workers if other is not worker]

    def _take_turn(self, number, answers, wanted, sweep):
        worker = self._worker(number)
        states = [(pk, self._possible(pk, answer)) for pk, answer in zip(worker.held, answers, strict=False)]
        self._record(worker, [self._outcome(worker, pk, state) for pk, state in states], wanted, sweep)
        self.turns += 1

    def _record(self, worker, outcomes, wanted=0, sweep=False):
        turn = ledger.take_turn(worker.lease, outcomes, wanted, sweep=sweep)
        assert (turn.recorded, turn.status) == (len(outcomes), self.status)
        for outcome in outcomes:
            self._note_outcome(self.rows[outcome.recipient_id], outcome.state)
        worker.last = outcomes or worker.last
        self._note_claimed(worker, turn.claimed, wanted, sweep)

    def _possible(self, pk, answer):
        """The answer to a call, as far as it can be so. One that has not left yet leaves now."""
        row = self.rows[pk]
        if not row.called:
            row.arrived += answer in ("accepted", "unknown but it arrived")
            return answer.partition(" ")[0]
        return answer if answer in FIELDS and (answer == "accepted") == (row.arrived == 1) else "unknown"

    def _note_outcome(self, row, state):
        row.state, row.holder, row.called = state, None, False
        row.came_back = state == "pending"
        row.due = not row.came_back  # one that came back waits for its hour
        row.looks, row.sought = 0, state == "unknown"
        row.outcomes.append("returned" if state == "pending" else state)

    def _note_claimed(self, worker, claimed, wanted, sweep):
        free = {pk for pk, row in self.rows.items() if row.state == "pending" and row.due}
        assert {row.id for row in claimed} <= free
        if self.status != "sending":
            assert claimed == []
        else:
            sure = free if sweep else [pk for pk in free if self.rows[pk].came_back]
            assert len(claimed) >= min(wanted, len(sure))
        assert len(claimed) <= wanted
        for row in claimed:
            assert row.attempts == len(self.rows[row.id].outcomes)
            assert self.rows[row.id].arrived == 0  # the relay does not have it
            self.rows[row.id].state, self.rows[row.id].holder = "sending", worker.lease.id
            self.rows[row.id].called = False
        worker.held = [pk for pk, row in self.rows.items() if row.holder == worker.lease.id]

    def _outcome(self, worker, pk, state):
        now = worker.lease.now()
        return Outcome(recipient_id=pk, state=state, started_at=now, ended_at=now, **FIELDS[state])

    def _held_by(self, worker):
        return [row for row in self.rows.values() if row.holder == worker.lease.id]

    def _exclude_leftovers(self):
        if self.status == "cancelled":
            for row in self.rows.values():
                row.state = "excluded" if row.state == "pending" else row.state

    def _decide(self, decision, allowed, then) -> bool:
        self.turns = 0
        if self.status in allowed:
            decision()
            self.status = then
            return True
        with pytest.raises(WrongState), transaction.atomic():
            decision()
        return False


@pytest.mark.django_db
def test_whatever_workers_and_people_do_every_row_is_called_once_and_accounted_for():
    run_state_machine_as_test(
        LedgerMachine,
        settings=hypothesis_settings(
            max_examples=80,
            stateful_step_count=40,
            deadline=None,  # the first step pays for the connection
            # Every step is a few statements on a real database: slow is what it is.
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
