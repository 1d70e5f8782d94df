"""What all processes and hosts share of the account: its rates and its quotas."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Pace(models.Model):
    """A rate shared by all processes and hosts: `account`, or `send:ID`. See `relay.pacing.take_slots`."""

    name = models.CharField(max_length=40, primary_key=True)
    # Until here calls have been promised to somebody: seconds since 1970 by the database's clock.
    promised_until = models.FloatField(default=0)

    def __str__(self) -> str:
        return self.name


class Quota(models.Model):
    """What the relay said of one of its quotas, less what left since then. See `relay.quotas`."""

    class Period(models.TextChoices):
        HOURLY = "hourly", _("per hour")
        DAILY = "daily", _("per day")
        MONTHLY = "monthly", _("per month")

    period = models.CharField(_("period"), max_length=7, choices=Period, primary_key=True)
    # None: without limit.
    limit = models.BigIntegerField(_("limit"), null=True)
    remaining = models.BigIntegerField(_("remaining"), null=True)
    reset_at = models.DateTimeField(_("reset"), null=True)
    read_at = models.DateTimeField(_("read"), null=True)
    # Whoever finds it old enough sets it and asks the relay: one question for all processes.
    asked_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("quota")
        verbose_name_plural = _("quotas")

    def __str__(self) -> str:
        return self.get_period_display()
