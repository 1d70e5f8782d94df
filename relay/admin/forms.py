"""What is filled in on a confirmation page."""

from typing import Any

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from relay.admin import words
from relay.approving import fingerprint
from relay.models import Approval, BulkSend, SendingWindow, Settlement
from relay.tallies import codes_of


class RetryForm(forms.Form):
    codes = forms.MultipleChoiceField(label=capfirst(_("refused with")), widget=UnfoldAdminCheckboxSelectMultipleWidget)

    def __init__(self, bulk_send: BulkSend, data: Any = None) -> None:
        super().__init__(data)
        self.fields["codes"].choices = [  # type: ignore[attr-defined]
            (code, _how_many(code, count)) for code, count in codes_of(bulk_send.pk).items()
        ]


def _how_many(code: str, count: int) -> str:
    told = {"code": code, "count": words.number(count)}
    return ngettext("%(code)s: %(count)s recipient", "%(code)s: %(count)s recipients", count) % told


class PaceForm(forms.Form):
    max_rate = forms.FloatField(
        label=capfirst(_("messages per second")),
        help_text=_("Empty: as fast as the account allows."),
        required=False,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    window = forms.ModelChoiceField(
        SendingWindow.objects.all(),
        label=capfirst(_("sending window")),
        empty_label=_("that of its sender, if it has one"),
        required=False,
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(self, bulk_send: BulkSend, data: Any = None) -> None:
        super().__init__(data, initial={"max_rate": bulk_send.max_rate, "window": bulk_send.window_id})

    def clean_max_rate(self) -> float | None:
        rate: float | None = self.cleaned_data["max_rate"]
        if rate is not None and rate <= 0:
            raise forms.ValidationError(_("A number above 0, such as 5 or 0.5."))
        return rate


class ApprovalForm(forms.Form):
    """The fingerprint of what the page showed goes with the verdict: what changed meanwhile is not approved."""

    seen = forms.CharField(widget=forms.HiddenInput)
    note = forms.CharField(
        label=_("Note"),
        help_text=_("It is kept with your name."),
        max_length=Approval._meta.get_field("note").max_length,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )

    def __init__(self, bulk_send: BulkSend, data: Any = None) -> None:
        super().__init__(data, initial={"seen": fingerprint(bulk_send)})


class RejectionForm(ApprovalForm):
    def __init__(self, bulk_send: BulkSend, data: Any = None) -> None:
        super().__init__(bulk_send, data)
        self.fields["note"].required = True
        self.fields["note"].label = _("Why")


class SettleForm(forms.Form):
    note = forms.CharField(
        label=_("How you know"),
        help_text=_("It is kept with your name."),
        max_length=Settlement._meta.get_field("note").max_length,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )
