"""What people keep: the addresses allowed as From, and those that must not be written to."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from relay.addresses import AddressProblem, check_address
from relay.admin import words
from relay.admin.unfolded import ModelAdmin, display
from relay.models import Sender, Suppression


def _checked(written: str) -> str:
    """The address as recipients files have it too (punycode and all), or else the two would never meet."""
    address = check_address(written)
    if isinstance(address, AddressProblem):
        raise ValidationError(address.sentence)
    return address


class SenderForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_email(self) -> str:
        email = _checked(self.cleaned_data["email"])
        if Sender.objects.filter(email__iexact=email).exclude(pk=self.instance.pk).exists():
            raise ValidationError(_("This sender exists already."))
        return email


class SuppressionForm(forms.ModelForm):  # type: ignore[type-arg]
    def clean_email(self) -> str:
        return _checked(self.cleaned_data["email"]).lower()


@admin.register(Sender)
class SenderAdmin(ModelAdmin[Sender]):
    form = SenderForm
    list_display = ["email", "name", "active"]
    list_filter = ["active"]
    search_fields = ["^email", "name"]
    fields = ["email", "name", "active"]


@admin.register(Suppression)
class SuppressionAdmin(ModelAdmin[Suppression]):
    form = SuppressionForm
    list_display = ["email", "reason", "until_text", "created_text", "created_by"]
    list_select_related = ["created_by"]
    list_filter = ["created_at"]
    search_fields = ["^email"]
    search_help_text = _("Beginning of the address")
    fields = ["email", "reason", "until", "created_text", "created_by"]
    readonly_fields = ["created_text", "created_by"]

    def save_model(
        self, request: HttpRequest, obj: Suppression, form: "forms.ModelForm[Suppression]", change: Any
    ) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]  # who reaches this has logged in
        super().save_model(request, obj, form, change)

    @display(description=_("until"), ordering="until")
    def until_text(self, suppression: Suppression) -> str:
        return words.moment(suppression.until) or str(_("for ever"))

    @display(description=_("created"), ordering="created_at")
    def created_text(self, suppression: Suppression) -> str | None:
        return words.moment(suppression.created_at)
