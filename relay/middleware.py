"""What holds for one request: whose doing is recorded, in whose zone hours are shown."""

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from relay import activity, zones


class ActingPerson:
    """After Django's AuthenticationMiddleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with activity.on_behalf_of(request), timezone.override(ZoneInfo(zones.zone_of(request.user))):
            return self.get_response(request)
