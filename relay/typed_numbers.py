"""Numbers about its pace that people type for a bulk send, as commands and console read them."""

import math

from django.utils.translation import gettext as _

from relay.creating import Refused


def read_rate(text: str) -> float | None:
    """Messages a second; None for «none»."""
    if text.strip().lower() == "none":
        return None
    rate = _number(text)
    if not 0 < rate < math.inf:
        raise Refused(
            _("«%(text)s» is no rate: give messages per second, a number above 0 such as 2.5, or «none» for no limit.")
            % {"text": text}
        )
    return rate


def read_first_slice(text: str) -> tuple[int, float | None]:
    """How many leave first, and the share of them that may be refused if one is given: 500, or 500:0.05."""
    count, colon, share = text.partition(":")
    if not (count.strip().isdecimal() and 0 < int(count) < 2**31):
        raise Refused(
            _("«%(text)s» is no first slice: give a whole number above 0, or one with a share such as 500:0.05.")
            % {"text": text}
        )
    if not colon:
        return int(count), None
    most = _number(share)
    if not 0 <= most <= 1:
        raise Refused(
            _("«%(share)s» is no share of the first slice: give a number from 0 to 1, such as 0.05.") % {"share": share}
        )
    return int(count), most


def _number(text: str) -> float:
    """NaN, which no comparison lets pass, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
