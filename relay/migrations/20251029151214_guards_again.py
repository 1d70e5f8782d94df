"""The guards of 0002, as they must be once unknown recipients are settled; SQLite dropped some with the tables it rebuilt.

A refused recipient may go back to `pending` (a person's recorded decision). Settlements and decisions, like attempts,
are never changed.
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

ALLOWED = [
    ("pending", "sending"),
    ("pending", "excluded"),
    ("sending", "accepted"),
    ("sending", "refused"),
    ("sending", "unknown"),
    ("sending", "pending"),
    ("unknown", "accepted"),
    ("unknown", "pending"),
    ("unknown", "excluded"),
    ("refused", "pending"),
]
ALLOWED_BEFORE = ALLOWED[:-1]
APPEND_ONLY = ("settlement", "decision")


def _forbidden(allowed: list[tuple[str, str]]) -> str:
    pairs = ", ".join(f"'{before}>{after}'" for before, after in allowed)
    return f"OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({pairs})"


def _postgresql(allowed: list[tuple[str, str]]) -> str:
    return f"""
        DROP TRIGGER recipient_transition ON relay_recipient;
        CREATE TRIGGER recipient_transition BEFORE UPDATE OF state ON relay_recipient
            FOR EACH ROW WHEN ({_forbidden(allowed)}) EXECUTE FUNCTION relay_recipient_guard();
    """


POSTGRESQL_APPEND_ONLY = """
    CREATE FUNCTION relay_append_only_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% %: what is on record is never changed', TG_TABLE_NAME, OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$;
""" + "".join(
    # An account that is deleted leaves its name in `actor`: that is no change of the record.
    f"""
    CREATE TRIGGER {name}_append_only BEFORE UPDATE ON relay_{name} FOR EACH ROW
        WHEN (to_jsonb(OLD) - 'made_by_id' - 'decided_by_id' IS DISTINCT FROM
              to_jsonb(NEW) - 'made_by_id' - 'decided_by_id')
        EXECUTE FUNCTION relay_append_only_guard();
    """
    for name in APPEND_ONLY
)
POSTGRESQL_APPEND_ONLY_BACK = (
    "".join(f"DROP TRIGGER {name}_append_only ON relay_{name};" for name in APPEND_ONLY)
    + "DROP FUNCTION relay_append_only_guard;"
)

PROOF = ("message_id", "delivery", "accepted_at")
RECORDED = {
    "settlement": ("recipient_id", "attempt_id", "made_at", "look", "verdict", "reason", "reason_params", "delivery", "note"),
    "decision": ("bulk_send_id", "made_at", "actor", "what", "details"),
}


def _sqlite(allowed: list[tuple[str, str]]) -> list[str]:
    rewritten = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in PROOF)
    return [
        "DROP TRIGGER IF EXISTS recipient_transition",
        f"""
        CREATE TRIGGER recipient_transition BEFORE UPDATE OF state ON relay_recipient
        FOR EACH ROW WHEN {_forbidden(allowed)}
        BEGIN SELECT RAISE(ABORT, 'recipient: this state cannot follow that one'); END
        """,
        "DROP TRIGGER IF EXISTS recipient_first_state",
        """
        CREATE TRIGGER recipient_first_state BEFORE INSERT ON relay_recipient
        FOR EACH ROW WHEN NEW.state NOT IN ('pending', 'excluded')
        BEGIN SELECT RAISE(ABORT, 'recipient: a new row is pending or excluded'); END
        """,
        "DROP TRIGGER IF EXISTS recipient_proof_is_kept",
        f"""
        CREATE TRIGGER recipient_proof_is_kept BEFORE UPDATE OF message_id, delivery, accepted_at ON relay_recipient
        FOR EACH ROW WHEN OLD.state = 'accepted' AND NEW.state = 'accepted' AND ({rewritten})
        BEGIN SELECT RAISE(ABORT, 'recipient: what proves an accepted message is never changed'); END
        """,
        "DROP TRIGGER IF EXISTS attempt_append_only",
        """
        CREATE TRIGGER attempt_append_only BEFORE UPDATE ON relay_attempt
        FOR EACH ROW
        BEGIN SELECT RAISE(ABORT, 'attempt: attempts are never changed'); END
        """,
    ]


SQLITE_APPEND_ONLY = [
    f"""
    CREATE TRIGGER {name}_append_only BEFORE UPDATE ON relay_{name}
    FOR EACH ROW WHEN {" OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in columns)}
    BEGIN SELECT RAISE(ABORT, '{name}: what is on record is never changed'); END
    """
    for name, columns in RECORDED.items()
]


def put_up(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(_postgresql(ALLOWED) + POSTGRESQL_APPEND_ONLY, params=None)
        return
    for statement in [*_sqlite(ALLOWED), *SQLITE_APPEND_ONLY]:
        schema_editor.execute(statement, params=None)


def take_back(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_APPEND_ONLY_BACK + _postgresql(ALLOWED_BEFORE), params=None)
        return
    for name in APPEND_ONLY:
        schema_editor.execute(f"DROP TRIGGER {name}_append_only", params=None)
    for statement in _sqlite(ALLOWED_BEFORE):
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("relay", "20251029151213_exactly_once")]

    operations = [migrations.RunPython(put_up, take_back)]
