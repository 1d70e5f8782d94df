"""The relay's templates as they were when they were last read: what lists, previews and differences are made from.

The relay keeps the templates; this copy decides nothing about a message that leaves (decision 0002).
"""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class MailTemplateQuerySet(models.QuerySet["MailTemplate"]):
    def there(self) -> "MailTemplateQuerySet":
        """Those that the relay still had when it was last asked."""
        return self.filter(gone_at=None)


class MailTemplate(models.Model):
    """The copy of one template; `relay.mail_templates` keeps it."""

    class Saved(models.TextChoices):
        """The relay saves in two steps (metadata, then body), and each may fail on its own."""

        WHOLE = "whole", _("Saved")
        HALF = "half", _("Half saved")  # the metadata is that of `wanted`, the body is not
        UNKNOWN = "unknown", _("Not known whether it is saved")

    template_id = models.CharField(_("number at the relay"), max_length=100, unique=True)
    name = models.CharField(_("name"), max_length=200)
    subject = models.TextField(_("subject"), blank=True)
    from_email = models.CharField(_("from"), max_length=256, blank=True)
    from_name = models.CharField(_("from name"), max_length=200, blank=True)
    html = models.TextField(_("content"), blank=True)
    made_visually = models.BooleanField(
        _("made with the visual editor"),
        default=False,
        help_text=_("Writing its content from here would lose what the visual editor needs: it is protected."),
    )
    # Read from `html` and `subject` once, so that a list of templates needs neither.
    variables = models.JSONField(_("variables"), default=list, editable=False)
    has_mistake = models.BooleanField(_("has a mistake"), default=False, editable=False)

    saved = models.CharField(_("saved"), max_length=10, choices=Saved, default=Saved.WHOLE)
    # The version somebody was saving, until the relay holds all of it: name, subject, from_email, from_name, html.
    wanted = models.JSONField(null=True, blank=True, editable=False)

    changed_at = models.DateTimeField(_("changed at the relay"), null=True, blank=True)
    fetched_at = models.DateTimeField(_("read from the relay"))
    gone_at = models.DateTimeField(_("gone from the relay"), null=True, blank=True)

    objects = MailTemplateQuerySet.as_manager()

    class Meta:
        verbose_name = _("template")
        verbose_name_plural = _("templates")
        ordering: ClassVar = ["name", "id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(saved__in=["whole", "half", "unknown"]), name="mailtemplate_saved_known"
            ),
            models.CheckConstraint(
                condition=Q(saved="whole", wanted__isnull=True) | (~Q(saved="whole") & Q(wanted__isnull=False)),
                name="mailtemplate_wanted_until_saved",
            ),
        ]

    def __str__(self) -> str:
        return self.name
