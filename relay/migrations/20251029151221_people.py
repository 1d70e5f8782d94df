"""People: their groups, what they did, what a second person approved, from which senders they write.

What is on record (activities, approvals) is not changed, and activities are not deleted: guards, as for attempts. The
groups get their rights after all migrations (`relay.groups`): those of models to come do not exist yet.
"""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models.functions import Lower

GROUPS = ("Operadores", "Aprobadores", "Consulta")

POSTGRESQL = """
    CREATE FUNCTION relay_kept_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% %: what is on record is never changed and never deleted', TG_TABLE_NAME, OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$;
    CREATE TRIGGER activity_kept BEFORE UPDATE OR DELETE ON relay_activity
        FOR EACH ROW EXECUTE FUNCTION relay_kept_guard();
    -- An account that is deleted leaves its name in `actor`: that is no change of the record.
    CREATE TRIGGER approval_unchanged BEFORE UPDATE ON relay_approval FOR EACH ROW
        WHEN (to_jsonb(OLD) - 'made_by_id' IS DISTINCT FROM to_jsonb(NEW) - 'made_by_id')
        EXECUTE FUNCTION relay_kept_guard();
"""
POSTGRESQL_BACK = """
    DROP TRIGGER approval_unchanged ON relay_approval;
    DROP TRIGGER activity_kept ON relay_activity;
    DROP FUNCTION relay_kept_guard;
"""
APPROVED = ("id", "bulk_send_id", "verdict", "made_at", "actor", "fingerprint", "note")
SQLITE = [
    """
    CREATE TRIGGER activity_unchanged BEFORE UPDATE ON relay_activity FOR EACH ROW
    BEGIN SELECT RAISE(ABORT, 'activity: what is on record is never changed and never deleted'); END
    """,
    """
    CREATE TRIGGER activity_kept BEFORE DELETE ON relay_activity FOR EACH ROW
    BEGIN SELECT RAISE(ABORT, 'activity: what is on record is never changed and never deleted'); END
    """,
    f"""
    CREATE TRIGGER approval_unchanged BEFORE UPDATE ON relay_approval
    FOR EACH ROW WHEN {" OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in APPROVED)}
    BEGIN SELECT RAISE(ABORT, 'approval: what is on record is never changed'); END
    """,
]
SQLITE_BACK = [
    f"DROP TRIGGER {name}" for name in ("approval_unchanged", "activity_kept", "activity_unchanged")
]


def put_up_guards(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in [POSTGRESQL] if schema_editor.connection.vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


def take_back_guards(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in [POSTGRESQL_BACK] if schema_editor.connection.vendor == "postgresql" else SQLITE_BACK:
        schema_editor.execute(statement, params=None)


def make_groups(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """One that exists keeps its members and its rights."""
    groups = apps.get_model("auth", "Group").objects.using(schema_editor.connection.alias)
    for name in GROUPS:
        groups.get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [
        ("relay", "20251029151220_tallies"),
        ("auth", "0012_alter_user_first_name_max_length"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="UserPreferences",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="relay_preferences",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "time_zone",
                    models.CharField(
                        blank=True,
                        help_text="Empty: that of this installation (TIME_ZONE).",
                        max_length=50,
                        verbose_name="time zone",
                    ),
                ),
            ],
            options={"verbose_name": "preferences", "verbose_name_plural": "preferences"},
        ),
        migrations.AlterModelOptions(
            name="bulksend",
            options={
                "ordering": ["-id"],
                "permissions": [("approve_bulksend", "Can approve bulk sends of others")],
                "verbose_name": "bulk send",
                "verbose_name_plural": "bulk sends",
            },
        ),
        migrations.AddField(
            model_name="sender",
            name="groups",
            field=models.ManyToManyField(
                blank=True,
                help_text="Only their members may send from this address. None: everybody who may send.",
                related_name="+",
                to="auth.group",
                verbose_name="groups",
            ),
        ),
        migrations.CreateModel(
            name="Activity",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                ("by", models.CharField(max_length=200, verbose_name="who")),
                ("by_id", models.BigIntegerField(null=True)),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("login", "Logged in"),
                            ("login_failed", "Login refused"),
                            ("logout", "Logged out"),
                            ("password", "Password changed"),
                            ("added", "Created"),
                            ("changed", "Changed"),
                            ("deleted", "Deleted"),
                            ("exported", "Exported or downloaded"),
                            ("decided", "Decided about a bulk send"),
                            ("approved", "Approved a bulk send"),
                            ("rejected", "Refused to approve a bulk send"),
                            ("tested", "Test sent"),
                            ("report_requested", "Report requested"),
                            ("report_retried", "Report retried"),
                            ("load_requested", "Load into a database requested"),
                        ],
                        max_length=20,
                        verbose_name="what",
                    ),
                ),
                ("about_kind", models.CharField(blank=True, max_length=50, verbose_name="about")),
                ("about_id", models.CharField(blank=True, max_length=100, verbose_name="number")),
                ("about_label", models.CharField(blank=True, max_length=200, verbose_name="name")),
                ("address", models.CharField(blank=True, max_length=45, verbose_name="client's address")),
                ("details", models.JSONField(default=dict, verbose_name="details")),
            ],
            options={
                "verbose_name": "entry of the record",
                "verbose_name_plural": "entries of the record",
                "indexes": [
                    models.Index(fields=["at", "id"], name="activity_by_moment"),
                    models.Index(fields=["what", "at", "id"], name="activity_by_kind"),
                    models.Index(Lower("by"), models.F("at"), models.F("id"), name="activity_by_person"),
                    models.Index(fields=["about_id", "at", "id"], name="activity_by_number"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Approval",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "verdict",
                    models.CharField(
                        choices=[("approved", "Approved"), ("rejected", "Refused")],
                        max_length=8,
                        verbose_name="verdict",
                    ),
                ),
                ("made_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="made")),
                ("actor", models.CharField(max_length=200, verbose_name="by")),
                ("fingerprint", models.CharField(max_length=64)),
                ("note", models.CharField(blank=True, max_length=500, verbose_name="note")),
                (
                    "bulk_send",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="approvals", to="relay.bulksend"
                    ),
                ),
                (
                    "made_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="made by",
                    ),
                ),
            ],
            options={
                "verbose_name": "approval",
                "verbose_name_plural": "approvals",
                "ordering": ["id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("verdict__in", ["approved", "rejected"])), name="approval_verdict_known"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="GroupGrant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("right", models.CharField(max_length=200)),
                (
                    "group",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="auth.group"
                    ),
                ),
            ],
            options={"constraints": [models.UniqueConstraint(fields=("group", "right"), name="grant_once")]},
        ),
        migrations.RunPython(put_up_guards, take_back_guards),
        # The way back leaves them: they may have members by then.
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
