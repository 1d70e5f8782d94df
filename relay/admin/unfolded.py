"""What we use of Unfold, typed: the package itself has no types, and untyped bases would switch ours off."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from django.db.models import Model
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action as unfold_action
from unfold.decorators import display as unfold_display
from unfold.enums import ActionVariant

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin, TabularInline
    from django.contrib.admin.views.main import ChangeList
    from django.utils.functional import _StrPromise
else:
    from django.contrib.admin import ModelAdmin as DjangoModelAdmin
    from django.contrib.admin.options import ActionLocation
    from django.forms import MultiWidget
    from unfold.admin import ModelAdmin as _ModelAdmin
    from unfold.admin import TabularInline as _TabularInline
    from unfold.views import ChangeList

    from relay.admin.recording import Recorded

    class ModelAdmin(Recorded, _ModelAdmin):
        def __class_getitem__(cls, item):
            return cls

        def get_action_choices(self, request, default_choices=None, action_location=ActionLocation.CHANGE_LIST):
            # Unfold's override lacks the parameter that Django 6.1 gave this method, and Django warns about that.
            chosen = [("", _("Select action"))] if default_choices is None else default_choices
            return DjangoModelAdmin.get_action_choices(self, request, chosen, action_location)

        def formfield_for_dbfield(self, db_field, request, **kwargs):
            # Date and time are two inputs of one field, whose label names neither.
            field = super().formfield_for_dbfield(db_field, request, **kwargs)
            if field and isinstance(field.widget, MultiWidget):
                for part in field.widget.widgets:
                    part.attrs["aria-label"] = f"{field.label}: {part.attrs.get('placeholder', '')}"
            return field

    class TabularInline(_TabularInline):
        show_title = False  # the columns say it all, in the zone of the reader

        def __class_getitem__(cls, item):
            return cls


__all__ = [
    "ActionVariant",
    "ChangeList",
    "LookingOnly",
    "ModelAdmin",
    "TabularInline",
    "Text",
    "coloured",
    "detail_action",
    "display",
]

type Text = str | _StrPromise  # evaluated by type checkers only


def display[F: Callable[..., Any]](
    *, description: Text, label: Mapping[str, str] | None = None, ordering: str | None = None
) -> Callable[[F], F]:
    """A column or read-only field. With `label` (columns only: Unfold's read-only fields know nothing of it) the value
    is (key, text) and the key chooses the colour."""
    decorated: Callable[[F], F] = unfold_display(
        description=description, label=dict(label) if label else None, ordering=ordering
    )
    return decorated


def coloured(key: str, text: str, colours: Mapping[str, str]) -> str:
    """The same label for a read-only field."""
    return render_to_string("unfold/helpers/label.html", {"type": colours.get(key, "default"), "text": text})


def detail_action[F: Callable[..., Any]](
    *, description: Text, url_path: str, permissions: list[str], icon: str, variant: ActionVariant
) -> Callable[[F], F]:
    """A button on the page of one object. `permissions` are names of `has_…_permission` methods, never dotted ones:
    Unfold looks those up in the database while the models are checked, which breaks `migrate` on an empty one."""
    decorated: Callable[[F], F] = unfold_action(
        description=description, url_path=url_path, permissions=permissions, icon=icon, variant=variant
    )
    return decorated


class LookingOnly:
    """Mixin: nobody adds, changes or deletes here, superusers included."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
