"""Totals per local day and status, so that no page has to count the deliveries. Filled for what exists."""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

from reports import daily_totals


def fill(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    daily_totals.count_all(schema_editor.connection)


class Migration(migrations.Migration):
    dependencies = [("reports", "0003_views")]

    operations = [
        migrations.CreateModel(
            name="DailyTotal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("local_day", models.DateField()),
                ("status", models.TextField()),
                ("rows", models.BigIntegerField()),
                ("opened", models.BigIntegerField()),
                ("clicked", models.BigIntegerField()),
            ],
            options={
                "default_permissions": (),
                "verbose_name": "total of a day",
                "verbose_name_plural": "totals of days",
                "constraints": [
                    models.UniqueConstraint(fields=("local_day", "status"), name="daily_total_once"),
                ],
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, hints={"loaded": True}),
    ]
