"""Bulk sends while they are prepared, and which columns the variables of a template were taken from last."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('relay', '20251029151217_mail_templates'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='RememberedMapping',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('template_id', models.CharField(max_length=100, unique=True)),
                ('variable_map', models.JSONField(default=dict)),
                ('updated_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Preparation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(blank=True, max_length=200, verbose_name='name')),
                ('template_id', models.CharField(blank=True, max_length=100, verbose_name='template')),
                ('template_name', models.CharField(blank=True, max_length=200, verbose_name='template name')),
                ('subject', models.TextField(blank=True, help_text="Empty: the template's.", verbose_name='subject')),
                ('reply_to', models.EmailField(blank=True, max_length=254, verbose_name='reply to')),
                ('file', models.FileField(blank=True, max_length=300, upload_to='uploads', verbose_name='file')),
                ('file_name', models.CharField(blank=True, max_length=255, verbose_name='file name')),
                ('file_sha256', models.CharField(blank=True, editable=False, max_length=64)),
                ('file_size', models.PositiveBigIntegerField(default=0, verbose_name='bytes')),
                ('encoding', models.CharField(blank=True, max_length=20, verbose_name='encoding')),
                ('delimiter', models.CharField(blank=True, max_length=1, verbose_name='delimiter')),
                ('address_column', models.TextField(blank=True, verbose_name='address column')),
                ('understood', models.JSONField(default=dict, editable=False)),
                ('variable_map', models.JSONField(default=dict, verbose_name='variables taken from columns')),
                ('allow_repeats', models.BooleanField(default=False, verbose_name='repeated addresses allowed')),
                ('allow_empty', models.BooleanField(default=False, verbose_name='empty variables allowed')),
                ('checking', models.CharField(choices=[('idle', 'Being prepared'), ('waiting', 'Waiting to be checked'), ('running', 'Being checked'), ('failed', 'Cannot be checked'), ('checked', 'Checked')], default='idle', max_length=7, verbose_name='check')),
                ('problem', models.TextField(blank=True, help_text='Why it could not be checked.', verbose_name='problem')),
                ('rows_read', models.PositiveBigIntegerField(default=0, verbose_name='rows read')),
                ('checker', models.CharField(blank=True, editable=False, max_length=200)),
                ('checker_until', models.DateTimeField(editable=False, null=True)),
                ('version', models.PositiveIntegerField(default=1, editable=False)),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='changed')),
                ('discarded_at', models.DateTimeField(editable=False, null=True)),
                ('attachments', models.ManyToManyField(blank=True, to='relay.attachment', verbose_name='attachments')),
                ('bulk_send', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='preparation', to='relay.bulksend', verbose_name='bulk send')),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='created by')),
                ('sender', models.ForeignKey(blank=True, help_text="Empty: that of this installation, or the template's own.", null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='relay.sender', verbose_name='sender')),
            ],
            options={
                'verbose_name': 'draft',
                'verbose_name_plural': 'drafts',
                'ordering': ['-id'],
                'default_permissions': (),
                'indexes': [models.Index(condition=models.Q(('checking__in', ['waiting', 'running'])), fields=['id'], name='preparation_to_check'), models.Index(condition=models.Q(('discarded_at__isnull', False)), fields=['id'], name='preparation_discarded')],
                'constraints': [models.CheckConstraint(condition=models.Q(('checking__in', ['idle', 'waiting', 'running', 'failed', 'checked'])), name='preparation_checking_known'), models.CheckConstraint(condition=models.Q(models.Q(('checking', 'failed'), _negated=True), models.Q(('problem', ''), _negated=True), _connector='OR'), name='preparation_failed_has_problem'), models.CheckConstraint(condition=models.Q(models.Q(('checker_until__isnull', False), ('checking', 'running')), models.Q(models.Q(('checking', 'running'), _negated=True), ('checker_until', None)), _connector='OR'), name='preparation_running_has_checker')],
            },
        ),
    ]
