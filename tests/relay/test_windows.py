"""When a sending window opens: weekdays, ends, nights, clocks that are set, holidays; and against a slow oracle."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.windows import NeverOpens, Window, is_holiday, resting_until

WORKDAYS = frozenset(range(1, 6))
EVERY_DAY = frozenset(range(1, 8))
BOGOTA = ZoneInfo("America/Bogota")
NEW_YORK = ZoneInfo("America/New_York")  # 2026: forward on 8 March at 2:00, back on 1 November at 2:00
SANTIAGO = ZoneInfo("America/Santiago")  # 2026: back on 5 April at 0:00, forward on 6 September at 0:00


def window(
    opens: str = "08:00",
    closes: str = "20:00",
    weekdays: frozenset[int] = EVERY_DAY,
    zone: ZoneInfo = BOGOTA,
    country: str = "",
) -> Window:
    return Window(weekdays, time.fromisoformat(opens), time.fromisoformat(closes), zone, country)


def rests(window: Window, wall: str, fold: int = 0) -> str | None:
    """Until when it rests when the clock on the wall shows this, as the same clock will show it."""
    moment = datetime.fromisoformat(wall).replace(tzinfo=window.zone, fold=fold).astimezone(UTC)
    until = resting_until(window, moment)
    return until.astimezone(window.zone).isoformat(" ", "minutes") if until else None


@pytest.mark.parametrize(
    ("wall", "until"),
    [
        ("2026-11-24 07:59:59.999999", "2026-11-24 08:00-05:00"),
        ("2026-11-24 08:00", None),
        ("2026-11-24 19:59:59.999999", None),
        ("2026-11-24 20:00", "2026-11-25 08:00-05:00"),
    ],
)
def test_it_is_open_from_its_opening_until_just_before_its_closing(wall: str, until: str | None) -> None:
    assert rests(window(), wall) == until


def test_on_friday_evening_a_window_of_workdays_rests_until_monday() -> None:
    assert rests(window(weekdays=WORKDAYS), "2026-11-27 21:00") == "2026-11-30 08:00-05:00"


def test_what_closes_before_it_opens_closes_on_the_following_day_and_belongs_to_the_day_before() -> None:
    friday_night = window("22:00", "06:00", frozenset({5}))
    assert rests(friday_night, "2026-11-27 05:00") == "2026-11-27 22:00-05:00"
    assert rests(friday_night, "2026-11-28 05:59") is None
    assert rests(friday_night, "2026-11-28 06:00") == "2026-12-04 22:00-05:00"


def test_equal_ends_are_a_whole_day() -> None:
    friday = window("08:00", "08:00", frozenset({5}))
    assert rests(friday, "2026-11-27 07:59") == "2026-11-27 08:00-05:00"
    assert rests(friday, "2026-11-28 07:59") is None
    assert rests(friday, "2026-11-28 08:00") == "2026-12-04 08:00-05:00"
    assert rests(window("00:00", "00:00"), "2026-11-28 00:00") is None


def test_an_opening_in_the_hour_that_is_skipped_comes_when_the_clock_jumps_over_it() -> None:
    assert rests(window("02:30", "04:00", zone=NEW_YORK), "2026-03-08 01:59") == "2026-03-08 03:00-04:00"
    assert rests(window("00:30", "02:00", zone=SANTIAGO), "2026-09-05 23:59") == "2026-09-06 01:00-03:00"


def test_a_window_that_lies_in_the_skipped_hour_waits_for_the_following_day() -> None:
    assert rests(window("02:15", "02:45", zone=NEW_YORK), "2026-03-08 01:59") == "2026-03-09 02:15-04:00"


def test_a_window_in_the_hour_that_is_repeated_is_open_in_both() -> None:
    quarter = window("01:15", "01:45", zone=NEW_YORK)
    assert rests(quarter, "2026-11-01 01:30", fold=0) is None
    assert rests(quarter, "2026-11-01 01:45", fold=0) == "2026-11-01 01:15-05:00"
    assert rests(quarter, "2026-11-01 01:30", fold=1) is None
    assert rests(quarter, "2026-11-01 01:45", fold=1) == "2026-11-02 01:15-05:00"


def test_a_clock_set_back_over_midnight_opens_the_day_before_once_more() -> None:
    saturday = window("08:00", "00:00", frozenset({6}), SANTIAGO)
    assert rests(saturday, "2026-04-04 23:59:59", fold=0) is None
    assert rests(saturday, "2026-04-04 23:00", fold=1) is None  # a second later
    assert resting_until(saturday, datetime(2026, 4, 4, 23, 30, tzinfo=SANTIAGO, fold=1)) is None
    assert rests(saturday, "2026-04-05 00:00") == "2026-04-11 08:00-04:00"


def test_holidays_are_those_of_the_country_or_of_its_part() -> None:
    assert rests(window(country="EC"), "2026-08-10 10:00") == "2026-08-11 08:00-05:00"  # Primer Grito
    assert rests(window(country=""), "2026-08-10 10:00") is None
    assert is_holiday("AR-B", date(2026, 5, 25))
    assert not is_holiday("AR-B", date(2026, 5, 26))


def test_a_night_that_begins_before_a_holiday_goes_on_into_it_and_none_begins_on_it() -> None:
    night = window("22:00", "06:00", country="EC")
    assert rests(night, "2026-08-10 05:00") is None
    assert rests(night, "2026-08-10 22:00") == "2026-08-11 22:00-05:00"


def test_what_never_opens_is_told() -> None:
    with pytest.raises(NeverOpens):
        resting_until(window(weekdays=frozenset()), datetime(2026, 11, 24, tzinfo=UTC))


# --- against every minute -------------------------------------------------------------------------------------

NEAR_CHANGES = [datetime(2026, month, day, tzinfo=UTC) for month, day in [(3, 8), (4, 5), (9, 6), (11, 1), (8, 10)]]
QUARTERS = st.integers(0, 95).map(lambda n: time(n // 4, n % 4 * 15))


def is_open(window: Window, moment: datetime) -> bool:
    wall = moment.astimezone(window.zone)
    today, yesterday, now = wall.date(), wall.date() - timedelta(days=1), wall.time()
    if window.opens < window.closes:
        return counts(window, today) and window.opens <= now < window.closes
    return (counts(window, today) and now >= window.opens) or (counts(window, yesterday) and now < window.closes)


def counts(window: Window, day: date) -> bool:
    return day.isoweekday() in window.weekdays and not is_holiday(window.rests_on_holidays_of, day)


@given(
    st.builds(
        Window,
        st.frozensets(st.integers(1, 7), min_size=1),
        QUARTERS,
        QUARTERS,
        st.sampled_from([BOGOTA, NEW_YORK, SANTIAGO]),
        st.sampled_from(["", "EC", "AR-B"]),
    ),
    st.builds(
        lambda near, minutes: near + timedelta(minutes=minutes), st.sampled_from(NEAR_CHANGES), st.integers(-3000, 3000)
    ),
)
def test_it_says_what_looking_at_every_minute_says(window: Window, moment: datetime) -> None:
    until = resting_until(window, moment)
    assert (until is None) == is_open(window, moment)
    minute = moment
    while until is not None and minute < until:
        assert not is_open(window, minute)
        minute += timedelta(minutes=1)
    assert until is None or (minute == until and is_open(window, until))
