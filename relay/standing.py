"""Where a bulk send stands: the counts of its recipients, how fast it goes, how long it will take; its results."""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db.models import Sum
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from relay import quotas, tallies
from relay.models import BulkSend, Lease, Recipient
from relay.orders import window_of

# A cell that begins like this is computed by spreadsheets.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

RESULT_COLUMNS = ("row", "email", "state", "reason", "message_id", "delivery", "attempts", "accepted_at")


def standing(bulk_send: BulkSend) -> dict[str, Any]:
    """The keys of `bulk status --json`. The counts are those of this moment, rate and flight as of the last second.

    `in_flight` of a bulk send that is not being sent is exact a second after it was stopped: workers give back at once
    what waits for its call, so what is `sending` then is really under way.
    """
    counts = tallies.counts_of([bulk_send.pk])[bulk_send.pk]
    forecast = quotas.forecast(bulk_send)
    window = window_of(bulk_send)
    alive = Lease.objects.filter(bulk_send=bulk_send, released_at=None, expires_at__gt=Now())
    now = alive.aggregate(in_flight=Sum("calls_in_flight", default=0), rate=Sum("calls_per_second", default=0.0))
    left = counts[Recipient.State.PENDING] + counts[Recipient.State.SENDING]
    return {
        "id": bulk_send.pk,
        "name": bulk_send.name,
        "status": bulk_send.status,
        "reason": bulk_send.reason_text,
        "reason_code": bulk_send.reason,
        "resume_at": bulk_send.resume_at.isoformat() if bulk_send.resume_at else None,
        "total": bulk_send.total,
        **counts,
        "in_flight": now["in_flight"] if bulk_send.status == BulkSend.Status.SENDING else counts["sending"],
        "rate_per_second": round(now["rate"], 1),
        "eta_seconds": round(left / now["rate"]) if now["rate"] else None,
        "max_rate": bulk_send.max_rate,
        "window": window.name if window else None,
        "fits_now": forecast.fits_now,
        "quotas": forecast.quotas,
        "unknown_for_a_person": tallies.for_a_person([bulk_send.pk]).get(bulk_send.pk, 0),
    }


def write_results(bulk_send: BulkSend, target: Path) -> int:
    """The ledger of a bulk send as CSV (UTF-8); returns the number of rows."""
    target = target.resolve()
    if not target.name or (target.exists() and not target.is_file()):
        raise OSError(_("%(path)s is not a file that can be written.") % {"path": target})
    written = 0
    handle, name = tempfile.mkstemp(prefix=target.name, dir=target.parent)
    partial = Path(name)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(RESULT_COLUMNS)
            for row in results(bulk_send):
                writer.writerow(row)
                written += 1
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return written


def results(bulk_send: BulkSend) -> Iterator[tuple[object, ...]]:
    recipients = bulk_send.recipients.order_by("row").values_list(*RESULT_COLUMNS)
    for row, email, state, reason, message_id, delivery, attempts, accepted_at in recipients.iterator():
        yield (
            row,
            neutralised(email),
            state,
            reason,
            neutralised(message_id),
            neutralised(delivery),
            attempts,
            accepted_at.isoformat() if accepted_at else "",
        )


def neutralised(cell: str) -> str:
    """A cell that no spreadsheet will compute."""
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell
