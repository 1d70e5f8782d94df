"""The copy of the relay's templates: lists, previews and differences need no call to the relay."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('relay', '20251029151216_done_lately'),
    ]

    operations = [
        migrations.CreateModel(
            name='MailTemplate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('template_id', models.CharField(max_length=100, unique=True, verbose_name='number at the relay')),
                ('name', models.CharField(max_length=200, verbose_name='name')),
                ('subject', models.TextField(blank=True, verbose_name='subject')),
                ('from_email', models.CharField(blank=True, max_length=256, verbose_name='from')),
                ('from_name', models.CharField(blank=True, max_length=200, verbose_name='from name')),
                ('html', models.TextField(blank=True, verbose_name='content')),
                ('made_visually', models.BooleanField(default=False, help_text='Writing its content from here would lose what the visual editor needs: it is protected.', verbose_name='made with the visual editor')),
                ('variables', models.JSONField(default=list, editable=False, verbose_name='variables')),
                ('has_mistake', models.BooleanField(default=False, editable=False, verbose_name='has a mistake')),
                ('saved', models.CharField(choices=[('whole', 'Saved'), ('half', 'Half saved'), ('unknown', 'Not known whether it is saved')], default='whole', max_length=10, verbose_name='saved')),
                ('wanted', models.JSONField(blank=True, editable=False, null=True)),
                ('changed_at', models.DateTimeField(blank=True, null=True, verbose_name='changed at the relay')),
                ('fetched_at', models.DateTimeField(verbose_name='read from the relay')),
                ('gone_at', models.DateTimeField(blank=True, null=True, verbose_name='gone from the relay')),
            ],
            options={
                'verbose_name': 'template',
                'verbose_name_plural': 'templates',
                'ordering': ['name', 'id'],
                'constraints': [models.CheckConstraint(condition=models.Q(('saved__in', ['whole', 'half', 'unknown'])), name='mailtemplate_saved_known'), models.CheckConstraint(condition=models.Q(models.Q(('saved', 'whole'), ('wanted__isnull', True)), models.Q(models.Q(('saved', 'whole'), _negated=True), ('wanted__isnull', False)), _connector='OR'), name='mailtemplate_wanted_until_saved')],
            },
        ),
    ]
