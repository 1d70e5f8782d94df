"""Local days → the stretch of time that the relay is asked for."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from reports.periods import PeriodProblem, period_of

GUAYAQUIL = ZoneInfo("America/Guayaquil")
NOW = datetime(2026, 11, 24, 15, 0, 0, 999, UTC)


def test_local_days_become_a_half_open_stretch_of_utc():
    period = period_of(date(2026, 11, 20), date(2026, 11, 22), zone=GUAYAQUIL, now=NOW)
    assert (period.start, period.end) == (datetime(2026, 11, 20, 5, tzinfo=UTC), datetime(2026, 11, 23, 5, tzinfo=UTC))


def test_it_never_ends_in_the_future():
    period = period_of(date(2026, 11, 24), date(2026, 11, 30), zone=GUAYAQUIL, now=NOW)
    assert period.end == NOW.replace(microsecond=0)


def test_a_day_of_a_change_of_clocks_has_its_own_length():
    santiago = ZoneInfo("America/Santiago")  # clocks go from 0:00 to 1:00 on 6 September 2026
    period = period_of(date(2026, 9, 6), date(2026, 9, 6), zone=santiago, now=NOW)
    assert (period.end - period.start).total_seconds() == 23 * 3600
    assert period.start == datetime(2026, 9, 6, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "last", "said", "is_of_first"),
    [
        (date(2026, 11, 22), date(2026, 11, 20), "2026-11-20", False),
        (date(2026, 11, 25), date(2026, 11, 25), "2026-11-25", True),
        (date(2025, 1, 1), date(2026, 11, 1), "366", False),
        (date(1999, 12, 31), date(1999, 12, 31), "1999-12-31", True),
        (date.min, date.min, "0001-01-01", True),
        (date.max, date.max, "9999-12-31", True),
        (date(2026, 11, 20), date.max, "366", False),
    ],
)
def test_days_that_cannot_be_asked_for_are_said(first, last, said, is_of_first):
    with pytest.raises(PeriodProblem, match=said) as caught:
        period_of(first, last, zone=GUAYAQUIL, now=NOW)
    assert caught.value.is_of_first == is_of_first


@pytest.mark.parametrize("day", [date.min, date.max])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_no_calendar_goes_on_for_ever(day, zone):
    with pytest.raises(PeriodProblem):
        period_of(day, day, zone=ZoneInfo(zone), now=NOW)


def test_midnight_itself_has_nothing_of_the_new_day():
    midnight = datetime(2026, 11, 24, 5, 0, 0, 400, UTC)
    with pytest.raises(PeriodProblem, match="2026-11-24"):
        period_of(date(2026, 11, 24), date(2026, 11, 24), zone=GUAYAQUIL, now=midnight)
