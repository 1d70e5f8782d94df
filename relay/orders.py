"""What people may change about a bulk send while it is being sent: workers read it anew every second."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models.functions import Now

from relay import reasons
from relay.dialects import as_datetime
from relay.halts import Halt
from relay.models import BulkSend, Sender, SendingWindow
from relay.windows import NeverOpens, Window, resting_until


@dataclass(frozen=True, slots=True)
class Orders:
    max_rate: float | None
    rest: Halt | None  # None: its window is open, or it has none


def read_orders(bulk_send_id: int) -> Orders:
    orders = BulkSend.objects.only("max_rate", "from_email", "window").select_related("window")
    bulk_send = orders.annotate(read_at=Now()).get(pk=bulk_send_id)
    window = window_of(bulk_send)
    now = as_datetime(bulk_send.read_at)  # type: ignore[attr-defined]  # annotated
    return Orders(bulk_send.max_rate, resting_halt(window, now) if window else None)


def window_of(bulk_send: BulkSend) -> SendingWindow | None:
    """The one in force: its own, else that of the sender whose address it has as From."""
    if bulk_send.window is not None:
        return bulk_send.window
    if not bulk_send.from_email:
        return None
    senders = Sender.objects.filter(email__iexact=bulk_send.from_email, window__isnull=False)
    sender = senders.select_related("window").first()
    return sender.window if sender else None


def resting_halt(window: SendingWindow, moment: datetime) -> Halt | None:
    told = {"window": window.name}
    try:
        until = resting_until(as_hours(window), moment)
    except NeverOpens:
        return Halt(reasons.WINDOW_NEVER, told, pause=True)
    return None if until is None else Halt(reasons.WINDOW, told, pause=True, resume_at=until)


def as_hours(window: SendingWindow) -> Window:
    return Window(
        weekdays=frozenset(map(int, window.weekdays)),
        opens=window.opens,
        closes=window.closes,
        zone=ZoneInfo(window.time_zone or settings.TIME_ZONE),
        rests_on_holidays_of=settings.RELAY_HOLIDAYS_COUNTRY if window.rests_on_holidays else "",
    )
