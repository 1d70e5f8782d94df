"""What a list says while there is nothing in it at all: what it is for and what to do, instead of «no results»."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from relay.admin.unfolded import Text


@dataclass(frozen=True, slots=True)
class Advice:
    title: Text
    text: Text
    url: str = ""  # where to do it, for whoever may
    link: Text = ""


class WithAdvice:
    """Mixin: its list is rendered by `relay/admin/results_or_advice.html`, which the templates folder of an app has as
    `admin/APP/change_list_results.html`."""

    def advice(self, request: HttpRequest) -> Advice:
        raise NotImplementedError

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        answer: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        if isinstance(answer, TemplateResponse) and (shown := (answer.context_data or {}).get("cl")):
            shown.advice = self.advice(request)
        return answer
