"""Step (d) of a bulk send: when it leaves and how fast, what follows from that, and the confirmation.

Nothing is decided before the confirmation: it carries what was filled in, and the fingerprint of what was seen.
"""

from datetime import datetime

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils import formats
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from relay import decisions
from relay.admin import words
from relay.admin.decisions import actor_of
from relay.admin.foreseeing import forecast_lines
from relay.admin.reviewing import bulk_send_for, is_to_decide, page, pages_of_one
from relay.admin.schedule_forms import ConfirmForm, WhenForm
from relay.admin.steps import steps
from relay.admin.unfolded import ModelAdmin
from relay.decisions import Plan, fingerprint
from relay.explained import Explained
from relay.models import BulkSend
from relay.orders import window_of
from relay.previewing import sender_of

Status = BulkSend.Status


class SchedulePages:
    def __init__(self, admin: ModelAdmin[BulkSend]) -> None:
        self.admin = admin

    def urls(self) -> list[URLPattern]:
        return pages_of_one(
            self.admin,
            ("when/", require_http_methods(["GET", "HEAD", "POST"])(self.when), "when"),
            ("when/confirm/", require_POST(self.confirm), "confirm"),
        )

    def when(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """GET fills in; POST leads to the confirmation, or only reckons anew (`look`)."""
        bulk_send = self._bulk_send(request, object_id)
        if elsewhere := self._elsewhere(request, bulk_send):
            return elsewhere
        form = WhenForm(bulk_send, request.POST if request.method == "POST" else None)
        if form.is_bound and form.is_valid() and not {"look", "back"} & set(request.POST):
            return self._ask(request, bulk_send, form, ConfirmForm(_count(bulk_send)))
        return self._fill_in(request, bulk_send, form)

    def confirm(self, request: HttpRequest, object_id: int) -> HttpResponse:
        bulk_send = self._bulk_send(request, object_id)
        if elsewhere := self._elsewhere(request, bulk_send):
            return elsewhere
        form = WhenForm(bulk_send, request.POST)
        if not form.is_valid():  # its hour has passed meanwhile
            return self._fill_in(request, bulk_send, form)
        confirmation = ConfirmForm(_count(bulk_send), request.POST)
        if not confirmation.is_valid():
            return self._ask(request, bulk_send, form, confirmation)
        try:
            approved = decisions.schedule(bulk_send, actor_of(request), form.plan(), seen=request.POST.get("seen", ""))
        except Explained as problem:
            self.admin.message_user(request, str(problem), messages.ERROR)
            return HttpResponseRedirect(_address("when", bulk_send))
        said = _said(form.plan()) if approved else _("Planned; a second person must approve it before anything leaves.")
        self.admin.log_change(request, bulk_send, said)
        self.admin.message_user(request, said, messages.SUCCESS)
        return HttpResponseRedirect(_address("change", bulk_send))

    def _bulk_send(self, request: HttpRequest, object_id: int) -> BulkSend:
        bulk_send = bulk_send_for(self.admin, request, object_id)
        if not request.user.has_perm("relay.change_bulksend"):
            raise PermissionDenied
        return bulk_send

    def _elsewhere(self, request: HttpRequest, bulk_send: BulkSend) -> HttpResponse | None:
        """Where nothing can be decided here (any more): to the page that says why."""
        if not is_to_decide(bulk_send):
            told = {"id": bulk_send.pk, "status": bulk_send.get_status_display()}
            problem = _("Bulk send %(id)d is «%(status)s»: this cannot be done from there.") % told
            self.admin.message_user(request, problem, messages.WARNING)
            return HttpResponseRedirect(_address("change", bulk_send))
        rejected = bulk_send.status == Status.DRAFT and bulk_send.excluded_at_creation
        if not _count(bulk_send) or (rejected and not bulk_send.accept_rejects):
            problem = _("There are rejected rows: decide first whether the valid ones are sent without them.")
            self.admin.message_user(request, problem, messages.WARNING)
            return HttpResponseRedirect(_address("review", bulk_send))
        return None

    def _fill_in(self, request: HttpRequest, bulk_send: BulkSend, form: WhenForm) -> HttpResponse:
        plan = _plan_to_foresee(bulk_send, form)
        context = {
            "title": _title(bulk_send),
            "bulk_send": bulk_send,
            "steps": steps("when", bulk_send=bulk_send),
            "form": form,
            "forecast": forecast_lines(bulk_send, plan) if plan else [],
            "count": words.number(_count(bulk_send)),
            "back_url": _address("review", bulk_send),
        }
        return page(self.admin, request, "relay/reviewing/when.html", context)

    def _ask(
        self, request: HttpRequest, bulk_send: BulkSend, form: WhenForm, confirmation: ConfirmForm
    ) -> HttpResponse:
        plan = form.plan()
        seen = request.POST.get("seen", "") if confirmation.is_bound else fingerprint(bulk_send)
        context = {
            "title": _("Confirm: %(name)s") % {"name": bulk_send.name},
            "bulk_send": bulk_send,
            "steps": steps("when", bulk_send=bulk_send),
            "form": form,
            "confirmation": confirmation,
            "seen": seen,
            "facts": _facts(bulk_send, plan, form),
            "count": words.number(_count(bulk_send)),
            "forecast": forecast_lines(bulk_send, plan),
            "button": _("Send now") if plan.at is None else _("Schedule"),
            "when_url": _address("when", bulk_send),
            "confirm_url": _address("confirm", bulk_send),
        }
        return page(self.admin, request, "relay/reviewing/confirm.html", context)


def _address(name: str, bulk_send: BulkSend) -> str:
    return reverse(f"admin:relay_bulksend_{name}", args=[bulk_send.pk])


def _count(bulk_send: BulkSend) -> int:
    return bulk_send.total - bulk_send.excluded_at_creation


def _title(bulk_send: BulkSend) -> str:
    told = {"name": bulk_send.name}
    if bulk_send.status == Status.PENDING and bulk_send.scheduled_at:
        return _("Reschedule: %(name)s") % told
    return _("When: %(name)s") % told


def _plan_to_foresee(bulk_send: BulkSend, form: WhenForm) -> Plan | None:
    if not form.is_bound:
        return Plan(bulk_send.scheduled_at, bulk_send.window, bulk_send.max_rate, bulk_send.first_slice)
    return form.plan() if form.is_valid() else None


def _facts(bulk_send: BulkSend, plan: Plan, form: WhenForm) -> list[tuple[str, str]]:
    """What is confirmed, in the order in which it matters."""
    window = window_of(BulkSend(window=plan.window, from_email=bulk_send.from_email))
    facts = [
        (_("When"), _when(plan.at, form.twice)),
        (_("From"), sender_of(bulk_send) or _("The template's own sender")),
        (_("Subject"), bulk_send.subject or bulk_send.template_subject or "—"),
        (_("Template"), bulk_send.template_name or bulk_send.template_id),
        (_("File"), bulk_send.file_name),
        (_("Sending window"), f"{window.name} · {words.open_or_resting(window)}" if window else _("none: at any hour")),
        (
            _("Messages per second"),
            _("as fast as the account allows") if plan.max_rate is None else words.rate(plan.max_rate),
        ),
    ]
    if bulk_send.excluded_at_creation:
        facts.append((_("Rejected rows that get nothing"), words.number(bulk_send.excluded_at_creation)))
    if plan.first_slice:
        facts.append((_("First slice"), words.number(plan.first_slice)))
    return facts


def _when(at: datetime | None, twice: bool) -> str:
    if at is None:
        return _("Now: as soon as it is confirmed")
    day = f"{formats.date_format(at, 'l')} {formats.date_format(at)}, {formats.time_format(at, 'H:i')}"
    told = {"when": day, "zone": str(at.tzinfo), "offset": f"{at:%:z}"}
    said = _("%(when)s (%(zone)s, UTC%(offset)s)") % told
    if twice:
        said += " " + _("The clocks are set back that night, so this hour comes twice: the first one is meant.")
    return said


def _said(plan: Plan) -> str:
    if plan.at is None:
        return _("Allowed to be sent: its messages begin to leave shortly.")
    return _("Scheduled for %(when)s.") % {"when": words.moment(plan.at)}
