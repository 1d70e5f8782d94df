"""When a bulk send ends: by its speed, its window, the relay's quotas, holidays and clocks that are set."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from relay import forecasting
from relay.forecasting import Allowance, Forecast, foresee, next_reset
from relay.windows import Window, is_holiday, open_until, resting_until

QUITO = ZoneInfo("America/Guayaquil")  # UTC-5, never set
SANTIAGO = ZoneInfo("America/Santiago")
OFFICE = Window(frozenset({1, 2, 3, 4, 5}), time(8), time(18), QUITO)
MONDAY = datetime(2026, 11, 23, 10, tzinfo=QUITO)
FAR = MONDAY + timedelta(days=400)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=QUITO)


def of(count: int, start: datetime = MONDAY, rate: float | None = 10.0, **known) -> Forecast:
    return foresee(count, start, rate=rate, zone=QUITO, **known)


def hourly(limit: int, remaining: int | None = None, resets_at: datetime = MONDAY + timedelta(hours=1)) -> Allowance:
    return Allowance("hourly", limit, limit if remaining is None else remaining, resets_at)


def daily(limit: int, remaining: int | None = None) -> Allowance:
    """Days of UTC end at 19:00 in Quito."""
    return Allowance("daily", limit, limit if remaining is None else remaining, at(23, 19))


# --- Speed


def test_it_takes_as_long_as_its_rate_says() -> None:
    assert of(36_000) == Forecast(begins_at=MONDAY, ends_at=at(23, 11), first_day=36_000)


def test_without_a_speed_the_end_is_not_known() -> None:
    found = of(36_000, rate=None)
    assert (found.ends_at, found.unknown, found.not_before) == (None, forecasting.NO_RATE, MONDAY)


def test_what_goes_on_after_midnight_is_not_of_the_first_day() -> None:
    found = of(3600 * 20, at(23, 23), rate=2.0)
    assert (found.first_day, found.ends_at) == (7200, at(24, 9))


def test_a_year_is_the_most_that_is_foreseen() -> None:
    assert of(10**9, rate=0.1).unknown == forecasting.TOO_FAR


# --- Windows


def test_before_the_window_opens_it_waits() -> None:
    found = of(36_000, at(23, 6), window=OFFICE)
    assert (found.begins_at, found.ends_at, found.waits_for) == (at(23, 8), at(23, 9), ("window",))


def test_what_does_not_fit_into_the_day_goes_on_when_it_opens_again() -> None:
    found = of(36_000 * 9, window=OFFICE)
    assert (found.first_day, found.ends_at) == (36_000 * 8, at(24, 9))


def test_the_week_end_is_not_worked() -> None:
    assert of(36_000 * 9, at(27, 10), window=OFFICE).ends_at == at(30, 9)


def test_a_holiday_is_no_day_of_the_window() -> None:
    """The second of November is one in Ecuador, the third as well."""
    window = replace(OFFICE, rests_on_holidays_of="EC")
    assert is_holiday("EC", date(2026, 11, 2))
    friday = datetime(2026, 10, 30, 17, tzinfo=QUITO)
    ends_at = of(36_000 * 2, friday, window=window).ends_at
    assert ends_at is not None
    assert ends_at > datetime(2026, 11, 3, 8, tzinfo=QUITO)
    assert ends_at == resting_until(window, friday + timedelta(hours=1)) + timedelta(hours=1)  # type: ignore[operator]


def test_a_window_that_never_opens_ends_nothing() -> None:
    found = of(10, window=Window(frozenset(), time(8), time(18), QUITO))
    assert (found.begins_at, found.ends_at, found.unknown) == (None, None, forecasting.NEVER_OPENS)


def test_without_a_speed_the_window_still_says_when_it_cannot_end_before() -> None:
    assert of(10, at(28, 10), rate=None, window=OFFICE).not_before == at(30, 8)


# --- Quotas


def test_what_the_hour_lets_go_leaves_and_the_rest_waits_for_the_next() -> None:
    found = of(25_000, allowances=[hourly(10_000)])
    assert found.ends_at == at(23, 12) + timedelta(seconds=500)
    assert found.waits_for == ("hourly",)


def test_what_is_left_of_the_day_is_what_fits_today() -> None:
    """The quota of the day is renewed at 19:00: until midnight more of it leaves."""
    found = of(100_000, allowances=[daily(40_000, 30_000)])
    assert found.first_day == 70_000
    assert found.ends_at == at(24, 19) + timedelta(seconds=3000)


def test_hour_and_day_hold_together() -> None:
    found = of(30_000, allowances=[hourly(10_000), daily(50_000, 15_000)])
    assert found.waits_for == ("hourly", "daily")
    assert found.ends_at == at(23, 20) + timedelta(seconds=500)


def test_within_a_window_the_quota_of_the_day_is_what_fits_today() -> None:
    found = of(100_000, rate=100.0, window=OFFICE, allowances=[daily(40_000, 30_000)])
    assert (found.first_day, found.waits_for) == (30_000, ("daily", "window"))
    assert found.ends_at == at(25, 8) + timedelta(seconds=300)  # 30, 40 and 30 thousand on Monday, Tuesday, Wednesday


def test_a_quota_that_is_renewed_before_it_begins_is_whole_then() -> None:
    assert of(10_000, at(23, 12), allowances=[hourly(10_000, 0)]).ends_at == at(23, 12) + timedelta(seconds=1000)


def test_a_quota_of_nothing_lets_nothing_go() -> None:
    assert of(10, allowances=[daily(0)]).unknown == forecasting.NO_QUOTA


def test_without_a_speed_the_quotas_still_say_how_many_fit_today() -> None:
    found = of(100_000, rate=None, allowances=[daily(40_000, 30_000)])
    assert (found.first_day, found.not_before) == (70_000, at(24, 19))


@pytest.mark.parametrize(
    ("period", "reset"),
    [
        ("hourly", datetime(2026, 12, 31, 23, tzinfo=UTC)),
        ("daily", datetime(2027, 1, 1, tzinfo=UTC)),
        ("monthly", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_quotas_are_renewed_by_utc(period: str, reset: datetime) -> None:
    assert next_reset(period, datetime(2026, 12, 31, 22, 30, tzinfo=UTC)) == reset


def test_ten_million_by_the_hour_are_foreseen_at_once() -> None:
    found = of(10_000_000, rate=100.0, window=OFFICE, allowances=[hourly(100_000)])
    assert found.ends_at is not None


# --- Until when a window is open


@pytest.mark.parametrize(
    ("window", "moment", "closes"),
    [
        (OFFICE, at(23, 10), at(23, 18)),
        (replace(OFFICE, opens=time(20), closes=time(6)), at(23, 22), at(24, 6)),
        (replace(OFFICE, opens=time(20), closes=time(6)), at(24, 3), at(24, 6)),
        (replace(OFFICE, opens=time(0), closes=time(0)), at(24, 3), at(28, 0)),  # five days that touch
    ],
)
def test_a_window_closes_when_its_last_touching_opening_does(
    window: Window, moment: datetime, closes: datetime
) -> None:
    assert resting_until(window, moment) is None
    assert open_until(window, moment) == closes
    assert resting_until(window, closes) is not None


def test_a_window_that_never_closes() -> None:
    always = Window(frozenset(range(1, 8)), time(0), time(0), SANTIAGO)
    assert open_until(always, MONDAY) > FAR


def test_a_clock_that_is_set_back_keeps_a_window_open_an_hour_longer() -> None:
    """Santiago, the night of 2026-04-04: at 24:00 it is 23:00 again."""
    night = Window(frozenset({6}), time(20), time(6), SANTIAGO)
    opened = datetime(2026, 4, 4, 20, tzinfo=SANTIAGO).astimezone(UTC)
    assert open_until(night, opened) - opened == timedelta(hours=11)
