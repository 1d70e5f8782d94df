"""When a bulk send will end, and how much of it leaves on its first day. Pure: what is known goes in as arguments.

It is gone through stretch by stretch: a stretch ends when the window closes, when a quota is used up or renewed, and at
the midnight that ends the first day.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from relay.windows import NeverOpens, Window, open_until, resting_until

MOST_STRETCHES = 1000  # a page waits for it: about 50 ms
FARTHEST = timedelta(days=366)

WINDOW = "window"
# Why the end cannot be known.
NO_RATE = "no_rate"
NEVER_OPENS = "never_opens"
NO_QUOTA = "no_quota"
TOO_FAR = "too_far"


@dataclass(frozen=True, slots=True)
class Allowance:
    """A quota of the relay, in the hands of this bulk send."""

    period: str  # hourly, daily, monthly
    limit: int
    remaining: float
    resets_at: datetime

    def at(self, moment: datetime) -> "Allowance":
        """As it is then, renewed as often as its period has ended."""
        renewed = self
        while renewed.resets_at <= moment:
            renewed = replace(renewed, remaining=self.limit, resets_at=next_reset(self.period, renewed.resets_at))
        return renewed


def next_reset(period: str, after: datetime) -> datetime:
    """The relay counts by the hours, days and months of UTC (relay API notes §6.1)."""
    after = after.astimezone(UTC)
    if period == "hourly":
        return after.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    midnight = after.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "daily":
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Forecast:
    begins_at: datetime | None = None  # None: it never does
    ends_at: datetime | None = None  # None: see `unknown`
    not_before: datetime | None = None  # where only the speed is not known: it ends then or later
    first_day: int = 0  # so many leave on the day on which it begins
    waits_for: tuple[str, ...] = ()  # WINDOW and the periods of quotas
    unknown: str = ""


@dataclass(slots=True)
class _Course:
    left: float
    now: datetime
    allowances: list[Allowance]
    begins_at: datetime | None = None
    day_ends: datetime | None = None
    first_day: float = 0.0
    waits_for: dict[str, None] = field(default_factory=dict)

    def pass_until(self, moment: datetime) -> None:
        self.now = moment
        self.allowances = [allowance.at(moment) for allowance in self.allowances]

    def take(self, count: float) -> None:
        self.left -= count
        self.allowances = [replace(one, remaining=one.remaining - count) for one in self.allowances]
        if self.day_ends is not None and self.now < self.day_ends:
            self.first_day += count


def foresee(
    count: int,
    start: datetime,
    *,
    rate: float | None,
    window: Window | None = None,
    allowances: Iterable[Allowance] = (),
    zone: ZoneInfo,
) -> Forecast:
    """`rate` in messages a second; None: not known. `zone` says when the first day ends."""
    course = _Course(float(count), start.astimezone(UTC), [one.at(start) for one in allowances])
    ended, unknown = _follow(course, rate or math.inf, window, zone, start + FARTHEST)
    if not unknown and rate is None:
        unknown = NO_RATE
    return Forecast(
        begins_at=course.begins_at,
        ends_at=None if unknown else ended,
        not_before=ended if unknown == NO_RATE else None,
        first_day=min(count, round(course.first_day)),
        waits_for=tuple(course.waits_for),
        unknown=unknown,
    )


def _follow(
    course: _Course, rate: float, window: Window | None, zone: ZoneInfo, farthest: datetime
) -> tuple[datetime | None, str]:
    """When nothing is left, or why that cannot be told."""
    for _ in range(MOST_STRETCHES):
        if course.now > farthest:
            break
        closes = None
        if window is not None:
            try:
                opens = resting_until(window, course.now)
            except NeverOpens:
                return None, NEVER_OPENS
            if opens is not None:
                course.waits_for[WINDOW] = None
                course.pass_until(opens)
            closes = open_until(window, course.now)
        used_up = [allowance for allowance in course.allowances if allowance.remaining < 1]
        if used_up:
            if any(allowance.limit < 1 for allowance in used_up):
                return None, NO_QUOTA
            course.waits_for.update(dict.fromkeys(one.period for one in used_up))
            course.pass_until(max(one.resets_at for one in used_up))
            continue
        _begin(course, zone)
        sent, until = _stretch(course, rate, closes)
        if sent >= course.left:
            seconds = course.left / rate
            course.take(course.left)
            return course.now + timedelta(seconds=seconds), ""
        course.take(sent)
        course.pass_until(until)
    return None, TOO_FAR


def _begin(course: _Course, zone: ZoneInfo) -> None:
    if course.begins_at is None:
        course.begins_at = course.now
        following = course.now.astimezone(zone).date() + timedelta(days=1)
        course.day_ends = datetime.combine(following, time(), zone).astimezone(UTC)


def _stretch(course: _Course, rate: float, closes: datetime | None) -> tuple[float, datetime]:
    """How many leave until something changes, and when that is."""
    ends: Sequence[datetime] = [
        end
        for end in (closes, course.day_ends, *(one.resets_at for one in course.allowances))
        if end is not None and end > course.now
    ]
    until = min(ends, default=course.now + FARTHEST)
    by_time = (until - course.now).total_seconds() * rate
    by_quota = float(min((one.remaining for one in course.allowances), default=math.inf))
    if by_time <= by_quota:
        return by_time, until
    return by_quota, course.now + timedelta(seconds=min(by_quota, course.left) / rate)
