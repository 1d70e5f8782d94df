"""What people query: see docs/howto. The same in every database that reports are loaded into."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from reports import sql_views


def put_up(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    sql_views.put_up(schema_editor.connection)


def take_down(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    sql_views.take_down(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("reports", "0002_installation_and_group")]

    operations = [migrations.RunPython(put_up, take_down, hints={"loaded": True})]
