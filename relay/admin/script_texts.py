"""Texts of Django's own scripts (its calendar) that its Spanish lacks; said by our catalogue like everything else."""

from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _
from django.views.i18n import JavaScriptCatalog

TEXTS = (
    _("%(month)s %(day)s, %(year)s"),
    _("%s (today)"),
    _("%s (today, current selection)"),
    _("%s (current selection)"),
    _("Today (%(date)s)"),
    _("Yesterday (%(date)s)"),
    _("Tomorrow (%(date)s)"),
    _("Previous (%(month)s %(year)s)"),
    _("Next (%(month)s %(year)s)"),
)


class ScriptTexts(JavaScriptCatalog):
    """In the place of the admin's: what Django translates, and what it does not."""

    packages = ["django.contrib.admin"]
    admin_site: Any = None  # Unfold gives it to every view of the site's own

    def get_catalog(self) -> dict[str, Any]:
        return {text: gettext(text) for text in TEXTS} | super().get_catalog()
