"""«Mi cuenta»: what everybody may change of himself. Groups and rights are the administrator's affair."""

from collections import defaultdict
from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views import View
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from relay import activity, zones
from relay.activity import What

# Where most readers are comes first in the list.
FIRST_AREA = "America"


class AccountForm(forms.ModelForm):  # type: ignore[type-arg]
    time_zone = forms.ChoiceField(label=capfirst(_("time zone")), widget=UnfoldAdminSelectWidget)

    class Meta:
        model = User
        fields = ("first_name", "last_name", "email")
        widgets = {
            "first_name": UnfoldAdminTextInputWidget,
            "last_name": UnfoldAdminTextInputWidget,
            "email": UnfoldAdminEmailInputWidget,
        }

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data, instance=user, initial={"time_zone": zones.zone_of(user)})
        self.fields["email"].help_text = _("Where your test sends go.")
        self.fields["time_zone"].choices = zone_choices()  # type: ignore[attr-defined]
        self.fields["time_zone"].help_text = _(
            "In which you read hours. What is scheduled, and the days of reports, are of %(zone)s, whatever you choose."
        ) % {"zone": settings.TIME_ZONE}


def zone_choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """By area, each zone with how far it is from UTC today."""
    now = timezone.now()
    areas: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for zone in sorted(available_timezones()):
        area = zone.partition("/")[0] if "/" in zone else gettext("Other")
        areas[area].append((zone, f"{zone} ({zones.offset(zone, now)})"))
    return sorted(areas.items(), key=lambda area: (area[0] != FIRST_AREA, area[0] == gettext("Other"), area[0]))


class AccountView(View):
    """Of whoever is logged in; Unfold (SITE_VIEWS) has wrapped it in `admin_view`, which sees to that."""

    http_method_names = ["get", "head", "post"]
    admin_site: AdminSite = admin.site

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._show(request, AccountForm(_user_of(request)))

    def post(self, request: HttpRequest) -> HttpResponse:
        user = _user_of(request)
        form = AccountForm(user, request.POST)
        if not form.is_valid():
            user.refresh_from_db()  # the form has changed it all the same, and the page names its user
            return self._show(request, form)
        _save(request, user, form)
        messages.success(request, gettext("Your account is as you wrote it."))
        return HttpResponseRedirect(reverse("admin:relay_account"))

    def _show(self, request: HttpRequest, form: AccountForm) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("My account"),
            "form": form,
            "groups": list(_user_of(request).groups.order_by("name")),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "relay/admin/account.html", context)


def _user_of(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101
    return request.user


def _save(request: HttpRequest, user: User, form: AccountForm) -> None:
    if not form.changed_data:
        return
    with transaction.atomic():
        user.save(update_fields=["first_name", "last_name", "email"])
        zones.choose(user, form.cleaned_data["time_zone"])
        activity.record(What.CHANGED, by=user, about=user, request=request, fields=_english_names(form))


def _english_names(form: AccountForm) -> list[str]:
    """As Django's own log names what was changed (`relay.admin.recording`)."""
    with translation.override(None):
        return [capfirst(str(form.fields[name].label)) for name in form.changed_data]
