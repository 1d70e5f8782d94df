"""Time zones of people. Hours are shown in the reader's own; what is scheduled, and the days of reports, are those of
the installation (TIME_ZONE), and say so."""

from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.utils import timezone
from django.utils.translation import gettext as _

from relay.models import UserPreferences


def zone_of(user: User | AnonymousUser) -> str:
    """The name of the zone in which this person reads hours."""
    if not user.is_authenticated:
        return settings.TIME_ZONE
    chosen = UserPreferences.objects.filter(user_id=user.pk).values_list("time_zone", flat=True).first()
    return chosen or settings.TIME_ZONE


def choose(user: User, zone: str) -> None:
    """Empty: that of the installation."""
    preferences = UserPreferences(user=user, time_zone="" if zone == settings.TIME_ZONE else zone)
    preferences.full_clean(validate_unique=False)
    preferences.save()


def shown() -> str:
    """In which zone the hours of this page are: «Hours in America/Guayaquil (UTC−5)»."""
    zone = timezone.get_current_timezone_name()
    return _("Hours in %(zone)s (%(offset)s)") % {"zone": zone, "offset": offset(zone, timezone.now())}


def offset(zone: str, at: datetime) -> str:
    """`UTC−5`, `UTC+5:30`, with a real minus sign."""
    ahead = at.astimezone(ZoneInfo(zone)).utcoffset()
    minutes = round(ahead.total_seconds() / 60) if ahead else 0
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'−' if minutes < 0 else '+'}{hours}" + (f":{rest:02d}" if rest else "")
