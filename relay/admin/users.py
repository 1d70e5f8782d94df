"""Users and groups as Django has them, in the clothes of the rest and with rights that can be read."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from relay.admin import words
from relay.admin.unfolded import ModelAdmin, display
from relay.models import Sender

admin.site.unregister(User)
admin.site.unregister(Group)

ENGINES = ("django_tasks_database", "procrastinate", "task_engines")
RIGHTS = {
    "add": _("add %(things)s"),
    "change": _("change %(things)s"),
    "delete": _("delete %(things)s"),
    "view": _("view %(things)s"),
}

# What goes with a user or a group that is deleted, on the page that asks: Django has no words for these.
_TIES: tuple[tuple[Any, Any, Any, Callable[[Any], str]], ...] = (
    (User.groups.through, _("membership"), _("memberships"), lambda tie: str(tie.group)),
    (User.user_permissions.through, _("right"), _("rights"), lambda tie: permission_label(tie.permission)),
    (Group.permissions.through, _("right"), _("rights"), lambda tie: permission_label(tie.permission)),
)
for _tie, _name, _names, _shown in _TIES:
    _tie._meta.verbose_name, _tie._meta.verbose_name_plural, _tie.__str__ = _name, _names, _shown


class PermissionsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]
    """Django stores the names of its permissions in English; here they are said anew."""

    def label_from_instance(self, obj: Any) -> str:
        return permission_label(obj)


def permission_label(permission: Permission) -> str:
    right = RIGHTS.get(permission.codename.partition("_")[0])
    model = permission.content_type.model_class()
    if model is None:
        return str(permission)
    # The only right over bulk sends that is more than it says: see BulkSendAdmin.has_send_permission.
    said = (
        _("decide on bulk sends: start, stop, retry, pace, what is unknown")
        if permission.codename == "change_bulksend"
        else right or gettext(permission.name)
    )
    app, things = model._meta.app_config.verbose_name, model._meta.verbose_name_plural
    return f"{app} | {said % {'things': things}}"


class _PermissionsAdmin:
    def formfield_for_manytomany(self, db_field: Any, request: Any = None, **kwargs: Any) -> Any:
        if db_field.related_model is Permission:
            kwargs["form_class"] = PermissionsField
            # Jobs of background engines are nobody's to touch: task_engines.admin.
            kwargs["queryset"] = Permission.objects.exclude(content_type__app_label__in=ENGINES)
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]


@admin.register(User)
class UserAdmin(_PermissionsAdmin, DjangoUserAdmin, ModelAdmin[User]):  # type: ignore[type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "full_name", "email", "groups_text", "active_text", "last_login_text"]
    list_filter = ["is_active", "is_superuser", "groups"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @display(description=_("name"))
    def full_name(self, user: User) -> str:
        return user.get_full_name()

    @display(description=_("groups"))
    def groups_text(self, user: User) -> str:
        names = [group.name for group in user.groups.all()]
        return ", ".join([*names, *([str(_("administrator"))] if user.is_superuser else [])])

    @display(description=_("may log in"), ordering="is_active")
    def active_text(self, user: User) -> str:
        return str(_("yes") if user.is_active and user.is_staff else _("no"))

    @display(description=_("last login"), ordering="last_login")
    def last_login_text(self, user: User) -> str:
        return words.moment(user.last_login) or str(_("never"))


@admin.register(Group)
class GroupAdmin(_PermissionsAdmin, DjangoGroupAdmin, ModelAdmin[Group]):
    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A sender that only this group may use would be everybody's without it."""
        deleted, counts, missing_rights, protected = super().get_deleted_objects(objs, request)
        limited = Sender.objects.filter(groups__in=objs).exclude(groups__in=Group.objects.exclude(pk__in=_keys(objs)))
        return deleted, counts, missing_rights, [*protected, *(str(sender) for sender in limited.distinct())]


def _keys(objs: Any) -> list[Any]:
    return [obj.pk for obj in objs]
