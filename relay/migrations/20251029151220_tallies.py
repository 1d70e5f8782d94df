"""How many recipients are in which state, kept true by the database in the transaction that changes them.

Each key is a function of the recipient's row alone (`_key`). PostgreSQL: after each statement its changes, grouped, are
appended; nobody waits for a row that another worker counts on. SQLite, which has one writer at a time: a counter for
each key. What exists is counted here, by the hour, while nobody can write.

Of later migrations on SQLite: whoever rebuilds `relay_recipient` must empty `relay_tally` and call
`put_up` again, which fills it anew.
"""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.db.models.deletion import DO_NOTHING

KEY = "bulk_send_id, state, reason, code, for_a_person, at"
HOUR = 60


def _key(row: str, moment: str, accepted_at: str, sending_since: str) -> str:
    """The key of a recipient as a list of SQL expressions; `row` is the prefix of its columns."""
    return f"""
        {row}bulk_send_id, {row}state, {row}reason,
        CASE {row}state WHEN 'refused' THEN {row}reason_detail ELSE '' END,
        {row}state = 'unknown' AND {row}look_at IS NULL,
        CASE {row}state WHEN 'accepted' THEN {accepted_at}
            WHEN 'refused' THEN coalesce({sending_since}, {moment})
            WHEN 'unknown' THEN coalesce({sending_since}, {moment}) ELSE {moment} END
    """


# --- PostgreSQL -------------------------------------------------------------------------------------------------

EPOCH = "timestamptz '1970-01-01 00:00:00+00'"


def _postgresql_key(stride: str) -> str:
    def begin(column: str) -> str:
        return f"date_bin('{stride}', {column}, {EPOCH})"

    return _key("", EPOCH, begin("accepted_at"), begin("sending_since"))


def _grouped(source: str, count: str) -> str:
    return f"SELECT {_postgresql_key('1 minute')}, {count} FROM {source} GROUP BY 1, 2, 3, 4, 5, 6"


def _function(event: str, changes: str) -> str:
    return f"""
        CREATE FUNCTION relay_recipient_tally_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO relay_tally ({KEY}, span, n) {changes};
            RETURN NULL;
        END $$;
    """


# The columns of the grouped queries get their names from the alias around them.
_DIFFERENCE = f"""
    SELECT {KEY}, 0, sum(n) FROM (
        {_grouped("old_rows", "-count(*)")} UNION ALL {_grouped("new_rows", "count(*)")}
    ) changes ({KEY}, n) GROUP BY {KEY} HAVING sum(n) <> 0
"""
_COUNTED = "SELECT {key}, 0, n FROM ({grouped}) changes ({key}, n)"

POSTGRESQL = (
    _function("insert", _COUNTED.format(key=KEY, grouped=_grouped("new_rows", "count(*)")))
    + _function("update", _DIFFERENCE)
    + _function("delete", _COUNTED.format(key=KEY, grouped=_grouped("old_rows", "-count(*)")))
    + """
    CREATE FUNCTION relay_recipient_tally_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM relay_tally;
        RETURN NULL;
    END $$;
    CREATE TRIGGER recipient_tally_insert AFTER INSERT ON relay_recipient
        REFERENCING NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION relay_recipient_tally_insert();
    CREATE TRIGGER recipient_tally_update AFTER UPDATE ON relay_recipient
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT EXECUTE FUNCTION relay_recipient_tally_update();
    CREATE TRIGGER recipient_tally_delete AFTER DELETE ON relay_recipient
        REFERENCING OLD TABLE AS old_rows
        FOR EACH STATEMENT EXECUTE FUNCTION relay_recipient_tally_delete();
    CREATE TRIGGER recipient_tally_truncate AFTER TRUNCATE ON relay_recipient
        FOR EACH STATEMENT EXECUTE FUNCTION relay_recipient_tally_truncate();
    """
)
EVENTS = ("insert", "update", "delete", "truncate")
POSTGRESQL_BACK = "".join(
    f"DROP TRIGGER recipient_tally_{event} ON relay_recipient; DROP FUNCTION relay_recipient_tally_{event};"
    for event in EVENTS
)

# --- SQLite -----------------------------------------------------------------------------------------------------

SQLITE_EPOCH = "'1970-01-01 00:00:00'"


def _sqlite_key(row: str, length: int, rest: str) -> str:
    """Moments are text that begins with the minute, whoever wrote them."""

    def begin(column: str) -> str:
        return f"substr({row}{column}, 1, {length}) || '{rest}'"

    return _key(row, SQLITE_EPOCH, begin("accepted_at"), begin("sending_since"))


def _count(row: str, change: int) -> str:
    return f"""
        INSERT INTO relay_tally ({KEY}, span, n) VALUES ({_sqlite_key(row, 16, ":00")}, 1, {change})
        ON CONFLICT ({KEY}, span) WHERE span > 0 DO UPDATE SET n = n + excluded.n;
    """


_SAID = ("bulk_send_id", "state", "reason", "reason_detail", "look_at", "accepted_at", "sending_since")
_COMPARED = ", ".join("{row}look_at IS NULL" if name == "look_at" else f"{{row}}{name}" for name in _SAID)

SQLITE = [
    f"""
    CREATE TRIGGER recipient_tally_insert AFTER INSERT ON relay_recipient FOR EACH ROW
    BEGIN {_count("NEW.", 1)} END
    """,
    f"""
    CREATE TRIGGER recipient_tally_update AFTER UPDATE OF {", ".join(_SAID)} ON relay_recipient FOR EACH ROW
    WHEN ({_COMPARED.format(row="OLD.")}) IS NOT ({_COMPARED.format(row="NEW.")})
    BEGIN {_count("OLD.", -1)} {_count("NEW.", 1)} END
    """,
    # Without its tallies a bulk send is being emptied as a whole (as test suites do it), in whatever order.
    f"""
    CREATE TRIGGER recipient_tally_delete AFTER DELETE ON relay_recipient FOR EACH ROW
    WHEN EXISTS (SELECT 1 FROM relay_tally WHERE bulk_send_id = OLD.bulk_send_id)
    BEGIN {_count("OLD.", -1)} END
    """,
]


def _fill(key: str) -> str:
    return f"""
        INSERT INTO relay_tally ({KEY}, span, n)
        SELECT {key}, {HOUR}, count(*) FROM relay_recipient GROUP BY 1, 2, 3, 4, 5, 6
    """


def put_up(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """The triggers lock out whoever writes until all is counted, and committed."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)
        schema_editor.execute(_fill(_postgresql_key("1 hour")), params=None)
        return
    for statement in SQLITE:
        schema_editor.execute(statement, params=None)
    schema_editor.execute(_fill(_sqlite_key("", 13, ":00:00")), params=None)


def take_down(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_BACK, params=None)
        return
    for event in EVENTS[:3]:
        schema_editor.execute(f"DROP TRIGGER recipient_tally_{event}", params=None)


class Migration(migrations.Migration):
    dependencies = [("relay", "20251029151219_test_sends")]

    operations = [
        migrations.CreateModel(
            name="Tally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("state", models.CharField(max_length=8)),
                ("reason", models.CharField(max_length=30)),
                ("code", models.CharField(max_length=500)),
                ("for_a_person", models.BooleanField()),
                ("at", models.DateTimeField()),
                (
                    "span",
                    models.PositiveSmallIntegerField(choices=[(0, "Change"), (1, "Minute"), (60, "Hour"), (1440, "Day")]),
                ),
                ("n", models.IntegerField()),
                (
                    "bulk_send",
                    models.ForeignKey(
                        db_constraint=False, db_index=False, on_delete=DO_NOTHING, related_name="+", to="relay.bulksend"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["bulk_send", "state"], name="tally_of_bulk_send"),
                    models.Index(fields=["span", "at"], name="tally_by_moment"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("span__gt", 0)),
                        fields=("bulk_send", "state", "reason", "code", "for_a_person", "at", "span"),
                        name="tally_folded_once",
                    )
                ],
            },
        ),
        migrations.RunPython(put_up, take_down),
    ]
