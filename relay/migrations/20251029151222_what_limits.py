"""What keeps each worker from going faster, told with its heartbeat."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("relay", "20251029151221_people")]

    operations = [
        migrations.AddField(
            model_name="lease", name="limited_by", field=models.CharField(max_length=11, db_default="")
        ),
    ]
