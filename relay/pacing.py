"""How many may leave now, or until when to wait (pure: time goes in as an argument)."""

import random

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
