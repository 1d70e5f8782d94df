"""Tests that people send to themselves, on record so that settlements tell them from messages of recipients."""

import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('relay', '20251029151218_preparations'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TestSend',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('row', models.PositiveIntegerField(verbose_name='row')),
                ('email', models.CharField(max_length=320, verbose_name='e-mail')),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='started')),
                ('ended_at', models.DateTimeField(null=True, verbose_name='ended')),
                ('outcome', models.CharField(blank=True, choices=[('accepted', 'Accepted'), ('refused', 'Refused'), ('unknown', 'Unknown'), ('not_sent', 'Did not leave')], default='', max_length=8, verbose_name='outcome')),
                ('reason', models.CharField(blank=True, max_length=30, verbose_name='reason')),
                ('reason_params', models.JSONField(default=dict)),
                ('code', models.CharField(blank=True, max_length=20, verbose_name='relay code')),
                ('detail', models.CharField(blank=True, max_length=500, verbose_name="relay's words")),
                ('message_id', models.TextField(blank=True, verbose_name='message id')),
                ('delivery', models.TextField(blank=True, verbose_name='delivery')),
                ('from_email', models.CharField(blank=True, max_length=320, verbose_name='from')),
                ('subject', models.CharField(blank=True, max_length=1000, verbose_name='subject')),
                ('rendered_here', models.BooleanField(default=False)),
                ('bulk_send', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='test_sends', to='relay.bulksend', verbose_name='bulk send')),
                ('by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='sent by')),
            ],
            options={
                'verbose_name': 'test send',
                'verbose_name_plural': 'test sends',
                'ordering': ['-id'],
                'indexes': [models.Index(django.db.models.functions.text.Lower('email'), name='testsend_email'), models.Index(fields=['by', 'started_at'], name='testsend_by_person')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('ended_at__isnull', False), ('outcome__in', ['accepted', 'refused', 'unknown', 'not_sent'])), models.Q(('ended_at', None), ('outcome', '')), _connector='OR'), name='testsend_ends_with_outcome'), models.CheckConstraint(condition=models.Q(('ended_at', None), ('ended_at__gte', models.F('started_at')), _connector='OR'), name='testsend_ends_after_start'), models.CheckConstraint(condition=models.Q(('outcome', 'accepted'), models.Q(('delivery', ''), ('message_id', '')), _connector='OR'), name='testsend_proof_of_accepted')],
            },
        ),
    ]
