"""«Registro»: who did what, to search and to take along as CSV, which is recorded in turn. Nobody edits it."""

import csv
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar

from django.apps import apps
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from relay import activity
from relay.activity import What
from relay.admin import words
from relay.admin.searching import MillionsOfRows
from relay.admin.unfolded import LookingOnly, ModelAdmin, display
from relay.finding import address_range
from relay.models import Activity, Decision, Settlement
from relay.standing import neutralised

EXPORTED_AT_MOST = 100_000
APPS = ("relay", "reports", "auth")

# What stands in the details, as it is said to a person.
DETAILS: dict[str, Any] = {
    "above": _("above"),
    "active": _("active"),
    "codes": _("codes"),
    "database": _("database"),
    "decision": _("decision"),
    "excluded": _("excluded"),
    "fields": _("fields"),
    "file": _("file"),
    "groups": _("groups"),
    "max_rate": _("messages per second"),
    "max_rate_before": _("before"),
    "reason": _("it had been stopped by"),
    "recipients": _("recipients"),
    "retried": _("sent again"),
    "rights": _("rights"),
    "row": _("row"),
    "rows": _("rows"),
    "staff": _("may enter the console"),
    "superuser": _("administrator"),
    "valid": _("valid"),
    "verdict": _("verdict"),
    "window": _("sending window"),
    "without_rejects": _("without rejected rows"),
}
FILES: dict[str, Any] = {
    "activity": _("record of activity"),
    "attachment": _("attachment"),
    "dashboard": _("start page"),
    "rejects": _("rejected rows"),
    "report": _("report"),
    "results": _("results"),
}


class PeriodFilter(admin.SimpleListFilter):
    title = _("period")
    parameter_name = "days"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            (str(days), ngettext("Last %(days)s day", "Last %(days)s days", days) % {"days": days})
            for days in (1, 7, 30, 90, 365)
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Activity]) -> QuerySet[Activity]:
        value = self.value()
        if value not in {choice for choice, _text in self.lookup_choices}:
            return queryset
        return queryset.filter(at__gte=timezone.now() - timedelta(days=int(value or 0)))


class AboutFilter(admin.SimpleListFilter):
    title = _("about")
    parameter_name = "about"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((kind, capfirst(str(name))) for kind, name in kinds().items()), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Activity]) -> QuerySet[Activity]:
        return queryset.filter(about_kind=self.value()) if self.value() in kinds() else queryset


@cache
def kinds() -> dict[str, Any]:
    """The things that a record can be about."""
    return {
        model._meta.model_name or "": model._meta.verbose_name
        for app_label in APPS
        for model in apps.get_app_config(app_label).get_models()
        if admin.site.is_registered(model) and model is not Activity
    }


@admin.register(Activity)
class ActivityAdmin(MillionsOfRows, LookingOnly, ModelAdmin[Activity]):
    list_display = ["moment", "by", "what", "about_shown", "details_shown", "address"]
    list_display_links = None
    list_filter = [PeriodFilter, "what", AboutFilter]
    list_before_template = "relay/admin/activity_tools.html"
    search_fields = ["by"]  # switches the search on; get_search_results decides what it does
    search_help_text = _("Beginning of the user's name, or number of what it is about")
    ordering = ["-at", "-id"]
    fieldsets: ClassVar[Any] = [(None, {"fields": ["moment", "by", "what", "about_shown", "details_shown", "address"]})]
    readonly_fields: ClassVar[Any] = [name for _title, options in fieldsets for name in options["fields"]]

    # --- pages ----------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name="relay_activity_export"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "title": _("Record of activity"),
            "exported_at_most": words.number(EXPORTED_AT_MOST),
            "query": request.GET.urlencode(),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Activity], search_term: str
    ) -> tuple[QuerySet[Activity], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isdecimal():
            return queryset.filter(about_id=term), False
        first, after = address_range(term.lower())
        found = queryset.alias(name=Lower("by")).filter(name__gte=first, name__startswith=term.lower())
        return (found.filter(name__lt=after) if after else found), False

    @method_decorator(require_GET)
    def export_view(self, request: HttpRequest) -> StreamingHttpResponse:
        """What the list shows, newest first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = self.get_changelist_instance(request).get_queryset(request)[:EXPORTED_AT_MOST]
        activity.record(What.EXPORTED, by=request.user, request=request, file="activity")
        response = StreamingHttpResponse(_as_csv(rows), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="activity.csv"'
        response["X-Content-Type-Options"] = "nosniff"
        response["Cache-Control"] = "private, no-store"
        return response

    # --- columns --------------------------------------------------------------------------------------------

    @display(description=_("when"))
    def moment(self, entry: Activity) -> SafeString:
        return format_html('<span class="people-moment">{}</span>', words.moment(entry.at))

    @display(description=_("about"))
    def about_shown(self, entry: Activity) -> SafeString | None:
        if not entry.about_kind:
            return None
        under = " · ".join(part for part in (about_kind(entry), entry.about_id) if part)
        return format_html(
            '<span class="relay-name">{}</span><span class="relay-under">{}</span>', entry.about_label or under, under
        )

    @display(description=_("details"))
    def details_shown(self, entry: Activity) -> SafeString:
        return format_html('<span class="people-details">{}</span>', details_text(entry))


def about_kind(entry: Activity) -> str:
    return str(kinds().get(entry.about_kind, entry.about_kind))


def details_text(entry: Activity) -> str:
    return "; ".join(
        f"{DETAILS.get(name, name)}: {said}" for name, value in entry.details.items() if (said := _said(name, value))
    )


def _said(name: str, value: Any) -> str:
    match name, value:
        case _any, bool():
            return str(_("yes") if value else _("no"))
        case "decision", str():
            return str(dict(Decision.What.choices).get(value, value))
        case "verdict", str():
            return str(dict(Settlement.Verdict.choices).get(value, value))
        case "reason", str():
            return str(words.STOPS.get(value, value))
        case "file", str():
            return str(FILES.get(value, value))
        case "fields", list():
            return ", ".join(gettext(field) for field in value)
        case _any, list():
            return ", ".join(map(str, value))
        case _any, int():
            return words.number(value)
    return "" if value is None else str(value)


class _Echo:
    """What `csv` writes to, so that each row is at once on its way."""

    def write(self, line: str) -> str:
        return line


def _as_csv(entries: QuerySet[Activity]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    names = (_("when"), _("who"), _("what"), _("about"), _("number"), _("name"), _("details"), _("client's address"))
    yield "\ufeff"  # or spreadsheets take it for Windows-1252
    yield writer.writerow([capfirst(str(name)) for name in names])
    for entry in entries.iterator(chunk_size=2000):
        cells = (
            timezone.localtime(entry.at).isoformat(timespec="seconds"),
            entry.by,
            entry.get_what_display(),
            about_kind(entry),
            entry.about_id,
            entry.about_label,
            details_text(entry),
            entry.address,
        )
        yield writer.writerow([neutralised(str(cell)) for cell in cells])
