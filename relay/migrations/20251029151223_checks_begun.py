"""How often the check of a preparation was begun: one that ends its process each time is not begun for ever."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("relay", "20251029151222_what_limits")]

    operations = [
        migrations.AddField(
            model_name="preparation",
            name="times_begun",
            field=models.PositiveSmallIntegerField(db_default=0, editable=False),
        ),
    ]
