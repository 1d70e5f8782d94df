"""The parts of a page that change while somebody looks: rendered with the page, and again for its poll.

The script of `relay.admin.polling` asks for them every few seconds while something moves, and puts what differs in the
place of what has the same id. So a part looks the same however it came.
"""

from collections.abc import Callable, Iterable, Mapping

from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from relay.admin import polling, words
from reports.admin.offers import Rights, buttons, loads, moves
from reports.admin.words import STATE_COLOURS, has_rejects, how_far, rows
from reports.models import GeneratedReport

# Of a row of the list, each with a template of its own; of the page of one report.
ROW = ("state", "loads", "buttons")
CARD = "card"

# Of the page of one report, besides its card: read-only fields.
FACTS: Mapping[str, Callable[[GeneratedReport], str | None]] = {
    "request_id": lambda report: report.request_id,
    "asked": lambda report: words.moment(report.asked_at),
    "made": lambda report: words.moment(report.made_at),
    "ready": lambda report: words.moment(report.ready_at),
    "file_name": lambda report: report.path.name if report.path else None,
    "rows_shown": lambda report: None if report.rows is None else words.number(report.rows),
    "size_shown": lambda report: None if report.size is None else filesizeformat(report.size),
    "sha256_shown": lambda report: report.sha256,
}


def part(report: GeneratedReport, name: str, rights: Rights) -> SafeString:
    content = render_to_string(f"reports/admin/{name}.html", _context(report, rights))
    return polling.part(f"report-{report.pk}-{name}", content)


def fact(report: GeneratedReport, name: str) -> SafeString:
    return format_html(
        '<span id="report-{}-{}" class="reports-fact">{}</span>', report.pk, name, FACTS[name](report) or "—"
    )


def row(report: GeneratedReport, rights: Rights) -> dict[str, SafeString]:
    return {name: part(report, name, rights) for name in ROW}


def page(report: GeneratedReport, rights: Rights) -> list[SafeString]:
    return [part(report, CARD, rights), *(fact(report, name) for name in FACTS)]


def fragment(reports: Iterable[GeneratedReport], parts: Iterable[SafeString]) -> str:
    """What a poll is answered."""
    return polling.fragment(parts, moving=any(moves(report) for report in reports))


def _context(report: GeneratedReport, rights: Rights) -> dict[str, object]:
    """Callables are called by the templates that need them."""
    return {
        "report": report,
        "state_colour": STATE_COLOURS.get(report.state, "default"),
        "how_far": how_far(report),
        "rows": None if report.rows is None else rows(report.rows),
        "loads": lambda: loads(report),
        "buttons": lambda: buttons(report, rights),
        "has_rejects": lambda: has_rejects(report),
    }
