"""What is filled in to ask for a report."""

from datetime import date
from typing import Any

from django import forms
from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget

from reports.models import GeneratedReport

# No calendar goes on for ever: at its ends the arithmetic of days would fail.
_DAYS = [MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2999, 12, 31))]


class RequestForm(forms.Form):
    type = forms.ChoiceField(label=_("Type"), choices=GeneratedReport.Type.choices, widget=UnfoldAdminSelectWidget)
    first_day = forms.DateField(
        label=_("First day"), initial=timezone.localdate, validators=_DAYS, widget=UnfoldAdminDateWidget
    )
    last_day = forms.DateField(
        label=_("Last day"), initial=timezone.localdate, validators=_DAYS, widget=UnfoldAdminDateWidget
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.fields["last_day"].help_text = _("Included. Days as the clocks of %(zone)s have them.") % {
            "zone": settings.TIME_ZONE
        }

    def refuse_period(self, problem: Exception) -> None:
        """Shows it beside the day that has to be changed."""
        begins_in_future = self.cleaned_data["first_day"] > timezone.localdate()
        ends_before = self.cleaned_data["last_day"] < self.cleaned_data["first_day"]
        self.add_error("first_day" if begins_in_future and not ends_before else "last_day", str(problem))
