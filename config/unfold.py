"""The console's looks and its menu (the settings of django-unfold). Nothing is loaded from outside."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _


def environment(request: HttpRequest) -> list[str] | None:
    """A badge on every page where something about the installation must not be forgotten."""
    if settings.INSECURE_HTTP:
        return [_now("Without TLS: passwords travel in the clear"), "danger"]
    return [_now("Development"), "info"] if settings.DEBUG else None


def _may_view(model: str) -> Callable[[HttpRequest], bool]:
    app_label, _dot, name = model.partition(".")
    rights = [f"{app_label}.{right}_{name}" for right in ("view", "change")]
    return lambda request: any(request.user.has_perm(right) for right in rights)


def _may_prepare(request: HttpRequest) -> bool:
    return request.user.has_perm("relay.add_bulksend")


def _item(title: Any, icon: str, model: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{model.replace('.', '_')}_changelist"),
        "permission": _may_view(model),
    }


# Unfold's login form forgets where Django's would go.
LOGIN_REDIRECT_URL = "admin:index"

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Doppler Relay",
    "SITE_HEADER": "Doppler Relay",
    "SITE_SYMBOL": "outgoing_mail",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("relay/favicon.svg")},
    ],
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "config.unfold.environment",
    "DASHBOARD_CALLBACK": "relay.admin.dashboard.put_in",
    "SITE_VIEWS": [
        ("start/live/", "dashboard_live", "relay.admin.dashboard.LiveView"),
        ("start/<slug:name>.csv", "dashboard_csv", "relay.admin.dashboard.CsvView"),
        ("account/", "relay_account", "relay.admin.account.AccountView"),
        ("jsi18n/", "script_texts", "relay.admin.script_texts.ScriptTexts"),
    ],
    # In the menu of whoever is logged in.
    "ACCOUNT": {
        "navigation": [
            {"title": _("My account"), "link": reverse_lazy("admin:relay_account")},
            {"title": _("Change password"), "link": reverse_lazy("admin:password_change")},
        ],
    },
    "STYLES": [
        lambda request: static("relay/admin.css"),
        lambda request: static("relay/people.css"),
        lambda request: static("relay/shell.css"),
    ],
    "SCRIPTS": [lambda request: static("relay/shell.js")],
    "SIDEBAR": {
        "navigation": [
            {"items": [{"title": _("Start page"), "icon": "home", "link": reverse_lazy("admin:index")}]},
            {
                "title": _("Outgoing mail"),
                "items": [
                    {
                        "title": _("New bulk send"),
                        "icon": "add_circle",
                        "link": reverse_lazy("admin:relay_preparation_add"),
                        "permission": _may_prepare,
                    },
                    {
                        "title": _("Drafts"),
                        "icon": "edit_note",
                        "link": reverse_lazy("admin:relay_preparation_changelist"),
                        "permission": _may_prepare,
                    },
                    _item(_("Bulk sends"), "outgoing_mail", "relay.bulksend"),
                    _item(_("Recipients"), "group", "relay.recipient"),
                    _item(_("Templates"), "draft", "relay.mailtemplate"),
                ],
            },
            {
                "title": _("Reports"),
                "items": [
                    _item(_("Generated reports"), "lab_profile", "reports.generatedreport"),
                    _item(_("Deliveries"), "mark_email_read", "reports.delivery"),
                ],
            },
            {
                "title": _("Lists"),
                "items": [
                    _item(_("Senders"), "badge", "relay.sender"),
                    _item(_("Sending windows"), "schedule", "relay.sendingwindow"),
                    _item(_("Suppressions"), "block", "relay.suppression"),
                    _item(_("Attachments"), "attach_file", "relay.attachment"),
                ],
            },
            {
                "title": _("Access"),
                "items": [
                    _item(_("Users"), "person", "auth.user"),
                    _item(_("Groups"), "groups", "auth.group"),
                    _item(_("Record of activity"), "history", "relay.activity"),
                ],
            },
        ],
    },
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
        # One step stronger than Unfold's own: its secondary text is too faint to read for many.
        "font": {
            "subtle-light": "var(--color-base-600)",
            "subtle-dark": "var(--color-base-300)",
            "default-light": "var(--color-base-700)",
            "default-dark": "var(--color-base-200)",
            "important-light": "var(--color-base-900)",
            "important-dark": "var(--color-base-50)",
        },
    },
}
