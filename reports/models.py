"""The tables: reports asked of the relay, what was loaded where, and the deliveries that people query.

`GeneratedReport`, `LoadRequest` and `Installation` live in `default`; `ReportLoad`, `Delivery` and what is known of
deliveries besides (`DailyTotal`, `Confirmation`) in every database that reports are loaded into.
"""

import uuid
from pathlib import Path
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from relay.models import BulkSend
from reports import problems


class Installation(models.Model):
    """The one row that names this installation where several share a database. Made by a migration."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True)

    def __str__(self) -> str:
        return str(self.uuid)


class Requested(models.Model):
    """Something that a person, or the product by itself, asked for; and why it came to nothing if it did."""

    requested_at = models.DateTimeField(_("requested"), default=timezone.now)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    problem = models.CharField(max_length=30, blank=True, default="")
    problem_params = models.JSONField(default=dict, blank=True)

    class Meta:
        abstract = True

    @property
    def error(self) -> str:
        """For a person, in the active language; empty while nothing is wrong."""
        return problems.sentence(self.problem, self.problem_params)


class GeneratedReport(Requested):
    """A report asked of the relay, and the file that it gave. Written by `reports.requesting` and `.collecting`."""

    class Type(models.TextChoices):
        DELIVERIES = "deliveries", _("Deliveries")
        BOUNCES = "bounces", _("Bounces")
        OPENS = "opens", _("Opens")
        CLICKS = "clicks", _("Clicks")
        SPAM = "spam", _("Spam")
        UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
        SENT = "sent", _("Sent")

    class State(models.TextChoices):
        PENDING = "PENDING", _("Pending")  # not asked yet
        PROCESSING = "PROCESSING", _("Processing")  # perhaps asked (`asked_at`); its number may not be known yet
        READY = "READY", _("Ready")
        ERROR = "ERROR", _("Error")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    type = models.CharField(_("type"), max_length=12, choices=Type)
    first_day = models.DateField(_("from"))
    last_day = models.DateField(_("to"), help_text=_("Included."))
    # What the relay is asked for: [starts_at, ends_at), fixed when the report was requested.
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"))
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.PENDING)
    # Of a report that was requested by itself after this bulk send.
    bulk_send = models.ForeignKey(
        BulkSend, models.SET_NULL, null=True, blank=True, related_name="reports", verbose_name=_("bulk send")
    )

    # Committed before the request leaves; from then on it may stand in the relay's list, whatever became of the answer.
    asked_at = models.DateTimeField(_("asked"), null=True, blank=True)
    request_id = models.CharField(_("relay's number"), max_length=100, blank=True, default="")
    # Of a request whose answer was lost: how often the relay's list was searched for it.
    looks = models.PositiveSmallIntegerField(default=0)
    # Patience (DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT) counts from here.
    polling_since = models.DateTimeField(null=True, blank=True)

    # Relative to ATTACHMENTS_ROOT. Empty although READY: the relay says that there are no rows.
    file = models.CharField(_("file"), max_length=300, blank=True, default="")
    size = models.BigIntegerField(_("size"), null=True, blank=True, help_text=_("Bytes."))
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, default="")
    rows = models.BigIntegerField(_("rows"), null=True, blank=True)
    # When the relay had made it: between two reports that differ, the later one is right.
    made_at = models.DateTimeField(_("made"), null=True, blank=True)
    ready_at = models.DateTimeField(_("ready"), null=True, blank=True)

    # The lease of the process that collects it; who lost it writes nothing any more.
    collector = models.CharField(max_length=200, blank=True, default="")
    collector_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("generated report")
        verbose_name_plural = _("generated reports")
        ordering: ClassVar = ["-id"]
        permissions: ClassVar = [
            ("can_process_reports", _("Can process pending reports")),
            ("can_load_to_db", _("Can load reports into a database")),
        ]
        constraints: ClassVar = [
            # One request of the relay belongs to one report, however many look for lost ones at once.
            models.UniqueConstraint(fields=["request_id"], name="report_request_once", condition=~Q(request_id="")),
            models.CheckConstraint(
                condition=Q(state__in=["PENDING", "PROCESSING", "READY", "ERROR"]), name="report_state_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    type__in=["deliveries", "bounces", "opens", "clicks", "spam", "unsubscribed", "sent"],
                ),
                name="report_type_known",
            ),
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="report_period_not_empty"),
            models.CheckConstraint(
                condition=~Q(state="READY") | Q(ready_at__isnull=False, rows__isnull=False), name="report_ready_counted"
            ),
            models.CheckConstraint(
                condition=Q(file="") | Q(size__isnull=False, rows__isnull=False) & ~Q(sha256=""),
                name="report_file_described",
            ),
            models.CheckConstraint(condition=~Q(state="ERROR") | ~Q(problem=""), name="report_error_has_reason"),
        ]
        indexes: ClassVar = [
            # What process_reports_pending looks for: a handful among all that ever were.
            models.Index(fields=["id"], name="report_unfinished", condition=Q(state__in=["PENDING", "PROCESSING"])),
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()} {self.first_day:%Y-%m-%d} – {self.last_day:%Y-%m-%d}"

    @property
    def path(self) -> Path | None:
        """Where its file is; None when it has none."""
        return Path(settings.ATTACHMENTS_ROOT, self.file) if self.file else None


class LoadRequest(Requested):
    """Somebody wants a report in a database. What was loaded is proven there, by `ReportLoad`; this is what the
    console shows, and what a later run finds when a load was cut short. Written by `reports.loading`."""

    class State(models.TextChoices):
        WAITING = "waiting", _("Waiting")
        LOADING = "loading", _("Loading")
        DONE = "done", _("Loaded")
        FAILED = "failed", _("Failed")

    report = models.ForeignKey(GeneratedReport, models.PROTECT, related_name="load_requests")
    alias = models.CharField(_("database"), max_length=50)
    state = models.CharField(_("state"), max_length=7, choices=State, default=State.WAITING)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    rows_read = models.BigIntegerField(_("rows read"), default=0)  # how far it is
    loaded_at = models.DateTimeField(_("loaded"), null=True, blank=True)
    # Counts of the load, copied from its ReportLoad.
    rows = models.BigIntegerField(_("rows"), null=True, blank=True)
    inserted = models.BigIntegerField(_("inserted"), null=True, blank=True)
    updated = models.BigIntegerField(_("updated"), null=True, blank=True)
    unchanged = models.BigIntegerField(_("unchanged"), null=True, blank=True)
    rejected = models.BigIntegerField(_("rejected"), null=True, blank=True)

    class Meta:
        verbose_name = _("load request")
        verbose_name_plural = _("load requests")
        ordering: ClassVar = ["alias"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["report", "alias"], name="load_request_once"),
            models.CheckConstraint(
                condition=Q(state__in=["waiting", "loading", "done", "failed"]), name="load_request_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(state="failed") | ~Q(problem=""), name="load_request_failed_has_reason"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(rows__isnull=False, loaded_at__isnull=False),
                name="load_request_done_counted",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["id"], name="load_request_unfinished", condition=Q(state__in=["waiting", "loading"])),
        ]

    def __str__(self) -> str:
        return f"{self.report_id} → {self.alias}"


class ReportLoad(models.Model):
    """One report loaded into this database, written in the transaction that loads it: the lock against a second."""

    installation = models.UUIDField()
    report = models.UUIDField()
    alias = models.CharField(max_length=50)
    type = models.CharField(max_length=12)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    # Database default, so that the row can be written by SQL too.
    loaded_at = models.DateTimeField(db_default=Now())
    loaded_by = models.CharField(max_length=200, blank=True)
    rows = models.BigIntegerField(help_text=_("In the file: inserted + updated + unchanged + rejected."))
    inserted = models.BigIntegerField()
    updated = models.BigIntegerField()
    unchanged = models.BigIntegerField()
    rejected = models.BigIntegerField()

    class Meta:
        verbose_name = _("load")
        verbose_name_plural = _("loads")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["installation", "report", "alias"], name="report_loaded_once"),
            models.CheckConstraint(
                condition=Q(rows=F("inserted") + F("updated") + F("unchanged") + F("rejected")),
                name="report_load_adds_up",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.report} → {self.alias}"


class Delivery(models.Model):
    """One row of a report: one message to one person. Several reports that have it tell its news."""

    class Status(models.TextChoices):
        """The relay's vocabulary (relay API notes §4.2). Other words are kept, in lower case."""

        QUEUED = "queued", _("Queued")
        RETRYING = "retrying", _("Retrying")
        SENT = "sent", _("Sent")
        REJECTED = "rejected", _("Rejected")
        INVALID = "invalid", _("Invalid")
        DROPPED = "dropped", _("Dropped")

    # The natural key: a hash of sender, recipient and subject (each as it stands in the file, addresses in lower case),
    # the instant, and which of several rows that agree in all of these.
    key = models.BinaryField(max_length=16)
    sent_at = models.DateTimeField()
    ordinal = models.PositiveIntegerField(db_default=1)
    # The day on which `sent_at` lies in the zone of this installation (TIME_ZONE).
    local_day = models.DateField()
    sender = models.TextField()
    sender_name = models.TextField(db_default="")
    recipient = models.TextField()
    subject = models.TextField(db_default="")
    status = models.TextField()
    opens = models.PositiveIntegerField(db_default=0)
    clicks = models.PositiveIntegerField(db_default=0)
    # Columns of the file that we do not know.
    extra = models.JSONField(null=True)
    # When the report that told this status was made. One made later may have told the same: see Confirmation.
    as_of = models.DateTimeField()

    class Meta:
        db_table = "reports_deliveries"
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints: ClassVar = [
            # Time first: reports are loaded in the order of time, so new entries go to one end of the index.
            models.UniqueConstraint(fields=["sent_at", "key", "ordinal"], name="delivery_once"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["local_day", "sender"], name="delivery_by_day_and_sender"),
            models.Index(fields=["recipient", "-sent_at"], name="delivery_by_recipient"),
        ]

    def __str__(self) -> str:
        return f"{self.sent_at:%Y-%m-%d %H:%M:%S} {self.status}"


class DailyTotal(models.Model):
    """How many deliveries of a local day stand in this status, and how many of them were opened and clicked at all.
    Written by `reports.daily_totals` in the transaction that loads."""

    local_day = models.DateField()
    status = models.TextField()
    rows = models.BigIntegerField()
    opened = models.BigIntegerField()
    clicked = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        verbose_name = _("total of a day")
        verbose_name_plural = _("totals of days")
        constraints: ClassVar = [
            # Also the index by which the last days are read.
            models.UniqueConstraint(fields=["local_day", "status"], name="daily_total_once"),
        ]

    def __str__(self) -> str:
        return f"{self.local_day:%Y-%m-%d} {self.status}: {self.rows}"


class Confirmation(models.Model):
    """A report made at `as_of` told of these deliveries what was known already: of those from `first_id` to `last_id`
    whose status is of this `rank`. Kept here, so that they need not be rewritten (decision 11)."""

    rank = models.PositiveSmallIntegerField()
    as_of = models.DateTimeField()
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField()

    class Meta:
        db_table = "reports_confirmations"
        verbose_name = _("confirmation")
        verbose_name_plural = _("confirmations")
        indexes: ClassVar = [
            # What an older report asks: has a newer one spoken?
            models.Index(fields=["as_of"], name="confirmation_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.first_id} – {self.last_id}, {self.as_of:%Y-%m-%d %H:%M:%S}"
