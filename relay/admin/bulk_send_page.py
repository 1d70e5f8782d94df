"""The page of one bulk send: where it stands, as it moves; what may be decided; who decided what; its results.

What changes while somebody looks is rendered in parts, with the page and again for its poll (`relay.admin.polling`).
They are small, so that a selection, an open table or the focus beside what changed stays. A poll reads no recipients.
"""

import csv
from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import formats
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET

from relay import activity, approving, reasons
from relay.activity import What
from relay.admin import polling, words
from relay.admin.decisions import DECISIONS
from relay.admin.findings import findings_of, recipients_of
from relay.admin.forecast import forecast_lines
from relay.admin.limits import limit_sentence
from relay.admin.minutes_chart import chart_context
from relay.admin.reviewing import pages_of_one, steps_offered
from relay.admin.unfolded import ModelAdmin, Text
from relay.finding import FOR_A_PERSON
from relay.models import BulkSend, Decision, Recipient
from relay.standing import RESULT_COLUMNS, results
from relay.watching import Watch, watch

State = Recipient.State
Status = BulkSend.Status

DECISIONS_SHOWN = 10
DECISIONS_ON_A_PAGE = 50
LONGEST_ID = 18  # digits

# Read-only fields of the page that change by themselves.
FACTS: dict[str, Callable[[BulkSend], str | None]] = {
    "scheduled": lambda bulk_send: _scheduled(bulk_send),
    "began": lambda bulk_send: words.moment(bulk_send.processing_started_at),
    "resumes": lambda bulk_send: words.moment(bulk_send.resume_at),
    "finished": lambda bulk_send: words.moment(bulk_send.finished_at),
}


def page_of(bulk_send: BulkSend, request: HttpRequest) -> dict[str, Any]:
    """For `relay/admin/bulk_send.html`."""
    now = watch(bulk_send)
    named = _parts(bulk_send, request, now)
    return {
        "parts": named,
        "tiles": [named[f"count-{state}"] for state in State.values],
        "poll": reverse("admin:relay_bulksend_progress", args=[bulk_send.pk]),
        "moving": moves(bulk_send, now),
        "rows": words.number(bulk_send.total),
        "recipients_url": recipients_of(bulk_send) if _may_see_recipients(request) else "",
        "results_url": _results_address(bulk_send, request),
        **findings_of(bulk_send),
        "next_steps": steps_offered(bulk_send),
    }


def moves(bulk_send: BulkSend, now: Watch) -> bool:
    """Whether anything will change without a person who does something."""
    if bulk_send.status in {Status.SENDING, Status.SETTLING} or now.counts[State.SENDING]:
        return True
    if bulk_send.status == Status.PAUSED:
        return bulk_send.resume_at is not None
    return bulk_send.status == Status.PENDING and bulk_send.scheduled_at is not None


def fact(bulk_send: BulkSend, name: str) -> SafeString:
    return polling.part(_id(bulk_send, name), FACTS[name](bulk_send) or "—")


def _scheduled(bulk_send: BulkSend) -> str | None:
    when = words.moment(bulk_send.scheduled_at)
    return f"{when} · {bulk_send.scheduled_by}" if when and bulk_send.scheduled_by else when


# --- parts ----------------------------------------------------------------------------------------------------


def _id(bulk_send: BulkSend, name: str) -> str:
    return f"send-{bulk_send.pk}-{name}"


def _parts(bulk_send: BulkSend, request: HttpRequest, now: Watch) -> dict[str, SafeString]:
    drawn = chart_context(now.minutes)
    rendered = {
        "state": ("state", _state(bulk_send, now)),
        "buttons": ("buttons", {"buttons": buttons(bulk_send, request)}),
        "person": ("person", {"for_a_person": _for_a_person(bulk_send, request, now)}),
        **{f"count-{state}": ("tile", _tile(bulk_send, request, now, state)) for state in State.values},
        "done": ("done", _done(bulk_send, now)),
        "pace": ("pace", {"facts": _pace(bulk_send, now)}),
        "forecast": ("forecast", {"forecast": forecast_lines(_for_forecast(now))}),
        "chart": ("chart", drawn),
        "table": ("chart_table", drawn),
        "decisions": ("decision_rows", {"decisions": _decisions(bulk_send, None, DECISIONS_SHOWN)}),
        "older": ("older", {"older": _older_address(bulk_send)}),
    }
    return {
        name: polling.part(_id(bulk_send, name), render_to_string(f"relay/watching/{template}.html", context))
        for name, (template, context) in rendered.items()
    }


def _state(bulk_send: BulkSend, now: Watch) -> dict[str, Any]:
    return {
        "status": bulk_send.get_status_display(),
        "status_colour": words.STATUS_COLOURS.get(bulk_send.status, "default"),
        "reason": bulk_send.reason_text,
        "note": _note(bulk_send, now),
        "resumes": words.moment(bulk_send.resume_at),
    }


def _note(bulk_send: BulkSend, now: Watch) -> str:
    """What the status alone does not say."""
    if approving.waits(bulk_send) and bulk_send.reason != reasons.APPROVAL:
        return _waits_for_approval(bulk_send)
    if bulk_send.status == Status.SETTLING:
        told = {"count": words.number(now.counts[State.UNKNOWN])}
        return _now("Unknown: %(count)s. It is done when the relay's log has told what became of them.") % told
    if bulk_send.status == Status.SENDING and not now.workers:
        return _now("It waits for a sending process: a worker, or the next run of the scheduler.")
    return ""


def _waits_for_approval(bulk_send: BulkSend) -> str:
    last = approving.last_verdict(bulk_send)
    if last is not None and last.verdict == approving.Verdict.REJECTED:
        return _now("%(who)s refused to approve it: %(note)s") % {"who": last.actor, "note": last.note}
    return _now("It waits for the approval of a second person.")


def buttons(bulk_send: BulkSend, request: HttpRequest) -> list[dict[str, Any]]:
    """What this person may decide in the state it is in. Each leads to a page that asks."""
    may = request.user.has_perm
    rights = {
        "send": may("relay.change_bulksend"),
        "approve": may(approving.RIGHT) and not approving.is_of(bulk_send, request.user.pk),
    }
    offered = [offer for offer in DECISIONS.values() if rights[offer.right] and offer.is_offered(bulk_send)]
    buttons = [_button(bulk_send, offer.name, offer.button, offer.icon, for_good=offer.for_good) for offer in offered]
    if bulk_send.status == Status.DRAFT and may("relay.add_bulksend"):
        buttons.append(_button(bulk_send, "discard", _("Discard draft"), "delete", for_good=True))
    return buttons


def _button(bulk_send: BulkSend, name: str, text: Text, icon: str, *, for_good: bool) -> dict[str, Any]:
    url = reverse(f"admin:relay_bulksend_{name}", args=[bulk_send.pk])
    return {"url": url, "text": text, "icon": icon, "for_good": for_good}


def _for_a_person(bulk_send: BulkSend, request: HttpRequest, now: Watch) -> dict[str, str] | None:
    """The unknown recipients that the relay's log will tell nothing more about."""
    if not now.for_a_person:
        return None
    url = f"{recipients_of(bulk_send)}&state={FOR_A_PERSON}" if _may_see_recipients(request) else ""
    return {"count": words.number(now.for_a_person), "url": url}


def _tile(bulk_send: BulkSend, request: HttpRequest, now: Watch, state: str) -> dict[str, Any]:
    return {
        "state": state if now.counts[state] else "none",
        "label": words.COUNT_NAMES[state],
        "count": words.number(now.counts[state]),
        "url": f"{recipients_of(bulk_send)}&state={state}" if _may_see_recipients(request) else "",
    }


def _done(bulk_send: BulkSend, now: Watch) -> dict[str, Any]:
    done = bulk_send.total - now.left
    share = 100 * done / bulk_send.total if bulk_send.total else 100.0
    return {
        "total": bulk_send.total,
        "done": done,
        "shown": words.number(done),
        "of": words.number(bulk_send.total),
        # 99.97 % is not yet all.
        "percent": formats.number_format(int(share * 10) / 10 if share < 100 else 100.0, 1),
    }


def _pace(bulk_send: BulkSend, now: Watch) -> list[tuple[Any, str]]:
    if bulk_send.status not in {Status.SENDING, Status.PAUSED} or not now.left:
        return []
    limits = limit_sentence(bulk_send, now)
    facts: list[tuple[Any, str]] = [(_("what limits it now"), limits)] if limits else []
    if bulk_send.status == Status.PAUSED:
        return facts
    facts.insert(0, (_("rate now"), _now("%(rate)s messages per second") % {"rate": _rate(now.rate)}))
    facts.insert(1, (_("on their way"), words.number(now.in_flight)))
    if now.seconds_left is not None:
        facts.append((_("time left"), time_left(now.seconds_left)))
        facts.append((_("expected end"), words.moment(now.ends_at) or ""))
    return facts


def _rate(rate: float) -> str:
    return words.number(round(rate)) if rate >= 10 else formats.number_format(round(rate, 1), 1)


def time_left(seconds: float) -> str:
    """As exact as it can be foreseen: never seconds."""
    minutes = max(1, round(seconds / 60))
    if seconds < 50:
        return _now("less than a minute")
    if minutes < 60:
        return ngettext("%(count)s minute", "%(count)s minutes", minutes) % {"count": minutes}
    hours, rest = divmod(minutes, 60)
    if hours < 24:
        return _now("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": rest}
    days, hours = divmod(hours, 24)
    return _now("%(days)s d %(hours)s h") % {"days": days, "hours": hours}


def _for_forecast(now: Watch) -> dict[str, Any]:
    return {State.PENDING: now.counts[State.PENDING], "fits_now": now.fits_now, "quotas": now.quotas}


def _decisions(bulk_send: BulkSend, before: int | None, count: int) -> list[dict[str, str]]:
    """The latest first."""
    made = bulk_send.decisions.order_by("-pk")
    if before is not None:
        made = made.filter(pk__lt=before)
    return [
        {
            "id": str(decision.pk),
            "made": words.moment(decision.made_at) or "",
            "actor": decision.actor,
            "what": decision.get_what_display(),
            "details": words.decision_details(decision),
        }
        for decision in made[:count]
    ]


def _older_address(bulk_send: BulkSend) -> str:
    """Of all decisions, when there are more than the page shows."""
    more = Decision.objects.filter(bulk_send=bulk_send).order_by("-pk")[DECISIONS_SHOWN : DECISIONS_SHOWN + 1]
    return reverse("admin:relay_bulksend_decisions", args=[bulk_send.pk]) if more.exists() else ""


def _may_see_recipients(request: HttpRequest) -> bool:
    return request.user.has_perm("relay.view_recipient")


def _results_address(bulk_send: BulkSend, request: HttpRequest) -> str:
    return reverse("admin:relay_bulksend_results", args=[bulk_send.pk]) if _may_see_recipients(request) else ""


# --- pages ----------------------------------------------------------------------------------------------------


class WatchPages:
    """What the page of a bulk send asks for, or leads to."""

    def __init__(self, admin: ModelAdmin[BulkSend]) -> None:
        self.admin = admin

    def urls(self) -> list[URLPattern]:
        return pages_of_one(
            self.admin,
            ("progress/", self.progress, "progress"),
            ("decisions/", self.decisions, "decisions"),
            ("results/", self.results, "results"),
        )

    @method_decorator(require_GET)
    def progress(self, request: HttpRequest, object_id: int) -> HttpResponse:
        bulk_send = self._viewed(request, object_id)
        now = watch(bulk_send)
        shown = [*_parts(bulk_send, request, now).values(), *(fact(bulk_send, name) for name in FACTS)]
        return HttpResponse(polling.fragment(shown, moving=moves(bulk_send, now)))

    @method_decorator(require_GET)
    def decisions(self, request: HttpRequest, object_id: int) -> HttpResponse:
        bulk_send = self._viewed(request, object_id)
        asked = request.GET.get("before", "")
        before = int(asked) if asked.isdecimal() and len(asked) <= LONGEST_ID else None
        shown = _decisions(bulk_send, before, DECISIONS_ON_A_PAGE + 1)
        context = {
            **self.admin.admin_site.each_context(request),
            "opts": self.admin.opts,
            "original": bulk_send,
            "title": _("Decisions of people"),
            "decisions": shown[:DECISIONS_ON_A_PAGE],
            "first_page": before is None,
            "before": shown[DECISIONS_ON_A_PAGE - 1]["id"] if len(shown) > DECISIONS_ON_A_PAGE else "",
            "back": reverse("admin:relay_bulksend_change", args=[bulk_send.pk]),
        }
        request.current_app = self.admin.admin_site.name
        return TemplateResponse(request, "relay/watching/all_decisions.html", context)

    @method_decorator(require_GET)
    def results(self, request: HttpRequest, object_id: int) -> StreamingHttpResponse:
        """As `bulk results` writes them, row after row: a million of them need no memory."""
        bulk_send = self._viewed(request, object_id)
        if not _may_see_recipients(request):
            raise PermissionDenied
        activity.record(What.EXPORTED, by=request.user, about=bulk_send, request=request, file="results")
        response = StreamingHttpResponse(_as_csv(bulk_send), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="bulk-send-{bulk_send.pk}-results.csv"'
        response["X-Content-Type-Options"] = "nosniff"
        response["Cache-Control"] = "private, no-store"  # addresses of people
        return response

    def _viewed(self, request: HttpRequest, object_id: int) -> BulkSend:
        if not self.admin.has_view_permission(request):
            raise PermissionDenied
        bulk_send: BulkSend = get_object_or_404(self.admin.get_queryset(request), pk=object_id)
        return bulk_send


class _Echo:
    """For csv.writer: a file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


ROWS_AT_ONCE = 500


def _as_csv(bulk_send: BulkSend) -> Iterator[str]:
    writer = csv.writer(_Echo())
    lines: list[str] = ["\ufeff", writer.writerow(RESULT_COLUMNS)]  # by that mark spreadsheets know UTF-8
    for row in results(bulk_send):
        lines.append(writer.writerow(row))
        if len(lines) >= ROWS_AT_ONCE:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)
