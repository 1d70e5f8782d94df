"""The sandbox's clock: real time plus an offset that can be set while running, and dates as the relay writes them."""

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

# The relay parses date and time with a blank or a "T", up to 7 fraction digits, and demands an offset
# ("Z", "+hh:mm", "+hh"). Relay API notes §1.5.
_MOMENT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,7}))?)?)?"
    r"\s?(?:(Z|z)|([+-])(\d\d)(?::?(\d\d))?)",
    re.ASCII,
)
MAX_OFFSET_SECONDS = 10 * 365 * 86_400


class Clock:
    """Milliseconds since 1970 in UTC, shifted by `offset_seconds`."""

    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> int:
        return int((time.time() + self.offset_seconds) * 1000)


def iso(milliseconds: int) -> str:
    """`2025-03-01T14:00:05Z`: the relay's samples show whole seconds."""
    return _from_ms(milliseconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_ms(milliseconds: int) -> str:
    return f"{_from_ms(milliseconds):%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def http_date(milliseconds: int) -> str:
    """For the `Date` header, by which a client tells the relay's clock from its own."""
    return format_datetime(_from_ms(milliseconds), usegmt=True)


def report_date(milliseconds: int) -> str:
    return _from_ms(milliseconds).strftime("%Y-%m-%d %H:%M:%S")


def parse_moment(text: object) -> int | None:
    """Milliseconds for a date with offset; None for anything the relay would refuse."""
    match = _MOMENT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, off_hour, off_minute = match.groups()
    shift = timedelta(hours=int(off_hour or 0), minutes=int(off_minute or 0))
    try:
        moment = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
            tzinfo=timezone(-shift if sign == "-" else shift),
        )
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def window(period: str, milliseconds: int) -> tuple[int, int]:
    """Start and end (exclusive) of the UTC hour, day or month; quotas reset on these (relay API notes §4.5)."""
    moment = _from_ms(milliseconds).replace(minute=0, second=0, microsecond=0)
    if period == "hourly":
        end = moment + timedelta(hours=1)
    elif period == "daily":
        moment = moment.replace(hour=0)
        end = moment + timedelta(days=1)
    else:
        moment = moment.replace(day=1, hour=0)
        end = (moment + timedelta(days=32)).replace(day=1)
    return _to_ms(moment), _to_ms(end)


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


def _to_ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


_MONTHS = ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic")


def day_text(milliseconds: int) -> str:
    """For the pages people read: `1 mar 2025, 14:00:05 UTC`."""
    moment = _from_ms(milliseconds)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M:%S} UTC"
