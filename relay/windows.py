"""When messages may leave: is a sending window open, and if not, when does it open next. Pure.

A window is open exactly while a clock on the wall in its zone shows a time in it: [opens, closes), on the weekdays
it has, holidays left out. One that closes at or before its opening closes on the following day, and belongs to the
day on which it opened. So an hour that daylight saving skips is never in it, and one that it repeats is in it twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import holidays

DAY = timedelta(days=1)
# What has not opened until then is taken for one that never does: two years hold every weekday of every month.
FARTHEST = timedelta(days=2 * 366)


class NeverOpens(Exception):
    """The window does not open within two years: all its days are holidays."""


@dataclass(frozen=True, slots=True)
class Window:
    weekdays: frozenset[int]  # ISO: 1 is Monday
    opens: time
    closes: time
    zone: ZoneInfo
    rests_on_holidays_of: str = ""  # a country (`EC`), or one and its part (`AR-B`)

    def opening_of(self, day: date) -> tuple[datetime, datetime] | None:
        """From when to when it is open by the clock on the wall, of what opens on that day."""
        if day.isoweekday() not in self.weekdays or is_holiday(self.rests_on_holidays_of, day):
            return None
        closing_day = day if self.closes > self.opens else day + DAY
        return datetime.combine(day, self.opens), datetime.combine(closing_day, self.closes)


def resting_until(window: Window, moment: datetime) -> datetime | None:
    """None: it is open. Otherwise its next opening, in UTC. Raises NeverOpens."""
    moment = moment.astimezone(UTC)  # with a zone of its own an hour that is repeated would equal nothing
    for start, end, offset in _steady_stretches(window.zone, moment):
        wall = (start + offset).replace(tzinfo=None)
        opening = _first_open(window, wall)
        if opening is not None and start + (opening - wall) < end:
            found = start + (opening - wall)
            return None if found == moment else found
    raise NeverOpens


def open_until(window: Window, moment: datetime) -> datetime:
    """When a window that is open at this moment closes next, in UTC; FARTHEST from it when it never does."""
    moment = moment.astimezone(UTC)
    for start, end, offset in _steady_stretches(window.zone, moment):
        wall = (start + offset).replace(tzinfo=None)
        while (closing := _closing(window, wall)) is not None and closing < (end + offset).replace(tzinfo=None):
            wall = closing
        if closing is None:
            return start + (wall - (start + offset).replace(tzinfo=None))
    return moment + FARTHEST


def _closing(window: Window, wall: datetime) -> datetime | None:
    """When the opening that holds this time ends; None: it is in none."""
    openings = [window.opening_of(day) for day in (wall.date() - DAY, wall.date())]
    return max((end for start, end in filter(None, openings) if start <= wall < end), default=None)


def is_holiday(country: str, day: date) -> bool:
    return bool(country) and day in _holidays(country, day.year)


@cache
def _holidays(country: str, year: int) -> frozenset[date]:
    code, _, part = country.partition("-")
    return frozenset(holidays.country_holidays(code, subdiv=part or None, years=year))


def _first_open(window: Window, wall: datetime) -> datetime | None:
    """The first time from `wall` on at which it is open, if there is one within a day."""
    today = wall.date()
    openings = [window.opening_of(day) for day in (today - DAY, today, today + DAY)]
    return min((max(opening[0], wall) for opening in openings if opening and opening[1] > wall), default=None)


def _steady_stretches(zone: ZoneInfo, start: datetime) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """(start, end, offset from UTC) of stretches of at most a day in which the clock on the wall is not set."""
    farthest = start + FARTHEST
    while start < farthest:
        offset = _offset(zone, start)
        end = start + DAY
        if _offset(zone, end) != offset:
            end = _when_the_clock_is_set(zone, start)
        yield start, end, offset
        start = end


def _when_the_clock_is_set(zone: ZoneInfo, before: datetime) -> datetime:
    """The second within the following day from which on the offset is another one."""
    offset = _offset(zone, before)
    origin = before.replace(microsecond=0)
    same, other = 0, int(DAY.total_seconds())
    while other - same > 1:
        middle = (same + other) // 2
        if _offset(zone, origin + timedelta(seconds=middle)) == offset:
            same = middle
        else:
            other = middle
    return origin + timedelta(seconds=other)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
