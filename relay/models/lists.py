"""What people keep: senders and when they may write, suppressed addresses, attachments."""

import zoneinfo
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from relay.addresses import AddressProblem, check_address, comparison_key


class SendingWindow(models.Model):
    """When messages may leave: `relay.windows` reads it. Nothing leaves outside of it."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    weekdays = models.CharField(
        _("weekdays"), max_length=7, default="12345", help_text=_("1 is Monday, 7 is Sunday: 12345 are the workdays.")
    )
    opens = models.TimeField(_("opens"))
    closes = models.TimeField(_("closes"), help_text=_("At or before the opening: on the following day."))
    time_zone = models.CharField(
        _("time zone"), max_length=50, blank=True, help_text=_("Empty: that of this installation (TIME_ZONE).")
    )
    rests_on_holidays = models.BooleanField(
        _("rests on holidays"), default=True, help_text=_("Those of RELAY_HOLIDAYS_COUNTRY.")
    )

    class Meta:
        verbose_name = _("sending window")
        verbose_name_plural = _("sending windows")
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(weekdays=""), name="window_has_a_weekday"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        problems: dict[str, Any] = {}
        if self.name.strip().lower() == "none":  # what commands call having no window
            problems["name"] = _("«%(name)s» means having no window: give this one another name.") % {"name": self.name}
        if set(self.weekdays) - set("1234567") or len(set(self.weekdays)) < len(self.weekdays):
            problems["weekdays"] = _("The weekdays are digits from 1 (Monday) to 7 (Sunday), each once: 12345.")
        if self.time_zone and self.time_zone not in zoneinfo.available_timezones():
            problems["time_zone"] = _("There is no time zone «%(zone)s»: write one such as America/Bogota.") % {
                "zone": self.time_zone
            }
        if problems:
            raise ValidationError(problems)


class Sender(models.Model):
    """An address and name allowed as From."""

    email = models.EmailField(_("e-mail"), unique=True)
    name = models.CharField(_("name"), max_length=100, blank=True)
    active = models.BooleanField(_("active"), default=True)
    window = models.ForeignKey(
        SendingWindow,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("sending window"),
        help_text=_("For every bulk send from this address that has none of its own."),
    )
    # `relay.senders` asks; no group: everybody who may send at all.
    groups = models.ManyToManyField(
        Group,
        blank=True,
        related_name="+",
        verbose_name=_("groups"),
        help_text=_("Only their members may send from this address. None: everybody who may send."),
    )

    class Meta:
        verbose_name = _("sender")
        verbose_name_plural = _("senders")
        ordering: ClassVar = ["email"]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" if self.name else self.email


class Suppression(models.Model):
    """An address that must not be written to. Kept in lower case: addresses are compared without case."""

    email = models.EmailField(_("e-mail"), unique=True)
    reason = models.CharField(_("reason"), max_length=200)
    until = models.DateTimeField(_("until"), null=True, blank=True, help_text=_("Empty: for ever."))
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, verbose_name=_("created by")
    )

    class Meta:
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressions")
        ordering: ClassVar = ["email"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(email=Lower("email")), name="suppression_email_lower_case"),
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        """In the form in which recipients are compared; also `ñandú.com`, whose recipients are kept as punycode."""
        address = check_address(self.email)
        if isinstance(address, AddressProblem):
            raise ValidationError({"email": address.sentence})
        self.email = comparison_key(address)


class Attachment(models.Model):
    """A file that goes with every message of a bulk send. Its content is in `file`, named by its hash."""

    file = models.FileField(_("file"), upload_to="files", max_length=300)
    filename = models.CharField(_("file name"), max_length=255)
    content_type = models.CharField(_("type"), max_length=100)
    size = models.PositiveIntegerField(_("bytes"))
    sha256 = models.CharField("SHA-256", max_length=64)

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["sha256", "filename"], name="attachment_once_per_content_and_name"),
        ]

    def __str__(self) -> str:
        return self.filename
