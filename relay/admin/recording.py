"""Everything that is added, changed or deleted through a form of the console goes on record (`relay.activity`).

Here and not by a signal of Django's own log: that one tells nothing when several things are deleted at once, and
knows no request.
"""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.http import HttpRequest

from relay import activity
from relay.activity import What
from relay.models import Sender


class Recorded:
    """Mixin of all our pages. Where each verb has a record that says more, `records_itself` switches this one off."""

    records_itself = False

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record(request, What.ADDED, obj, **_standing(obj))
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        if fields := _changed_fields(message):
            self._record(request, What.CHANGED, obj, fields=fields, **_standing(obj))
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for obj in queryset:
            self._record(request, What.DELETED, obj)
        return super().log_deletions(request, queryset)  # type: ignore[misc]

    def _record(self, request: HttpRequest, what: What, obj: Model, **details: Any) -> None:
        if not self.records_itself:
            activity.record(what, by=request.user, about=obj, request=request, **details)


def _changed_fields(message: Any) -> list[str]:
    """Their names in English, as Django's own log keeps them; never what stands in them."""
    parts = message if isinstance(message, list) else []
    return [field for part in parts for field in part.get("changed", {}).get("fields", [])]


def _standing(obj: Model) -> dict[str, Any]:
    """What somebody may do from now on: who reads the record wants to see when that became so."""
    match obj:
        case User():
            return {
                "groups": _names(obj.groups),
                "rights": _codenames(obj.user_permissions),
                "active": obj.is_active,
                "staff": obj.is_staff,
                "superuser": obj.is_superuser,
            }
        case Group():
            return {"rights": _codenames(obj.permissions)}
        case Sender():
            return {"active": obj.active, "groups": _names(obj.groups)}
    return {}


def _names(groups: Any) -> list[str]:
    return list(groups.order_by("name").values_list("name", flat=True))


def _codenames(permissions: Any) -> list[str]:
    found = permissions.order_by("content_type__app_label", "codename").values_list(
        "content_type__app_label", "codename"
    )
    return [f"{app_label}.{codename}" for app_label, codename in found]
