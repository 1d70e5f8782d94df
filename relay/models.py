"""The ledger's tables: one row per recipient is the truth.

Rules about one row are methods here, rules about many rows are querysets; `relay.ledger` is the only module that
writes `Recipient.state`. What the database itself refuses (impossible states, forbidden transitions, changed
attempts) stands in the constraints below and in the migration `0002_ledger_guards`.
"""

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from relay import reasons
from relay.addresses import AddressProblem, check_address, comparison_key


class WrongState(Exception):
    """The bulk send is not in a state from which this can be done; the text says in which it is."""


class Sender(models.Model):
    """An address and name allowed as From."""

    email = models.EmailField(_("e-mail"), unique=True)
    name = models.CharField(_("name"), max_length=100, blank=True)
    active = models.BooleanField(_("active"), default=True)

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


class BulkSendQuerySet(models.QuerySet["BulkSend"]):
    def due(self) -> "BulkSendQuerySet":
        """Waiting for an hour that has come, by the database's clock."""
        return self.filter(status=BulkSend.Status.PENDING, scheduled_at__lte=Now())

    def open_to_workers(self) -> "BulkSendQuerySet":
        """What workers may send from, the longest waiting first."""
        return self.filter(status=BulkSend.Status.SENDING).order_by(
            F("processing_started_at").asc(nulls_last=True), "pk"
        )

    def pause_over(self) -> "BulkSendQuerySet":
        """Paused until a time that has come; never a pause that a person set."""
        return self.filter(status=BulkSend.Status.PAUSED, resume_at__lte=Now()).exclude(reason=reasons.PERSON)


class BulkSend(models.Model):
    """One template, one recipients file, one decision to send."""

    class Status(models.TextChoices):
        DRAFT = "draft", _("Draft")
        PENDING = "pending", _("Pending")
        SENDING = "sending", _("Sending")
        PAUSED = "paused", _("Paused")
        SETTLING = "settling", _("Settling")
        DONE = "done", _("Done")
        ERROR = "error", _("Error")
        CANCELLED = "cancelled", _("Cancelled")

    name = models.CharField(_("name"), max_length=200)
    status = models.CharField(_("status"), max_length=10, choices=Status, default=Status.DRAFT)
    reason = models.CharField(_("reason"), max_length=30, blank=True, help_text=_("Why it is in this status."))
    reason_params = models.JSONField(default=dict, editable=False)
    resume_at = models.DateTimeField(_("resumes"), null=True, blank=True)

    # The template as it was when the rows were checked against it. The relay keeps the live one.
    template_id = models.CharField(_("template"), max_length=100)
    template_name = models.CharField(_("template name"), max_length=200, blank=True)
    template_subject = models.TextField(_("template subject"), blank=True)
    template_html = models.TextField(_("template content"))

    # With a subject of its own the mail is rendered here: the template call has no proven subject field.
    subject = models.TextField(_("subject"), blank=True, help_text=_("Empty: the template's."))
    from_email = models.EmailField(_("from"), blank=True, help_text=_("Empty: the template's own."))
    from_name = models.CharField(_("from name"), max_length=100, blank=True)
    reply_to = models.EmailField(_("reply to"), blank=True)
    attachments = models.ManyToManyField(Attachment, blank=True, verbose_name=_("attachments"))

    # The file, and how it was understood.
    file_name = models.CharField(_("file"), max_length=255)
    file_sha256 = models.CharField(max_length=64, editable=False)
    file_encoding = models.CharField(max_length=20, editable=False)
    file_delimiter = models.CharField(max_length=1, blank=True, editable=False)
    address_column = models.TextField(_("address column"))
    columns = models.JSONField(_("columns"), default=list)
    variable_map = models.JSONField(_("variables taken from columns"), default=dict)
    allow_repeats = models.BooleanField(_("repeated addresses allowed"), default=False)
    allow_empty = models.BooleanField(_("empty variables allowed"), default=False)
    accept_rejects = models.BooleanField(_("rejected rows accepted"), default=False)
    total = models.PositiveIntegerField(_("rows"))
    findings = models.JSONField(
        _("findings"), default=dict, help_text=_("What the validation found: counts and first examples.")
    )
    rejects_file = models.FileField(_("rejected rows"), upload_to="rejects", max_length=300, blank=True)

    scheduled_at = models.DateTimeField(_("scheduled"), null=True, blank=True)
    scheduled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("scheduled by"),
    )
    processing_started_at = models.DateTimeField(_("sending began"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    objects = BulkSendQuerySet.as_manager()

    class Meta:
        verbose_name = _("bulk send")
        verbose_name_plural = _("bulk sends")
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            # process_bulk_scheduled asks every two minutes what is due, among years of finished sends.
            models.Index(
                fields=["status", "scheduled_at"],
                name="bulksend_not_finished",
                condition=~Q(status__in=["done", "cancelled"]),
            )
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    status__in=[
                        "draft",
                        "pending",
                        "sending",
                        "paused",
                        "settling",
                        "done",
                        "error",
                        "cancelled",
                    ]
                ),
                name="bulksend_status_known",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["paused", "error"]) | ~Q(reason=""), name="bulksend_stop_has_reason"
            ),
            models.CheckConstraint(
                condition=Q(status="paused") | Q(resume_at=None), name="bulksend_only_pauses_resume"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["done", "cancelled"]) | Q(finished_at__isnull=False),
                name="bulksend_end_has_time",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def reason_text(self) -> str:
        """Why it is in this status, as a sentence for a person; empty when there is nothing to explain."""
        return reasons.sentence(self.reason, self.reason_params)

    def start(self, *, accept_rejects: bool = False) -> None:
        """Allows it to be sent: now, or a scheduled draft at its hour.

        Raises WrongState from any state but draft and pending.
        """
        if self.status == self.Status.DRAFT and not (accept_rejects or self.accept_rejects):
            raise WrongState(
                _("Bulk send %(id)d has rejected rows that nobody has accepted (use --accept-rejects).")
                % {"id": self.pk}
            )
        if self.total == self.excluded_at_creation:
            raise WrongState(_("Bulk send %(id)d has no valid recipients: nothing to send.") % {"id": self.pk})
        # A draft with an hour to come waits for it: what was decided now is only that its rejects are accepted.
        waits = self.status == self.Status.DRAFT and self.scheduled_at and self.scheduled_at > timezone.now()
        self._leave(
            {self.Status.DRAFT, self.Status.PENDING},
            self.Status.PENDING if waits else self.Status.SENDING,
            accept_rejects=self.accept_rejects or self.status == self.Status.DRAFT,
        )

    @property
    def excluded_at_creation(self) -> int:
        return int(self.findings.get("excluded", 0))

    def pause(self, reason: str = reasons.PERSON, resume_at: datetime | None = None, **params: Any) -> None:
        self._leave({self.Status.SENDING}, self.Status.PAUSED, reason, params, resume_at=resume_at)

    def stop_with_error(self, reason: str, **params: Any) -> None:
        """It cannot go on until a person mends something; `resume` leaves this state."""
        self._leave({self.Status.SENDING}, self.Status.ERROR, reason, params)

    def resume(self) -> None:
        self._leave({self.Status.PAUSED, self.Status.ERROR}, self.Status.SENDING)

    def adopt_template(self, *, subject: str, html: str) -> None:
        """The relay's template was edited without needing anything else of the rows: that is what goes out now."""
        if (subject, html) == (self.template_subject, self.template_html):
            return
        self.template_subject, self.template_html = subject, html
        self.save(update_fields=["template_subject", "template_html"])

    def cancel(self) -> None:
        """Only the status; `ledger.cancel` excludes what has not left in the same transaction."""
        self._leave(
            set(self.Status) - {self.Status.DONE, self.Status.CANCELLED},
            self.Status.CANCELLED,
            finished_at=Now(),
        )

    def begin_settling(self) -> None:
        self._leave({self.Status.SENDING, self.Status.SETTLING}, self.Status.SETTLING)

    def finish(self) -> None:
        self._leave({self.Status.SENDING, self.Status.SETTLING}, self.Status.DONE, finished_at=Now())

    def _leave(
        self,
        states: set[Status],
        to: Status,
        reason: str = "",
        reason_params: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """One conditional UPDATE, so that of two who decide at once one is told that the other was first."""
        fields.setdefault("resume_at", None)
        changed = BulkSend.objects.filter(pk=self.pk, status__in=states).update(
            status=to, reason=reason, reason_params=reason_params or {}, **fields
        )
        self.refresh_from_db()
        if not changed:
            raise WrongState(
                _("Bulk send %(id)d is «%(status)s»: this cannot be done from there.")
                % {"id": self.pk, "status": self.get_status_display()}
            )


class Lease(models.Model):
    """A worker's right to call the relay for the recipients it holds, until `expires_at` by the database's clock."""

    bulk_send = models.ForeignKey(BulkSend, models.PROTECT, db_index=False)
    owner = models.CharField(max_length=200)
    acquired_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)
    # Written with each heartbeat, for people who look: the ledger itself never reads them.
    calls_in_flight = models.PositiveIntegerField(default=0)
    calls_per_second = models.FloatField(default=0)

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
                condition=(Q(state="accepted") & Q(accepted_at__isnull=False) & ~Q(message_id=""))
                | (~Q(state="accepted") & Q(accepted_at__isnull=True, message_id="", delivery="")),
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
