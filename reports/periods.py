"""Local days, and the half-open stretch of time that the relay is asked for."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _

from relay.explained import Explained


class PeriodProblem(Explained):
    """These days cannot be asked for; the text says why. `is_of_first`: it is the first day that has to be changed."""

    def __init__(self, sentence: str, *, is_of_first: bool = False) -> None:
        super().__init__(sentence)
        self.is_of_first = is_of_first


@dataclass(frozen=True, slots=True)
class Period:
    """`[start, end)` in UTC."""

    start: datetime
    end: datetime


MAX_DAYS = 366
FIRST_DAY = date(2000, 1, 1)


def period_of(first: date, last: date, *, zone: ZoneInfo, now: datetime) -> Period:
    """The days from `first` to `last`, both included, as the clocks of `zone` have them; never beyond `now`.

    A day begins at its first moment: where midnight is skipped by a change of the clocks, at the moment after it.
    Raises PeriodProblem when nothing of it has happened yet.
    """
    told = {"first": first, "last": last, "days": MAX_DAYS}
    if last < first:
        raise PeriodProblem(_("The period ends (%(last)s) before it begins (%(first)s).") % told)
    if (last - first).days >= MAX_DAYS:
        raise PeriodProblem(_("A report covers at most %(days)d days: ask for several.") % told)
    if first < FIRST_DAY:
        raise PeriodProblem(_("The period begins before the relay did (%(first)s).") % told, is_of_first=True)
    today = now.astimezone(zone).date()
    # To the second: the relay's answers know no smaller part, and its list is searched by these moments.
    end = min(_midnight(min(last, today) + timedelta(days=1), zone), now.astimezone(UTC).replace(microsecond=0))
    if first > today or end <= _midnight(first, zone):
        raise PeriodProblem(
            _("The period begins in the future (%(first)s): nothing has been sent then.") % told, is_of_first=True
        )
    return Period(_midnight(first, zone), end)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, zone).astimezone(UTC)
