"""Generated reports: what was asked of the relay, what came of it, and where it was loaded.

Nobody edits or deletes one here. To add one is to ask the relay for it (`RequestForm`). Collecting and loading are
done by workers: a button only asks for it, and the page then shows how far it is.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from relay import activity
from relay.activity import What
from relay.admin import polling, words
from relay.admin.advice import Advice, WithAdvice
from relay.admin.downloads import path_as_download
from relay.admin.unfolded import ChangeList, LookingOnly, ModelAdmin, display
from relay.explained import Explained
from reports import collecting, collector_lease, loading, requesting, tasks
from reports.admin import parts
from reports.admin.forms import RequestForm
from reports.admin.offers import has_file, moves, rights_of
from reports.admin.words import days
from reports.models import GeneratedReport, LoadRequest
from reports.periods import PeriodProblem
from reports.rejects import rejects_path

State = GeneratedReport.State
LIST = "admin:reports_generatedreport_changelist"
MOST_ON_A_PAGE = 100
DIGITS = 18  # longer numbers no column holds


class GeneratedReportChangeList(ChangeList):
    """The list page; what changes while somebody looks is rendered for whoever looks."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        rights = rights_of(request.user)
        for report in self.result_list:
            report.parts = parts.row(report, rights)


def _part_column(name: str, description: Any, ordering: str | None = None) -> Any:
    def column(self: "GeneratedReportAdmin", report: Any) -> SafeString:
        shown: SafeString = report.parts[name]
        return shown

    return display(description=description, ordering=ordering)(column)


def _fact_field(name: str, description: Any) -> Any:
    def field(self: "GeneratedReportAdmin", report: GeneratedReport) -> SafeString:
        return parts.fact(report, name)

    return display(description=description)(field)


@admin.register(GeneratedReport)
class GeneratedReportAdmin(WithAdvice, LookingOnly, ModelAdmin[GeneratedReport]):
    list_display = ["identity", "state_part", "requested", "loads_part", "buttons_part"]
    list_filter = ["type", "state", "requested_at"]
    list_per_page = 25
    list_max_show_all = MOST_ON_A_PAGE
    list_fullwidth = True
    list_before_template = "reports/admin/list_tools.html"
    search_fields = ["request_id"]  # switches the search on; get_search_results decides what it does
    search_help_text = _("Number of the report, or the relay's number")
    records_itself = True
    show_add_link = False  # there is a button that says what it does
    actions = None
    change_form_before_template = "reports/admin/report.html"
    empty_value_display = "—"
    fieldsets: ClassVar[Any] = [
        (
            _("What was asked for"),
            {"fields": ["type", "period", "interval", "requested_on", "requested_by_shown", "bulk_send_link"]},
        ),
        (_("What the relay said"), {"fields": ["request_id_fact", "asked_fact", "made_fact", "ready_fact"]}),
        (_("File"), {"fields": ["file_fact", "rows_fact", "size_fact", "sha256_fact"]}),
    ]
    readonly_fields: ClassVar[Any] = [name for _title, options in fieldsets for name in options["fields"]]

    class Media:
        css = {"all": [polling.STYLE, "reports/admin.css"]}
        js = [polling.SCRIPT]

    # --- who may do what ------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """To add a report is to ask the relay for one."""
        return request.user.has_perm("reports.add_generatedreport")

    # --- pages ----------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        def named(route: str, view: Callable[..., HttpResponseBase], name: str) -> Any:
            return path(route, self.admin_site.admin_view(view), name=f"reports_generatedreport_{name}")

        return [
            named("progress/", self.list_progress_view, "list_progress"),
            named("process-pending/", self.process_pending_view, "process_pending"),
            named("<int:object_id>/progress/", self.page_progress_view, "progress"),
            named("<int:object_id>/retry/", self.retry_view, "retry"),
            named("<int:object_id>/load/<str:alias>/", self.load_view, "load"),
            named("<int:object_id>/csv/", self.csv_view, "csv"),
            named("<int:object_id>/rejects/", self.rejects_view, "rejects"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[GeneratedReport]:
        load_requests = LoadRequest.objects.select_related("requested_by", "report")
        return (
            super()
            .get_queryset(request)
            .select_related("requested_by")
            .prefetch_related(Prefetch("load_requests", load_requests))
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return GeneratedReportChangeList

    def advice(self, request: HttpRequest) -> Advice:
        return Advice(
            _("No report was requested yet"),
            _(
                "A report tells what became of the messages of some days: delivered, bounced, opened, clicked. "
                "The relay makes its file in minutes; then it can be downloaded, or loaded into a database."
            ),
            reverse("admin:reports_generatedreport_add") if self.has_add_permission(request) else "",
            _("Request report"),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[GeneratedReport], search_term: str
    ) -> tuple[QuerySet[GeneratedReport], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(request_id=term)
        if term.isdecimal() and len(term) <= DIGITS:
            found |= Q(pk=int(term))
        return queryset.filter(found), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"may_process": rights_of(request.user).process, **(extra_context or {})}
        answer = super().changelist_view(request, context)
        if isinstance(answer, TemplateResponse) and (shown := (answer.context_data or {}).get("cl")):
            answer.context_data |= _poll_of_list(shown.result_list)  # type: ignore[operator]
        return answer

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = dict(extra_context or {})
        report = self.get_object(request, unquote(object_id))
        if report is not None and self.has_view_permission(request, report):
            context |= {
                "card": parts.part(report, parts.CARD, rights_of(request.user)),
                "poll": reverse("admin:reports_generatedreport_progress", args=[report.pk]),
                "moving": moves(report),
            }
        return super().change_view(request, object_id, form_url, context)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Asks for a report. Django's own form would write a row that nobody collects as it stands."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = RequestForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and (report := _requested(form, request)):
            tasks.ask_to_collect()
            activity.record(What.REPORT_REQUESTED, by=request.user, about=report, request=request)
            self.log_addition(request, report, [{"added": {}}])
            done = _now("Report %(id)d is requested; the list shows how far it is.") % {"id": report.pk}
            self.message_user(request, done, messages.SUCCESS)
            return HttpResponseRedirect(self._start(request))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Request report"),
            "form": form,
            "media": self.media + form.media + forms.Media(js=["relay/once.js"]),
            "back": self._start(request),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "reports/admin/request.html", context)

    # --- what changes something: only by POST ----------------------------------------------------------------

    @method_decorator(require_POST)
    def process_pending_view(self, request: HttpRequest) -> HttpResponse:
        if not rights_of(request.user).process:
            raise PermissionDenied
        pending = collector_lease.unfinished().count()
        if pending:
            tasks.ask_to_collect()
            self.message_user(request, _pending_sentence(pending), messages.SUCCESS)
        else:
            self.message_user(request, _now("No report is pending."), messages.INFO)
        return HttpResponseRedirect(self._back(request, reverse(LIST)))

    @method_decorator(require_POST)
    def retry_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        if not rights_of(request.user).process:
            raise PermissionDenied
        report = get_object_or_404(GeneratedReport, pk=object_id)
        try:
            collecting.retry(report)
        except Explained as problem:
            self.message_user(request, str(problem), messages.WARNING)
        else:
            tasks.ask_to_collect()
            activity.record(What.REPORT_RETRIED, by=request.user, about=report, request=request)
            self.log_change(request, report, _now("Retried."))
            done = _now("Report %(id)d goes on from where it stood.") % {"id": report.pk}
            self.message_user(request, done, messages.SUCCESS)
        return self._back_from(request, report)

    @method_decorator(require_POST)
    def load_view(self, request: HttpRequest, object_id: int, alias: str) -> HttpResponse:
        if not rights_of(request.user).load:
            raise PermissionDenied
        if alias not in loading.aliases():
            raise Http404
        report = get_object_or_404(GeneratedReport, pk=object_id)
        told = {"id": report.pk, "alias": alias}
        try:
            wanted = loading.request_load(report, alias, by=_user_of(request))
        except Explained as problem:  # somebody was faster, or it cannot be loaded (any more)
            self.message_user(request, str(problem), messages.WARNING)
        else:
            tasks.ask_to_load(wanted.pk)
            activity.record(What.LOAD_REQUESTED, by=request.user, about=report, request=request, database=alias)
            self.log_change(request, report, _now("Load into %(alias)s requested.") % told)
            done = _now("Report %(id)d is queued to be loaded into %(alias)s.") % told
            self.message_user(request, done, messages.SUCCESS)
        return self._back_from(request, report)

    def _back_from(self, request: HttpRequest, report: GeneratedReport) -> HttpResponse:
        return HttpResponseRedirect(self._back(request, _page_address(report)))

    def _back(self, request: HttpRequest, usual: str) -> str:
        """Where the button was pressed, with the list's filters; never out of this site, nor to a page of a 403."""
        if not self.has_view_permission(request):
            return self._start(request)
        came_from = request.headers.get("Referer", "")
        hosts = {request.get_host()}
        ours = url_has_allowed_host_and_scheme(came_from, allowed_hosts=hosts, require_https=request.is_secure())
        return came_from if ours else usual

    def _start(self, request: HttpRequest) -> str:
        return reverse(LIST if self.has_view_permission(request) else "admin:index")

    # --- what only shows something ---------------------------------------------------------------------------

    @method_decorator(require_GET)
    def list_progress_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = [pk for pk in request.GET.getlist("id")[:MOST_ON_A_PAGE] if pk.isdecimal() and len(pk) <= DIGITS]
        reports = list(self.get_queryset(request).filter(pk__in=asked))
        rights = rights_of(request.user)
        shown = [cell for report in reports for cell in parts.row(report, rights).values()]
        return HttpResponse(parts.fragment(reports, shown))

    @method_decorator(require_GET)
    def page_progress_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        report = self._viewed(request, object_id)
        return HttpResponse(parts.fragment([report], parts.page(report, rights_of(request.user))))

    @method_decorator(require_GET)
    def csv_view(self, request: HttpRequest, object_id: int) -> FileResponse:
        report = self._viewed(request, object_id)
        if not has_file(report):
            raise Http404(_now("This report has no file."))
        return self._recorded(request, report, path_as_download(report.path), file="report")

    @method_decorator(require_GET)
    def rejects_view(self, request: HttpRequest, object_id: int) -> FileResponse:
        report = self._viewed(request, object_id)
        download = path_as_download(rejects_path(report.path) if report.path else None)
        return self._recorded(request, report, download, file="rejects")

    def _recorded(
        self, request: HttpRequest, report: GeneratedReport, download: FileResponse, *, file: str
    ) -> FileResponse:
        activity.record(What.EXPORTED, by=request.user, about=report, request=request, file=file)
        return download

    def _viewed(self, request: HttpRequest, object_id: int) -> GeneratedReport:
        if not self.has_view_permission(request):
            raise PermissionDenied
        report: GeneratedReport = get_object_or_404(self.get_queryset(request), pk=object_id)
        return report

    # --- columns of the list --------------------------------------------------------------------------------

    @display(description=_("report"), ordering="id")
    def identity(self, report: GeneratedReport) -> SafeString:
        return format_html(
            '<span class="relay-name">{}</span><span class="relay-under">{} · {}</span>',
            report.get_type_display(),
            report.pk,
            days(report),
        )

    @display(description=_("requested"), ordering="requested_at")
    def requested(self, report: GeneratedReport) -> SafeString:
        return format_html(
            '<span class="reports-line">{}</span><span class="relay-under">{}</span>',
            words.moment(report.requested_at),
            report.requested_by or _("by itself"),
        )

    state_part = _part_column("state", _("state"), ordering="state")
    loads_part = _part_column("loads", _("databases"))
    buttons_part = _part_column("buttons", _("actions"))

    # --- fields of the page ---------------------------------------------------------------------------------

    @display(description=_("period"))
    def period(self, report: GeneratedReport) -> str:
        return days(report)

    @display(description=_("asked of the relay"))
    def interval(self, report: GeneratedReport) -> str:
        told = {"start": f"{report.starts_at:%Y-%m-%d %H:%M:%S}", "end": f"{report.ends_at:%Y-%m-%d %H:%M:%S}"}
        return _("from %(start)s until before %(end)s (UTC)") % told

    @display(description=_("requested"))
    def requested_on(self, report: GeneratedReport) -> str | None:
        return words.moment(report.requested_at)

    @display(description=_("requested by"))
    def requested_by_shown(self, report: GeneratedReport) -> str:
        return str(report.requested_by or _("by itself"))

    @display(description=_("bulk send"))
    def bulk_send_link(self, report: GeneratedReport) -> SafeString | None:
        if report.bulk_send is None:
            return None
        url = reverse("admin:relay_bulksend_change", args=[report.bulk_send.pk])
        return format_html('<a class="relay-link" href="{}">{}</a>', url, report.bulk_send.name)

    request_id_fact = _fact_field("request_id", _("relay's number"))
    asked_fact = _fact_field("asked", _("asked on"))
    made_fact = _fact_field("made", _("made by the relay"))
    ready_fact = _fact_field("ready", _("ready since"))
    file_fact = _fact_field("file_name", _("file"))
    rows_fact = _fact_field("rows_shown", _("rows"))
    size_fact = _fact_field("size_shown", _("size"))
    sha256_fact = _fact_field("sha256_shown", "SHA-256")


def _requested(form: RequestForm, request: HttpRequest) -> GeneratedReport | None:
    """None when it cannot be asked for: then the form says why."""
    filled = form.cleaned_data
    try:
        return requesting.request_report(filled["type"], filled["first_day"], filled["last_day"], by=_user_of(request))
    except PeriodProblem as problem:
        form.refuse_period(problem)
    except Explained as problem:
        form.add_error(None, str(problem))
    return None


def _user_of(request: HttpRequest) -> User:
    """Who is logged in; nobody else gets here."""
    assert isinstance(request.user, User)  # noqa: S101
    return request.user


def _pending_sentence(pending: int) -> str:
    return ngettext(
        "%(count)s pending report is processed now; the list shows how far it is.",
        "%(count)s pending reports are processed now; the list shows how far they are.",
        pending,
    ) % {"count": words.number(pending)}


def _poll_of_list(reports: list[GeneratedReport]) -> dict[str, Any]:
    asked = "&".join(f"id={report.pk}" for report in reports)
    return {
        "poll": f"{reverse('admin:reports_generatedreport_list_progress')}?{asked}",
        "moving": any(moves(report) for report in reports),
    }


def _page_address(report: GeneratedReport) -> str:
    return reverse("admin:reports_generatedreport_change", args=[report.pk])
