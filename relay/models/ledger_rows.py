"""The ledger's rows: one per recipient is the truth.

Rules about one row are methods, rules about many rows are querysets; `Recipient.state` is written by `relay.ledger`,
`relay.verdicts` (out of `unknown`) and `relay.whole_sends`, and by nobody else. What the database itself refuses
(impossible states, forbidden transitions, changed attempts) stands in the constraints below and in the migrations that
put up guards.
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from relay import reasons
from relay.models.bulk_sends import BulkSend


class Lease(models.Model):
    """A worker's right to call the relay for the recipients it holds, until `expires_at` by the database's clock."""

    class Limit(models.TextChoices):
        """What keeps a worker from going faster, as it alone can know; in words: `relay.admin.limits`."""

        RATE = "rate"  # its own or the account's
        CONNECTIONS = "connections"  # all it may have are in use
        SHARED_CONNECTIONS = "shared"  # … and other processes have the rest of the account's
        QUOTA = "quota"
        THROTTLED = "throttled"  # 429
        SLOW = "slow"  # answers take longer than before
        UNREACHABLE = "away"
        DRY = "dry"  # few messages are left

    bulk_send = models.ForeignKey(BulkSend, models.PROTECT, db_index=False)
    owner = models.CharField(max_length=200)
    acquired_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)
    # Written with each heartbeat, for people who look: the ledger itself never reads them.
    calls_in_flight = models.PositiveIntegerField(default=0)
    calls_per_second = models.FloatField(default=0)
    limited_by = models.CharField(max_length=11, db_default="")  # a `Limit`; empty: nothing from outside
    # Its part of what is limited for the whole account (`relay.pacing`); gone with the lease.
    connections = models.PositiveIntegerField(db_default=0, default=0)
    quota_held = models.PositiveIntegerField(db_default=0, default=0)

    class Meta:
        indexes: ClassVar = [
            # Take-over looks for leases that nobody released: a handful among all that ever were.
            # Not on `expires_at`: heartbeats change it every second and should stay off every index.
            models.Index(fields=["bulk_send"], name="lease_open", condition=Q(released_at=None)),
        ]

    def __str__(self) -> str:
        return self.owner


class RecipientQuerySet(models.QuerySet["Recipient"]):
    def counts(self) -> dict[str, int]:
        """How many in each state, every state named."""
        found = dict(self.order_by().values_list("state").annotate(n=models.Count("pk")))
        return {state: found.get(state, 0) for state in Recipient.State.values}


class Recipient(models.Model):
    """One row of the file and the ledger entry of its message."""

    class State(models.TextChoices):
        PENDING = "pending", _("Pending")
        SENDING = "sending", _("Sending")
        ACCEPTED = "accepted", _("Accepted")
        REFUSED = "refused", _("Refused")
        UNKNOWN = "unknown", _("Unknown")
        EXCLUDED = "excluded", _("Excluded")

    bulk_send = models.ForeignKey(BulkSend, models.PROTECT, db_index=False, related_name="recipients")
    row = models.PositiveIntegerField(_("row"), help_text=_("As a spreadsheet numbers it; the header is 1."))
    email = models.CharField(_("e-mail"), max_length=320)
    variables = models.JSONField(_("variables"))
    state = models.CharField(_("state"), max_length=8, choices=State)
    # Defaults of the database, so that an import writes only what a new row has.
    reason = models.CharField(_("reason"), max_length=30, blank=True, db_default="")
    reason_detail = models.CharField(_("detail"), max_length=500, blank=True, db_default="")
    message_id = models.TextField(_("message id"), blank=True, db_default="")
    # The link by which the relay names the delivery; several, blank-separated, should it ever give several.
    delivery = models.TextField(_("delivery"), blank=True, db_default="")
    accepted_at = models.DateTimeField(_("accepted"), null=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), db_default=0)
    # Only rows that came back carry it (due again from then on), so its index stays as small as they are few.
    not_before = models.DateTimeField(_("not before"), null=True)
    sending_since = models.DateTimeField(_("sending since"), null=True)
    # Of unknown rows: how often the relay's log was asked, and when it is asked again (None: a person decides).
    looks = models.PositiveSmallIntegerField(_("looks"), db_default=0)
    look_at = models.DateTimeField(_("next look"), null=True)
    # Accepted by a settlement: the relay's log gives no message id, and perhaps no link.
    settled = models.BooleanField(_("settled"), db_default=False)
    # No index and no foreign key: it changes twice per message, and `state` must stay out of every index
    # for PostgreSQL to update in place.
    lease = models.ForeignKey(Lease, models.DO_NOTHING, null=True, db_index=False, db_constraint=False)

    objects = RecipientQuerySet.as_manager()

    class Meta:
        verbose_name = _("recipient")
        verbose_name_plural = _("recipients")
        constraints: ClassVar = [
            # Also the index by which rows are claimed in order.
            models.UniqueConstraint(fields=["bulk_send", "row"], name="recipient_once_per_row"),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "sending", "accepted", "refused", "unknown", "excluded"]),
                name="recipient_state_known",
            ),
            models.CheckConstraint(
                condition=(Q(state="sending") & Q(lease__isnull=False) & Q(sending_since__isnull=False))
                | (~Q(state="sending") & Q(lease__isnull=True)),
                name="recipient_sending_has_lease",
            ),
            models.CheckConstraint(
                condition=(Q(state="accepted") & Q(accepted_at__isnull=False) & (~Q(message_id="") | Q(settled=True)))
                | (~Q(state="accepted") & Q(accepted_at__isnull=True, message_id="", delivery="", settled=False)),
                name="recipient_accepted_has_proof",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["refused", "unknown", "excluded"]) | ~Q(reason=""),
                name="recipient_end_has_reason",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=["accepted", "refused", "unknown"]) | Q(attempts__gte=1),
                name="recipient_outcome_has_attempt",
            ),
            models.CheckConstraint(
                condition=Q(not_before=None) | Q(state="pending"), name="recipient_only_pending_waits"
            ),
            models.CheckConstraint(
                condition=Q(look_at=None) | Q(state="unknown"), name="recipient_only_unknown_is_looked_for"
            ),
        ]
        indexes: ClassVar = [
            # Search by address, suppression, and what the ledger owns of an address.
            models.Index(Lower("email"), name="recipient_email"),
            # ledger.claim: rows that came back and are due.
            models.Index(
                fields=["bulk_send", "not_before"],
                name="recipient_came_back",
                condition=Q(not_before__isnull=False),
            ),
            # settlement: unknown rows whose next look is due, of all bulk sends.
            models.Index(fields=["look_at"], name="recipient_look_due", condition=Q(look_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.row}: {self.email}"

    @property
    def reason_text(self) -> str:
        return reasons.sentence(self.reason, {"detail": self.reason_detail})


class Attempt(models.Model):
    """One call to the relay for one recipient, written once with its outcome and never changed (0002 guards it)."""

    class Outcome(models.TextChoices):
        ACCEPTED = "accepted", _("Accepted")
        REFUSED = "refused", _("Refused")
        UNKNOWN = "unknown", _("Unknown")
        RETURNED = "returned", _("Returned to pending")

    recipient = models.ForeignKey(Recipient, models.PROTECT, related_name="attempt_set")
    # Between these two the call may have reached the relay; by the database's clock.
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), default=timezone.now)
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome)
    reason = models.CharField(_("reason"), max_length=30, blank=True)
    status = models.PositiveSmallIntegerField(_("HTTP status"), null=True)
    code = models.CharField(_("relay code"), max_length=20, blank=True)
    detail = models.CharField(_("relay's words"), max_length=500, blank=True)
    from_email = models.CharField(_("from"), max_length=320, blank=True)
    subject = models.CharField(_("subject"), max_length=1000, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(outcome__in=["accepted", "refused", "unknown", "returned"]),
                name="attempt_outcome_known",
            ),
            models.CheckConstraint(condition=Q(ended_at__gte=F("started_at")), name="attempt_ends_after_start"),
        ]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} {self.started_at:%Y-%m-%d %H:%M:%S}"


class Settlement(models.Model):
    """One look into the relay's log for one unknown attempt, or a person's decision on it. Never changed (guarded)."""

    class Verdict(models.TextChoices):
        ACCEPTED = "accepted", _("Accepted")
        RETURNED = "returned", _("Returned to pending")
        EXCLUDED = "excluded", _("Excluded")
        UNKNOWN = "unknown", _("Still unknown")

    recipient = models.ForeignKey(Recipient, models.PROTECT, related_name="settlements")
    attempt = models.ForeignKey(Attempt, models.PROTECT, related_name="settlements")
    made_at = models.DateTimeField(_("made"), default=timezone.now)
    look = models.PositiveSmallIntegerField(_("look"), help_text=_("0: decided by a person."))
    verdict = models.CharField(_("verdict"), max_length=8, choices=Verdict)
    # The reasoning: a code of `relay.reasons` and its numbers, never an address or a subject.
    reason = models.CharField(_("reason"), max_length=30)
    reason_params = models.JSONField(default=dict)
    delivery = models.TextField(_("delivery"), blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("decided by")
    )
    note = models.CharField(_("note"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("settlement")
        verbose_name_plural = _("settlements")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            # An entry of the relay's log proves one message, whoever looks, and however many look at once.
            models.UniqueConstraint(fields=["delivery"], name="settlement_delivery_once", condition=~Q(delivery="")),
            models.CheckConstraint(
                condition=Q(verdict__in=["accepted", "returned", "excluded", "unknown"]),
                name="settlement_verdict_known",
            ),
            models.CheckConstraint(condition=Q(look__gt=0) | ~Q(note=""), name="settlement_by_person_says_why"),
        ]

    def __str__(self) -> str:
        return f"{self.get_verdict_display()} {self.made_at:%Y-%m-%d %H:%M:%S}"

    @property
    def reason_text(self) -> str:
        return reasons.sentence(self.reason, self.reason_params)
