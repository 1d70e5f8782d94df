"""Tests that people send to themselves before a bulk send is sent."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from relay import reasons
from relay.models.bulk_sends import BulkSend


class TestSend(models.Model):
    """The mail of one row, sent to whoever asked for it. On record before its call and after, since the relay's log
    shows it as it shows messages of recipients: settlements must not take one for the other."""

    class Outcome(models.TextChoices):
        ACCEPTED = "accepted", _("Accepted")
        REFUSED = "refused", _("Refused")
        UNKNOWN = "unknown", _("Unknown")
        NOT_SENT = "not_sent", _("Did not leave")

    # None: a draft that was discarded since. What was sent of it stays in the relay's log, and so on record.
    bulk_send = models.ForeignKey(
        BulkSend, models.SET_NULL, null=True, related_name="test_sends", verbose_name=_("bulk send")
    )
    row = models.PositiveIntegerField(_("row"))
    email = models.CharField(_("e-mail"), max_length=320)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", verbose_name=_("sent by")
    )
    # Between these two the call may have reached the relay; by the database's clock.
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    # Empty: under way, or its process died; then nobody knows.
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome, blank=True, default="")
    reason = models.CharField(_("reason"), max_length=30, blank=True)
    reason_params = models.JSONField(default=dict)
    code = models.CharField(_("relay code"), max_length=20, blank=True)
    detail = models.CharField(_("relay's words"), max_length=500, blank=True)
    message_id = models.TextField(_("message id"), blank=True)
    delivery = models.TextField(_("delivery"), blank=True)
    from_email = models.CharField(_("from"), max_length=320, blank=True)
    subject = models.CharField(_("subject"), max_length=1000, blank=True)
    # Else by the relay, whose template may have had another subject by then.
    rendered_here = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("test send")
        verbose_name_plural = _("test sends")
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(outcome__in=["accepted", "refused", "unknown", "not_sent"], ended_at__isnull=False)
                | Q(outcome="", ended_at=None),
                name="testsend_ends_with_outcome",
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None) | Q(ended_at__gte=F("started_at")), name="testsend_ends_after_start"
            ),
            models.CheckConstraint(
                condition=Q(outcome="accepted") | Q(message_id="", delivery=""), name="testsend_proof_of_accepted"
            ),
        ]
        indexes: ClassVar = [
            # Settlement and audit: what of an address is a test's.
            models.Index(Lower("email"), name="testsend_email"),
            # How many a person has sent in the last hour.
            models.Index(fields=["by", "started_at"], name="testsend_by_person"),
        ]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} {self.started_at:%Y-%m-%d %H:%M:%S}"

    @property
    def reason_text(self) -> str:
        return reasons.sentence(self.reason, {"detail": self.code, **self.reason_params})
