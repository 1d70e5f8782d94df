"""Charts are well-formed, scaled to what they show, and leave nothing to script or style."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.admin.drawing import Chart, Series, _step, _top, bars, csv_rows, figure, lines

HOSTILE = '<script>alert("x")</script>'


def a_chart(*values: list[int], names: tuple[str, ...] = ("Accepted", "Refused", "Unknown")) -> Chart:
    keys = ("accepted", "refused", "unknown")
    series = [Series(key, name, numbers) for key, name, numbers in zip(keys, names, values, strict=False)]
    return Chart("Messages per day", "Day", "Messages", [f"{n + 1}/11" for n in range(len(values[0]))], series)


@pytest.mark.parametrize(("highest", "top"), [(0, 1), (1, 1), (3, 3), (5, 6), (17, 20), (99, 100), (80_001, 100_000)])
def test_the_scale_ends_at_a_round_number_above_the_highest_value(highest: int, top: int) -> None:
    assert _top(highest) == top


@given(st.integers(0, 10**12))
def test_the_scale_has_few_whole_steps_and_holds_the_value(highest: int) -> None:
    top = _top(highest)

    assert top >= highest
    assert top % _step(top) == 0
    assert 1 <= top // _step(top) <= 4


def test_bars_of_a_place_stand_on_top_of_each_other() -> None:
    drawn = ElementTree.fromstring(bars(a_chart([10, 0], [30, 0], [0, 40])))
    rects = [rect for rect in drawn.iter("rect") if "relay-series" in rect.attrib["class"]]

    assert [(rect.attrib["y"], rect.attrib["height"]) for rect in rects] == [
        ("75%", "25%"),
        ("0%", "75%"),
        ("0%", "100%"),
    ]


def test_a_line_goes_through_every_value_from_below_to_above() -> None:
    drawn = ElementTree.fromstring(lines(a_chart([0, 5, 10])))
    (line,) = drawn.iter("polyline")

    assert line.attrib["points"] == "0.5,100 1.5,50 2.5,0"


@given(st.lists(st.integers(0, 10**7), max_size=90))
def test_a_chart_is_well_formed_whatever_its_length(values: list[int]) -> None:
    for draw in (bars, lines):
        drawn = ElementTree.fromstring(draw(a_chart(values)))
        assert len(list(drawn.iter("g"))) == len(values)
        assert not any(name == "style" or name.startswith("on") for node in drawn.iter() for name in node.attrib)


def test_the_last_place_is_always_named() -> None:
    drawn = ElementTree.fromstring(bars(a_chart(list(range(30)))))
    below = [text.text for text in drawn.iter("text") if text.attrib["y"] == "100%" and "dy" in text.attrib]

    assert "30/11" in below
    assert len([text for text in below if text and "/" in text]) <= 5


def test_whoever_points_at_a_place_is_told_its_numbers() -> None:
    titles = [title.text for title in ElementTree.fromstring(bars(a_chart([1200], [3]))).iter("title")]

    assert titles == ["1/11 · Accepted: 1\u00a0200, Refused: 3"]


def test_names_stay_text() -> None:
    chart = a_chart([1], names=(HOSTILE,))

    assert "<script>" not in bars(chart) + lines(chart) + figure(chart, bars(chart))


def test_the_table_has_all_that_the_chart_shows() -> None:
    chart = a_chart([1200, 5], [0, 7])
    shown = figure(chart, bars(chart), csv_url="/x.csv")

    assert '<th scope="row">1/11</th><td class="relay-right">1\u00a0200</td><td class="relay-right">0</td>' in shown
    assert 'href="/x.csv"' in shown
    assert csv_rows(chart) == [["Day", "Accepted", "Refused"], ["1/11", 1200, 0], ["2/11", 5, 7]]


def test_without_any_count_a_note_says_so_instead_of_an_empty_chart() -> None:
    chart = a_chart([0, 0])

    assert "<table" not in figure(chart, bars(chart), note="Nothing yet.")
    assert "Nothing yet." in figure(chart, bars(chart), note="Nothing yet.")
