"""When a bulk send would end, in words: what is known of its speed, its window and the relay's quotas."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import formats, timezone
from django.utils.translation import gettext as _

from relay import forecasting, quotas
from relay.admin import words
from relay.decisions import Plan
from relay.forecasting import Allowance, Forecast, foresee, next_reset
from relay.models import BulkSend, Quota
from relay.orders import as_hours, window_of

# A weekday alone is clear for so long.
A_WEEK = timedelta(days=6)
# A bulk send of fewer says nothing about the speed.
ENOUGH = 50


@dataclass(frozen=True, slots=True)
class Speed:
    per_second: float | None
    sentence: str


def forecast_lines(bulk_send: BulkSend, plan: Plan) -> list[str]:
    """For who decides: when it ends, how many leave on the first day, what it rests upon."""
    count = bulk_send.total - bulk_send.excluded_at_creation
    now = timezone.now()
    start = max(plan.at or now, now)
    planned = BulkSend(window=plan.window, from_email=bulk_send.from_email)
    window = window_of(planned)
    allowances = _allowances(bulk_send, now)
    speed = speed_of(plan.max_rate)
    found = foresee(
        count,
        start,
        rate=speed.per_second,
        window=as_hours(window) if window else None,
        allowances=allowances,
        zone=ZoneInfo(settings.TIME_ZONE),
    )
    lines = [
        _end(found, now),
        _beginning(found, start, now),
        _first_day(found, count, now),
        *_waits(found),
        speed.sentence,
    ]
    if not Quota.objects.filter(read_at__isnull=False).exists():
        lines.append(_("The relay's quotas have not been read yet: they are not taken into account."))
    if plan.first_slice and plan.first_slice < count:
        lines.append(_("The first slice is waited for, and judged, before the rest leaves: that adds some time."))
    return [line for line in lines if line]


def speed_of(max_rate: float | None) -> Speed:
    """The lowest of what was chosen, what the account may, and what the last bulk send reached."""
    last = _last_speed()
    known = {
        _("It is reckoned with the chosen %(rate)s messages per second."): max_rate,
        _("It is reckoned with the account's %(rate)s messages per second."): settings.RELAY_MAX_RATE,
        _("It is reckoned with the speed of the last bulk send: %(rate)s messages per second."): last,
    }
    rates = {sentence: rate for sentence, rate in known.items() if rate}
    if not rates:
        return Speed(None, "")
    sentence = min(rates, key=lambda one: rates[one])
    return Speed(rates[sentence], sentence % {"rate": words.rate(rates[sentence])})


def _last_speed() -> float | None:
    """Of the last that is done; with its pauses, so that it is rather too slow than too fast."""
    last = (
        BulkSend.objects.filter(status=BulkSend.Status.DONE, processing_started_at__isnull=False)
        .only("total", "findings", "processing_started_at", "finished_at")
        .order_by("-finished_at")
        .first()
    )
    if last is None or last.finished_at is None or last.processing_started_at is None:
        return None
    count = last.total - last.excluded_at_creation
    seconds = (last.finished_at - last.processing_started_at).total_seconds()
    return count / seconds if count >= ENOUGH and seconds > 0 else None


def _allowances(bulk_send: BulkSend, now: datetime) -> Sequence[Allowance]:
    """What the quotas let this bulk send have: without what earlier ones still need."""
    found = []
    for quota in quotas.forecast(bulk_send).quotas:
        resets_at = datetime.fromisoformat(quota["reset_at"]) if quota["reset_at"] else None
        found.append(
            Allowance(
                quota["period"],
                limit=quota["limit"],
                remaining=quota["remaining"] - quota["reserved"],
                resets_at=resets_at or next_reset(quota["period"], now),
            )
        )
    return found


def _end(found: Forecast, now: datetime) -> str:
    if found.ends_at is not None:
        return _("It ends at about %(when)s.") % {"when": _moment(found.ends_at, now)}
    match found.unknown:
        case forecasting.NO_RATE if found.not_before is not None and found.waits_for:
            told = {"when": _moment(found.not_before, now)}
            return _("It does not end before %(when)s; how fast it goes is not known yet.") % told
        case forecasting.NEVER_OPENS:
            return _("It never leaves: its sending window does not open on any day of the next two years.")
        case forecasting.NO_QUOTA:
            return _("It never leaves: a quota of the relay allows no message at all.")
        case forecasting.TOO_FAR:
            return _("It takes longer than a year, or too long to be foreseen.")
    return _("When it ends cannot be told: no speed is known yet. Choose a rate, or see how the first one goes.")


def _beginning(found: Forecast, start: datetime, now: datetime) -> str:
    if found.begins_at is None or found.begins_at - start < timedelta(minutes=1):
        return ""
    return _("The first message leaves at about %(when)s.") % {"when": _moment(found.begins_at, now)}


def _first_day(found: Forecast, count: int, now: datetime) -> str:
    if found.begins_at is None:
        return ""
    zone = ZoneInfo(settings.TIME_ZONE)
    day = found.begins_at.astimezone(zone).date()
    told = {"fits": words.number(found.first_day), "count": words.number(count)}
    if day == now.astimezone(zone).date():
        if found.first_day >= count:
            return _("All messages fit today: %(count)s.") % told
        return _("Today %(fits)s of %(count)s messages fit.") % told
    told["day"] = formats.date_format(day, "l j")
    if found.first_day >= count:
        return _("All messages fit on %(day)s: %(count)s.") % told
    return _("On %(day)s %(fits)s of %(count)s messages fit.") % told


def _waits(found: Forecast) -> list[str]:
    names = {
        forecasting.WINDOW: _("its sending window"),
        Quota.Period.HOURLY: _("the relay's quota per hour"),
        Quota.Period.DAILY: _("the relay's quota per day"),
        Quota.Period.MONTHLY: _("the relay's quota per month"),
    }
    waits = [str(names[one]) for one in found.waits_for if one in names]
    return [_("It has to wait for: %(what)s.") % {"what": ", ".join(waits)}] if waits else []


def _moment(moment: datetime, now: datetime) -> str:
    """Short: the hour today, a weekday within the week, else the date; in the zone of the installation."""
    local, today = timezone.localtime(moment), timezone.localtime(now)
    hour = formats.time_format(local, "H:i")
    if local.date() == today.date():
        return hour
    if local - today < A_WEEK:
        return f"{formats.date_format(local, 'D')} {hour}"
    return str(words.moment(moment))
