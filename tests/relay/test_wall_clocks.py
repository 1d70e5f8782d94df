"""The hour that a person writes, where clocks are set."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from relay.wall_clocks import NoSuchHour, moment_of

QUITO = ZoneInfo("America/Guayaquil")
SANTIAGO = ZoneInfo("America/Santiago")


def wall(*shown: int) -> datetime:
    return datetime(*shown)  # type: ignore[arg-type, misc]  # noqa: DTZ001  (a clock on the wall has no zone)


def test_an_hour_is_a_moment_of_its_zone() -> None:
    found = moment_of(wall(2026, 11, 24, 8, 30), QUITO)
    assert found.at.isoformat() == "2026-11-24T08:30:00-05:00"
    assert not found.twice


def test_an_hour_that_is_skipped_does_not_exist() -> None:
    """2026-09-06 in Santiago: from 00:00 to 01:00."""
    with pytest.raises(NoSuchHour) as problem:
        moment_of(wall(2026, 9, 6, 0, 30), SANTIAGO)
    assert problem.value.following.isoformat() == "2026-09-06T01:30:00-03:00"


def test_of_an_hour_that_comes_twice_the_first_is_meant() -> None:
    """2026-04-04 in Santiago: at 24:00 it is 23:00 again."""
    found = moment_of(wall(2026, 4, 4, 23, 30), SANTIAGO)
    assert found.twice
    assert found.at.utcoffset() == timedelta(hours=-3)
