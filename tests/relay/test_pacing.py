"""When may the next call leave: the breaker as a table over an explicit clock, and the delay of a returned row."""

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
