"""What people query: see docs/howto. The same in every database that reports are loaded into."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps


def put_up(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    pass


class Migration(migrations.Migration):
    dependencies = [("reports", "0002_installation_and_group")]

    operations = [migrations.RunPython(put_up, migrations.RunPython.noop, hints={"loaded": True})]
