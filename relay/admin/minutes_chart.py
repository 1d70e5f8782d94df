"""The last minutes of a bulk send as a chart: SVG that is made of attributes alone, coloured by its style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import formats, timezone

from relay.admin import words
from relay.models import Recipient
from relay.tallies import Minute

State = Recipient.State

OUTCOMES = (State.ACCEPTED, State.REFUSED, State.UNKNOWN)
# Of the drawing, in its own units: it is stretched to the width that the page has.
BAR, GAP, HEIGHT = 8.0, 2.0, 100.0


@dataclass(frozen=True, slots=True)
class Piece:
    outcome: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Bar:
    time: str
    counts: list[str]  # in the order of OUTCOMES
    title: str
    pieces: list[Piece]


def chart(minutes: Sequence[Minute]) -> dict[str, Any]:
    """For `relay/watching/chart.html` and `relay/watching/chart_table.html`."""
    most = max((_total(minute) for minute in minutes), default=0)
    bars = [_bar(number, minute, most) for number, minute in enumerate(minutes)]
    return {
        "bars": bars,
        "latest_first": bars[::-1],
        "most": words.number(most) if most else "",
        "width": _number(len(minutes) * (BAR + GAP)),
        "height": _number(HEIGHT),
        "times": [bars[number].time for number in (0, len(bars) // 2, -1)] if bars else [],
        "sums": [words.number(sum(_count(minute, outcome) for minute in minutes)) for outcome in OUTCOMES],
        "legend": [(outcome, words.COUNT_NAMES[outcome]) for outcome in OUTCOMES],
    }


def _bar(number: int, minute: Minute, most: int) -> Bar:
    pieces, top = [], HEIGHT
    for outcome in OUTCOMES:
        height = _count(minute, outcome) / most * HEIGHT if most else 0.0
        if height:
            top -= height
            x, y = number * (BAR + GAP) + GAP / 2, max(0.0, top)
            pieces.append(Piece(outcome, _number(x), _number(y), _number(BAR), _number(height)))
    counts = [words.number(_count(minute, outcome)) for outcome in OUTCOMES]
    named = (f"{words.COUNT_NAMES[outcome]} {count}" for outcome, count in zip(OUTCOMES, counts, strict=True))
    return Bar(_time(minute.at), counts, f"{_time(minute.at)}: {', '.join(named)}", pieces)


def _count(minute: Minute, outcome: str) -> int:
    return {
        State.ACCEPTED: minute.accepted,
        State.REFUSED: minute.refused,
        State.UNKNOWN: minute.unknown,
    }[State(outcome)]


def _total(minute: Minute) -> int:
    return minute.accepted + minute.refused + minute.unknown


def _time(at: datetime) -> str:
    return formats.time_format(timezone.localtime(at), "H:i")


def _number(value: float) -> str:
    """As SVG reads numbers, whatever the language of the page."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
