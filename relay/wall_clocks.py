"""An hour that a person writes, by the clock on the wall of a zone, as a moment. Pure.

Twice a year, where there is daylight saving, an hour does not exist, or exists twice.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


class NoSuchHour(Exception):
    """The clocks are set forward over that time. `following` is what they show when they have been."""

    def __init__(self, following: datetime) -> None:
        super().__init__(following)
        self.following = following


@dataclass(frozen=True, slots=True)
class Moment:
    at: datetime  # in the zone
    twice: bool = False  # the clocks show this time twice that day; `at` is the first


def moment_of(wall: datetime, zone: ZoneInfo) -> Moment:
    """`wall` is without zone. Raises NoSuchHour."""
    first = wall.replace(tzinfo=zone, fold=0)
    second = wall.replace(tzinfo=zone, fold=1)
    before, after = _offset(first), _offset(second)
    if before < after:  # set forward: neither reading of it comes back as the same time
        raise NoSuchHour(first.astimezone(UTC).astimezone(zone))
    return Moment(first, twice=before != after)


def _offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta()
