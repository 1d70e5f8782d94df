"""What previews of templates answer. A mail is a stranger's HTML: it is shown in a frame that runs nothing, loads
nothing and is of no origin, whatever page it stands in."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from relay import template_previews
from relay.admin.template_forms import TemplateForm
from relay.explained import Explained
from relay.models import MailTemplate
from relay.rendering import CompiledTemplate, TemplateProblem, compile_template
from relay.template_previews import Rendered, mistakes, names_of, sample, with_recipient, with_values

# `sandbox` here holds also where somebody opens the address itself, outside of our frame.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
VALUE = "value:"  # and the name of a variable: the name of its field
MOST_VALUES = 200
_DIGITS = 18


def may_see_recipients(request: HttpRequest) -> bool:
    return request.user.has_perm("relay.view_recipient")


def written(request: HttpRequest) -> tuple[str, str]:
    """Subject and content of the form; without content the stored one is meant (visual templates have no field)."""
    html = request.POST.get("html")
    if html is None:
        html = _stored(request).values_list("html", flat=True).first() or ""
    return request.POST.get("subject", ""), html


def _stored(request: HttpRequest) -> QuerySet[MailTemplate]:
    """The template that is being edited; none for a new one."""
    pk = request.POST.get("stored", "")
    return MailTemplate.objects.filter(pk=int(pk)) if _is_number(pk) else MailTemplate.objects.none()


def frame(request: HttpRequest, subject: str, html: str, asked: QueryDict) -> HttpResponse:
    try:
        page = _render(request, compile_template(subject, html), asked).html
        problem = "" if page.strip() else _("Without content.")
    except (TemplateProblem, Explained) as error:
        page, problem = "", str(error)
    response = HttpResponse(page or render_to_string("relay/mail_templates/no_preview.html", {"problem": problem}))
    response["Content-Security-Policy"] = POLICY
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-Content-Type-Options"] = "nosniff"
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "private, no-store"  # it may be a person's mail
    return response


def findings(request: HttpRequest, subject: str, html: str, asked: QueryDict) -> HttpResponse:
    """As JSON: `problems` with their place, else the `subject` as it will be, `names` to give values to, what is
    `missing` in the row."""
    problems = [{"part": problem.params.get("part"), "text": problem.sentence} for problem in mistakes(subject, html)]
    if problems:
        return JsonResponse({"problems": problems})
    template = compile_template(subject, html)
    try:
        rendered = _render(request, template, asked)
    except Explained as problem:
        return JsonResponse({"problems": [{"part": "row", "text": str(problem)}]})
    return JsonResponse(
        {
            "problems": [],
            "subject": rendered.subject,
            "names": [{"name": name, "sample": sample(name)} for name in names_of(template)[:MOST_VALUES]],
            "missing": _missing_sentence(rendered.missing),
            "partials": _partials_sentence(template.partials),
            "stops": _stops_sentence(_stored(request).values_list("template_id", flat=True).first(), template),
        }
    )


def fields_of(form: TemplateForm | None, template: MailTemplate | None) -> list[dict[str, str]]:
    """The fields for values, as the page has them before its script asks."""
    if form is None and template is None:
        return []
    html = _text(form, "html") or (template.html if template else "")
    subject = _text(form, "subject") or (template.subject if template else "")
    try:
        names = names_of(compile_template(subject, html))
    except TemplateProblem:
        return []
    typed = form.data if form is not None else {}
    return [
        {"name": name, "field": VALUE + name, "value": str(typed.get(VALUE + name, sample(name)))}
        for name in names[:MOST_VALUES]
    ]


def _text(form: TemplateForm | None, name: str) -> str:
    return str(form[name].value() or "") if form is not None and name in form.fields else ""


def _render(request: HttpRequest, template: CompiledTemplate, asked: Any) -> Rendered:
    """With the row that is asked for, else with the values that were typed. Raises PermissionDenied and NoSuchRow."""
    bulk_send, row = asked.get("bulk_send", ""), asked.get("row", "").strip()
    if not bulk_send:
        typed = {name.removeprefix(VALUE): value for name, value in asked.items() if name.startswith(VALUE)}
        return with_values(template, typed)
    if not may_see_recipients(request):
        raise PermissionDenied
    if not _is_number(bulk_send) or (row and not (_is_number(row) and len(row) < 10)):
        raise template_previews.NoSuchRow(_("A row is a number, as a spreadsheet shows it."))
    return with_recipient(template, template_previews.row_of(int(bulk_send), int(row) if row else None))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


def _missing_sentence(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return _("Without a value here, so nothing stands in their place: %(names)s.") % {"names": ", ".join(names)}


def _partials_sentence(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return _("Other templates cannot be included; these stay empty: %(names)s.") % {"names": ", ".join(names)}


def _stops_sentence(template_id: str | None, template: CompiledTemplate) -> str:
    names = template_previews.stopped_by(template_id, template) if template_id else []
    if not names:
        return ""
    shown = ", ".join(f"«{name}»" for name in names)
    return _("Saved like this, it needs other variables, and these bulk sends stop: %(names)s.") % {"names": shown}
