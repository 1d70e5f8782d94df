"""When may the next call leave: the breaker as a table over an explicit clock, and the delay of a returned row."""

from itertools import pairwise

import pytest

from relay import pacing
from relay.pacing import Breaker, row_delay

DOWN = [("failed", 0.0)] * 3

# Steps: ("failed" | "answered", at), or ("wait", at, seconds to wait).
STORIES = {
    "a new one lets every call go": [("wait", 0.0, 0.0), ("wait", 0.0, 0.0), ("wait", 99.0, 0.0)],
    "two failures are about recipients": [("failed", 0.0), ("failed", 0.0), ("wait", 0.0, 0.0), ("wait", 0.1, 0.0)],
    "an answer between failures starts the count anew": [
        ("failed", 0.0),
        ("failed", 0.0),
        ("answered", 0.0),
        ("failed", 0.0),
        ("failed", 0.0),
        ("wait", 0.0, 0.0),
    ],
    "the third in a row closes it for a second": [*DOWN, ("wait", 0.0, 1.0), ("wait", 0.75, 0.25)],
    "then one call probes and the others wait": [
        *DOWN,
        ("wait", 1.0, 0.0),
        ("wait", 1.0, 0.1),
        ("wait", 500.0, 0.1),
    ],
    "an answer to the probe opens it": [*DOWN, ("wait", 1.0, 0.0), ("answered", 1.2), ("wait", 1.2, 0.0)] * 2,
    "a failed probe closes it for twice as long": [
        *DOWN,
        ("wait", 1.0, 0.0),
        ("failed", 1.5),
        ("wait", 1.5, 2.0),
        ("wait", 3.5, 0.0),
        ("wait", 3.5, 0.1),
        ("failed", 4.0),
        ("wait", 4.0, 4.0),
    ],
    "calls that were under way when it closed do not lengthen it": [
        *DOWN,
        ("failed", 0.1),
        ("failed", 0.2),
        ("wait", 0.2, 0.8),
    ],
    "after an answer three failures are needed again, and the delay begins at one": [
        *DOWN,
        ("wait", 1.0, 0.0),
        ("failed", 1.0),
        ("wait", 3.0, 0.0),
        ("answered", 3.1),
        ("failed", 3.2),
        ("failed", 3.2),
        ("wait", 3.2, 0.0),
        ("failed", 3.2),
        ("wait", 3.2, 1.0),
    ],
    "an answer to a call that left before opens it too": [*DOWN, ("answered", 0.5), ("wait", 0.5, 0.0)],
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_the_breaker_lets_go_and_holds_back(story):
    breaker = Breaker()
    for number, (step, at, *expected) in enumerate(story):
        if step == "wait":
            assert breaker.wait(at) == pytest.approx(expected[0]), (number, step, at)
        else:
            breaker.failed(at) if step == "failed" else breaker.answered()
    assert not breaker.given_up


def test_an_answer_while_it_is_closed_does_not_keep_it_from_closing_again():
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(0.0)
    breaker.failed(1.0)  # the probe: closed until 3.0
    breaker.answered()
    for _ in range(3):
        breaker.failed(2.0)
    assert breaker.wait(2.0) == 1.0


def test_it_gives_up_after_about_a_minute_out_of_reach_and_not_before():
    breaker, now, waits = Breaker(), 0.0, []
    for _ in range(3):
        breaker.failed(now)
    while not breaker.given_up:
        delay = breaker.wait(now)
        waits.append(delay)
        now += delay
        assert breaker.wait(now) == 0.0
        breaker.failed(now)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert sum(waits) == pytest.approx(pacing.LONGEST_WAIT, abs=5)


def test_an_answer_takes_giving_up_back():
    breaker = Breaker()
    for now in (0.0, 0.0, 0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0):
        breaker.failed(now)
    assert breaker.given_up
    breaker.answered()
    assert not breaker.given_up
    assert breaker.wait(80.0) == 0.0


@pytest.mark.parametrize(
    ("attempts", "retry_after", "least"),
    [
        (0, None, 1.0),
        (1, None, 2.0),
        (2, None, 4.0),
        (5, None, 32.0),
        (11, None, 2048.0),
        (12, None, 3600.0),
        (30_000, None, 3600.0),
        (0, 0.0, 1.0),
        (0, 0.5, 1.0),
        (0, 45.0, 45.0),
        (4, 10.0, 16.0),
        (3, 3600.0, 3600.0),
    ],
)
def test_a_row_waits_what_the_relay_asked_and_longer_with_each_attempt(attempts, retry_after, least):
    delays = [row_delay(attempts, retry_after) for _ in range(200)]
    assert min(delays) >= least
    assert max(delays) <= least * 1.1
    assert len(set(delays)) > 100  # spread, or all come back at once


# --- The governor before a simulated relay ------------------------------------------------------------------


def simulate(seconds: int, *, most: int = 100, calls_per_second: float = 1e9, room: int = 10**9) -> list[dict]:
    """A relay that answers in 0.1 s, slower in proportion when more than `room` calls are in flight, and says 429 to
    what is above `calls_per_second`. One line for each second."""
    return continue_simulation(pacing.Governor(most), seconds, calls_per_second=calls_per_second, room=room)


def continue_simulation(governor, seconds, *, calls_per_second=1e9, room=10**9):
    course = []
    for _second in range(seconds):
        in_flight = int(governor.limit)
        latency = 0.1 * max(1.0, in_flight / room)
        calls = round(in_flight / latency)
        accepted = min(calls, round(calls_per_second))
        for number in range(calls):
            if number < accepted:
                governor.answered(latency)
            else:
                governor.throttled()
        governor.tick()
        course.append({"limit": in_flight, "accepted": accepted, "refused": calls - accepted, "latency": latency})
    return course


def test_a_relay_that_takes_everything_gets_all_connections_at_once():
    assert {second["limit"] for second in simulate(20)} == {100}


def test_under_429_the_governor_takes_away_until_it_fits_and_stays_near_what_is_allowed():
    course = simulate(120, calls_per_second=200)  # 20 connections' worth of a hundred
    assert [second["limit"] for second in course[:3]] == [100, 50, 25]
    settled = course[20:]
    assert sum(second["accepted"] for second in settled) / len(settled) > 0.7 * 200
    assert sum(second["refused"] for second in settled) < 0.15 * sum(second["accepted"] for second in settled)
    assert min(second["limit"] for second in settled) >= 5


def test_when_429_ends_the_governor_is_back_at_full_strength_within_a_minute():
    governor = pacing.Governor(100)
    continue_simulation(governor, 30, calls_per_second=100)
    assert governor.limit < 20
    course = continue_simulation(governor, 50)
    limits = [second["limit"] for second in course]
    assert limits == sorted(limits)
    assert limits[-1] == 100
    # No leap: at most a tenth more, or one call, each second.
    assert all(after - before <= max(1, before / 10) + 1 for before, after in pairwise(limits))


def test_rising_latency_takes_connections_away_before_it_takes_a_second():
    governor = pacing.Governor(100)
    continue_simulation(governor, 10)
    course = continue_simulation(governor, 60, room=10)  # a hundred in flight would take ten times as long
    assert course[0]["latency"] == pytest.approx(1.0)
    assert max(second["latency"] for second in course[15:]) < 0.6
    back = continue_simulation(governor, 60)
    assert back[-1]["limit"] == 100


def test_a_relay_that_says_429_now_and_then_is_not_crept_up_to():
    """Four in a hundred whatever one does: that is no sign of too many calls."""
    governor = pacing.Governor(100)
    for _second in range(60):
        for number in range(int(governor.limit) * 10):
            if number % 25:
                governor.answered(0.1)
            else:
                governor.throttled()
        governor.tick()
    assert governor.limit > 95


def test_a_few_slow_answers_among_many_change_nothing():
    governor = pacing.Governor(50)
    for _second in range(30):
        for number in range(500):
            governor.answered(5.0 if number % 50 == 0 else 0.1)  # one in fifty times out
        governor.tick()
    assert governor.limit == 50


def test_the_governor_never_forbids_everything():
    governor = pacing.Governor(3)
    for _second in range(50):
        governor.throttled()
        governor.tick()
    assert governor.limit >= 1


# --- Stop-loss, slots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "outcomes", "reached"),
    [
        (0.5, ["refused"] * 99, False),
        (0.5, ["refused"] * 50 + ["unknown"] * 50, True),
        (0.5, ["accepted"] * 1000 + ["refused"] * 99, False),
        (0.5, ["accepted"] * 1000 + ["refused"] * 100, True),
        (0.5, ["refused"] * 99 + ["accepted"] * 200 + ["refused"] * 99, False),
        (0.5, ["refused", "accepted"] * 98 + ["refused"], False),
        (1.0, ["refused"] * 200, True),
        (0.0, ["refused"] * 1000, False),
    ],
)
def test_too_many_losses_among_the_latest_outcomes(share, outcomes, reached):
    stop_loss = pacing.StopLoss(share)
    for outcome in outcomes:
        stop_loss.note(outcome)
    assert stop_loss.reached is reached


def test_the_stop_loss_says_what_it_saw():
    stop_loss = pacing.StopLoss(0.5)
    for outcome in ["accepted"] * 150 + ["refused"] * 60 + ["unknown"] * 40:
        stop_loss.note(outcome)
    assert stop_loss.counts() == {"outcomes": 200, "refused": 60, "unknown": 40}


def test_slots_come_one_by_one_and_evenly():
    slots = pacing.Slots()
    slots.add(10.0, 4, 1.0)
    assert slots.left(9.0) == 4
    assert [slots.wait(10.0) for _ in range(5)] == [0.0, 0.25, 0.5, 0.75, None]


def test_a_slot_that_was_not_used_in_time_is_lost():
    slots = pacing.Slots()
    slots.add(10.0, 4, 1.0)
    assert slots.left(11.3) == 2
    assert slots.wait(11.3) == 0.0
    assert slots.left(20.0) == 0
    assert slots.wait(20.0) is None
