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
    ("first", "last", "said"),
    [
        (date(2026, 11, 22), date(2026, 11, 20), "2026-11-20"),
        (date(2026, 11, 25), date(2026, 11, 25), "2026-11-25"),
        (date(2025, 1, 1), date(2026, 11, 1), "366"),
    ],
)
def test_days_that_cannot_be_asked_for_are_said(first, last, said):
    with pytest.raises(PeriodProblem, match=said):
        period_of(first, last, zone=GUAYAQUIL, now=NOW)
