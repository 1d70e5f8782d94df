"""What is filled in to decide when a bulk send leaves."""

import re
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from relay.decisions import Plan
from relay.models import BulkSend, SendingWindow
from relay.wall_clocks import NoSuchHour, moment_of

NOW, LATER = "now", "later"


class WhenForm(forms.Form):
    """Gives a `Plan`. An hour is by the clock of the window's zone where the chosen window names one."""

    when = forms.ChoiceField(
        label=_("When"),
        choices=[(NOW, _("Now: as soon as it is confirmed")), (LATER, _("At a date and an hour"))],
        widget=UnfoldAdminRadioSelectWidget,
    )
    date = forms.DateField(
        label=capfirst(_("date")),
        required=False,
        input_formats=["%Y-%m-%d", "%d/%m/%Y"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "date"}),
    )
    hour = forms.TimeField(
        label=capfirst(_("hour")),
        required=False,
        input_formats=["%H:%M", "%H:%M:%S"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
    )
    window = forms.ModelChoiceField(
        SendingWindow.objects.all(),
        label=capfirst(_("sending window")),
        help_text=_("Nothing leaves outside of it; what is left goes on when it opens again."),
        empty_label=_("that of its sender, if it has one"),
        required=False,
        widget=UnfoldAdminSelectWidget,
    )
    max_rate = forms.FloatField(
        label=capfirst(_("messages per second")),
        help_text=_("Empty: as fast as the account allows."),
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any", "min": "0"}),
    )
    first_slice = forms.IntegerField(
        label=capfirst(_("first slice")),
        help_text=_("So many leave first; the rest follows if few of them are refused. 0: all at once."),
        required=False,
        min_value=0,
        max_value=2_000_000_000,
        widget=UnfoldAdminIntegerFieldWidget,
    )

    # What was understood of the hour.
    at: datetime | None = None
    twice = False

    def __init__(self, bulk_send: BulkSend, data: Any = None) -> None:
        installation = timezone.get_default_timezone()  # not the zone in which this person reads hours
        planned = timezone.localtime(bulk_send.scheduled_at, installation) if bulk_send.scheduled_at else None
        if planned and bulk_send.window and bulk_send.window.time_zone:
            planned = planned.astimezone(ZoneInfo(bulk_send.window.time_zone))
        super().__init__(
            data,
            initial={
                "when": LATER if planned else NOW,
                "date": planned and f"{planned:%Y-%m-%d}",
                "hour": planned and f"{planned:%H:%M}",
                "window": bulk_send.window_id,
                "max_rate": bulk_send.max_rate,
                "first_slice": bulk_send.first_slice,
            },
        )
        self.fields["hour"].help_text = _(
            "By the clocks of %(zone)s; if the sending window that you choose names another zone, by those."
        ) % {"zone": settings.TIME_ZONE}
        self.fields["window"].label_from_instance = _named_with_zone  # type: ignore[attr-defined]

    def clean_max_rate(self) -> float | None:
        rate: float | None = self.cleaned_data["max_rate"]
        if rate is not None and rate <= 0:
            raise forms.ValidationError(_("A number above 0, such as 5 or 0.5."))
        return rate

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if cleaned.get("when") == LATER:
            for name, problem in (("date", _("Write the date.")), ("hour", _("Write the hour."))):
                if cleaned.get(name) is None and name not in self.errors:
                    self.add_error(name, problem)
            if cleaned.get("date") and cleaned.get("hour") and "window" not in self.errors:
                self._understand(datetime.combine(cleaned["date"], cleaned["hour"]))
        return cleaned

    def _understand(self, wall: datetime) -> None:
        zone = self.zone
        try:
            moment = moment_of(wall, zone)
        except NoSuchHour as problem:
            told = {"zone": zone.key, "hour": f"{wall:%H:%M}", "following": f"{problem.following:%H:%M}"}
            text = _(
                "%(hour)s does not exist that day in %(zone)s: the clocks are set forward over it. "
                "Choose another, such as %(following)s."
            )
            self.add_error("hour", text % told)
            return
        except OverflowError:
            self.add_error("date", _("Write a date of the next years."))
            return
        if moment.at <= timezone.now():
            self.add_error("hour", _("That moment has already passed: choose one that is to come."))
        elif moment.at.year > timezone.now().year + 2:
            self.add_error("date", _("Write a date of the next years."))
        else:
            self.at, self.twice = moment.at, moment.twice

    @property
    def zone(self) -> ZoneInfo:
        window: SendingWindow | None = self.cleaned_data.get("window")
        return ZoneInfo((window.time_zone if window else "") or settings.TIME_ZONE)

    def plan(self) -> Plan:
        """Of a form that is valid."""
        return Plan(
            at=self.at,
            window=self.cleaned_data["window"],
            max_rate=self.cleaned_data["max_rate"],
            first_slice=self.cleaned_data["first_slice"] or 0,
        )


def _named_with_zone(window: SendingWindow) -> str:
    return f"{window.name} ({window.time_zone})" if window.time_zone else window.name


class ConfirmForm(forms.Form):
    """Above BULK_CONFIRM_ABOVE recipients their number is typed: one look more before it leaves."""

    typed = forms.CharField(
        label=_("Number of recipients"),
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )

    def __init__(self, count: int, data: Any = None) -> None:
        super().__init__(data)
        self.count = count
        if count <= settings.BULK_CONFIRM_ABOVE:
            del self.fields["typed"]
        else:
            self.fields["typed"].help_text = _("Type how many recipients get it: the number that stands above.")

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if re.sub(r"[\s.,'’]", "", typed) != str(self.count):
            raise forms.ValidationError(_("That is not the number of recipients: look at it again."))
        return typed
