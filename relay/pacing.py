"""How fast calls may leave, and how long to wait after a failure (pure: time goes in as an argument)."""

import random
from collections import deque
from dataclasses import dataclass, field
from statistics import median

# So many failures in a row, without one answer between them, are about the relay and not about a recipient.
FAILURES_IN_A_ROW = 3
LONGEST_ROW_DELAY = 3600.0
# `--drain` and the timer command wait out delays up to this; what lasts longer is left to a later run.
LONGEST_WAIT = 60.0


def row_delay(attempts: int, retry_after: float | None) -> float:
    """Seconds until a row that came back is due: what the relay asked for, and never less than 1, 2, 4, … an hour."""
    delay = min(LONGEST_ROW_DELAY, 2.0 ** min(attempts, 12))
    return max(delay, retry_after or 0.0) * random.uniform(1.0, 1.1)  # noqa: S311  (spreads load, guards nothing)


class Breaker:
    """Stops calling a relay that cannot be reached, and tries again with one call after 1, 2, 4, … seconds."""

    def __init__(self) -> None:
        self._failures = 0
        self._delay = 0.0
        self._closed_until = 0.0
        self._probing = False

    def wait(self, now: float) -> float:
        """Seconds to wait before the next call; 0.0 lets it go, and while the relay is down lets one go at a time."""
        if not self._delay:
            return 0.0
        if now < self._closed_until:
            return self._closed_until - now
        if self._probing:
            return 0.1
        self._probing = True
        return 0.0

    def answered(self) -> None:
        self._failures = 0
        self._delay = 0.0
        self._closed_until = 0.0
        self._probing = False

    def failed(self, now: float) -> None:
        self._failures += 1
        if self._failures < FAILURES_IN_A_ROW or now < self._closed_until:
            return
        self._delay = self._delay * 2 or 1.0
        self._closed_until = now + self._delay
        self._probing = False

    @property
    def failing(self) -> bool:
        """The relay was out of reach when it was last called: ask `wait` before the next call."""
        return self._delay > 0

    @property
    def given_up(self) -> bool:
        """The relay has been out of reach for about a minute: leave it to a later run."""
        return self._delay > LONGEST_WAIT


# A relay that answers this much later than at its best, and twice as late, has more than it can take. (At full speed
# our own event loop adds some tens of milliseconds: that is no sign of the relay's.)
SLOWER_BY_SECONDS = 0.25
SLOWER_BY_FACTOR = 2.0
GROWTH = 0.06  # a second
# Above this share of 429 nothing grows. Below it growth outweighs what the share takes away: a relay that says 429
# now and then, however few calls it gets, is no reason to creep.
MUCH_THROTTLED = 0.1


class Governor:
    """How many calls may be in flight: fewer by the share that got a 429 or when answers slow down, then more again.

    `tick` is called about once a second; in between, answers are noted.
    """

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self._most = float(most)
        self._best: float | None = None
        self._latencies: deque[float] = deque(maxlen=1000)
        self._answers = 0
        self._throttled = 0
        self.was_throttled = False  # else, if fewer are allowed than could be, answers had slowed down

    def throttled(self) -> None:
        self._throttled += 1

    def answered(self, seconds: float) -> None:
        self._answers += 1
        self._latencies.append(seconds)

    def tick(self) -> None:
        calls = self._answers + self._throttled
        share = self._throttled / calls if calls else 0.0
        slower = bool(self._latencies) and self._slower(median(self._latencies))
        self.was_throttled = bool(share) or (self.was_throttled and not slower)
        self.limit *= max(0.5, 1 - share) * (0.8 if slower else 1.0)
        if share < MUCH_THROTTLED and not slower:
            self.limit += max(1.0, self.limit * GROWTH)
        self.limit = min(self._most, max(1.0, self.limit))
        self._latencies.clear()
        self._answers, self._throttled = 0, 0

    def _slower(self, usual: float) -> bool:
        # The best drifts upwards by 1 % a tick: a relay that has become slow for good is the new measure in minutes.
        self._best = usual if self._best is None else min(usual, self._best * 1.01)
        return usual > self._best + SLOWER_BY_SECONDS and usual > self._best * SLOWER_BY_FACTOR


# The share of bad outcomes is taken of so many, also when there are fewer yet: three bad ones of four prove nothing.
STOP_LOSS_WINDOW = 200


@dataclass(slots=True)
class StopLoss:
    """The latest outcomes; too large a `share` of refused and unknown ones among them stops the bulk send. 0 is off."""

    share: float
    _latest: deque[str] = field(default_factory=lambda: deque(maxlen=STOP_LOSS_WINDOW))
    _bad: int = 0

    def note(self, state: str) -> None:
        if len(self._latest) == STOP_LOSS_WINDOW:
            self._bad -= self._latest[0] != "accepted"
        self._latest.append(state)
        self._bad += state != "accepted"

    @property
    def reached(self) -> bool:
        return self.share > 0 and self._bad >= self.share * STOP_LOSS_WINDOW

    def forget(self) -> None:
        """Whoever resumes has judged what was seen."""
        self._latest.clear()
        self._bad = 0

    def counts(self) -> dict[str, int]:
        return {
            "outcomes": len(self._latest),
            "refused": self._latest.count("refused"),
            "unknown": self._latest.count("unknown"),
        }


# A promised call that was not made this long after its moment is lost: used later it would add to another second's.
LATEST_USE_SECONDS = 1.0


@dataclass(slots=True)
class Slots:
    """Moments at which one call each may leave, as they were promised to us (`relay.rates.promise`)."""

    _moments: deque[float] = field(default_factory=deque)

    def add(self, begin: float, count: int, seconds: float) -> None:
        """`count` moments, evenly over `seconds` from `begin`."""
        self._moments.extend(begin + seconds * number / count for number in range(count))

    def left(self, now: float) -> int:
        while self._moments and self._moments[0] < now - LATEST_USE_SECONDS:
            self._moments.popleft()
        return len(self._moments)

    def wait(self, now: float) -> float | None:
        """Takes the next moment: seconds until then; None when there is none."""
        if not self.left(now):
            return None
        return max(0.0, self._moments.popleft() - now)
