"""Windows of the relay's log: whole seconds, without overlaps, every moment in exactly one slice."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from relay.log_reading import Window, _slices, merged

NOON = datetime(2020, 11, 24, 12, tzinfo=UTC)


def window(start: float, end: float) -> Window:
    return Window(NOON + timedelta(seconds=start), NOON + timedelta(seconds=end))


def test_a_window_around_a_moment_begins_and_ends_with_whole_seconds():
    found = Window.around(NOON + timedelta(seconds=0.7), NOON + timedelta(seconds=2.2), 5, 5)
    assert found.start.microsecond == found.end.microsecond == 0
    assert found.start <= NOON - timedelta(seconds=4.3)
    assert found.end > NOON + timedelta(seconds=8.2)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 300)), max_size=8))
def test_every_second_is_read_once(spans):
    windows = [window(start, start + length) for start, length in spans]
    wanted = {second for start, length in spans for second in range(start, start + length)}
    read = [
        second
        for part in _slices(merged(windows))
        for second in range(int((part.start - NOON).total_seconds()), int((part.end - NOON).total_seconds()))
    ]
    assert sorted(read) == sorted(wanted)


def test_what_lies_in_the_future_is_one_slice():
    """An end in the future means "until now" to the relay: two such slices would show an entry twice."""
    now = datetime.now(UTC).replace(microsecond=0)
    parts = list(_slices([Window(now - timedelta(seconds=90), now + timedelta(seconds=600))]))
    assert len([part for part in parts if part.end > now]) == 1
    assert parts[-1].end == now + timedelta(seconds=600)
