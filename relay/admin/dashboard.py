"""The start page: what needs a person first, then what happened and what moves.

Each app says what it has to show by adding to the lists below: `relay.admin
.overview` does for bulk sends, `reports.admin.dashboard` for reports. Whatever is added names the rights with which it
may be seen (one of them suffices), and has to be cheap: no counting of recipients or deliveries, no call to the relay.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import formats, timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.generic import View

from relay import activity
from relay.activity import What
from relay.admin import drawing, polling, words
from relay.admin.downloads import rows_as_csv
from relay.admin.drawing import Chart
from relay.admin.unfolded import Text
from relay.models import BulkSend

DAYS = 30
SECONDS = 15  # between two looks at what moves
MOST_NAMED = 5  # of one kind: who has more to do goes to the list
ASKED = 3  # administrators named to whoever may see nothing

type Viewer = User | AnonymousUser


@dataclass(frozen=True, slots=True)
class Need:
    """A sentence about something that goes no further without a person."""

    text: str
    url: str
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """How many today, and in the last DAYS days. `key` is a colour: see `relay/charts.css`."""

    key: str
    name: Text
    today: int
    lately: int

    @property
    def today_text(self) -> str:
        return words.number(self.today)

    @property
    def lately_text(self) -> str:
        return words.number(self.lately)


@dataclass(frozen=True, slots=True)
class Beginning:
    """A button: what a person may begin from here."""

    text: Text
    url: str
    icon: str


@dataclass(frozen=True, slots=True)
class Asked[Answer]:
    """Something to show, for whoever has one of the rights."""

    rights: tuple[str, ...]
    tell: Callable[[Viewer], Answer]


@dataclass(frozen=True, slots=True)
class Section:
    """A card. Its content is empty where there is nothing to show."""

    name: str
    rights: tuple[str, ...]
    content: Callable[[Viewer], SafeString]
    order: int  # where on the page
    # Whether it is looked at again while something moves: what a person opens in it (a table) would close.
    live: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """What is shown, as a file: rows with a header."""

    rights: tuple[str, ...]
    rows: Callable[[], Sequence[Sequence[Any]]]


beginnings: list[Asked[Iterable[Beginning]]] = []
needs: list[Asked[Iterable[Need]]] = []
figures: list[Asked[Iterable[Figure]]] = []
sections: list[Section] = []
tables: dict[str, Table] = {}  # by the name that stands in the address
# Whether something is under way that changes what is shown.
moving: list[Asked[bool]] = []
# Of an installation in which there was no bulk send yet: what to do first.
first_steps: list[Asked[SafeString]] = []


def add_chart(
    name: str,
    rights: tuple[str, ...],
    make: Callable[[], Chart],
    draw: Callable[[Chart], SafeString],
    *,
    order: int,
    note: Text,
) -> None:
    """A chart of the last days with its table and its download; `note` is shown while all is nought."""

    def content(viewer: Viewer) -> SafeString:
        chart = make()
        if chart.empty and _is_new():
            return SafeString()
        return drawing.figure(chart, draw(chart), csv_url=csv_address(name), note=str(note))

    sections.append(Section(name, rights, content, order, live=False))
    tables[name] = Table(rights, lambda: drawing.csv_rows(make(), [day.isoformat() for day in last_days()]))


# --- For those who add something


def may(viewer: Viewer, *rights: str) -> bool:
    return any(viewer.has_perm(right) for right in rights)


def page_or_none(name: str, *args: Any) -> str | None:
    """The address of a page that some installations have."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return None


def last_days() -> list[date]:
    """The last DAYS days of the installation's zone, today included, oldest first."""
    today = timezone.localdate()
    return [today - timedelta(days=back) for back in reversed(range(DAYS))]


def day_names() -> list[str]:
    """The same below a chart, where there is little room."""
    # Django's letters for month and day, in the order of the language.
    return [formats.date_format(day, _("m/d")) for day in last_days()]


def csv_address(name: str) -> str:
    return reverse("admin:dashboard_csv", args=[name])


# --- The page


def put_in(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What Unfold's start page is given (UNFOLD["DASHBOARD_CALLBACK"])."""
    viewer = request.user
    return {
        **context,
        "title": _("Start page"),
        "beginnings": _told(beginnings, viewer),
        "top": _top(viewer),
        "parts": _parts(viewer, sections),
        "poll": reverse("admin:dashboard_live"),
        "moving": _moves(viewer),
        "poll_seconds": SECONDS,
    }


def _parts(viewer: Viewer, shown: Iterable[Section]) -> list[SafeString]:
    """There also while there is nothing in them, for what comes later to have its place."""
    return [
        polling.part(f"dashboard-{section.name}", section.content(viewer))
        for section in sorted(shown, key=lambda section: section.order)
        if may(viewer, *section.rights)
    ]


def _top(viewer: Viewer) -> SafeString:
    """What is always there: needs and figures, or the first steps, or whom to ask."""
    sees = may(viewer, *_rights())
    counts = _told(figures, viewer)
    context = {
        "sees": sees,
        "administrators": [] if sees else _administrators(),
        "needs": sorted(_told(needs, viewer), key=lambda need: not need.urgent),
        "steps": _steps(viewer),
        "figures": counts if any(figure.lately for figure in counts) or not _is_new() else [],
        "days": DAYS,
        "today": formats.date_format(timezone.localdate(), "DATE_FORMAT"),
    }
    return polling.part("dashboard-top", render_to_string("relay/admin/dashboard_top.html", context))


def _rights() -> Iterator[str]:
    """All of which one suffices to see something."""
    for some in (needs, figures, first_steps, sections):
        for one in some:
            yield from one.rights


def _told[Answer](asked: Iterable[Asked[Iterable[Answer]]], viewer: Viewer) -> list[Answer]:
    return [answer for one in asked if may(viewer, *one.rights) for answer in one.tell(viewer)]


def _is_new() -> bool:
    """An installation that has never prepared a bulk send: empty charts would only stand in the way of what to do."""
    return not BulkSend.objects.exists()


def _steps(viewer: Viewer) -> list[SafeString]:
    if not _is_new():
        return []
    return [one.tell(viewer) for one in first_steps if may(viewer, *one.rights)]


def _moves(viewer: Viewer) -> bool:
    return any(may(viewer, *one.rights) and one.tell(viewer) for one in moving)


def _administrators() -> list[str]:
    found = User.objects.filter(is_superuser=True, is_active=True).order_by("pk")[:ASKED]
    return [user.get_full_name() or user.get_username() for user in found]


class LiveView(View):
    """What moves on the page, as `relay/progress.js` asks for it."""

    admin_site: Any = None

    def get(self, request: HttpRequest) -> HttpResponse:
        viewer = request.user
        parts = [_top(viewer), *_parts(viewer, [section for section in sections if section.live])]
        return HttpResponse(polling.fragment(parts, moving=_moves(viewer)))


class CsvView(View):
    """A table of the page as a file."""

    admin_site: Any = None

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        table = tables.get(name)
        if table is None:
            raise Http404
        if not may(request.user, *table.rights):
            raise PermissionDenied
        activity.record(What.EXPORTED, by=request.user, request=request, file="dashboard")
        return rows_as_csv(table.rows(), filename=f"{name}-{timezone.localdate():%Y-%m-%d}.csv")


admin.site.index_template = "relay/admin/dashboard.html"
