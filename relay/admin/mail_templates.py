"""Templates: the copy of what the relay has, edited with a preview beside the text, saved at the relay.

Every page is made from the copy; the relay is called when a person presses a button, and never within a transaction
(Django's own pages of this kind are one transaction each, so none of them is used to write).
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST

from relay import mail_templates, template_previews, template_saving
from relay.admin import template_frames, words
from relay.admin.confirming import Question, ask
from relay.admin.template_forms import TemplateForm
from relay.admin.unfolded import ModelAdmin, display
from relay.explained import Explained
from relay.mail_templates import Refreshed, Version, version_of, wanted_version
from relay.models import BulkSend, MailTemplate
from relay.template_saving import BrokenOff, ChangedMeanwhile
from relay.text_differences import Difference, difference

LIST = "admin:relay_mailtemplate_changelist"
SHOWN_VARIABLES = 6
SHOWN_USERS = 5


class WhereFilter(admin.SimpleListFilter):
    title = _("at the relay")
    parameter_name = "where"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("gone", _("gone from the relay"))]

    def choices(self, changelist: Any) -> Any:
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": _("there"),
        }
        yield {
            "selected": self.value() == "gone",
            "query_string": changelist.get_query_string({self.parameter_name: "gone"}),
            "display": _("gone from the relay"),
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[MailTemplate]) -> QuerySet[MailTemplate]:
        return queryset.filter(gone_at__isnull=self.value() != "gone")


@admin.register(MailTemplate)
class MailTemplateAdmin(ModelAdmin[MailTemplate]):
    list_display = ["thumbnail", "identity", "subject_shown", "variables_shown", "changed", "fetched"]
    list_display_links = None
    list_filter = [WhereFilter, "made_visually"]
    list_per_page = 25
    list_max_show_all = 100
    list_fullwidth = True
    list_before_template = "relay/mail_templates/list_tools.html"
    search_fields = ["name", "subject"]
    search_help_text = _("Name or subject")
    show_add_link = False  # there is a button that says what it does
    actions = None

    class Media:
        css = {"all": ["relay/mail_templates.css"]}
        js = ["relay/mail_templates.js"]

    # --- pages ----------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[MailTemplate]:
        # Contents can be 2 MB each; the pages that show one ask for it.
        return super().get_queryset(request).defer("html", "wanted")

    def get_urls(self) -> list[Any]:
        def named(route: str, view: Callable[..., HttpResponseBase], name: str) -> Any:
            return path(route, self.admin_site.admin_view(view), name=f"relay_mailtemplate_{name}")

        return [
            named("refresh/", self.refresh_view, "refresh"),
            named("try/", self.try_view, "try"),
            named("check/", self.check_view, "check"),
            named("<int:object_id>/preview/", self.preview_view, "preview"),
            named("<int:object_id>/difference/", self.difference_view, "difference"),
            named("<int:object_id>/fetch/", self.fetch_view, "fetch"),
            named("<int:object_id>/finish/", self.finish_view, "finish"),
            named("<int:object_id>/discard/", self.discard_view, "discard"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "nothing_copied": not MailTemplate.objects.exists()}
        return super().changelist_view(request, context)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TemplateForm(request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid():
            try:
                template = template_saving.create(form.version())
            except BrokenOff as problem:
                if problem.template is not None:  # created: what is missing is finished on its own page
                    return self._broken_off(request, problem.template, problem)
                form.add_error(None, str(problem))
            except Explained as problem:
                form.add_error(None, str(problem))
            else:
                self.log_addition(request, template, _now("Created at the relay."))
                self.message_user(request, _("The template was created at the relay."), messages.SUCCESS)
                return HttpResponseRedirect(_page_address(template))
        return self._editor(request, form, None)

    def _broken_off(self, request: HttpRequest, template: MailTemplate, problem: BrokenOff) -> HttpResponse:
        self.log_change(request, template, _now("Not wholly saved at the relay."))
        self.message_user(request, str(problem), messages.ERROR)
        return HttpResponseRedirect(_page_address(template))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        pk = unquote(object_id)
        template = self._viewed(request, int(pk) if pk.isdecimal() and len(pk) < 19 else 0)
        if not self.has_change_permission(request):
            if request.method == "POST":
                raise PermissionDenied
            return self._editor(request, None, template)
        visual = template.made_visually
        if request.method != "POST":
            return self._editor(request, TemplateForm(initial=_initial(template), made_visually=visual), template)
        data = request.POST.copy()
        form = TemplateForm(data, made_visually=visual)
        if not form.is_valid():
            return self._editor(request, form, template)
        return self._save(request, form, template, data)

    def _save(self, request: HttpRequest, form: TemplateForm, template: MailTemplate, data: QueryDict) -> HttpResponse:
        version = form.version(html=template.html)
        try:
            template_saving.save(template, version, seen=form.cleaned_data["seen"])
        except ChangedMeanwhile as problem:
            template.refresh_from_db()
            data["seen"] = problem.current.digest  # saving once more is to have seen it
            form.add_error(None, str(problem))
            return self._editor(request, form, template, meanwhile=_differences(problem.current, version))
        except BrokenOff as problem:
            return self._broken_off(request, template, problem)
        except Explained as problem:
            template.refresh_from_db()
            form.add_error(None, str(problem))
            return self._editor(request, form, template)
        self.log_change(request, template, _now("Saved at the relay."))
        self.message_user(request, _("The template was saved at the relay."), messages.SUCCESS)
        return HttpResponseRedirect(_page_address(template))

    def _editor(
        self,
        request: HttpRequest,
        form: TemplateForm | None,
        template: MailTemplate | None,
        *,
        meanwhile: list[tuple[Any, Difference]] | None = None,
    ) -> HttpResponse:
        """The page of one template; `form` is None for who may only look, `template` is None for a new one."""
        gone = template is not None and template.gone_at is not None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": template,
            "title": template.name if template else _("Create template"),
            "media": self.media,
            "form": form,
            "template": template,
            "gone": gone,
            "action": reverse("admin:relay_mailtemplate_add") if gone else "",
            "list_url": reverse(LIST),
            "meanwhile": meanwhile,
            "users": _users(template),
            "values": template_frames.fields_of(form, template),
            "rows_from": self._rows_from(request, template),
            "last_sent": template and template_previews.last_sent(template.template_id),
            "open": template and not gone and template.saved != MailTemplate.Saved.WHOLE,
            "changed": template and words.moment(template.changed_at),
            "fetched": template and words.moment(template.fetched_at),
            "may_delete": template is not None and not gone and self.has_delete_permission(request),
            "is_fullwidth": "1",
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "relay/mail_templates/editor.html", context)

    def _rows_from(self, request: HttpRequest, template: MailTemplate | None) -> list[BulkSend]:
        if not template_frames.may_see_recipients(request):
            return []
        return template_previews.recent_bulk_sends(template.template_id if template else "")

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        template = self._viewed(request, int(object_id) if object_id.isdecimal() and len(object_id) < 19 else 0)
        if not self.has_delete_permission(request):
            raise PermissionDenied
        try:
            if request.method == "POST":
                template_saving.delete(template)
                self.log_change(request, template, _now("Deleted at the relay."))
                self.message_user(request, _("The template was deleted at the relay."), messages.SUCCESS)
                return HttpResponseRedirect(reverse(LIST))
            template_saving.check_deletable(template)
        except Explained as problem:
            self.message_user(request, str(problem), messages.ERROR)
            return HttpResponseRedirect(_page_address(template))
        return ask(self, request, template, _deletion(template))

    # --- what the buttons do --------------------------------------------------------------------------------

    @method_decorator(require_POST)
    def refresh_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = mail_templates.refresh()
        except Explained as problem:
            self.message_user(request, str(problem), messages.ERROR)
        else:
            level = messages.SUCCESS if found.complete else messages.WARNING
            self.message_user(request, _refreshed_sentence(found), level)
        return HttpResponseRedirect(reverse(LIST))

    @method_decorator(require_POST)
    def fetch_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        template = self._viewed(request, object_id)
        try:
            mail_templates.fetch(template.template_id)
        except Explained as problem:
            self.message_user(request, str(problem), messages.ERROR)
        else:
            self.message_user(request, _("This is what the relay has now."), messages.SUCCESS)
        return HttpResponseRedirect(_page_address(template))

    @method_decorator(require_POST)
    def finish_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        template = self._changed_by(request, object_id)
        try:
            template_saving.finish(template)
        except Explained as problem:
            self.message_user(request, str(problem), messages.ERROR)
        else:
            self.log_change(request, template, _now("Saved at the relay."))
            self.message_user(request, _("The template was saved at the relay."), messages.SUCCESS)
        return HttpResponseRedirect(_page_address(template))

    @method_decorator(require_POST)
    def discard_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        template = self._changed_by(request, object_id)
        try:
            template_saving.discard(template)
        except Explained as problem:
            self.message_user(request, str(problem), messages.ERROR)
        else:
            self.log_change(request, template, _now("What was not saved was given up."))
            self.message_user(request, _("The text that was not saved was given up."), messages.SUCCESS)
        return HttpResponseRedirect(_page_address(template))

    # --- previews -------------------------------------------------------------------------------------------

    @method_decorator(require_GET)
    def preview_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """The template as the relay has it, with samples, or with a row (`?bulk_send=…&row=…`)."""
        template = self._viewed(request, object_id)
        return template_frames.frame(request, template.subject, template.html, request.GET)

    @method_decorator(require_POST)
    def try_view(self, request: HttpRequest) -> HttpResponse:
        """What is being written, with the values beside it."""
        self._check_may_look(request)
        return template_frames.frame(request, *template_frames.written(request), request.POST)

    @method_decorator(require_POST)
    def check_view(self, request: HttpRequest) -> HttpResponse:
        """What is found in what is being written: for the script of the page."""
        self._check_may_look(request)
        return template_frames.findings(request, *template_frames.written(request), request.POST)

    @method_decorator(require_GET)
    def difference_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        template = self._viewed(request, object_id)
        sent = template_previews.last_sent(template.template_id)
        if sent is None:
            raise Http404(_now("No bulk send with this template has begun yet."))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": template,
            "title": _("Difference from the last bulk send"),
            "media": self.media,
            "sent": sent,
            "began": words.moment(sent.processing_started_at),
            "back": _page_address(template),
            "parts": [
                (_("Subject"), difference(sent.template_subject, template.subject)),
                (_("Content"), difference(sent.template_html, template.html)),
            ],
            "is_fullwidth": "1",
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "relay/mail_templates/difference_page.html", context)

    # --- who may do what ------------------------------------------------------------------------------------

    def _check_may_look(self, request: HttpRequest) -> None:
        if not (self.has_view_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied

    def _viewed(self, request: HttpRequest, object_id: int) -> MailTemplate:
        """With its content."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return get_object_or_404(MailTemplate, pk=object_id)

    def _changed_by(self, request: HttpRequest, object_id: int) -> MailTemplate:
        template = self._viewed(request, object_id)
        if not self.has_change_permission(request):
            raise PermissionDenied
        return template

    # --- columns of the list --------------------------------------------------------------------------------

    @display(description=_("preview"))
    def thumbnail(self, template: MailTemplate) -> SafeString:
        # Loaded when it comes into view; the picture of a mail, not a part of the page that one could enter.
        return format_html(
            '<span class="mail-templates-thumbnail" inert><iframe sandbox src="{}" title="{}" loading="lazy"></iframe>'
            "</span>",
            reverse("admin:relay_mailtemplate_preview", args=[template.pk]),
            _now("Preview of %(name)s") % {"name": template.name},
        )

    @display(description=_("template"), ordering="name")
    def identity(self, template: MailTemplate) -> SafeString:
        sender = f"{template.from_name} <{template.from_email}>" if template.from_name else template.from_email
        marks = format_html_join("", '<span class="mail-templates-mark">{}</span>', ((m,) for m in _marks(template)))
        return format_html(
            '<a class="relay-link mail-templates-name" href="{}">{}</a><span class="relay-under">{}</span>{}',
            _page_address(template),
            template.name or template.template_id,
            sender,
            marks,
        )

    @display(description=_("subject"), ordering="subject")
    def subject_shown(self, template: MailTemplate) -> SafeString:
        return format_html('<span class="mail-templates-subject">{}</span>', template.subject or "—")

    @display(description=_("variables"))
    def variables_shown(self, template: MailTemplate) -> SafeString:
        names: list[str] = template.variables[:SHOWN_VARIABLES]
        shown = format_html_join(" ", '<code class="mail-templates-variable">{}</code>', ((name,) for name in names))
        more = len(template.variables) - len(names)
        return format_html("{} +{}", shown, words.number(more)) if more else shown or SafeString("—")

    @display(description=_("changed"), ordering="changed_at")
    def changed(self, template: MailTemplate) -> str | None:
        return words.moment(template.changed_at)

    @display(description=_("read"), ordering="fetched_at")
    def fetched(self, template: MailTemplate) -> str | None:
        return words.moment(template.fetched_at)


def _marks(template: MailTemplate) -> list[str]:
    found = []
    if template.gone_at:
        found.append(_now("gone from the relay"))
    if template.saved != MailTemplate.Saved.WHOLE:
        found.append(template.get_saved_display())
    if template.made_visually:
        found.append(_now("visual editor"))
    if template.has_mistake:
        found.append(_now("has a mistake"))
    return found


def _initial(template: MailTemplate) -> dict[str, str]:
    """What broke off goes on where it stood; `seen` is what the relay has."""
    shown = wanted_version(template) or version_of(template)
    return {**shown.as_json(), "seen": version_of(template).digest}


def _users(template: MailTemplate | None) -> list[BulkSend]:
    if template is None:
        return []
    return list(template_saving.users_of(template.template_id).order_by("-pk")[:SHOWN_USERS])


def _differences(current: Version, mine: Version) -> list[tuple[Any, Difference]]:
    """From what the relay has to what the person wrote; only the parts that differ."""
    parts = [
        (_("Name"), current.name, mine.name),
        (_("Subject"), current.subject, mine.subject),
        (_("From"), current.from_email, mine.from_email),
        (_("From name"), current.from_name, mine.from_name),
        (_("Content"), current.html, mine.html),
    ]
    compared = [(title, difference(theirs, ours)) for title, theirs, ours in parts]
    return [(title, found) for title, found in compared if found]


def _deletion(template: MailTemplate) -> Question:
    if template.made_visually:
        text = _("It is deleted at the relay, for good, with what the visual editor knows of it.")
    else:
        text = _("It is deleted at the relay, for good. Bulk sends that have ended keep their own copy of it.")
    return Question(
        button=_("Delete template"), text=text, about=template.name, back=_page_address(template), for_good=True
    )


def _refreshed_sentence(found: Refreshed) -> str:
    if not found.complete:
        read = found.new + found.changed
        return ngettext(
            "%(count)s template was read, and there are more: press the button again to go on.",
            "%(count)s templates were read, and there are more: press the button again to go on.",
            read,
        ) % {"count": words.number(read)}
    if not (found.new or found.changed or found.gone):
        return _now("The relay has nothing new.")
    told = {name: words.number(getattr(found, name)) for name in ("new", "changed", "gone")}
    return _now("Read from the relay. New: %(new)s. Changed: %(changed)s. Gone: %(gone)s.") % told


def _page_address(template: MailTemplate) -> str:
    return reverse("admin:relay_mailtemplate_change", args=[template.pk])
