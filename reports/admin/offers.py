"""Which buttons a report has for whom, and why one cannot be pressed."""

from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from relay.admin import words
from reports import loading
from reports.admin.words import percent
from reports.models import GeneratedReport, LoadRequest

State = GeneratedReport.State
Loading = LoadRequest.State


@dataclass(frozen=True, slots=True)
class Rights:
    process: bool
    load: bool


def rights_of(user: Any) -> Rights:
    return Rights(user.has_perm("reports.can_process_reports"), user.has_perm("reports.can_load_to_db"))


@dataclass(frozen=True, slots=True)
class Button:
    text: str
    url: str
    icon: str
    refused: str = ""  # why it cannot be pressed
    post: bool = True  # else it is a link


def buttons(report: GeneratedReport, rights: Rights) -> list[Button]:
    found = []
    if report.state == State.ERROR and rights.process:
        found.append(Button(_("Retry"), _address("retry", report), "replay"))
    if rights.load:
        found += [_load_button(report, alias) for alias in loading.aliases()]
    if has_file(report):
        found.append(Button(_("Download CSV"), _address("csv", report), "download", post=False))
    return found


def has_file(report: GeneratedReport) -> bool:
    return report.state == State.READY and bool(report.file)


def _load_button(report: GeneratedReport, alias: str) -> Button:
    text = _("Load DB (%(alias)s)") % {"alias": alias}
    return Button(text, _address("load", report, alias), "database", refused=_why_not_loaded(report, alias))


def _why_not_loaded(report: GeneratedReport, alias: str) -> str:
    if report.state != State.READY:
        return _("Only a report that is ready can be loaded.")
    known = next((request for request in report.load_requests.all() if request.alias == alias), None)
    match known and known.state:
        case Loading.DONE:
            return _("It is loaded into %(alias)s already.") % {"alias": alias}
        case Loading.LOADING:
            return _("It is being loaded into %(alias)s right now.") % {"alias": alias}
        case Loading.WAITING:
            return _("It already waits to be loaded into %(alias)s.") % {"alias": alias}
    return ""


def _address(name: str, report: GeneratedReport, *more: str) -> str:
    return reverse(f"admin:reports_generatedreport_{name}", args=[report.pk, *more])


@dataclass(frozen=True, slots=True)
class Load:
    """A load as it is shown."""

    request: LoadRequest
    text: str
    colour: str
    percent: int | None = None  # of one that runs
    read: str = ""

    @property
    def counts(self) -> list[str]:
        """Rows, inserted, updated, unchanged, rejected."""
        made = self.request
        counted = (made.rows, made.inserted, made.updated, made.unchanged, made.rejected)
        return ["—" if count is None else words.number(count) for count in counted]

    @property
    def requested(self) -> str | None:
        return words.moment(self.request.requested_at)

    @property
    def loaded(self) -> str | None:
        return words.moment(self.request.loaded_at)


def loads(report: GeneratedReport) -> list[Load]:
    """Those into databases that are configured, in the order of these."""
    known = {request.alias: request for request in report.load_requests.all()}
    return [_shown(known[alias]) for alias in loading.aliases() if alias in known]


def _shown(request: LoadRequest) -> Load:
    told = {"alias": request.alias}
    match request.state:
        case Loading.DONE:
            return Load(request, _("Loaded in: %(alias)s") % told, "success")
        case Loading.LOADING:
            count = words.number(request.rows_read)
            read = ngettext("%(count)s row read", "%(count)s rows read", request.rows_read) % {"count": count}
            return Load(request, _("Loading into: %(alias)s") % told, "info", percent(request), read)
        case Loading.WAITING:
            return Load(request, _("Waiting for: %(alias)s") % told, "primary")
    return Load(request, _("Failed in: %(alias)s") % told, "danger")


def moves(report: GeneratedReport) -> bool:
    """Whether what is shown of it will change without anybody's doing."""
    under_way = {Loading.WAITING, Loading.LOADING}
    return report.state in {State.PENDING, State.PROCESSING} or any(
        load.request.state in under_way for load in loads(report)
    )
