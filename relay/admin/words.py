"""How states, reasons, numbers and moments are shown: colours, short names, formats."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import formats, timezone
from django.utils.translation import gettext_lazy as _

from relay import reasons
from relay.models import Attempt, BulkSend, Decision, Recipient, SendingWindow, Settlement
from relay.orders import resting_halt

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

VERDICT_COLOURS: Mapping[str, str] = {
    Settlement.Verdict.ACCEPTED: "success",
    Settlement.Verdict.RETURNED: "primary",
    Settlement.Verdict.EXCLUDED: "default",
    Settlement.Verdict.UNKNOWN: "warning",
}

# What had stopped a bulk send before a person decided.
STOPS: Mapping[str, Any] = {
    reasons.PERSON: _("a person"),
    reasons.QUOTA: _("quota of the relay"),
    reasons.WINDOW: _("sending window"),
    reasons.WINDOW_NEVER: _("sending window"),
    reasons.STOP_LOSS: _("too many refused or unknown"),
    reasons.FIRST_SLICE: _("first slice"),
    reasons.MISSED: _("missed hour"),
    reasons.MISCONFIGURED: _("key or account"),
    reasons.TEMPLATE_MISSING: _("template"),
    reasons.TEMPLATE_CHANGED: _("template"),
    reasons.TEMPLATE_UNREADABLE: _("template"),
    reasons.ATTACHMENT_MISSING: _("attachment"),
    reasons.APPROVAL: _("approval missing"),
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
    """Short, in the zone of the reader (`relay.middleware`); the long format of Spanish would fill half a table."""
    return formats.date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT") if value else None


def number(value: int) -> str:
    return formats.number_format(value, force_grouping=True)


def rate(value: float) -> str:
    """Messages a second: «5», «2,5»."""
    return number(round(value)) if value >= 10 or value.is_integer() else formats.number_format(round(value, 2))


def open_or_resting(window: SendingWindow) -> str:
    """Where the window stands now, and until when."""
    rest = resting_halt(window, timezone.now())
    if rest is None:
        return str(_("open now"))
    if rest.resume_at is None:
        return str(_("it never opens"))
    return _("closed until %(when)s") % {"when": moment(rest.resume_at)}


def decision_details(decision: Decision) -> str:
    """What a decision says beyond its name."""
    told: dict[str, Any] = decision.details
    match told:
        case {"reason": reason}:
            return _("It had been stopped by: %(what)s.") % {"what": STOPS.get(reason, reason)} if reason else ""
        case {"scheduled_for": at}:
            return _plan(told, datetime.fromisoformat(at) if at else None)
        case {"accepted_rejects": count}:
            return _("Only the valid rows; rejected: %(count)s.") % {"count": number(count)}
        case {"without_rejects": count}:
            return _("Without the rejected rows: %(count)s.") % {"count": number(count)}
        case {"excluded": count}:
            return _("Messages that never leave: %(count)s.") % {"count": number(count)}
        case {"codes": codes, "retried": count}:
            return _("Refused with %(codes)s: %(count)s.") % {"codes": ", ".join(codes), "count": number(count)}
        case {"max_rate": after, "max_rate_before": before}:
            rates = {"before": _rate(before), "after": _rate(after)}
            return _("Messages per second: %(before)s → %(after)s.") % rates
        case {"window": name}:
            return _("Sending window: %(name)s.") % {"name": name or _("that of its sender, if it has one")}
        case {"row": row, "verdict": verdict}:
            return _("Row %(row)s: %(verdict)s.") % {"row": row, "verdict": _verdict(verdict)}
    return ", ".join(f"{name}: {value}" for name, value in told.items())


def _plan(told: Mapping[str, Any], at: datetime | None) -> str:
    """When and how it was decided to be sent."""
    parts = [_("For %(when)s.") % {"when": moment(at)} if at else _("At once.")]
    if told.get("without_rejects"):
        parts.append(_("Without the rejected rows: %(count)s.") % {"count": number(told["without_rejects"])})
    if told.get("max_rate") is not None:
        parts.append(_("Messages per second: %(rate)s.") % {"rate": _rate(told["max_rate"])})
    if told.get("window"):
        parts.append(_("Sending window: %(name)s.") % {"name": told["window"]})
    if told.get("first_slice"):
        parts.append(_("First slice: %(count)s.") % {"count": number(told["first_slice"])})
    return " ".join(map(str, parts))


def _rate(value: float | None) -> str:
    return str(_("no limit")) if value is None else rate(value)


def _verdict(verdict: str) -> str:
    return str(dict(Settlement.Verdict.choices).get(verdict, verdict))
