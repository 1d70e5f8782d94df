"""How much of a bulk send the relay's quotas let go, in words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from relay.admin import words
from relay.models import Quota, Recipient


def forecast_lines(now: Mapping[str, Any]) -> list[str]:
    """`now` is what `relay.standing.standing` says. Empty without limits, and when nothing is left to send."""
    left = now[Recipient.State.PENDING]
    if now["fits_now"] is None or not left:
        return []
    lines = [_quota(quota) for quota in now["quotas"]]
    if now["fits_now"] < left:
        told = {"count": words.number(max(0, now["fits_now"])), "left": words.number(left)}
        lines.append(_("Of the %(left)s messages to send %(count)s fit into the quotas now; the rest waits.") % told)
    else:
        lines.append(_("All messages to send fit into the quotas now."))
    return lines


def _quota(quota: Mapping[str, Any]) -> str:
    told = {
        "period": Quota.Period(quota["period"]).label,
        "remaining": words.number(quota["remaining"]),
        "limit": words.number(quota["limit"]),
    }
    line = _("Quota %(period)s: %(remaining)s of %(limit)s left.") % told
    if quota["reset_at"]:
        renewed = datetime.fromisoformat(quota["reset_at"])
        line += " " + _("It is renewed at %(when)s.") % {"when": words.moment(renewed)}
    if quota["reserved"]:
        line += " " + _("Reserved for bulk sends that began earlier: %(count)s.") % {
            "count": words.number(quota["reserved"])
        }
    return line
