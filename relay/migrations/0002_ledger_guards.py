"""What no constraint can say: which state may follow which, and that an attempt is never rewritten.

The guards fire only where something is wrong, so they cost the ledger next to nothing.
"""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

# unknown leaves only by settlement or a person; accepted, refused and excluded are final.
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
]
FORBIDDEN = "OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({})".format(
    ", ".join(f"'{before}>{after}'" for before, after in ALLOWED)
)
# The proof of an accepted message is never rewritten. (`IS NOT` and `IS DISTINCT FROM` are one operator, named twice.)
REWRITTEN = "OLD.state = 'accepted' AND NEW.state = 'accepted' AND ({})".format(
    " OR ".join(f"NEW.{column} {{differs}} OLD.{column}" for column in ("message_id", "delivery", "accepted_at"))
)
NEW_STATES = "NEW.state NOT IN ('pending', 'excluded')"

POSTGRESQL = [
    f"""
    CREATE FUNCTION relay_recipient_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'recipient %: state % cannot become %', NEW.id,
            CASE TG_OP WHEN 'UPDATE' THEN OLD.state ELSE '(new)' END, NEW.state
            USING ERRCODE = 'integrity_constraint_violation';
    END $$;
    CREATE TRIGGER recipient_transition BEFORE UPDATE OF state ON relay_recipient
        FOR EACH ROW WHEN ({FORBIDDEN}) EXECUTE FUNCTION relay_recipient_guard();
    CREATE TRIGGER recipient_first_state BEFORE INSERT ON relay_recipient
        FOR EACH ROW WHEN ({NEW_STATES}) EXECUTE FUNCTION relay_recipient_guard();
    CREATE FUNCTION relay_recipient_proof_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'recipient %: what proves an accepted message is never changed', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$;
    CREATE TRIGGER recipient_proof_is_kept BEFORE UPDATE OF message_id, delivery, accepted_at ON relay_recipient
        FOR EACH ROW WHEN ({REWRITTEN.format(differs="IS DISTINCT FROM")})
        EXECUTE FUNCTION relay_recipient_proof_guard();
    CREATE FUNCTION relay_attempt_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'attempt %: attempts are never changed', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$;
    CREATE TRIGGER attempt_append_only BEFORE UPDATE ON relay_attempt
        FOR EACH ROW EXECUTE FUNCTION relay_attempt_guard();
    """,
    # Room on each page so that the two updates of a message stay on it, without touching an index.
    "ALTER TABLE relay_recipient SET (fillfactor = 60)",
]
POSTGRESQL_BACK = """
    ALTER TABLE relay_recipient RESET (fillfactor);
    DROP TRIGGER attempt_append_only ON relay_attempt;
    DROP FUNCTION relay_attempt_guard;
    DROP TRIGGER recipient_proof_is_kept ON relay_recipient;
    DROP FUNCTION relay_recipient_proof_guard;
    DROP TRIGGER recipient_first_state ON relay_recipient;
    DROP TRIGGER recipient_transition ON relay_recipient;
    DROP FUNCTION relay_recipient_guard;
"""
SQLITE = [
    f"""
    CREATE TRIGGER recipient_transition BEFORE UPDATE OF state ON relay_recipient
    FOR EACH ROW WHEN {FORBIDDEN}
    BEGIN SELECT RAISE(ABORT, 'recipient: this state cannot follow that one'); END
    """,
    f"""
    CREATE TRIGGER recipient_first_state BEFORE INSERT ON relay_recipient
    FOR EACH ROW WHEN {NEW_STATES}
    BEGIN SELECT RAISE(ABORT, 'recipient: a new row is pending or excluded'); END
    """,
    f"""
    CREATE TRIGGER recipient_proof_is_kept BEFORE UPDATE OF message_id, delivery, accepted_at ON relay_recipient
    FOR EACH ROW WHEN {REWRITTEN.format(differs="IS NOT")}
    BEGIN SELECT RAISE(ABORT, 'recipient: what proves an accepted message is never changed'); END
    """,
    """
    CREATE TRIGGER attempt_append_only BEFORE UPDATE ON relay_attempt
    FOR EACH ROW
    BEGIN SELECT RAISE(ABORT, 'attempt: attempts are never changed'); END
    """,
]
SQLITE_BACK = [
    "DROP TRIGGER attempt_append_only",
    "DROP TRIGGER recipient_proof_is_kept",
    "DROP TRIGGER recipient_first_state",
    "DROP TRIGGER recipient_transition",
]


def add_guards(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)  # nothing to fill in: a % is a %


def remove_guards(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in [POSTGRESQL_BACK] if schema_editor.connection.vendor == "postgresql" else SQLITE_BACK:
        schema_editor.execute(statement, params=None)  # nothing to fill in: a % is a %


class Migration(migrations.Migration):
    dependencies = [("relay", "0001_initial")]

    operations = [migrations.RunPython(add_guards, remove_guards)]
