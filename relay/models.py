"""The ledger's tables: one row per recipient is the truth.

Rules about one row are methods here, rules about many rows are querysets; `Recipient.state` is written by
`relay.ledger`, `relay.verdicts` (out of `unknown`) and `relay.whole_sends`, and by nobody else. What the database
itself refuses (impossible states, forbidden transitions, changed attempts) stands in the constraints below and in the
migrations that put up guards.
"""

import zoneinfo
from datetime import datetime, timedelta
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
from relay.explained import Explained


class WrongState(Explained):
    """The bulk send is not in a state from which this can be done; the text says in which it is."""


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

    def missed(self) -> "BulkSendQuerySet":
        """Due for longer than a person would expect: its hour passed while nothing ran."""
        return self.due().filter(scheduled_at__lt=Now() - timedelta(minutes=settings.BULK_MISSED_AFTER_MIN))

    def pause_over(self) -> "BulkSendQuerySet":
        """Paused until a time that has come; never a pause that a person set."""
        return self.filter(status=BulkSend.Status.PAUSED, resume_at__lte=Now()).exclude(reason=reasons.PERSON)

    def look_at_windows_again(self) -> int:
        """A window was changed: what rests outside of one goes on, and rests again where it is still closed."""
        resting = self.filter(status=BulkSend.Status.PAUSED, reason__in=[reasons.WINDOW, reasons.WINDOW_NEVER])
        return resting.update(reason=reasons.WINDOW, resume_at=Now())


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

    # How it may leave. Workers read these anew every second, so that a change holds while it is being sent.
    max_rate = models.FloatField(
        _("messages per second"), null=True, blank=True, help_text=_("Empty: as fast as the account allows.")
    )
    window = models.ForeignKey(
        SendingWindow,
        models.PROTECT,
        null=True,
        blank=True,
        verbose_name=_("sending window"),
        help_text=_("Empty: that of the sender, if it has one."),
    )
    first_slice = models.PositiveIntegerField(
        _("first slice"),
        db_default=0,
        default=0,
        blank=True,
        help_text=_("So many leave first; the rest follows if few of them are refused. 0: all at once."),
    )
    first_slice_max_refused = models.FloatField(
        _("refused at most"), db_default=0.1, default=0.1, help_text=_("Share of the first slice: 0.1 is one in ten.")
    )
    # Rows after it wait until the first slice has been judged; None: none waits.
    slice_ends_at_row = models.PositiveIntegerField(null=True, blank=True, editable=False)
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
            ),
            # Whose reports are due (`reports.requesting`): asked every minute, of the last weeks only.
            models.Index(fields=["finished_at"], name="bulksend_done_lately", condition=Q(status="done")),
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
            models.CheckConstraint(condition=Q(max_rate=None) | Q(max_rate__gt=0), name="bulksend_rate_above_zero"),
            models.CheckConstraint(
                condition=Q(first_slice_max_refused__gte=0) & Q(first_slice_max_refused__lte=1),
                name="bulksend_slice_share_is_one",
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
        """A machine pauses what is being sent. A person also what settles, since from there messages may leave again,
        and what rests until some hour, which then does not go on by itself."""
        moving = Q(status=self.Status.SENDING)
        if reason == reasons.PERSON:
            by_itself = Q(status=self.Status.PAUSED, resume_at__isnull=False) & ~Q(reason=reasons.PERSON)
            moving |= Q(status=self.Status.SETTLING) | by_itself
        self._leave(moving, self.Status.PAUSED, reason, params, resume_at=resume_at)

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
        """Only the status; `whole_sends.cancel` excludes what has not left in the same transaction."""
        self._leave(
            set(self.Status) - {self.Status.DONE, self.Status.CANCELLED},
            self.Status.CANCELLED,
            finished_at=Now(),
        )

    def begin_settling(self) -> None:
        self._leave({self.Status.SENDING, self.Status.SETTLING}, self.Status.SETTLING)

    def send_what_came_back(self) -> None:
        """A settlement has proven that some were never sent."""
        self._leave({self.Status.SETTLING}, self.Status.SENDING)

    def send_again(self) -> None:
        """A person has some of its refused recipients sent again."""
        self._leave({self.Status.SETTLING, self.Status.DONE}, self.Status.SENDING, finished_at=None)

    def finish(self) -> None:
        self._leave({self.Status.SENDING, self.Status.SETTLING}, self.Status.DONE, finished_at=Now())

    def _leave(
        self,
        states: set[Status] | Q,
        to: Status,
        reason: str = "",
        reason_params: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """One conditional UPDATE, so that of two who decide at once one is told that the other was first."""
        fields.setdefault("resume_at", None)
        left = states if isinstance(states, Q) else Q(status__in=states)
        changed = BulkSend.objects.filter(left, pk=self.pk).update(
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


class Decision(models.Model):
    """What a person decided about a bulk send, and when. Never changed (guarded)."""

    class What(models.TextChoices):
        START = "start", _("Allowed to be sent")
        PAUSE = "pause", _("Paused")
        RESUME = "resume", _("Resumed")
        CANCEL = "cancel", _("Cancelled")
        RETRY = "retry", _("Refused recipients to be sent again")
        SETTLE = "settle", _("Unknown recipient decided")
        CHANGE = "change", _("Pace or window changed")

    bulk_send = models.ForeignKey(BulkSend, models.PROTECT, related_name="decisions")
    made_at = models.DateTimeField(_("made"), default=timezone.now)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("made by")
    )
    # Whoever made it has a name here even when his account is gone, or when he used a command.
    actor = models.CharField(_("by"), max_length=200)
    what = models.CharField(_("decision"), max_length=10, choices=What)
    details = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("decision")
        verbose_name_plural = _("decisions")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(what__in=["start", "pause", "resume", "cancel", "retry", "settle", "change"]),
                name="decision_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_what_display()} {self.made_at:%Y-%m-%d %H:%M:%S}"


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
