"""Preparing a bulk send: step (a) template and sender, step (b) the file. Steps (c) and (d) are pages of the draft that
the check makes.

Whoever may add bulk sends may prepare them, and go on with what others began. Nothing is validated in a request but
the beginning of a file: `relay.checking` does it, and the page shows how far it is.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from relay import mail_templates, preparing, tasks
from relay.admin import polling, words
from relay.admin.discarding import discard_preparation
from relay.admin.preparation_forms import FileStepForm, TemplateStepForm
from relay.admin.steps import review_address, steps
from relay.admin.unfolded import LookingOnly, ModelAdmin, display
from relay.creating import Refused
from relay.explained import Explained
from relay.models import MailTemplate, Preparation
from relay.rendering import TemplateProblem

LIST = "admin:relay_preparation_changelist"
MOST_TEMPLATES = 60  # on a page; more are found by searching
COPY_HOLDS = timedelta(minutes=15)
# A relay that gave no answer is not asked again by every page that opens.
RELAY_RESTS_SECONDS = 120
MULTIPART_MARGIN = 1024 * 1024  # bytes of a request besides the file

COLOURS: Mapping[str, str] = {
    Preparation.Checking.IDLE: "default",
    Preparation.Checking.WAITING: "info",
    Preparation.Checking.RUNNING: "info",
    Preparation.Checking.FAILED: "danger",
    Preparation.Checking.CHECKED: "success",
}


@admin.register(Preparation)
class PreparationAdmin(LookingOnly, ModelAdmin[Preparation]):
    list_display = ["identity", "state_label", "file_shown", "changed", "creator", "discard_link"]
    list_select_related = ["created_by", "bulk_send"]
    list_per_page = 25
    list_max_show_all = 100
    list_fullwidth = True
    list_before_template = "relay/preparing/list_tools.html"
    list_display_links = None
    search_fields = ["name", "file_name", "template_name"]
    search_help_text = _("Name, file or template")
    ordering = ["-updated_at"]
    actions = None
    show_add_link = False  # there is a button that says what it does

    class Media:
        css = {"all": ["relay/preparing.css"]}
        js = ["relay/preparing.js"]

    # --- who may do what ------------------------------------------------------------------------------------

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("relay.add_bulksend")

    # --- pages ----------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Preparation]:
        return Preparation.objects.open()

    def get_urls(self) -> list[Any]:
        def named(route: str, view: Callable[..., HttpResponseBase], name: str) -> Any:
            return path(route, self.admin_site.admin_view(view), name=f"relay_preparation_{name}")

        upload = self.admin_site.admin_view(self.upload_view)
        attach = self.admin_site.admin_view(self.attach_view)
        return [
            named("<int:object_id>/template/", self.template_view, "template"),
            named("<int:object_id>/file/", self.file_view, "file"),
            path("<int:object_id>/upload/", _unless_too_large(upload), name="relay_preparation_upload"),
            path("<int:object_id>/attach/", _unless_too_large(attach), name="relay_preparation_attach"),
            named("<int:object_id>/detach/<int:attachment_id>/", self.detach_view, "detach"),
            named("<int:object_id>/progress/", self.progress_view, "progress"),
            named("<int:object_id>/stop/", self.stop_view, "stop"),
            named("<int:object_id>/discard/", self.discard_view, "discard"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "nothing_prepared": not self.get_queryset(request).exists()}
        return super().changelist_view(request, context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Where it stands."""
        if not object_id.isdecimal():
            raise Http404
        return HttpResponseRedirect(_next_address(self._opened(request, int(object_id))))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Step (a) of a new one, which exists from its first save on."""
        self._check_right(request)
        return self._template_step(request, None)

    def template_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return self._template_step(request, self._opened(request, object_id))

    def _template_step(self, request: HttpRequest, preparation: Preparation | None) -> HttpResponse:
        action = request.POST.get("action", "")
        form = TemplateStepForm(request.user, preparation, request.POST if request.method == "POST" else None)
        refreshed = self._refresh(request, now=action == "refresh")
        if form.is_bound and action == "refresh":
            form.errors.clear()
        elif form.is_valid():
            return self._save_template_step(request, preparation, form, action)
        chosen = form["template"].value() or ""
        search = request.GET.get("q", "").strip()[:100]
        found = _templates(search, chosen)
        context = {
            "form": form,
            "chosen": chosen,
            "templates": found[:MOST_TEMPLATES],
            "more": len(found) > MOST_TEMPLATES,
            "most": MOST_TEMPLATES,
            "search": search,
            "may_preview": request.user.has_perm("relay.view_mailtemplate")
            or request.user.has_perm("relay.change_mailtemplate"),
            "relay_problem": refreshed,
        }
        return self._page(request, "template", preparation, _("Template and sender"), context)

    def _refresh(self, request: HttpRequest, *, now: bool) -> str:
        """Brings the copy of the templates up to date; the sentence why it could not, and the copy is as it was."""
        problem: str = cache.get("relay-templates-not-read", "")
        if request.method == "POST" and not now:
            return problem
        if problem and not now:
            return problem
        try:
            mail_templates.refresh(max_age=None if now else COPY_HOLDS)
        except Explained as trouble:
            problem = str(trouble)
            cache.set("relay-templates-not-read", problem, RELAY_RESTS_SECONDS)
            return problem
        cache.delete("relay-templates-not-read")
        return ""

    def _save_template_step(
        self, request: HttpRequest, preparation: Preparation | None, form: TemplateStepForm, action: str
    ) -> HttpResponse:
        version = 1
        if preparation is None:
            preparation = preparing.open_preparation(_user(request))
        else:
            version = _version(request)
        try:
            preparing.correct(preparation.pk, version=version, **form.saved())
        except Explained as problem:
            return self._refused(request, problem, _step_address("template", preparation.pk))
        if action == "save":
            self.message_user(request, _("The draft is saved."), messages.SUCCESS)
        return HttpResponseRedirect(_step_address("template" if action == "save" else "file", preparation.pk))

    def file_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        preparation = self._opened(request, object_id)
        if not preparation.template_id:
            return HttpResponseRedirect(_step_address("template", object_id))
        needed, template_problem = _needed(preparation)
        form = FileStepForm(preparation, needed, request.POST if request.method == "POST" else None)
        if form.is_valid():
            return self._save_file_step(request, preparation, form)
        if form.is_bound and _is_script(request):
            return JsonResponse(
                {"problem": _now("Correct your choices first: one of them is not possible.")}, status=400
            )
        understood = preparation.understood
        context = {
            "form": form,
            "template_problem": template_problem,
            "needed": needed,
            "understood": understood,
            "sample": understood.get("sample", []),
            "problems": preparing.problems(preparation) if preparation.file else [],
            "attachments": list(preparation.attachments.order_by("filename")),
            "most_bytes": settings.BULK_MAX_UPLOAD_MB * 1024 * 1024,
            "most_mb": settings.BULK_MAX_UPLOAD_MB,
            "kinds": ",".join(preparing.FILE_KINDS),
            "review_url": review_address(preparation.bulk_send) if preparation.is_checked else "",  # type: ignore[arg-type]
            "progress": _progress(preparation),
        }
        return self._page(request, "file", preparation, _("Recipients"), context)

    def _save_file_step(self, request: HttpRequest, preparation: Preparation, form: FileStepForm) -> HttpResponse:
        here = _step_address("file", preparation.pk)
        try:
            saved = preparing.correct(preparation.pk, version=_version(request), **form.saved())
            if _is_script(request):  # before an upload: see preparing.js
                return JsonResponse({"version": saved.version})
            if request.POST.get("action") != "check":
                self.message_user(request, _("The draft is saved."), messages.SUCCESS)
                return HttpResponseRedirect(here)
            asked = preparing.request_check(saved.pk, version=saved.version)
        except Explained as problem:
            return self._refused(request, problem, here)
        if asked.is_checked:
            return HttpResponseRedirect(_next_address(asked))
        tasks.ask_to_check(asked.pk)
        return HttpResponseRedirect(here)

    @method_decorator(require_GET)
    def progress_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """What the page asks every few seconds while it is checked."""
        preparation = self._opened(request, object_id)
        moving = preparation.is_moving
        next_page = "" if moving else _next_address(preparation)
        return HttpResponse(polling.fragment([_progress(preparation)], moving=moving, next_page=next_page))

    def _page(
        self, request: HttpRequest, step: Any, preparation: Preparation | None, title: Any, context: dict[str, Any]
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request,
            f"relay/preparing/{step}.html",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": title,
                "subtitle": str(preparation) if preparation else _("New bulk send"),
                "preparation": preparation,
                "steps": steps(step, preparation=preparation),
                "media": self.media,
                **context,
            },
        )

    # --- what changes something: only by POST ----------------------------------------------------------------

    @method_decorator(require_POST)
    def upload_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        self._opened(request, object_id)
        upload = request.FILES.get("file")
        try:
            if upload is None or not upload.name:
                raise Refused(_now("Choose a file first."))
            preparing.take_file(object_id, version=_version(request), upload=upload, name=upload.name)
        except Explained as problem:
            return self._refused(request, problem, _step_address("file", object_id))
        return _answered(request, _step_address("file", object_id))

    @method_decorator(require_POST)
    def attach_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        self._opened(request, object_id)
        uploads = [(upload.name or "", upload) for upload in request.FILES.getlist("files")]
        try:
            if not uploads:
                raise Refused(_now("Choose a file first."))
            preparing.attach(object_id, version=_version(request), uploads=uploads)
        except Explained as problem:
            return self._refused(request, problem, _step_address("file", object_id))
        return _answered(request, _step_address("file", object_id))

    @method_decorator(require_POST)
    def detach_view(self, request: HttpRequest, object_id: int, attachment_id: int) -> HttpResponse:
        self._opened(request, object_id)
        try:
            preparing.detach(object_id, version=_version(request), attachment_id=attachment_id)
        except Explained as problem:
            return self._refused(request, problem, _step_address("file", object_id))
        return HttpResponseRedirect(_step_address("file", object_id))

    @method_decorator(require_POST)
    def stop_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        self._opened(request, object_id)
        try:
            preparing.stop_check(object_id)
        except Explained as problem:
            return self._refused(request, problem, _step_address("file", object_id))
        return HttpResponseRedirect(_step_address("file", object_id))

    def discard_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        preparation = self._opened(request, object_id)
        return discard_preparation(self, request, preparation, back=_next_address(preparation))

    def _refused(self, request: HttpRequest, problem: Explained, back: str) -> HttpResponse:
        if _is_script(request):
            return JsonResponse({"problem": str(problem)}, status=400)
        self.message_user(request, str(problem), messages.ERROR)
        return HttpResponseRedirect(back)

    def _check_right(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _opened(self, request: HttpRequest, object_id: int) -> Preparation:
        self._check_right(request)
        found = self.get_queryset(request).select_related("bulk_send", "sender").filter(pk=object_id).first()
        if found is None:
            raise Http404(_now("There is no such draft (any more)."))
        return found

    # --- columns of the list --------------------------------------------------------------------------------

    @display(description=_("draft"))
    def identity(self, preparation: Preparation) -> SafeString:
        return format_html(
            '<a class="relay-link relay-name" href="{}">{}</a><span class="relay-under">{}</span>',
            _next_address(preparation),
            preparation,
            preparation.template_name,
        )

    @display(description=_("state"), label=COLOURS, ordering="checking")
    def state_label(self, preparation: Preparation) -> tuple[str, str]:
        return preparation.checking, preparation.get_checking_display()

    @display(description=_("file"), ordering="file_name")
    def file_shown(self, preparation: Preparation) -> str:
        return preparation.file_name or "—"

    @display(description=_("changed"), ordering="updated_at")
    def changed(self, preparation: Preparation) -> str | None:
        return words.moment(preparation.updated_at)

    @display(description=_("created by"), ordering="created_by")
    def creator(self, preparation: Preparation) -> str:
        return str(preparation.created_by or "—")

    @display(description=_("discard"))
    def discard_link(self, preparation: Preparation) -> SafeString:
        return format_html(
            '<a class="relay-link" href="{}">{}</a>',
            reverse("admin:relay_preparation_discard", args=[preparation.pk]),
            _now("Discard draft"),
        )


def _unless_too_large(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Refuses a request by its announced size, before any of it is read: Django would first store all of it.

    Exempt from CSRF's look into the form for the same reason; `view` itself makes it (`admin_view`).
    """

    def sized(request: HttpRequest, object_id: int) -> HttpResponseBase:
        announced = request.META.get("CONTENT_LENGTH") or "0"
        try:
            preparing.check_upload_size(max(int(announced) - MULTIPART_MARGIN, 0) if announced.isdecimal() else 0)
        except Explained as problem:
            if _is_script(request):
                return JsonResponse({"problem": str(problem)}, status=413)
            messages.error(request, str(problem))
            return HttpResponseRedirect(_step_address("file", object_id))
        return view(request, object_id)

    return csrf_exempt(sized)


def _is_script(request: HttpRequest) -> bool:
    return request.headers.get("Accept") == "application/json"


def _answered(request: HttpRequest, address: str) -> HttpResponse:
    return JsonResponse({"url": address}) if _is_script(request) else HttpResponseRedirect(address)


def _user(request: HttpRequest) -> User | None:
    return request.user if isinstance(request.user, User) else None


def _version(request: HttpRequest) -> int:
    """The version that the page was opened with; 0, which none has, where a form was tampered with."""
    written = request.POST.get("version", "")
    return int(written) if written.isdecimal() and len(written) < 10 else 0


def _step_address(step: str, preparation_id: int) -> str:
    return reverse(f"admin:relay_preparation_{step}", args=[preparation_id])


def _next_address(preparation: Preparation) -> str:
    """The page on which it goes on."""
    if preparation.is_checked and preparation.bulk_send is not None:
        return review_address(preparation.bulk_send)
    return _step_address("file" if preparation.template_id else "template", preparation.pk)


def _needed(preparation: Preparation) -> tuple[list[str], str]:
    try:
        return preparing.needed_variables(preparation), ""
    except TemplateProblem as problem:
        return [], str(problem)


def _progress(preparation: Preparation) -> SafeString:
    context = {
        "preparation": preparation,
        "rows": words.number(preparation.rows_read),
        "next": _next_address(preparation) if preparation.is_checked else "",
    }
    return polling.part("preparation-progress", render_to_string("relay/preparing/progress.html", context))


def _templates(search: str, chosen: str) -> list[MailTemplate]:
    """One more than a page shows, so that it can say so; the chosen one first."""
    there = MailTemplate.objects.there().defer("html", "wanted").order_by("name", "pk")
    wanted = there.filter(name__icontains=search) | there.filter(subject__icontains=search) if search else there
    found = list(wanted[: MOST_TEMPLATES + 1])
    first = next((template for template in found if template.template_id == chosen), None)
    first = first or there.filter(template_id=chosen).first()
    if first is not None:
        found = [first, *(template for template in found if template.pk != first.pk)]
    for template in found:
        template.preview_url = _preview_address(template)  # type: ignore[attr-defined]
    return found


def _preview_address(template: MailTemplate) -> str:
    try:
        return reverse("admin:relay_mailtemplate_preview", args=[template.pk])
    except NoReverseMatch:
        return ""
