"""Who did what: one row per act of a person, never changed and never deleted (guarded)."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Activity(models.Model):
    """Written by `relay.activity.record`, in the transaction of what it tells of.

    It points at nothing: an account, a bulk send or a template may go, what is on record stays as it was. It holds
    nobody's data but that of the people who use the console.
    """

    class What(models.TextChoices):
        LOGIN = "login", _("Logged in")
        LOGIN_FAILED = "login_failed", _("Login refused")
        LOGOUT = "logout", _("Logged out")
        PASSWORD = "password", _("Password changed")
        ADDED = "added", _("Created")
        CHANGED = "changed", _("Changed")
        DELETED = "deleted", _("Deleted")
        EXPORTED = "exported", _("Exported or downloaded")
        DECIDED = "decided", _("Decided about a bulk send")
        APPROVED = "approved", _("Approved a bulk send")
        REJECTED = "rejected", _("Refused to approve a bulk send")
        TESTED = "tested", _("Test sent")
        REPORT_REQUESTED = "report_requested", _("Report requested")
        REPORT_RETRIED = "report_retried", _("Report retried")
        LOAD_REQUESTED = "load_requested", _("Load into a database requested")

    at = models.DateTimeField(_("when"), default=timezone.now)
    # Name and number instead of a foreign key: a row that may not change cannot follow an account that is deleted.
    by = models.CharField(_("who"), max_length=200)
    by_id = models.BigIntegerField(null=True)
    what = models.CharField(_("what"), max_length=20, choices=What)
    about_kind = models.CharField(_("about"), max_length=50, blank=True)
    about_id = models.CharField(_("number"), max_length=100, blank=True)
    about_label = models.CharField(_("name"), max_length=200, blank=True)
    address = models.CharField(_("client's address"), max_length=45, blank=True)
    details = models.JSONField(_("details"), default=dict)

    class Meta:
        verbose_name = _("entry of the record")
        verbose_name_plural = _("entries of the record")
        # Each index is one way in which the page «Registro» is asked, and has its order.
        indexes: ClassVar = [
            models.Index(fields=["at", "id"], name="activity_by_moment"),
            models.Index(fields=["what", "at", "id"], name="activity_by_kind"),
            models.Index(Lower("by"), "at", "id", name="activity_by_person"),
            models.Index(fields=["about_id", "at", "id"], name="activity_by_number"),
        ]

    def __str__(self) -> str:
        return f"{self.by}: {self.get_what_display()} {self.about_label or self.about_id}".rstrip()
