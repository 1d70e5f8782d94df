"""What keeps a bulk send from going faster, in words."""

from collections.abc import Mapping

from django.conf import settings
from django.utils import formats
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from relay.admin.unfolded import Text
from relay.models import BulkSend, Lease
from relay.watching import Watch

Limit = Lease.Limit
# Of what it was allowed itself: above this share it is its own rate that limits it, below that of the account.
NEARLY = 0.8

_WORDS: Mapping[str, Text] = {
    "": _("Nothing from outside: it goes as fast as this installation can."),
    Limit.CONNECTIONS: _("The connections of the sending processes (RELAY_MAX_CONNECTIONS): all of them are in use."),
    Limit.SHARED_CONNECTIONS: _(
        "The connections of the account (RELAY_MAX_CONNECTIONS_TOTAL): other sending processes have the rest."
    ),
    Limit.QUOTA: _("The relay's quota: only what is left of it may leave now."),
    Limit.THROTTLED: _("The relay: it asks to go slower (429), so fewer messages leave at once."),
    Limit.SLOW: _("The relay: it answers more slowly than before, so fewer messages leave at once."),
    Limit.UNREACHABLE: _("The relay cannot be reached: it is tried again by itself."),
    Limit.DRY: _("Nothing: the last messages are on their way."),
}


def limit_sentence(bulk_send: BulkSend, now: Watch) -> str:
    """Empty when nothing is being sent."""
    if bulk_send.status == BulkSend.Status.PAUSED:
        return bulk_send.reason_text
    if bulk_send.status != BulkSend.Status.SENDING:
        return ""
    if not now.workers:
        return _now("It waits for a sending process: a worker, or the next run of the scheduler.")
    code = now.limits[0]
    return _rate(bulk_send, now) if code == Limit.RATE else str(_WORDS.get(code, code))


def _rate(bulk_send: BulkSend, now: Watch) -> str:
    own, account = bulk_send.max_rate, settings.RELAY_MAX_RATE
    if own and (not account or (own <= account and now.rate >= NEARLY * own)):
        return _now("Its own rate: %(rate)s messages per second.") % {"rate": _number(own)}
    if account:
        return _now("The account's rate (RELAY_MAX_RATE): %(rate)s messages per second for all bulk sends.") % {
            "rate": _number(account)
        }
    return _now("A rate that has just been lifted.")


def _number(rate: float) -> str:
    """20, and not 20.0."""
    return formats.number_format(int(rate) if rate == int(rate) else rate)
