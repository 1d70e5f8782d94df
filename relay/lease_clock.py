"""The time of a lease as its holder sees it: the database's clock, told by a clock of this process that nobody sets."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from relay.dialects import database_now


def ticks() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(slots=True, kw_only=True)
class LeaseClock:
    """`clock_*` translate ticks into the database's time: two readings of one moment."""

    clock_database: datetime
    clock_ticks: float
    deadline: float  # in ticks; counted from before the renewal was asked for, hence never too late

    def now(self) -> datetime:
        """The time by the database's clock."""
        return self.clock_database + timedelta(seconds=ticks() - self.clock_ticks)

    def holds(self) -> bool:
        """Calls may leave. After that its holder may still write, until somebody takes the lease over."""
        return ticks() < self.deadline

    def seconds_left(self) -> float:
        return self.deadline - ticks()


def read_clocks() -> tuple[datetime, float]:
    """Database and ticks, as `LeaseClock` wants them. The ticks of after the answer: a little late, never ahead.

    To be asked by itself: what a statement returns that had to wait for a lock is the time of before or after that.
    """
    return database_now(), ticks()
