"""How states, reasons, numbers and moments are shown: colours, short names, formats."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext_lazy as _

from relay.models import Attempt, BulkSend, Recipient

# Unfold's names of colours.
STATUS_COLOURS: Mapping[str, str] = {
    BulkSend.Status.DRAFT: "default",
    BulkSend.Status.PENDING: "primary",
    BulkSend.Status.SENDING: "info",
    BulkSend.Status.PAUSED: "warning",
    BulkSend.Status.SETTLING: "warning",
    BulkSend.Status.DONE: "success",
    BulkSend.Status.ERROR: "danger",
    BulkSend.Status.CANCELLED: "default",
}
STATE_COLOURS: Mapping[str, str] = {
    Recipient.State.PENDING: "primary",
    Recipient.State.SENDING: "info",
    Recipient.State.ACCEPTED: "success",
    Recipient.State.REFUSED: "danger",
    Recipient.State.UNKNOWN: "warning",
    Recipient.State.EXCLUDED: "default",
}
OUTCOME_COLOURS: Mapping[str, str] = {
    Attempt.Outcome.ACCEPTED: "success",
    Attempt.Outcome.REFUSED: "danger",
    Attempt.Outcome.UNKNOWN: "warning",
    Attempt.Outcome.RETURNED: "default",
}

# Of counts: «pendientes» where a state alone is «Pendiente».
COUNT_NAMES: Mapping[str, Any] = {
    Recipient.State.PENDING: _("pending"),
    Recipient.State.SENDING: _("in flight"),
    Recipient.State.ACCEPTED: _("accepted"),
    Recipient.State.REFUSED: _("refused"),
    Recipient.State.UNKNOWN: _("unknown"),
    Recipient.State.EXCLUDED: _("excluded"),
}

DELIMITERS = {",": _("comma"), ";": _("semicolon"), "\t": _("tab"), "|": _("vertical bar")}


def moment(value: datetime | None) -> str | None:
    """Short, in the zone of the installation; the long format of Spanish would fill half a table."""
    return formats.date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT") if value else None


def number(value: int) -> str:
    return formats.number_format(value, force_grouping=True)
