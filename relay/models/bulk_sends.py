"""A bulk send, what it may do in which status, and what people decided about it."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from relay import reasons
from relay.explained import Explained
from relay.models.lists import Attachment, SendingWindow


class WrongState(Explained):
    """The bulk send is not in a state from which this can be done; the text says in which it is."""


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
        permissions: ClassVar = [("approve_bulksend", _("Can approve bulk sends of others"))]
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
        rejects_accepted = accept_rejects or self.accept_rejects or not self.excluded_at_creation
        if self.status == self.Status.DRAFT and not rejects_accepted:
            raise WrongState(
                _("Bulk send %(id)d has rejected rows that nobody has accepted (use --accept-rejects).")
                % {"id": self.pk}
            )
        if self.total == self.excluded_at_creation:
            raise WrongState(_("Bulk send %(id)d has no valid recipients: nothing to send.") % {"id": self.pk})
        self._check_preparation()
        # A draft with an hour to come waits for it: what was decided now is only that its rejects are accepted.
        waits = self.status == self.Status.DRAFT and self.scheduled_at and self.scheduled_at > timezone.now()
        self._leave(
            {self.Status.DRAFT, self.Status.PENDING},
            self.Status.PENDING if waits else self.Status.SENDING,
            accept_rejects=self.accept_rejects or self.status == self.Status.DRAFT,
        )

    def _check_preparation(self) -> None:
        """Somebody may have changed template, sender or file since the check: this is not what he means any more.

        Whoever changes them locks this row before (`relay.preparing`), as whoever decides does.
        """
        fresh = Q(preparation=None) | Q(preparation__checking="checked", preparation__discarded_at=None)
        if self.status == self.Status.DRAFT and not BulkSend.objects.filter(fresh, pk=self.pk).exists():
            raise WrongState(
                _("Bulk send %(id)d was changed after its check: check it again before it is sent.") % {"id": self.pk}
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
