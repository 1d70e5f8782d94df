"""What people keep: the addresses allowed as From, when messages may leave, who must not be written to."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from relay.addresses import AddressProblem, check_address
from relay.admin import words
from relay.admin.unfolded import ModelAdmin, display
from relay.models import BulkSend, Sender, SendingWindow, Suppression


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
    list_display = ["email", "name", "active", "window", "groups_text"]
    list_select_related = ["window"]
    list_filter = ["active"]
    search_fields = ["^email", "name"]
    fields = ["email", "name", "active", "window", "groups"]

    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        return super().formfield_for_manytomany(
            db_field, request, **kwargs, widget=UnfoldAdminCheckboxSelectMultipleWidget
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sender]:
        return super().get_queryset(request).prefetch_related("groups")

    @display(description=_("who may use it"))
    def groups_text(self, sender: Sender) -> str:
        return ", ".join(group.name for group in sender.groups.all()) or str(_("everybody who may send"))

    def save_model(self, request: HttpRequest, obj: Sender, form: "forms.ModelForm[Sender]", change: Any) -> None:
        super().save_model(request, obj, form, change)
        BulkSend.objects.look_at_windows_again()


@admin.register(SendingWindow)
class SendingWindowAdmin(ModelAdmin[SendingWindow]):
    list_display = ["name", "weekdays", "hours", "zone_text", "rests_on_holidays", "now"]
    search_fields = ["name"]
    fields = ["name", "weekdays", "opens", "closes", "time_zone", "rests_on_holidays"]

    def save_model(
        self, request: HttpRequest, obj: SendingWindow, form: "forms.ModelForm[SendingWindow]", change: Any
    ) -> None:
        super().save_model(request, obj, form, change)
        BulkSend.objects.look_at_windows_again()

    @display(description=_("now"))
    def now(self, window: SendingWindow) -> str:
        return words.open_or_resting(window)

    @display(description=_("hours"), ordering="opens")
    def hours(self, window: SendingWindow) -> str:
        return f"{window.opens:%H:%M}–{window.closes:%H:%M}"

    @display(description=_("time zone"), ordering="time_zone")
    def zone_text(self, window: SendingWindow) -> str:
        return window.time_zone or settings.TIME_ZONE


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
