"""What is filled in to ask for a report."""

from datetime import date
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget

from reports.models import GeneratedReport
from reports.periods import PeriodProblem


def _today() -> date:
    """Of the installation, as the days of reports are; the reader's own clock may be on another."""
    return timezone.localdate(timezone=timezone.get_default_timezone())


class RequestForm(forms.Form):
    type = forms.ChoiceField(label=_("Type"), choices=GeneratedReport.Type.choices, widget=UnfoldAdminSelectWidget)
    first_day = forms.DateField(label=_("First day"), initial=_today, widget=UnfoldAdminDateWidget)
    last_day = forms.DateField(label=_("Last day"), initial=_today, widget=UnfoldAdminDateWidget)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.fields["last_day"].help_text = _("Included. Days as the clocks of %(zone)s have them.") % {
            "zone": settings.TIME_ZONE
        }

    def refuse_period(self, problem: PeriodProblem) -> None:
        """Shows it beside the day that has to be changed."""
        self.add_error("first_day" if problem.is_of_first else "last_day", str(problem))
