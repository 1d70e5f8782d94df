"""Charts drawn on the server: SVG of attributes and classes only, so that no script is needed and no policy relaxed.

Places are given in per cent: a chart is as wide as its card, and its letters stay as large as they are on a telephone.
Colours are those of `relay/charts.css`, by the `key` of a series, for both themes. A page that shows one loads that
file. Numbers that a chart shows are always there as a table too, for screen readers and everybody else.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from relay.admin import words
from relay.admin.unfolded import Text

# Of the width of a place, how much its bar takes.
BAR = 0.7
MOST_STEPS = 4
# So many names fit below a chart on a telephone.
MOST_NAMES = 5


@dataclass(frozen=True, slots=True)
class Series:
    """What is counted at every place. `key` is a class of `relay/charts.css`: accepted, refused, unknown, opened…"""

    key: str
    name: Text
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Chart:
    title: Text
    across: Text  # what a place is: «Day»
    up: Text  # what is counted: «Messages»
    places: Sequence[str]  # names of the places, from left to right
    series: Sequence[Series]

    @property
    def empty(self) -> bool:
        return not any(value for one in self.series for value in one.values)

    def rows(self) -> Iterator[tuple[str, list[int]]]:
        """The table: the name of a place and the values there."""
        for index, place in enumerate(self.places):
            yield place, [one.values[index] for one in self.series]


def bars(chart: Chart) -> SafeString:
    """One bar for each place, the series on top of each other: for what belongs together, per day."""
    top = _top(max((sum(values) for _place, values in chart.rows()), default=0))
    return _drawn(chart, top, format_html_join("", "{}", ((bar,) for bar in _bars(chart, top))))


def lines(chart: Chart) -> SafeString:
    """One line for each series: for what changes by the minute."""
    top = _top(max((value for one in chart.series for value in one.values), default=0))
    drawn = format_html_join("", "{}", ((_line(one, top),) for one in chart.series))
    size = len(chart.places)
    inner = format_html(
        '<svg x="0" y="0" width="100%" height="100%" viewBox="0 0 {} 100" preserveAspectRatio="none">{}</svg>',
        max(1, size),
        drawn,
    )
    pointed = format_html_join("", "{}", ((_place(chart, index, SafeString()),) for index in range(size)))
    return _drawn(chart, top, inner + pointed)


def figure(chart: Chart, svg: SafeString, *, csv_url: str = "", note: str = "") -> SafeString:
    """The chart with its name, its legend, its table and where to download that. Without any count: `note` only."""
    rows = [(place, [words.number(value) for value in values]) for place, values in chart.rows()]
    context = {"chart": chart, "svg": svg, "csv_url": csv_url, "note": note, "rows": rows}
    return render_to_string("relay/admin/chart.html", context)


# --- Drawing


def _bars(chart: Chart, top: int) -> Iterator[SafeString]:
    width = 100 / max(1, len(chart.places))
    for index, (_name, values) in enumerate(chart.rows()):
        ends = list(accumulate(values))
        parts = format_html_join(
            "",
            '<rect class="relay-series relay-series-{}" x="{}%" y="{}%" width="{}%" height="{}%"/>',
            (
                (
                    one.key,
                    _cut(width * (index + (1 - BAR) / 2)),
                    _cut(100 - 100 * end / top),
                    _cut(width * BAR),
                    _cut(100 * value / top),
                )
                for one, value, end in zip(chart.series, values, ends, strict=True)
                if value
            ),
        )
        yield _place(chart, index, parts)


def _place(chart: Chart, index: int, drawn: SafeString) -> SafeString:
    """What is told of a place to whoever points at it, anywhere above it."""
    width = 100 / len(chart.places)
    told = ", ".join(f"{one.name}: {words.number(one.values[index])}" for one in chart.series)
    return format_html(
        '<g class="relay-chart-place"><rect class="relay-chart-hit" x="{}%" y="0" width="{}%" height="100%"/>{}'
        "<title>{} · {}</title></g>",
        _cut(width * index),
        _cut(width),
        drawn,
        chart.places[index],
        told,
    )


def _line(one: Series, top: int) -> SafeString:
    # In the middle of each place, where its name stands.
    points = " ".join(f"{index + 0.5:g},{_cut(100 - 100 * value / top)}" for index, value in enumerate(one.values))
    return format_html(
        '<polyline class="relay-line relay-line-{}" points="{}" vector-effect="non-scaling-stroke"/>', one.key, points
    )


def _drawn(chart: Chart, top: int, content: SafeString) -> SafeString:
    label = _("%(title)s. The table below has the numbers.") % {"title": chart.title}
    return format_html(
        '<svg class="relay-chart" role="img" width="100%" height="220" aria-label="{}">{}{}{}</svg>',
        label,
        _scale(top),
        content,
        _names(chart.places),
    )


def _scale(top: int) -> SafeString:
    """The lines behind, each with its number at the left."""
    steps = ((_cut(100 - 100 * value / top), words.number(value)) for value in range(0, top + 1, _step(top)))
    return format_html_join(
        "",
        '<line class="relay-chart-grid" x1="0" x2="100%" y1="{0}%" y2="{0}%"/>'
        '<text class="relay-chart-text" x="-8" y="{0}%" dy="4" text-anchor="end">{1}</text>',
        steps,
    )


def _names(places: Sequence[str]) -> SafeString:
    width = 100 / max(1, len(places))
    return format_html_join(
        "",
        '<text class="relay-chart-text" x="{}%" y="100%" dy="18" text-anchor="middle">{}</text>',
        ((_cut(width * (index + 0.5)), places[index]) for index in _named(len(places))),
    )


def _named(count: int) -> Iterable[int]:
    """Which places get their name: evenly, and the last one, which is now, always."""
    every = max(1, -(-count // MOST_NAMES))
    return reversed(range(count - 1, -1, -every))


def _cut(number: float) -> str:
    """Short, and with a point in every language."""
    return f"{number:.3f}".rstrip("0").rstrip(".")


def _top(highest: int) -> int:
    """The end of the scale: the next whole step above the highest value."""
    step = _step(highest)
    return max(1, -(-highest // step)) * step


def _step(highest: int) -> int:
    """1, 2 or 5 and zeros, so that there are at most MOST_STEPS."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if highest <= MOST_STEPS * size * factor:
                return size * factor
        size *= 10


def csv_rows(chart: Chart, places: Sequence[str] | None = None) -> list[list[Any]]:
    """The table as it is downloaded, with its header; `places` where their names in the chart are too short."""
    header = [chart.across, *(one.name for one in chart.series)]
    named = chart.places if places is None else places
    return [header, *([place, *values] for place, (_name, values) in zip(named, chart.rows(), strict=True))]
