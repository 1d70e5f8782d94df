"""The recipients of one bulk send: all, by state and reason, or by an address or any value of their row.

It takes the place of the list of recipients where a bulk send is chosen: pages follow the rows of the file, and a
search says how far it came (`relay.finding`). How many there are is known without counting (`relay.tallies`).
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from relay import reasons, tallies
from relay.admin import words
from relay.admin.unfolded import ModelAdmin
from relay.finding import (
    FOR_A_PERSON,
    LONGEST_ROW_NUMBER,
    LONGEST_TEXT,
    Found,
    Wanted,
    find_after,
    find_at_once,
    find_before,
    last_row,
    values_with,
)
from relay.models import BulkSend, Recipient

State = Recipient.State
LIST = "admin:relay_recipient_changelist"
CHOICES_SHOWN = 100
# Of a bulk send no page of ours needs its template.
HEAVY = ("template_html", "template_subject", "columns", "variable_map", "findings")
VALUE_SHOWN = 120  # characters


@dataclass(frozen=True, slots=True)
class Asked:
    wanted: Wanted
    after: int = 0
    before: int = 0  # 0: not backwards
    everywhere: bool = False  # also when an index found some


def asked_of(request: HttpRequest, bulk_send_id: int) -> Asked:
    """What a stranger's link names wrongly counts as not named."""
    states = {*State.values, FOR_A_PERSON}
    state, reason = request.GET.get("state", ""), request.GET.get("reason", "")
    text = request.GET.get("q", "").replace("\x00", "").strip()[:LONGEST_TEXT]
    return Asked(
        Wanted(
            bulk_send_id,
            text=text,
            state=state if state in states else "",
            reason=reason if reason in reasons.NAMES else "",
        ),
        after=_row(request, "after"),
        before=_row(request, "before"),
        everywhere="everywhere" in request.GET,
    )


def _row(request: HttpRequest, name: str) -> int:
    written = request.GET.get(name, "")
    return int(written) if written.isdecimal() and len(written) <= LONGEST_ROW_NUMBER else 0


def search(admin: ModelAdmin[Recipient], request: HttpRequest, bulk_send_id: int) -> HttpResponse:
    if not admin.has_view_permission(request):
        raise PermissionDenied
    bulk_send = get_object_or_404(BulkSend.objects.defer(*HEAVY), pk=bulk_send_id)
    asked = asked_of(request, bulk_send_id)
    at_once = [] if asked.after or asked.before or asked.everywhere else find_at_once(asked.wanted)
    found = None if at_once else _find(asked)
    shown = at_once or (found.recipients if found else [])
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "title": _("Recipients"),
        "bulk_send": bulk_send,
        "bulk_send_url": reverse("admin:relay_bulksend_change", args=[bulk_send_id]),
        "list_url": reverse(LIST),
        "asked": asked,
        "longest": LONGEST_TEXT,
        "states": _states(bulk_send_id),
        "reasons": _reasons(bulk_send_id, asked.wanted.state),
        "rows": [_shown(recipient, asked.wanted.text) for recipient in shown],
        "everywhere_url": _address(asked, everywhere=1) if at_once else "",
        "looked": _looked(asked, found) if found else "",
        "links": _links(asked, found) if found else [],
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "relay/watching/recipients.html", context)


def choose(admin: ModelAdmin[Recipient], request: HttpRequest) -> HttpResponse:
    """Those that wait for a person, of all bulk sends: in which of them to look."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    waiting = tallies.for_a_person()
    if len(waiting) == 1:
        return HttpResponseRedirect(f"{reverse(LIST)}?bulk_send={next(iter(waiting))}&state={FOR_A_PERSON}")
    names = BulkSend.objects.filter(pk__in=waiting).order_by("-pk").values_list("pk", "name")
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "title": _("Unknown, waiting for a person"),
        "list_url": reverse(LIST),
        "choices": [
            {
                "name": f"{pk} · {name}",
                "count": words.number(waiting[pk]),
                "url": f"{reverse(LIST)}?bulk_send={pk}&state={FOR_A_PERSON}",
            }
            for pk, name in names[:CHOICES_SHOWN]
        ],
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "relay/watching/choose.html", context)


def _find(asked: Asked) -> Found:
    if asked.before:
        return find_before(asked.wanted, asked.before)
    return find_after(asked.wanted, asked.after)


def _states(bulk_send_id: int) -> list[tuple[str, str]]:
    """With how many there are of each."""
    counts = tallies.counts_of([bulk_send_id])[bulk_send_id]
    named = [(state.value, f"{state.label} ({words.number(counts[state])})") for state in State]
    waiting = tallies.for_a_person([bulk_send_id]).get(bulk_send_id, 0)
    return [*named, (FOR_A_PERSON, f"{_('Unknown, waiting for a person')} ({words.number(waiting)})")]


def _reasons(bulk_send_id: int, state: str) -> list[tuple[str, str]]:
    """Those that some of its recipients have, with how many; in the chosen state, or in any."""
    states = [State.UNKNOWN.value if state == FOR_A_PERSON else state] if state else State.values
    counts: dict[str, int] = {}
    for one in states:
        for code, count in tallies.reasons_of(bulk_send_id, one).items():
            counts[code] = counts.get(code, 0) + count
    return [(code, f"{reasons.name(code)} ({words.number(count)})") for code, count in counts.items() if code]


def _shown(recipient: Recipient, text: str) -> dict[str, Any]:
    return {
        "url": reverse("admin:relay_recipient_change", args=[recipient.pk]),
        "row": words.number(recipient.row),
        "email": recipient.email,
        "state": recipient.get_state_display(),
        "colour": words.STATE_COLOURS[recipient.state],
        "reason": recipient.reason_text,
        "accepted": words.moment(recipient.accepted_at) or "",
        "values": [
            (name, value if len(value) <= VALUE_SHOWN else value[:VALUE_SHOWN] + "…")
            for name, value in (values_with(recipient, text) if text else {}).items()
        ],
    }


def _looked(asked: Asked, found: Found) -> str:
    """How far it came. Without a search a page is a page."""
    if not asked.wanted.is_narrow:
        return ""
    last = last_row(asked.wanted.bulk_send_id)
    told = {
        "from": words.number(found.looked_from + 1),
        "to": words.number(found.looked_to),
        "last": words.number(last),
    }
    if found.looked_from == 0 and found.looked_to >= last:
        return _now("All rows of the file have been looked through.")
    if found.looked_from == 0:
        return _now("Looked through up to row %(to)s of %(last)s.") % told
    return _now("Looked through from row %(from)s to row %(to)s of %(last)s.") % told


def _links(asked: Asked, found: Found) -> list[tuple[Any, str]]:
    links: list[tuple[Any, str]] = []
    more = {"everywhere": 1} if asked.everywhere else {}
    if asked.after or asked.before:
        links.append((_("First page"), _address(asked, **more)))
    if found.more_before:
        links.append((_("Previous"), _address(asked, before=found.looked_from + 1, **more)))
    if found.more_after:
        full = bool(found.recipients) and found.recipients[-1].row == found.looked_to
        narrow = asked.wanted.is_narrow and not full and not asked.before
        links.append((_("Keep looking") if narrow else _("Next"), _address(asked, after=found.looked_to, **more)))
    return links


def _address(asked: Asked, **more: int) -> str:
    wanted = asked.wanted
    named = {"bulk_send": wanted.bulk_send_id, "q": wanted.text, "state": wanted.state, "reason": wanted.reason} | more
    return f"{reverse(LIST)}?{urlencode({name: value for name, value in named.items() if value})}"
