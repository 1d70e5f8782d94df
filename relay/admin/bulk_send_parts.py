"""The cells of the list of bulk sends that change while somebody looks: see `relay.admin.polling`."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from relay import tallies
from relay.admin import polling, words
from relay.models import BulkSend, Recipient

State = Recipient.State
Status = BulkSend.Status

COUNTED = (State.ACCEPTED, State.REFUSED, State.UNKNOWN, State.PENDING, State.EXCLUDED)
# What begins or goes on by itself so soon is worth looking out for.
SOON = timedelta(minutes=5)

type Counts = Mapping[str, int]


def rows(bulk_sends: Iterable[BulkSend]) -> dict[int, dict[str, SafeString]]:
    """The changing cells of each, by its id and the name of the column; one query for all of them."""
    shown = list(bulk_sends)
    counts = tallies.counts_of(bulk_send.pk for bulk_send in shown)
    return {bulk_send.pk: _row(bulk_send, counts[bulk_send.pk]) for bulk_send in shown}


def moves(bulk_send: BulkSend) -> bool:
    """Something of it changes by itself, now or very soon."""
    if bulk_send.status in {Status.SENDING, Status.SETTLING}:
        return True
    hour = bulk_send.scheduled_at if bulk_send.status == Status.PENDING else bulk_send.resume_at
    return hour is not None and hour < timezone.now() + SOON


def share_with_outcome(bulk_send: BulkSend, counts: Counts) -> int:
    """Of what was to be sent, the percentage that needs nothing more; 100 only when that is all of it.

    What a cancellation excluded was to be sent, and was not.
    """
    to_send = bulk_send.total - bulk_send.excluded_at_creation
    ended = counts[State.ACCEPTED] + counts[State.REFUSED]
    if bulk_send.status != Status.CANCELLED:
        ended += counts[State.EXCLUDED] - bulk_send.excluded_at_creation
    return max(0, min(100, 100 * ended // to_send)) if to_send > 0 else 0


def _row(bulk_send: BulkSend, counts: Counts) -> dict[str, SafeString]:
    cells: dict[str, str] = {
        "status": _status(bulk_send),
        "progress": _progress(bulk_send, counts),
        **{state: _count(bulk_send, counts, state) for state in COUNTED},
        "scheduled": _scheduled(bulk_send),
    }
    return {name: polling.part(f"bulk-send-{bulk_send.pk}-{name}", content) for name, content in cells.items()}


def _status(bulk_send: BulkSend) -> str:
    context = {"bulk_send": bulk_send, "colour": words.STATUS_COLOURS.get(bulk_send.status, "default")}
    return render_to_string("relay/admin/bulk_send_status.html", context)


def _progress(bulk_send: BulkSend, counts: Counts) -> str:
    begun = bulk_send.status not in {Status.DRAFT, Status.PENDING}
    context = {
        "name": bulk_send.name,
        "total": words.number(bulk_send.total),
        "percent": share_with_outcome(bulk_send, counts) if begun else None,
    }
    return render_to_string("relay/admin/bulk_send_progress.html", context)


def _count(bulk_send: BulkSend, counts: Counts, state: str) -> SafeString:
    count = counts[state]
    cell = format_html('<span class="relay-count relay-{}">{}</span>', state if count else "none", words.number(count))
    if state != State.PENDING or not counts[State.SENDING]:
        return cell
    # With those under way, so that the columns of a row add up to its total.
    under_way = _("+ %(count)s under way") % {"count": words.number(counts[State.SENDING])}
    return format_html('{}<span class="relay-under">{}</span>', cell, under_way)


def _scheduled(bulk_send: BulkSend) -> SafeString:
    hour = words.moment(bulk_send.scheduled_at) or "—"
    if bulk_send.resume_at is None:
        return format_html("{}", hour)
    goes_on = _("goes on at %(hour)s") % {"hour": words.moment(bulk_send.resume_at)}
    return format_html('{}<span class="relay-under">{}</span>', hour, goes_on)
