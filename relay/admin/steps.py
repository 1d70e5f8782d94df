"""The four steps from a template to a decision: which page each has, which can be gone to, which is looked at."""

from dataclasses import dataclass
from typing import Literal

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from relay.models import BulkSend, Preparation

Name = Literal["template", "file", "review", "when"]


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    title: str
    url: str  # empty: it cannot be gone to yet
    current: bool


def steps(current: Name, *, preparation: Preparation | None = None, bulk_send: BulkSend | None = None) -> list[Step]:
    """For `relay/preparing/steps.html`, as `steps`. A bulk send made by a command has no preparation: its first two
    steps are over."""
    if preparation is None and bulk_send is not None:
        preparation = Preparation.objects.filter(bulk_send=bulk_send).first()
    if bulk_send is None and preparation is not None and preparation.is_checked:
        bulk_send = preparation.bulk_send
    is_draft = bulk_send is not None and bulk_send.status == BulkSend.Status.DRAFT
    addresses: dict[Name, str] = {
        "template": _of_preparation("template", preparation),
        "file": _of_preparation("file", preparation) if preparation and preparation.template_id else "",
        "review": review_address(bulk_send) if bulk_send and is_draft else "",
        "when": _of_bulk_send("when", bulk_send) if bulk_send and is_draft else "",
    }
    titles: dict[Name, str] = {
        "template": _("Template and sender"),
        "file": _("Recipients"),
        "review": _("Review"),
        "when": _("When"),
    }
    return [
        Step(number, titles[name], "" if name == current else addresses[name], name == current)
        for number, name in enumerate(titles, 1)
    ]


def review_address(bulk_send: BulkSend) -> str:
    """Where the findings of the check are looked at."""
    return _of_bulk_send("review", bulk_send) or reverse("admin:relay_bulksend_change", args=[bulk_send.pk])


def _of_preparation(page: str, preparation: Preparation | None) -> str:
    return reverse(f"admin:relay_preparation_{page}", args=[preparation.pk]) if preparation else ""


def _of_bulk_send(page: str, bulk_send: BulkSend) -> str:
    try:
        return reverse(f"admin:relay_bulksend_{page}", args=[bulk_send.pk])
    except NoReverseMatch:
        return ""
