"""The name of this installation, and the group of the deployment guide: who collects reports and loads them."""

import uuid

from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

GROUP = "Report Managers"
RIGHTS = (
    "view_generatedreport",
    "add_generatedreport",
    "change_generatedreport",
    "can_process_reports",
    "can_load_to_db",
)


def put_in(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    alias = schema_editor.connection.alias
    if alias != "default":
        return
    apps.get_model("reports", "Installation").objects.using(alias).get_or_create(pk=1, defaults={"uuid": uuid.uuid4()})
    # Django makes rights after all migrations; a group that is to have them needs them now.
    config = apps.get_app_config("reports")
    config.models_module = True
    create_permissions(config, apps=apps, using=alias, verbosity=0)
    config.models_module = None
    rights = apps.get_model("auth", "Permission").objects.using(alias).filter(
        content_type__app_label="reports", content_type__model="generatedreport", codename__in=RIGHTS
    )
    group, _created = apps.get_model("auth", "Group").objects.using(alias).get_or_create(name=GROUP)
    group.permissions.add(*rights)


class Migration(migrations.Migration):
    dependencies = [
        ("reports", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    # The way back leaves both: a group may have members by then, and a name must never be given twice.
    operations = [migrations.RunPython(put_in, migrations.RunPython.noop)]
