"""The last minutes of a bulk send as a chart of `relay.admin.drawing`, and as the rows of its table."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext_lazy as _

from relay.admin import words
from relay.admin.drawing import Chart, Series, bars
from relay.models import Recipient
from relay.tallies import Minute

State = Recipient.State


def chart_of(minutes: Sequence[Minute]) -> Chart:
    values = {
        State.ACCEPTED: [minute.accepted for minute in minutes],
        State.REFUSED: [minute.refused for minute in minutes],
        State.UNKNOWN: [minute.unknown for minute in minutes],
    }
    return Chart(
        title=_("Messages per minute in the last 30 minutes"),
        across=_("Minute"),
        up=_("Messages"),
        places=[_time(minute.at) for minute in minutes],
        series=[Series(state, words.COUNT_NAMES[state], counted) for state, counted in values.items()],
    )


def chart_context(minutes: Sequence[Minute]) -> dict[str, Any]:
    """For `relay/watching/chart.html` and `relay/watching/chart_table.html`: the latest minute first, and the sums."""
    chart = chart_of(minutes)
    rows = [(place, [words.number(value) for value in values]) for place, values in chart.rows()]
    return {
        "chart": chart,
        "svg": "" if chart.empty else bars(chart),
        "rows": rows[::-1],
        "sums": [words.number(sum(one.values)) for one in chart.series],
    }


def _time(at: datetime) -> str:
    return formats.time_format(timezone.localtime(at), "H:i")
