"""Settlement from inside: when looks are due, whom a verdict reaches, what a person may decide."""

import asyncio
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay import ledger, log_reading, models, reasons, settlement, stages, verdicts, whole_sends
from relay.models import Attempt, BulkSend, Decision, Recipient, Settlement
from relay.settlement import NotUnknown, trust_in
from relay.verdicts import Control, Verdict
from relay_client import Delivery
from tests.relay.ledger_acts import counts, describe, let_expire, outcome, record
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def looks(settings):
    settings.RELAY_SETTLEMENT_LOOKS = (120.0, 600.0, 1800.0)
    settings.RELAY_LEASE_SECONDS, settings.RELAY_TIMEOUT_SECONDS = 60, 30


def make_unknown(bulk_send: BulkSend, count: int) -> list[Recipient]:
    lease = ledger.acquire(bulk_send.pk)
    claimed = ledger.take_turn(lease, [], count).claimed
    record(lease, *(outcome(lease, one, "unknown", from_email="a@example.com", subject="Aviso") for one in claimed))
    ledger.release(lease)
    return list(bulk_send.recipients.filter(state="unknown").order_by("row"))


def make_due(*rows: Recipient) -> None:
    Recipient.objects.filter(pk__in=[row.pk for row in rows]).update(look_at=timezone.now() - timedelta(seconds=1))


def claim(bulk_send: BulkSend | None = None, limit: int = 1000) -> list[verdicts.Due]:
    return verdicts.claim_looks(bulk_send and bulk_send.pk, limit)


def accepted(due: verdicts.Due, delivery: str = "/d/1") -> Verdict:
    return Verdict(due, "accepted", reasons.FOUND, {"seconds": 0}, delivery, due.ended_at, timezone.now())


# --- When


def test_the_first_look_is_due_after_the_first_interval(bulk_send):
    (row,) = make_unknown(bulk_send, 1)
    attempt = Attempt.objects.get()
    assert (row.looks, row.look_at) == (0, attempt.ended_at + timedelta(seconds=120))
    assert 118 < stages.next_look_in(bulk_send.pk) <= 120
    assert claim() == []


def test_nothing_unknown_is_never_looked_for(bulk_send):
    assert stages.next_look_in(bulk_send.pk) is None
    assert asyncio.iscoroutinefunction(settlement.settle_due)


@pytest.mark.parametrize(
    ("looks", "first", "last"), [((10.0,), 90, 90), ((10.0, 20.0), 10, 90), ((1.0, 500.0), 1, 500)]
)
def test_the_last_look_for_a_lost_worker_comes_when_it_can_no_longer_call(settings, bulk_send, looks, first, last):
    settings.RELAY_SETTLEMENT_LOOKS = looks
    lease = ledger.acquire(bulk_send.pk)
    ledger.take_turn(lease, [], 1)
    let_expire(lease)
    assert ledger.take_over_expired(describe) == 1
    assert abs(stages.next_look_in(bulk_send.pk) - first) < 2
    assert ledger.seconds_until_look(reasons.WORKER_LOST, len(looks) - 1) == last


def test_a_look_that_was_claimed_is_nobody_elses_until_the_time_of_a_lease_has_passed(bulk_send):
    rows = make_unknown(bulk_send, 3)
    make_due(*rows)
    assert [due.recipient_id for due in claim(limit=2)] == [rows[0].pk, rows[1].pk]
    assert [due.recipient_id for due in claim()] == [rows[2].pk]
    assert claim() == []
    assert 55 < stages.next_look_in(bulk_send.pk) <= 60


def test_looks_of_one_bulk_send_leave_those_of_another(bulk_send):
    other = new_bulk_send(1)
    make_due(*make_unknown(bulk_send, 1), *make_unknown(other, 1))
    assert [due.bulk_send_id for due in claim(other)] == [other.pk]
    assert [due.bulk_send_id for due in claim()] == [bulk_send.pk]


def test_after_being_sent_again_the_looks_count_from_none(bulk_send):
    (row,) = make_unknown(bulk_send, 1)
    make_due(row)
    (due,) = claim()
    verdicts.record([Verdict(due, "returned", reasons.ABSENT)])
    row.refresh_from_db()
    assert (row.state, row.looks, row.look_at) == ("pending", 1, None)
    (row,) = make_unknown(bulk_send, 1)
    assert (row.looks, row.attempts) == (0, 2)


# --- Verdicts


def test_a_verdict_leaves_its_reasoning_and_its_proof(bulk_send):
    (row,) = make_unknown(bulk_send, 1)
    make_due(row)
    (due,) = claim()
    assert len(verdicts.record([accepted(due, "/d/7")])) == 1
    row.refresh_from_db()
    assert (row.state, row.delivery, row.message_id, row.settled, row.reason) == ("accepted", "/d/7", "", True, "")
    assert row.accepted_at == due.ended_at
    found = Settlement.objects.get()
    assert (found.recipient_id, found.attempt_id, found.look) == (row.pk, due.attempt_id, 1)
    assert (found.verdict, found.delivery, found.reason) == ("accepted", "/d/7", "found")
    assert "0" in found.reason_text


def test_one_entry_proves_one_row_whoever_comes_second_stays_unknown(bulk_send):
    rows = make_unknown(bulk_send, 2)
    make_due(*rows)
    first, second = claim()
    verdicts.record([accepted(first, "/d/7")])
    (written,) = verdicts.record([accepted(second, "/d/7")])
    assert (written.verdict, written.reason) == ("unknown", reasons.UNDER_WAY)
    assert counts(bulk_send) == {"pending": 8, "accepted": 1, "unknown": 1}
    assert Recipient.objects.get(pk=second.recipient_id).look_at is not None
    assert Settlement.objects.filter(delivery="/d/7").count() == 1


def test_a_verdict_that_comes_too_late_changes_nothing(bulk_send):
    (row,) = make_unknown(bulk_send, 1)
    make_due(row)
    (due,) = claim()
    make_due(row)
    (again,) = claim()
    verdicts.record([Verdict(again, "unknown", reasons.NOT_YET, next_look=timezone.now())])
    assert verdicts.record([Verdict(due, "returned", reasons.ABSENT)]) == []
    assert Settlement.objects.count() == 1
    verdicts.put_off([due], 5000)
    assert stages.next_look_in(bulk_send.pk) < 5


def test_a_thousand_verdicts_are_a_handful_of_statements():
    bulk_send = new_bulk_send(300)
    make_due(*make_unknown(bulk_send, 300))
    due = claim()
    both = [
        accepted(one, f"/d/{one.recipient_id}") if one.recipient_id % 2 else Verdict(one, "returned", reasons.ABSENT)
        for one in due
    ]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        verdicts.record(both)
    assert len(queries) <= 8
    assert counts(bulk_send) == {"accepted": 150, "pending": 150}


def test_what_came_back_is_sent_again_and_the_end_is_proven(bulk_send):
    rows = make_unknown(bulk_send, 10)
    assert stages.conclude(bulk_send.pk) == "settling"
    make_due(*rows)
    due = claim()
    verdicts.record([accepted(one, f"/d/{one.recipient_id}") for one in due[:9]])
    stages.go_on_after_settlement(bulk_send.pk)
    bulk_send.refresh_from_db()
    assert bulk_send.status == "settling"
    verdicts.record([Verdict(due[9], "returned", reasons.ABSENT)])
    stages.go_on_after_settlement(bulk_send.pk)
    bulk_send.refresh_from_db()
    assert bulk_send.status == "sending"
    lease = ledger.acquire(bulk_send.pk)
    (claimed,) = ledger.take_turn(lease, [], 5).claimed
    record(lease, outcome(lease, claimed))
    assert stages.conclude(bulk_send.pk) == "done"


def test_the_last_verdict_ends_a_bulk_send(bulk_send):
    rows = make_unknown(bulk_send, 10)
    stages.conclude(bulk_send.pk)
    make_due(*rows)
    verdicts.record([accepted(one, f"/d/{one.recipient_id}") for one in claim()])
    stages.go_on_after_settlement(bulk_send.pk)
    bulk_send.refresh_from_db()
    assert bulk_send.status == "done"


# --- A person


@pytest.mark.parametrize(("sent", "state"), [(True, "accepted"), (False, "pending")])
def test_a_persons_decision_is_kept_with_its_reason(bulk_send, sent, state):
    row = make_unknown(bulk_send, 10)[0]
    stages.conclude(bulk_send.pk)
    maria = User.objects.create(username="maria")
    settlement.decide(row, sent=sent, note=" Lo confirma el destinatario ", by=maria, actor="maria")
    row.refresh_from_db()
    bulk_send.refresh_from_db()
    assert (row.state, row.settled, row.look_at, row.looks) == (state, sent, None, 0)
    assert bulk_send.status == ("settling" if sent else "sending")
    found = Settlement.objects.get()
    assert (found.look, found.note, found.decided_by) == (0, "Lo confirma el destinatario", maria)
    assert (found.reason, found.verdict) == ("by_person", "accepted" if sent else "returned")
    decision = Decision.objects.get()
    assert (decision.what, decision.actor, decision.made_by) == ("settle", "maria", maria)
    assert decision.details == {"row": row.row, "verdict": found.verdict}


def test_in_a_cancelled_bulk_send_a_row_that_was_not_sent_is_excluded(bulk_send):
    (row,) = make_unknown(bulk_send, 1)
    whole_sends.cancel(bulk_send)
    settlement.decide(row, sent=False, note="No está en el registro", by=None, actor="consola")
    row.refresh_from_db()
    assert (row.state, row.reason) == ("excluded", "cancelled")


def test_a_person_decides_on_unknown_rows_only_and_says_why(bulk_send):
    (row,) = make_unknown(bulk_send, 1)
    with pytest.raises(NotUnknown):
        settlement.decide(row, sent=True, note="  ", by=None, actor="consola")
    settlement.decide(row, sent=True, note="Consta", by=None, actor="consola")
    with pytest.raises(NotUnknown):
        settlement.decide(row, sent=False, note="Consta", by=None, actor="consola")
    assert Settlement.objects.count() == Decision.objects.count() == 1


def test_a_look_that_was_under_way_does_not_undo_what_a_person_decided(bulk_send):
    (row,) = make_unknown(bulk_send, 1)
    make_due(row)
    (due,) = claim()
    settlement.decide(row, sent=True, note="Consta", by=None, actor="consola")
    assert verdicts.record([Verdict(due, "returned", reasons.ABSENT)]) == []
    row.refresh_from_db()
    assert row.state == "accepted"


# --- What the ledger knows, and what the controls prove


def test_all_bulk_sends_of_a_person_are_known(bulk_send):
    """Whoever may own an entry that has no owner: unknown, accepted without a link, on its way."""
    others = [new_bulk_send(1) for _ in range(3)]
    make_unknown(bulk_send, 1)
    settlement.decide(make_unknown(others[0], 1)[0], sent=True, note="Consta", by=None, actor="consola")
    on_its_way = ledger.acquire(others[1].pk)
    ledger.take_turn(on_its_way, [], 1)
    lease = ledger.acquire(others[2].pk)
    record(lease, outcome(lease, *ledger.take_turn(lease, [], 1).claimed))
    hour = timedelta(hours=1)
    known = verdicts.known_of(["persona2@example.com"], timezone.now() - hour, timezone.now() + hour)
    (person,) = known.values()
    assert sorted(one.under_way for one in person.unowning) == [False, False, True]
    assert len(person.owning) == 1
    assert len(person.owned) == 1


def test_controls_are_accepted_messages_of_about_the_same_time(bulk_send):
    lease = ledger.acquire(bulk_send.pk)
    record(lease, *(outcome(lease, one) for one in ledger.take_turn(lease, [], 4).claimed))
    make_due(*make_unknown(bulk_send, 1))
    found = verdicts.controls_for(claim())
    assert 1 <= len(found) <= 6
    assert all(control.links and control.address.startswith("persona") for control in found)


def delivery(link: str, seconds: float = 0.0) -> Delivery:
    moment = (NOON + timedelta(seconds=seconds)).replace(microsecond=0)
    return Delivery("a@example.com", "ana@example.com", "Aviso", moment, "sent", None, 0, 0, link)


NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)
CONTROLS = [
    Control(frozenset({str(number)}), "ana@example.com", NOON, NOON + timedelta(seconds=0.2)) for number in range(2)
]


def read(*deliveries: Delivery, controls=CONTROLS, whole: bool = True) -> settlement.Trust:
    found = settlement._Log(frozenset({"ana@example.com"}), controls, whole)
    for one in deliveries:
        found.keep(one)
    return trust_in(found)


def test_a_log_that_shows_its_controls_in_their_time_is_trusted():
    trust = read(delivery("/d/0"), delivery("/d/1"))
    assert (trust.complete, trust.clock_right) == (True, True)
    assert trust.near == 2.0


def test_a_log_that_lacks_a_control_proves_no_absence():
    trust = read(delivery("/d/0"))
    assert (trust.complete, trust.clock_right) == (False, True)


@pytest.mark.parametrize("seconds", [-30, -8, 9, 3600])
def test_a_log_whose_clock_is_off_proves_nothing(seconds):
    trust = read(delivery("/d/0", seconds), delivery("/d/1", seconds))
    assert (trust.complete, trust.clock_right) == (False, False)


def test_a_clock_that_is_a_little_off_tells_less_apart():
    trust = read(delivery("/d/0", 4), delivery("/d/1", 4))
    assert trust.clock_right
    assert trust.near is None or trust.near > 4


def test_without_any_control_only_a_log_read_whole_proves_an_absence():
    assert read(controls=[], whole=True).complete
    assert not read(controls=[], whole=False).complete
    assert read(controls=[]).near is None


# --- What comes late, and what is read twice


class _Listing:
    """A log of these entries, as the client hands it out."""

    def __init__(self, *entries: Delivery) -> None:
        self.entries = entries

    async def deliveries(self, *, text=None, start=None, end=None):
        for entry in self.entries:
            if (text is None or text in entry.recipient) and start <= entry.date < end:
                yield entry


def entry(row: Recipient, link: str, date) -> Delivery:
    told = {"href": link, "recipient": row.email, "sender": "a@example.com", "subject": "Aviso", "date": date}
    return Delivery(**told, status="sent", bounce_type="", opens=0, clicks=0)


def look(bulk_send: BulkSend, listing: _Listing) -> list[Verdict]:
    """One look, as `_Pass` makes it, with the log read whole."""
    batch = claim(bulk_send)
    controls = verdicts.controls_for(batch)
    found = settlement._Log(frozenset(due.address for due in batch), controls, whole=True)
    windows = [window for _text, window in settlement._questions(batch, controls)]
    asyncio.run(log_reading.read_whole(listing, windows, found.keep))
    asyncio.run(log_reading.read_about(listing, settlement._late_questions(batch, timezone.now()), found.keep_late))
    return settlement._settle(batch, found)


def one_accepted_one_unknown(bulk_send: BulkSend, ended_at, **fields) -> tuple[Recipient, Recipient]:
    bulk_send.recipients.update(**fields)
    lease = ledger.acquire(bulk_send.pk)
    one, two = ledger.take_turn(lease, [], 2).claimed
    sent = {"started_at": ended_at - timedelta(seconds=1), "ended_at": ended_at}
    told = {"from_email": "a@example.com", "subject": "Aviso"}
    record(lease, outcome(lease, one, "accepted", **sent, **told), outcome(lease, two, "unknown", **sent, **told))
    ledger.release(lease)
    return bulk_send.recipients.get(pk=one.id), bulk_send.recipients.get(pk=two.id)


@pytest.mark.parametrize("link", ["/d/late", ""])
@pytest.mark.parametrize("minutes", [3, 25])
def test_what_the_relay_accepted_minutes_later_keeps_a_row_from_being_sent_again(bulk_send, minutes, link):
    ended_at = (timezone.now() - timedelta(minutes=31)).replace(microsecond=0)
    good, lost = one_accepted_one_unknown(bulk_send, ended_at)
    Recipient.objects.filter(pk=lost.pk).update(looks=2)
    make_due(lost)
    shown = entry(good, good.delivery, ended_at)
    (verdict,) = look(bulk_send, _Listing(shown, entry(lost, link, ended_at + timedelta(minutes=minutes))))
    assert (verdict.verdict, verdict.reason) == ("unknown", reasons.UNEXPLAINED)
    assert Recipient.objects.get(pk=lost.pk).state == "unknown"


def test_what_was_accepted_later_and_is_known_keeps_nothing_from_being_sent_again(bulk_send):
    """Another message for the same person, from another bulk send, whose link the ledger has."""
    ended_at = (timezone.now() - timedelta(minutes=31)).replace(microsecond=0)
    good, lost = one_accepted_one_unknown(bulk_send, ended_at)
    later = ended_at + timedelta(minutes=20)
    other, _unknown = one_accepted_one_unknown(new_bulk_send(2), later)
    Recipient.objects.filter(pk=other.pk).update(email=lost.email)
    Recipient.objects.filter(pk=lost.pk).update(looks=2)
    make_due(lost)
    listing = _Listing(entry(good, good.delivery, ended_at), entry(lost, other.delivery, later))
    (verdict,) = look(bulk_send, listing)
    assert (verdict.verdict, verdict.reason) == ("returned", reasons.ABSENT)


def test_one_entry_without_a_link_that_was_read_twice_proves_no_two_messages(bulk_send):
    ended_at = (timezone.now() - timedelta(seconds=121)).replace(microsecond=0)
    _good, lost = one_accepted_one_unknown(bulk_send, ended_at, email="ana@example.com")
    make_due(lost)
    hidden = entry(lost, "", ended_at)
    (verdict,) = look(bulk_send, _Listing(hidden, hidden))
    assert (verdict.verdict, verdict.reason) == ("unknown", reasons.TWO_ALIKE)


def test_a_row_that_was_settled_while_the_log_was_read_is_left_alone(bulk_send):
    ended_at = (timezone.now() - timedelta(minutes=31)).replace(microsecond=0)
    _good, lost = one_accepted_one_unknown(bulk_send, ended_at)
    Recipient.objects.filter(pk=lost.pk).update(looks=2)
    make_due(lost)
    batch = claim(bulk_send)
    verdicts.record([accepted(batch[0], "/d/7")])  # another process, whose claim had run out
    found = settlement._Log(frozenset({lost.email}), [], whole=True)
    found.keep_late(entry(lost, "/d/7", ended_at + timedelta(minutes=9)))
    assert settlement._settle(batch, found) == []
    assert Recipient.objects.get(pk=lost.pk).delivery == "/d/7"


# --- Tests that people sent to themselves, whose address is in the list


def tried(lost: Recipient, started_at, outcome: str, delivery: str = "", **fields) -> models.TestSend:
    """Somebody whose address is that of this row tried the mail at this moment."""
    told = {
        "row": lost.row,
        "email": lost.email.upper(),
        "from_email": "a@example.com",
        "subject": "Aviso",
        "started_at": started_at,
        "ended_at": started_at + timedelta(seconds=1) if outcome else None,
        "message_id": "m-test" if outcome == "accepted" else "",
    }
    return models.TestSend.objects.create(bulk_send=lost.bulk_send, outcome=outcome, delivery=delivery, **told | fields)


def last_look(bulk_send: BulkSend, minutes: float = 31) -> tuple[Recipient, Recipient, datetime]:
    """One accepted and one unknown, whose last look is due; and when their attempts ended."""
    ended_at = (timezone.now() - timedelta(minutes=minutes)).replace(microsecond=0)
    good, lost = one_accepted_one_unknown(bulk_send, ended_at)
    Recipient.objects.filter(pk=lost.pk).update(looks=2)
    make_due(lost)
    return good, lost, ended_at


def test_the_entry_of_a_test_is_not_that_of_the_row(bulk_send):
    """The only entry of that moment has the test's link: the row's message is absent."""
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, "accepted", "/d/test")
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/test", ended_at)))
    assert (verdict.verdict, verdict.reason) == ("returned", reasons.ABSENT)


def test_beside_a_test_that_is_known_the_row_is_found(bulk_send):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, "accepted", "/d/test")
    shown = [entry(good, good.delivery, ended_at), entry(lost, "/d/test", ended_at), entry(lost, "/d/row", ended_at)]
    (verdict,) = look(bulk_send, _Listing(*shown))
    assert (verdict.verdict, verdict.reason, verdict.delivery) == ("accepted", reasons.FOUND, "/d/row")


def test_a_test_that_came_later_and_is_known_keeps_nothing_from_being_sent_again(bulk_send):
    good, lost, ended_at = last_look(bulk_send)
    later = ended_at + timedelta(minutes=20)
    tried(lost, later, "accepted", "/d/test")
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/test", later)))
    assert (verdict.verdict, verdict.reason) == ("returned", reasons.ABSENT)


@pytest.mark.parametrize("outcome", ["unknown", "", "accepted"])
@pytest.mark.parametrize("apart", [0, 4])
@pytest.mark.parametrize("entries", [1, 2])
def test_what_may_be_a_test_whose_link_is_not_known_decides_nothing(bulk_send, outcome, apart, entries):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at - timedelta(seconds=apart), outcome)
    theirs = [entry(lost, f"/d/row-{number}", ended_at) for number in range(entries)]
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), *theirs))
    assert (verdict.verdict, verdict.reason) == ("unknown", reasons.TEST_SEND)
    row = Recipient.objects.get(pk=lost.pk)
    assert (row.state, row.look_at) == ("unknown", None), "a person decides"
    assert not Settlement.objects.exclude(delivery="").exists()


@pytest.mark.parametrize("minutes", [-30, -5, 20])
def test_a_test_without_an_answer_may_have_been_accepted_much_later(bulk_send, minutes):
    """The entry lies at the row's own attempt, or after it: it may be the test's."""
    good, lost, ended_at = last_look(bulk_send)
    tried_at = ended_at + timedelta(minutes=minutes)
    tried(lost, tried_at, "unknown")
    listing = _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/row", max(ended_at, tried_at)))
    (verdict,) = look(bulk_send, listing)
    assert (verdict.verdict, verdict.reason) == ("unknown", reasons.TEST_SEND)


def test_a_test_of_another_hour_says_nothing_about_the_row(bulk_send):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at - timedelta(minutes=90), "unknown")
    listing = _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/row", ended_at))
    (verdict,) = look(bulk_send, listing)
    assert (verdict.verdict, verdict.delivery) == ("accepted", "/d/row")


@pytest.mark.parametrize("outcome", ["refused", "not_sent"])
def test_a_test_that_the_relay_does_not_have_says_nothing_about_the_row(bulk_send, outcome):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, outcome)
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/row", ended_at)))
    assert (verdict.verdict, verdict.delivery) == ("accepted", "/d/row")


def test_a_test_that_may_have_left_beside_no_entry_is_no_reason_to_doubt_an_absence(bulk_send):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, "unknown")
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at)))
    assert (verdict.verdict, verdict.reason) == ("returned", reasons.ABSENT)


def test_where_the_log_hides_links_a_known_test_may_own_what_it_shows(bulk_send):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, "accepted", "/d/test")
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), entry(lost, "", ended_at)))
    assert (verdict.verdict, verdict.reason) == ("unknown", reasons.TEST_SEND)


def test_a_template_that_the_relay_renders_may_have_given_a_test_any_subject(bulk_send):
    """`template_subject` is what we rendered; the relay's own may have been another one."""
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, "unknown", subject="Otro asunto")
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/row", ended_at)))
    assert (verdict.verdict, verdict.reason) == ("unknown", reasons.TEST_SEND)


def test_a_test_that_was_rendered_here_had_the_subject_that_is_on_record(bulk_send):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, "unknown", subject="Otro asunto", rendered_here=True)
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/row", ended_at)))
    assert (verdict.verdict, verdict.delivery) == ("accepted", "/d/row")


def test_a_test_to_somebody_else_says_nothing_about_the_row(bulk_send):
    good, lost, ended_at = last_look(bulk_send)
    tried(lost, ended_at, "unknown", email="otra@example.com")
    (verdict,) = look(bulk_send, _Listing(entry(good, good.delivery, ended_at), entry(lost, "/d/row", ended_at)))
    assert (verdict.verdict, verdict.delivery) == ("accepted", "/d/row")
