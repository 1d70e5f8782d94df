"""The page between a button and what it does: Unfold's buttons are links, and a link must not change anything."""

from dataclasses import dataclass

from django import forms
from django.db.models import Model
from django.http import HttpRequest
from django.template.response import TemplateResponse

from relay.admin.unfolded import ModelAdmin, Text


@dataclass(frozen=True, slots=True)
class Question:
    button: Text
    text: Text
    about: str  # the name of the thing that is decided about
    back: str  # the address of its page
    form: forms.Form | None = None
    for_good: bool = False


def ask[M: Model](admin: ModelAdmin[M], request: HttpRequest, original: M, question: Question) -> TemplateResponse:
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "original": original,
        "title": question.button,
        "question": question,
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "relay/admin/confirm.html", context)
