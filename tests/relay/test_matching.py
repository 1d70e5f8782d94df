"""Attempts and entries of one address: what can be told is told right, what cannot is said to be so."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay import reasons
from relay.matching import Candidate, Entry, Matched, link_key, match, normal_subject, same_subject

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SENDER = "avisos@example.com"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def attempt(number: int, start: float, end: float, **facts) -> Candidate:
    return Candidate(number, at(start), at(end), **{"sender": SENDER, "subject": "Aviso"} | facts)


def entry(seconds: float, link: str = "", **facts) -> Entry:
    """As the relay shows a message that it accepted at this moment."""
    return Entry(
        **{
            "link": link or f"/d/{seconds}",
            "sender": SENDER,
            "subject": "Aviso",
            "date": at(seconds).replace(microsecond=0),
        }
        | facts
    )


def said(matched: Matched) -> dict[int, str]:
    return {number: finding.reason for number, finding in sorted(matched.findings.items())}


# --- One attempt


def test_an_entry_within_its_span_is_its_message():
    matched = match([attempt(1, 0, 2)], [entry(1)])
    assert said(matched) == {1: reasons.FOUND}
    assert matched.findings[1].entry.link == "/d/1"
    assert matched.findings[1].params == {"seconds": 0.0}


def test_no_entry_is_absence():
    assert said(match([attempt(1, 0, 2)], [])) == {1: reasons.ABSENT}


@pytest.mark.parametrize("seconds", [-5.9, -3, 0, 2, 6.9])
def test_an_entry_a_little_outside_its_span_is_still_its(seconds):
    assert said(match([attempt(1, 0, 2)], [entry(seconds)])) == {1: reasons.FOUND}


@pytest.mark.parametrize("seconds", [-100, -8, 9, 30, 121])
def test_an_entry_at_another_time_is_neither_its_nor_proof_of_absence(seconds):
    assert said(match([attempt(1, 0, 2)], [entry(seconds)])) == {1: reasons.UNEXPLAINED}


@pytest.mark.parametrize("seconds", [-130, 130])
def test_an_entry_far_away_has_nothing_to_do_with_it(seconds):
    assert said(match([attempt(1, 0, 2)], [entry(seconds)])) == {1: reasons.ABSENT}


def test_after_an_attempt_whose_worker_may_have_woken_an_entry_counts_for_longer():
    woken = attempt(1, 0, 60, seconds_after=210)
    assert said(match([woken], [entry(250)])) == {1: reasons.UNEXPLAINED}


@pytest.mark.parametrize(
    "other",
    [{"subject": "Otro asunto"}, {"sender": "otro@example.com"}, {"date": None}],
    ids=["subject", "sender", "date"],
)
def test_what_the_relay_may_have_altered_leads_to_a_person(other):
    assert said(match([attempt(1, 0, 2)], [entry(1, **other)])) == {1: reasons.UNEXPLAINED}


def test_without_a_sender_of_its_own_any_sender_fits():
    assert said(match([attempt(1, 0, 2, sender="")], [entry(1, sender="plantilla@example.com")])) == {1: reasons.FOUND}


def test_senders_are_compared_without_case_and_subjects_without_entities_and_blanks():
    mine = attempt(1, 0, 2, sender="Avisos@Example.com", subject="Pago  de Ana & Luis")
    assert said(match([mine], [entry(1, subject=" Pago de Ana &amp; Luis")])) == {1: reasons.FOUND}


def test_a_second_entry_for_one_attempt_is_nobodys():
    matched = match([attempt(1, 0, 2), attempt(2, 60, 62)], [entry(1, "/d/a"), entry(2, "/d/b")])
    assert said(matched) == {1: reasons.FOUND_ALL, 2: reasons.UNEXPLAINED}
    assert len(matched.unexplained) == 1


# --- Several attempts for one person


def test_attempts_apart_get_the_entry_of_their_time():
    attempts = [attempt(1, 0, 2), attempt(2, 60, 62), attempt(3, 120, 122)]
    matched = match(attempts, [entry(121, "/d/3"), entry(1, "/d/1")])
    assert said(matched) == {1: reasons.FOUND, 2: reasons.ABSENT, 3: reasons.FOUND}
    assert matched.findings[3].entry.link == "/d/3"


def test_two_at_the_same_time_and_two_entries_are_both_accepted():
    matched = match([attempt(1, 0, 2), attempt(2, 0, 2)], [entry(1, "/d/a"), entry(1, "/d/b")])
    assert said(matched) == {1: reasons.FOUND_ALL, 2: reasons.FOUND_ALL}
    assert {finding.entry.link for finding in matched.findings.values()} == {"/d/a", "/d/b"}
    assert matched.findings[1].params == {"attempts": 2, "entries": 2}


def test_two_at_the_same_time_and_one_entry_cannot_be_told_apart():
    matched = match([attempt(1, 0, 2), attempt(2, 0, 2)], [entry(1)])
    assert said(matched) == {1: reasons.TWO_ALIKE, 2: reasons.TWO_ALIKE}
    assert matched.findings[1].params == {"attempts": 2, "entries": 1}


def test_two_at_the_same_time_with_different_subjects_are_told_apart():
    attempts = [attempt(1, 0, 2, subject="Primero"), attempt(2, 0, 2, subject="Segundo")]
    assert said(match(attempts, [entry(1, subject="Segundo")])) == {1: reasons.ABSENT, 2: reasons.FOUND}


def test_an_entry_near_one_attempt_only_is_its_although_the_other_is_within_the_tolerance():
    attempts = [attempt(1, 0, 1), attempt(2, 5, 6)]
    assert said(match(attempts, [entry(0)])) == {1: reasons.FOUND, 2: reasons.ABSENT}
    assert said(match(attempts, [entry(6)])) == {1: reasons.ABSENT, 2: reasons.FOUND}


def test_with_a_clock_that_nothing_proves_right_time_tells_none_apart():
    attempts = [attempt(1, 0, 1), attempt(2, 5, 6)]
    assert set(said(match(attempts, [entry(0)], near=None)).values()) == {reasons.TWO_ALIKE}


def test_a_less_certain_clock_needs_a_greater_distance():
    attempts = [attempt(1, 0, 1), attempt(2, 5, 6)]
    assert set(said(match(attempts, [entry(0)], near=4.5)).values()) == {reasons.TWO_ALIKE}


def test_as_many_as_can_be_are_matched_although_the_nearest_pair_is_another():
    # Nearest first would give the entry at 4 to the second attempt, and leave the first with none.
    attempts = [attempt(1, 0, 1), attempt(2, 4, 5)]
    matched = match(attempts, [entry(4, "/d/4"), entry(9, "/d/9")])
    assert {number: finding.entry.link for number, finding in matched.findings.items()} == {1: "/d/4", 2: "/d/9"}


def test_while_another_message_is_on_its_way_nothing_is_decided():
    under_way = Candidate(-7, at(0), at(3), under_way=True)
    assert said(match([attempt(1, 0, 2), under_way], [entry(1)]))[1] == reasons.UNDER_WAY
    both = match([attempt(1, 0, 2), under_way], [entry(1, "/d/a"), entry(2, "/d/b")])
    assert said(both)[1] == reasons.UNDER_WAY


def test_another_message_on_its_way_that_the_log_does_not_show_hinders_nothing():
    under_way = Candidate(-7, at(0), at(3), under_way=True)
    assert said(match([attempt(1, 0, 2), under_way], []))[1] == reasons.ABSENT


def test_hundreds_of_alike_messages_are_counted():
    attempts = [attempt(number, 0, 60) for number in range(300)]
    entries = [entry(number % 60, f"/d/{number}") for number in range(300)]
    matched = match(attempts, entries)
    assert set(said(matched).values()) == {reasons.FOUND_ALL}
    assert len({finding.entry.link for finding in matched.findings.values()}) == 300
    assert set(said(match(attempts, entries[:-1])).values()) == {reasons.TWO_ALIKE}


# --- Texts


@pytest.mark.parametrize(
    ("href", "other"),
    [
        ("/accounts/1/deliveries/ABC-1", "https://api.example.com/accounts/cobros/deliveries/abc-1/"),
        ("/deliveries?id=7", "https://api.example.com/deliveries?id=7"),
    ],
)
def test_a_link_is_the_same_however_it_is_written(href, other):
    assert link_key(href) == link_key(other)


def test_links_to_two_deliveries_differ():
    assert link_key("/deliveries?id=7") != link_key("/deliveries?id=8")
    assert link_key("/deliveries/7") != link_key("/deliveries/8")


def test_a_subject_that_the_ledger_cut_fits_the_whole_one():
    whole = "Aviso &amp; " * 200
    assert same_subject(whole[:1000], whole)
    assert not same_subject(whole[:1000], "Otro " + whole)


def test_composed_letters_are_the_same_in_both_forms():
    assert normal_subject("Atencio\u0301n") == normal_subject("Atención")


def test_nobody_is_seen_in_what_is_printed():
    matched = match([attempt(1, 0, 2, subject="Deuda de Ana")], [entry(1, subject="Deuda de Ana")])
    assert "Ana" not in repr(matched)
    assert SENDER not in repr(matched)


# --- Whatever happened: a verdict never contradicts it

SUBJECTS = ["Aviso", "Recordatorio"]


@st.composite
def histories(draw):
    """Attempts for one person, and when the relay accepted each (None: never); its clock may be a little off."""
    attempts, truth = [], {}
    for number in range(1, draw(st.integers(1, 6)) + 1):
        start = draw(st.integers(0, 40)) + draw(st.sampled_from([0.0, 0.25, 0.9]))
        length = draw(st.sampled_from([0.0, 0.05, 1.0, 2.0, 10.0, 30.0]))
        subject = draw(st.sampled_from(SUBJECTS))
        sender = draw(st.sampled_from([SENDER, SENDER, ""]))
        attempts.append(attempt(number, start, start + length, subject=subject, sender=sender))
        share = draw(st.floats(0, 1))
        truth[number] = start + share * length if draw(st.booleans()) else None
    return attempts, truth, draw(st.sampled_from([-1.4, -0.5, 0.0, 0.3, 1.4]))


def log_of(attempts, truth, skew: float = 0.0) -> list[Entry]:
    subjects = {one.id: one.subject for one in attempts}
    return [
        entry(moment + skew, f"/d/{number}", subject=subjects[number])
        for number, moment in truth.items()
        if moment is not None
    ]


def accepted(matched: Matched) -> set[int]:
    return {number for number, finding in matched.findings.items() if finding.found}


def absent(matched: Matched) -> set[int]:
    return {number for number, finding in matched.findings.items() if finding.reason == reasons.ABSENT}


def contradicts(matched: Matched, attempts, truth) -> bool:
    """Of identical attempts only the number is knowable; of all others each one."""
    alike: dict[tuple, list[int]] = {}
    for one in attempts:
        alike.setdefault((one.started_at, one.ended_at, one.subject, one.sender), []).append(one.id)
    for group in alike.values():
        really = sum(truth[number] is not None for number in group)
        if len(accepted(matched) & set(group)) > really:
            return True
        if len(absent(matched) & set(group)) > len(group) - really:
            return True
    return False


@settings(max_examples=600, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_no_verdict_contradicts_what_happened(history, random):
    attempts, truth, skew = history
    entries = log_of(attempts, truth, skew)
    random.shuffle(attempts)
    random.shuffle(entries)
    matched = match(attempts, entries)
    assert not contradicts(matched, attempts, truth)
    links = [finding.entry.link for finding in matched.findings.values() if finding.entry]
    assert len(links) == len(set(links))


@settings(max_examples=300, deadline=None)
@given(histories(), st.integers(0, 3))
def test_what_the_ledger_owns_and_what_is_under_way_confuses_nothing(history, decided):
    """Some attempts are known for certain (their entries are subtracted), one is still under way."""
    attempts, truth, skew = history
    known = {one.id for one in attempts[:decided] if truth[one.id] is not None}
    rest = [one for one in attempts if one.id not in known]
    entries = [one for one in log_of(attempts, truth, skew) if int(one.link.rpartition("/")[2]) not in known]
    if rest:
        rest[-1] = replace(rest[-1], under_way=True, subject=None, sender="")
    matched = match(rest, entries)
    asked = [one for one in rest if not one.under_way]
    matched.findings = {one.id: matched.findings[one.id] for one in asked}
    assert not contradicts(matched, asked, truth)


@settings(max_examples=300, deadline=None)
@given(histories(), st.sampled_from([{"subject": "Publicidad: Aviso"}, {"sender": "otro@example.com"}]))
def test_a_relay_that_alters_what_it_logs_never_proves_an_absence(history, altered):
    attempts, truth, _skew = history
    entries = [replace(one, **altered) for one in log_of(attempts, truth)]
    attempts = [replace(one, sender=SENDER) for one in attempts]
    matched = match(attempts, entries)
    assert not accepted(matched)
    assert not {number for number in absent(matched) if truth[number] is not None}


@settings(max_examples=300, deadline=None)
@given(histories(), st.floats(-100, 100))
def test_a_relay_whose_clock_is_off_never_proves_an_absence_of_what_it_has(history, skew):
    """That the clock is right is checked elsewhere, by the controls; here only that no double can come of it alone."""
    attempts, truth, _skew = history
    attempts, truth = attempts[:1], {1: truth[1]}
    matched = match(attempts, log_of(attempts, truth, skew), near=None)
    assert not contradicts(matched, attempts, truth)


@st.composite
def plain_histories(draw):
    """A minute between any two attempts for this person."""
    attempts, truth, start = [], {}, 0.0
    for number in range(1, draw(st.integers(1, 6)) + 1):
        length = draw(st.floats(0, 30))
        attempts.append(attempt(number, start, start + length))
        truth[number] = start + draw(st.floats(0, 1)) * length if draw(st.booleans()) else None
        start += length + 60
    return attempts, truth


@settings(max_examples=300, deadline=None)
@given(plain_histories(), st.sampled_from([None, 2.0]))
def test_in_the_plain_case_everything_is_decided_and_right(history, near):
    attempts, truth = history
    matched = match(attempts, log_of(attempts, truth), near=near)
    assert accepted(matched) == {number for number, moment in truth.items() if moment is not None}
    assert absent(matched) == {number for number, moment in truth.items() if moment is None}


# --- Beside tests that people sent to themselves


@settings(max_examples=600, deadline=None)
@given(histories(), st.data())
def test_beside_tests_without_a_link_no_verdict_contradicts_what_happened(history, data):
    """Every other attempt is a test; one without an answer may have been accepted up to an hour later."""
    attempts, truth, skew = history
    tests, rest = attempts[::2], attempts[1::2]
    for one in tests:
        if truth[one.id] is not None:
            truth[one.id] += data.draw(st.floats(0, 3500))
    tests = [replace(one, ended_at=one.ended_at + timedelta(hours=1)) for one in tests]
    matched = match(rest, log_of(attempts, truth, skew), tests=tests)
    assert not contradicts(matched, rest, truth)


@settings(max_examples=300, deadline=None)
@given(histories(), st.integers(1, 3))
def test_tests_only_ever_leave_more_to_a_person(history, count):
    attempts, truth, skew = history
    entries = log_of(attempts, truth, skew)
    alone = match(attempts, entries)
    tests = [replace(one, id=-one.id) for one in attempts[:count]]
    beside = match(attempts, entries, tests=tests)
    for number, finding in beside.findings.items():
        if finding.found or finding.reason == reasons.ABSENT:
            assert finding.reason == alone.findings[number].reason
            assert finding.entry == alone.findings[number].entry


def test_an_entry_that_may_be_a_tests_proves_nothing_and_leaves_no_absence_near():
    other = attempt(2, 60, 62)
    matched = match([attempt(1, 0, 2), other], [entry(1)], tests=[attempt(9, 0, 2)])
    assert said(matched) == {1: reasons.TEST_SEND, 2: reasons.TEST_SEND}
    far = match([attempt(1, 0, 2), attempt(2, 600, 602)], [entry(1)], tests=[attempt(9, 0, 2)])
    assert said(far) == {1: reasons.TEST_SEND, 2: reasons.ABSENT}
