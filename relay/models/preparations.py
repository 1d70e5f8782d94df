"""What a person fills in before there is a bulk send: kept at every step, and checked by a background job."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from relay.file_problems import FileProblem
from relay.models.bulk_sends import BulkSend
from relay.models.lists import Attachment, Sender

# What a person does on the page where commands have an option.
_CHOOSE_COLUMN = {
    "no_address_column": _("%(file)s: no column is called email or correo: choose the one that holds the addresses."),
    "unknown_email_column": _("%(file)s: no column is called «%(wanted)s»: choose the one that holds the addresses."),
    "two_address_columns": _("%(file)s: «%(name)s» and «%(other)s» could both be the address: choose one."),
}


class PreparationQuerySet(models.QuerySet["Preparation"]):
    def open(self) -> "PreparationQuerySet":
        """Those that people see and that may still become something else than what they are."""
        draft = Q(bulk_send=None) | Q(bulk_send__status=BulkSend.Status.DRAFT)
        return self.filter(draft, discarded_at=None)

    def to_check(self) -> "PreparationQuerySet":
        """Asked for, or begun by a process that has given no sign since: the longest waiting first."""
        lost = Q(checking=Preparation.Checking.RUNNING, checker_until__lte=Now())
        return self.filter(lost | Q(checking=Preparation.Checking.WAITING), discarded_at=None).order_by("pk")


class Preparation(models.Model):
    """The draft of a bulk send: template, sender, file, variables. Whoever may prepare may go on with anybody's."""

    class Checking(models.TextChoices):
        IDLE = "idle", _("Being prepared")
        WAITING = "waiting", _("Waiting to be checked")
        RUNNING = "running", _("Being checked")
        FAILED = "failed", _("Cannot be checked")
        CHECKED = "checked", _("Checked")

    name = models.CharField(_("name"), max_length=200, blank=True)

    # Step (a).
    template_id = models.CharField(_("template"), max_length=100, blank=True)
    template_name = models.CharField(_("template name"), max_length=200, blank=True)
    sender = models.ForeignKey(
        Sender,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("sender"),
        help_text=_("Empty: that of this installation, or the template's own."),
    )
    subject = models.TextField(_("subject"), blank=True, help_text=_("Empty: the template's."))
    reply_to = models.EmailField(_("reply to"), blank=True)

    # Step (b). `file` has a name that nobody chose; `file_name` is the one that people know.
    file = models.FileField(_("file"), upload_to="uploads", max_length=300, blank=True)
    file_name = models.CharField(_("file name"), max_length=255, blank=True)
    file_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    file_size = models.PositiveBigIntegerField(_("bytes"), default=0)
    # What a person corrected; empty: as it was understood.
    encoding = models.CharField(_("encoding"), max_length=20, blank=True)
    delimiter = models.CharField(_("delimiter"), max_length=1, blank=True)
    address_column = models.TextField(_("address column"), blank=True)
    # `relay.first_look.Look` as JSON: what the beginning of the file says. Empty without a file.
    understood = models.JSONField(default=dict, editable=False)
    variable_map = models.JSONField(_("variables taken from columns"), default=dict)
    allow_repeats = models.BooleanField(_("repeated addresses allowed"), default=False)
    allow_empty = models.BooleanField(_("empty variables allowed"), default=False)
    attachments = models.ManyToManyField(Attachment, blank=True, verbose_name=_("attachments"))

    # The check: `relay.checking` writes these.
    checking = models.CharField(_("check"), max_length=7, choices=Checking, default=Checking.IDLE)
    problem = models.TextField(_("problem"), blank=True, help_text=_("Why it could not be checked."))
    rows_read = models.PositiveBigIntegerField(_("rows read"), default=0)
    # Who checks it, and until when that holds without a further sign, by the database's clock.
    checker = models.CharField(max_length=200, blank=True, editable=False)
    checker_until = models.DateTimeField(null=True, editable=False)
    # How often it was begun since somebody asked for it: what ends its process each time is not begun for ever.
    times_begun = models.PositiveSmallIntegerField(db_default=0, editable=False)
    # What came of the check. Only while `checking` is `checked` is it what the steps say: see `BulkSend.start`.
    bulk_send = models.OneToOneField(
        BulkSend, models.SET_NULL, null=True, blank=True, related_name="preparation", verbose_name=_("bulk send")
    )

    # Counts what people saved: whoever saves from an older page is told so.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    # A person discarded it: nobody sees it any more, and what is left of it is deleted by a worker.
    discarded_at = models.DateTimeField(null=True, editable=False)

    objects = PreparationQuerySet.as_manager()

    class Meta:
        verbose_name = _("draft")
        verbose_name_plural = _("drafts")
        ordering: ClassVar = ["-id"]
        # The right is that of adding bulk sends: whoever prepares one, adds one.
        default_permissions: ClassVar = ()
        indexes: ClassVar = [
            # Asked every few seconds by workers, among years of preparations.
            models.Index(fields=["id"], name="preparation_to_check", condition=Q(checking__in=["waiting", "running"])),
            models.Index(fields=["id"], name="preparation_discarded", condition=Q(discarded_at__isnull=False)),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(checking__in=["idle", "waiting", "running", "failed", "checked"]),
                name="preparation_checking_known",
            ),
            models.CheckConstraint(
                condition=~Q(checking="failed") | ~Q(problem=""), name="preparation_failed_has_problem"
            ),
            models.CheckConstraint(
                condition=Q(checking="running", checker_until__isnull=False)
                | (~Q(checking="running") & Q(checker_until=None)),
                name="preparation_running_has_checker",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.file_name or self.template_name or str(_("Draft %(id)s") % {"id": self.pk})

    @property
    def is_checked(self) -> bool:
        return self.checking == self.Checking.CHECKED and self.bulk_send_id is not None

    @property
    def is_moving(self) -> bool:
        return self.checking in {self.Checking.WAITING, self.Checking.RUNNING}

    @property
    def header(self) -> list[str]:
        """The names of all columns of the file; none while it is not understood."""
        return list(self.understood.get("header", []))

    @property
    def file_problem(self) -> str:
        """Why the file cannot be used as it is understood now; empty when it can."""
        said: dict[str, Any] = self.understood.get("problem") or {}
        if not said:
            return ""
        told = {**said["params"], "file": self.file_name}
        if said["code"] in _CHOOSE_COLUMN:
            return str(_CHOOSE_COLUMN[said["code"]]) % told
        return FileProblem(said["code"], **told).sentence


class RememberedMapping(models.Model):
    """Which columns the variables of a template were taken from when it was last prepared."""

    template_id = models.CharField(max_length=100, unique=True)
    variable_map = models.JSONField(default=dict)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        default_permissions: ClassVar = ()

    def __str__(self) -> str:
        return self.template_id
