"""The groups that come with the product, and the rights that each is given: once, whenever a right comes to exist.

Rights belong to models, and models come with migrations of several apps: so they are given after all migrations, on
every `migrate`. What was given is remembered (`GroupGrant`), so that a right which an administrator took away stays
away. A group that he renamed or deleted is his own affair: nothing is given to it, and none is made in its place.
"""

from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig
from django.contrib.auth.models import Group, Permission
from django.db import connections, transaction
from django.db.models.signals import post_migrate

from relay.models import GroupGrant

LOOKING = frozenset(
    {
        "relay.view_bulksend",
        "relay.view_recipient",
        "relay.view_sender",
        "relay.view_sendingwindow",
        "relay.view_suppression",
        "relay.view_attachment",
        "relay.view_mailtemplate",
        "reports.view_generatedreport",
        "reports.view_delivery",
    }
)
RIGHTS: Mapping[str, frozenset[str]] = {
    "Operadores": LOOKING
    | {
        "relay.add_bulksend",
        "relay.change_bulksend",
        "relay.add_mailtemplate",
        "relay.change_mailtemplate",
        "relay.add_suppression",
    },
    "Aprobadores": LOOKING | {"relay.approve_bulksend", "relay.view_activity"},
    "Consulta": LOOKING,
}


def connect() -> None:
    post_migrate.connect(_give, dispatch_uid="relay.groups")


def _give(app_config: AppConfig, using: str, **_more: Any) -> None:
    """After Django has made the rights of this app: its receiver is connected before ours."""
    wanted = {right for rights in RIGHTS.values() for right in rights if right.startswith(f"{app_config.label}.")}
    # On the way to an older version, and in a database that only holds reports, there is nothing to give to.
    tables = connections[using].introspection.table_names() if wanted and using == "default" else []
    if GroupGrant._meta.db_table not in tables:
        return
    with transaction.atomic(using=using):
        for group in Group.objects.using(using).filter(name__in=RIGHTS):
            _complete(group, wanted & RIGHTS[group.name])


def _complete(group: Group, wanted: set[str]) -> None:
    given = set(GroupGrant.objects.filter(group=group).values_list("right", flat=True))
    for right in sorted(wanted - given):
        app_label, _dot, codename = right.partition(".")
        permission = Permission.objects.filter(content_type__app_label=app_label, codename=codename).first()
        if permission is not None:  # else its model comes with a later version
            group.permissions.add(permission)
            GroupGrant.objects.create(group=group, right=right)
