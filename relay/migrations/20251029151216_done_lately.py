"""Bulk sends that are done, by when: their reports are requested by themselves, some days long."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("relay", "20251029151215_room_for_updates")]

    operations = [
        migrations.AddIndex(
            model_name="bulksend",
            index=models.Index(fields=["finished_at"], name="bulksend_done_lately", condition=models.Q(status="done")),
        ),
    ]
