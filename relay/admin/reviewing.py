"""Step (c) of a bulk send: what the check of its file found, and how the mail of each row looks before it leaves.

The mail itself is served by a view of its own, for a frame without any right: no script runs in it, nothing is loaded
from outside, and it reaches nothing of ours.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from relay import decisions, trying
from relay.admin import words
from relay.admin.decisions import actor_of
from relay.admin.findings import findings_of, recipients_of
from relay.admin.steps import steps
from relay.admin.unfolded import ModelAdmin
from relay.explained import Explained
from relay.extremes import Extremes, extremes_of
from relay.models import BulkSend, Recipient, TestSend
from relay.previewing import AttachedFile, Mail, mail_of
from relay.rendering import TemplateProblem

Status = BulkSend.Status
LATEST_TESTS = 5
# Not even what a mail may do in an inbox: see the head of this file.
MAIL_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)


# A click would lead the frame away, and to nothing: the page around it allows frames of ours only. It stands last,
# where it changes nothing of how the mail is laid out.
INERT = "<style>a, area { pointer-events: none !important }</style>"


def is_to_decide(bulk_send: BulkSend) -> bool:
    """Whether a person still decides when it is sent."""
    return bulk_send.status in {Status.DRAFT, Status.PENDING}


def steps_offered(bulk_send: BulkSend) -> list[dict[str, str]]:
    """Links on the page of a bulk send that has not begun: to look at it, to decide when."""
    if not is_to_decide(bulk_send):
        return []
    review = {"text": _("Review and schedule"), "url": reverse("admin:relay_bulksend_review", args=[bulk_send.pk])}
    if bulk_send.status == Status.DRAFT or bulk_send.scheduled_at is None:
        return [review]
    when = {"text": _("Reschedule"), "url": reverse("admin:relay_bulksend_when", args=[bulk_send.pk])}
    return [when, {**review, "text": _("Review")}]


def bulk_send_for(admin: ModelAdmin[BulkSend], request: HttpRequest, object_id: int) -> BulkSend:
    """The bulk send, for who may look at it; without the content of its template."""
    bulk_send = get_object_or_404(admin.get_queryset(request), pk=object_id)
    if not admin.has_view_permission(request, bulk_send):
        raise PermissionDenied
    return bulk_send


def page(admin: ModelAdmin[BulkSend], request: HttpRequest, template: str, context: dict[str, Any]) -> TemplateResponse:
    request.current_app = admin.admin_site.name
    return TemplateResponse(
        request, template, {**admin.admin_site.each_context(request), "opts": admin.opts, **context}
    )


def pages_of_one(
    admin: ModelAdmin[BulkSend], *pages: tuple[str, Callable[..., HttpResponseBase], str]
) -> list[URLPattern]:
    """Route below the bulk send, view, name after `relay_bulksend_`."""
    return [
        path(f"<int:object_id>/{route}", admin.admin_site.admin_view(view), name=f"relay_bulksend_{name}")
        for route, view, name in pages
    ]


class ReviewPages:
    def __init__(self, admin: ModelAdmin[BulkSend]) -> None:
        self.admin = admin

    def urls(self) -> list[URLPattern]:
        return pages_of_one(
            self.admin,
            ("review/", require_safe(self.review), "review"),
            ("review/accept/", require_POST(self.accept), "accept_rejects"),
            ("preview/", require_safe(self.jump), "preview_jump"),
            ("preview/<int:row>/", require_safe(self.preview), "preview"),
            ("preview/<int:row>/mail/", require_safe(self.mail), "preview_mail"),
            ("preview/<int:row>/test/", require_POST(self.test), "preview_test"),
        )

    def review(self, request: HttpRequest, object_id: int) -> HttpResponse:
        bulk_send = bulk_send_for(self.admin, request, object_id)
        excluded = bulk_send.excluded_at_creation
        valid = bulk_send.total - excluded
        may_preview = request.user.has_perm("relay.view_recipient")
        context = {
            "title": _("Review: %(name)s") % {"name": bulk_send.name},
            "bulk_send": bulk_send,
            "steps": steps("review", bulk_send=bulk_send),
            "to_decide": is_to_decide(bulk_send),
            "total": words.number(bulk_send.total),
            "valid": words.number(valid),
            "excluded": words.number(excluded),
            "nothing_to_send": not valid,
            "to_accept": bool(excluded) and bulk_send.status == Status.DRAFT and not bulk_send.accept_rejects,
            "may_decide": request.user.has_perm("relay.change_bulksend"),
            "accept_url": reverse("admin:relay_bulksend_accept_rejects", args=[bulk_send.pk]),
            "when_url": reverse("admin:relay_bulksend_when", args=[bulk_send.pk]),
            "back_url": _file_step(bulk_send),
            "page_url": reverse("admin:relay_bulksend_change", args=[bulk_send.pk]),
            "recipients_url": recipients_of(bulk_send),
            "may_preview": may_preview,
            **findings_of(bulk_send),
        }
        if may_preview:
            context |= _looked_for(bulk_send)
        return page(self.admin, request, "relay/reviewing/review.html", context)

    def accept(self, request: HttpRequest, object_id: int) -> HttpResponse:
        bulk_send = bulk_send_for(self.admin, request, object_id)
        if not request.user.has_perm("relay.change_bulksend"):
            raise PermissionDenied
        try:
            decisions.accept_rejects(bulk_send, actor_of(request))
        except Explained as problem:
            self.admin.message_user(request, str(problem), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:relay_bulksend_change", args=[bulk_send.pk]))
        return HttpResponseRedirect(reverse("admin:relay_bulksend_when", args=[bulk_send.pk]))

    # --- the mail of a row ----------------------------------------------------------------------------------

    def jump(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """To the row that was typed, or else the first."""
        bulk_send = bulk_send_for(self.admin, request, object_id)
        _check_previews(request)
        typed = request.GET.get("row", "").strip()
        rows = bulk_send.recipients.order_by("row").values_list("row", flat=True)
        wanted = int(typed) if typed.isascii() and typed.isdigit() and len(typed) <= 9 else None
        found = rows.filter(row=wanted).first() if wanted is not None else None
        if typed and found is None:
            self.admin.message_user(
                request, _("There is no row «%(row)s»: this is the first.") % {"row": typed[:20]}, messages.WARNING
            )
        found = found or rows.first()
        if found is None:
            raise Http404(_("This bulk send has no rows."))
        return HttpResponseRedirect(reverse("admin:relay_bulksend_preview", args=[bulk_send.pk, found]))

    def preview(self, request: HttpRequest, object_id: int, row: int) -> HttpResponse:
        recipient = self._recipient(request, object_id, row)
        bulk_send = recipient.bulk_send
        mail, problem = _mail_or_problem(recipient)
        mail_url = reverse("admin:relay_bulksend_preview_mail", args=[bulk_send.pk, row])
        marked = bool(mail and mail.missing) and "real" not in request.GET
        context = {
            "title": _("Mail of row %(row)s") % {"row": row},
            "bulk_send": bulk_send,
            "recipient": recipient,
            "steps": steps("review", bulk_send=bulk_send) if is_to_decide(bulk_send) else [],
            "mail": mail,
            "problem": problem,
            "attachments": [_attachment(one) for one in mail.attachments] if mail else [],
            "mail_url": f"{mail_url}?marked=1" if marked else mail_url,
            "marked": marked,
            "excluded": recipient.reason_text if recipient.state == Recipient.State.EXCLUDED else "",
            "jump_url": reverse("admin:relay_bulksend_preview_jump", args=[bulk_send.pk]),
            "review_url": reverse("admin:relay_bulksend_review", args=[bulk_send.pk]),
            **_neighbours(recipient),
            **_looked_for(bulk_send),
            **_tests(request, recipient),
        }
        return page(self.admin, request, "relay/reviewing/preview.html", context)

    def mail(self, request: HttpRequest, object_id: int, row: int) -> HttpResponse:
        recipient = self._recipient(request, object_id, row)
        try:
            html = mail_of(recipient, mark_missing="marked" in request.GET).html
        except TemplateProblem:
            html = ""  # the page around the frame says what is wrong
        response = HttpResponse(html + INERT, content_type="text/html; charset=utf-8")
        response["Content-Security-Policy"] = MAIL_POLICY
        response["X-Frame-Options"] = "SAMEORIGIN"
        response["X-Content-Type-Options"] = "nosniff"
        response["Referrer-Policy"] = "no-referrer"
        response["Cache-Control"] = "private, no-store"
        return response

    def test(self, request: HttpRequest, object_id: int, row: int) -> HttpResponse:
        if not _may_test(request):
            raise PermissionDenied
        recipient = self._recipient(request, object_id, row)
        by = actor_of(request).user
        assert by is not None  # noqa: S101  (somebody is logged in)
        try:
            test = trying.send_test(recipient, by)
        except Explained as problem:
            self.admin.message_user(request, str(problem), messages.ERROR)
        else:
            level = _LEVELS.get(test.outcome, messages.WARNING)
            self.admin.message_user(request, trying.sentence_for(test), level)
        return HttpResponseRedirect(reverse("admin:relay_bulksend_preview", args=[object_id, row]))

    def _recipient(self, request: HttpRequest, object_id: int, row: int) -> Recipient:
        """For who may see the data of people."""
        bulk_send = bulk_send_for(self.admin, request, object_id)
        _check_previews(request)
        recipient = get_object_or_404(Recipient, bulk_send=bulk_send, row=row)
        recipient.bulk_send = bulk_send
        return recipient


_LEVELS: dict[str, int] = {
    TestSend.Outcome.ACCEPTED: messages.SUCCESS,
    TestSend.Outcome.REFUSED: messages.ERROR,
    TestSend.Outcome.NOT_SENT: messages.ERROR,
}


def _check_previews(request: HttpRequest) -> None:
    if not request.user.has_perm("relay.view_recipient"):
        raise PermissionDenied


def _may_test(request: HttpRequest) -> bool:
    return request.user.has_perm("relay.add_bulksend") or request.user.has_perm("relay.change_bulksend")


def _file_step(bulk_send: BulkSend) -> str:
    """Where the file was given; empty for a bulk send that a command has made."""
    return next((step.url for step in steps("review", bulk_send=bulk_send) if step.number == 2), "")


def _mail_or_problem(recipient: Recipient) -> tuple[Mail | None, str]:
    try:
        return mail_of(recipient), ""
    except TemplateProblem as problem:
        return None, problem.sentence


def _neighbours(recipient: Recipient) -> dict[str, str]:
    rows = Recipient.objects.filter(bulk_send_id=recipient.bulk_send_id).values_list("row", flat=True)
    found = {
        "previous_url": rows.filter(row__lt=recipient.row).order_by("-row").first(),
        "next_url": rows.filter(row__gt=recipient.row).order_by("row").first(),
    }
    return {name: _preview_address(recipient.bulk_send_id, row) if row else "" for name, row in found.items()}


def _preview_address(bulk_send_id: int, row: int) -> str:
    return reverse("admin:relay_bulksend_preview", args=[bulk_send_id, row])


def _looked_for(bulk_send: BulkSend) -> dict[str, Any]:
    """Rows whose mails are worth a look, as links; and of how many rows that is true."""
    try:
        found = extremes_of(bulk_send)
    except TemplateProblem:
        return {"extremes": [], "looked_at": ""}
    looked_at = "" if found.all_rows else _("Only the first %(count)s rows were looked at for these.")
    return {
        "extremes": [
            {"text": text, "url": _preview_address(bulk_send.pk, row)} for row, text in _named_extremes(found)
        ],
        "looked_at": looked_at % {"count": words.number(found.looked_at)} if looked_at else "",
        "first_url": _preview_address(bulk_send.pk, found.first) if found.first else "",
    }


def _named_extremes(found: Extremes) -> list[tuple[int, str]]:
    named: list[tuple[int, str]] = []
    if found.first is not None:
        named.append((found.first, _("First row that is sent: %(row)s") % {"row": found.first}))
    if found.longest is not None and found.longest_length:
        told = {
            "row": found.longest,
            "variable": found.longest_variable,
            "length": words.number(found.longest_length),
        }
        named.append((found.longest, _("Longest value: row %(row)s («%(variable)s», %(length)s characters)") % told))
    named += [(row, _("With an empty value: row %(row)s") % {"row": row}) for row in found.empty]
    if found.largest is not None:
        told = {"row": found.largest, "size": filesizeformat(found.largest_bytes)}
        named.append((found.largest, _("Largest mail: row %(row)s (%(size)s)") % told))
    return named


def _attachment(attached: AttachedFile) -> dict[str, str]:
    return {
        "name": attached.filename,
        "size": filesizeformat(attached.size),
        "url": reverse("admin:relay_attachment_download", args=[attached.id]),
    }


def _tests(request: HttpRequest, recipient: Recipient) -> dict[str, Any]:
    bulk_send, user = recipient.bulk_send, actor_of(request).user
    offered = bulk_send.status in trying.MAY_BE_TRIED_IN and recipient.state == Recipient.State.PENDING
    mine = TestSend.objects.filter(bulk_send=bulk_send, by=user)[:LATEST_TESTS]
    return {
        "may_test": offered and _may_test(request),
        "own_address": user.email if user else "",
        "test_url": reverse("admin:relay_bulksend_preview_test", args=[bulk_send.pk, recipient.row]),
        "tests": [
            {
                "when": words.moment(test.started_at),
                "row": test.row,
                "outcome": test.get_outcome_display() if test.outcome else _("Under way, or interrupted"),
                "reason": test.reason_text,
            }
            for test in mine
        ],
    }
