"""What belongs to people: who approved what, which rights groups were given, in whose zone hours are shown."""

import zoneinfo
from typing import ClassVar

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from relay.models.bulk_sends import BulkSend


class Approval(models.Model):
    """What a second person said of a bulk send, and of which state of it. Never changed (guarded).

    It goes only with a draft that is discarded; that it was said stays in Activity.
    """

    class Verdict(models.TextChoices):
        APPROVED = "approved", _("Approved")
        REJECTED = "rejected", _("Refused")

    bulk_send = models.ForeignKey(BulkSend, models.CASCADE, related_name="approvals")
    verdict = models.CharField(_("verdict"), max_length=8, choices=Verdict)
    made_at = models.DateTimeField(_("made"), default=timezone.now)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("made by")
    )
    # As in Decision: the name stays when the account goes.
    actor = models.CharField(_("by"), max_length=200)
    # Of what he saw (`relay.approving.fingerprint`): once anything of it differs, the verdict says nothing any more.
    fingerprint = models.CharField(max_length=64)
    note = models.CharField(_("note"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(verdict__in=["approved", "rejected"]), name="approval_verdict_known"),
        ]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} {self.made_at:%Y-%m-%d %H:%M:%S}"


class GroupGrant(models.Model):
    """A right that a group of ours was given once. Whether it still has it is the administrator's affair."""

    group = models.ForeignKey(Group, models.CASCADE, related_name="+")
    right = models.CharField(max_length=200)  # app_label.codename

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["group", "right"], name="grant_once")]

    def __str__(self) -> str:
        return f"{self.group}: {self.right}"


class UserPreferences(models.Model):
    """What a person chose for himself."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="relay_preferences"
    )
    time_zone = models.CharField(
        _("time zone"), max_length=50, blank=True, help_text=_("Empty: that of this installation (TIME_ZONE).")
    )

    class Meta:
        verbose_name = _("preferences")
        verbose_name_plural = _("preferences")

    def __str__(self) -> str:
        return str(self.user)

    def clean(self) -> None:
        if self.time_zone and self.time_zone not in zoneinfo.available_timezones():
            raise ValidationError(
                {
                    "time_zone": _("There is no time zone «%(zone)s»: write one such as America/Bogota.")
                    % {"zone": self.time_zone}
                }
            )
