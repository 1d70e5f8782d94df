"""Every page of the console with ten million recipients and twenty million deliveries behind it, on PostgreSQL.

The pages are asked for in this process as a logged-in operator asks for them: middleware, permissions, queries and
templates are the real ones, the network is not in it. To measure another page add a line to `PAGES`; to fill another
table add its function to `FILLS`. What this version of the product does not have is skipped and named.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib import import_module
from math import ceil
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from bench.ceilings import Connection, connected
from bench.measuring import new_installation, say, use_django

GOAL_MS = 300
WORTH_EXPLAINING_MS = 50
FINISHED_SENDS = 40
MOVING_SHARE = 0.1
PEOPLE = 3_000_000  # who recur from one bulk send to the next
SUPPRESSED = 50_000
REPORTS = 200
WEEK = timedelta(days=7)
ACTS = 500_000  # of people, on record
TEMPLATE_BYTES = 50_000


@dataclass(slots=True)
class Filled:
    """What the addresses of pages are made of."""

    rows: int
    deliveries: int
    finished: list[int] = field(default_factory=list)
    moving: int = 0
    ids: dict[str, int] = field(default_factory=dict)  # a row of each other table

    @property
    def address(self) -> str:
        return "persona4711@example.com"


@dataclass(frozen=True, slots=True)
class Page:
    name: str
    address: Callable[[Filled], str]


def _named(view: str, *arguments: Callable[[Filled], object], query: str = "") -> Callable[[Filled], str]:
    from django.urls import reverse

    return lambda filled: reverse(f"admin:{view}", args=[make(filled) for make in arguments]) + query


def _pages() -> list[Page]:
    def moving(filled: Filled) -> int:
        return filled.moving

    def finished(filled: Filled) -> int:
        return filled.finished[-1]

    def row_of(table: str) -> Callable[[Filled], int]:
        return lambda filled: filled.ids[table]

    bulk_sends, recipients = "relay_bulksend_changelist", "relay_recipient_changelist"
    reports, deliveries = "reports_generatedreport_changelist", "reports_delivery_changelist"

    def recipients_of(which: Callable[[Filled], int], more: str = "") -> Callable[[Filled], str]:
        return lambda filled: _named(recipients, query=f"?bulk_send={which(filled)}{more}")(filled)

    return [
        Page("start page", _named("index")),
        Page("bulk sends", _named(bulk_sends)),
        Page("bulk sends, second page", _named(bulk_sends, query="?p=2")),
        Page("bulk sends, searched", _named(bulk_sends, query="?q=cuotas")),
        Page("bulk sends, their poll", _poll_of_list),
        Page("bulk send that moves", _named("relay_bulksend_change", moving)),
        Page("bulk send that is done", _named("relay_bulksend_change", finished)),
        Page("bulk send: send refused again", _named("relay_bulksend_retry", finished)),
        Page("bulk send: pause", _named("relay_bulksend_pause", moving)),
        Page("bulk send: its poll", _named("relay_bulksend_progress", moving)),
        Page("bulk send: its decisions", _named("relay_bulksend_decisions", moving)),
        Page("draft: review", _named("relay_bulksend_review", row_of("draft"))),
        Page("draft: when", _named("relay_bulksend_when", row_of("draft"))),
        Page("draft: preview of a row", _named("relay_bulksend_preview", row_of("draft"), lambda filled: 2)),
        Page("recipients", _named(recipients)),
        Page("recipients, by address", lambda filled: _named(recipients, query=f"?q={filled.address}")(filled)),
        Page("recipients, by the beginning", _named(recipients, query="?q=persona47")),
        Page("recipients of one, by a value", recipients_of(finished, "&q=0912345678")),
        Page("recipients of one, by address", lambda f: recipients_of(finished, f"&q={f.address}")(f)),
        Page("recipients, by row", _named(recipients, query="?q=4711")),
        Page("recipients of one that moves", recipients_of(moving)),
        Page("recipients of it, pending", recipients_of(moving, "&state=pending")),
        Page("recipients of it, for a person", recipients_of(moving, "&state=for_a_person")),
        Page("recipients of one, refused", recipients_of(finished, "&state=refused")),
        Page("recipients of one, by reason", recipients_of(finished, "&reason=duplicate")),
        Page("recipients of one, far down", recipients_of(finished, "&p=99")),
        Page("recipients, unknown", _named(recipients, query="?state=unknown")),
        Page("recipients, refused", _named(recipients, query="?state=refused")),
        Page("recipients, by reason", _named(recipients, query="?reason=worker_lost")),
        Page("recipient", _named("relay_recipient_change", row_of("relay_recipient"))),
        Page("suppressions", _named("relay_suppression_changelist")),
        Page("senders", _named("relay_sender_changelist")),
        Page("preparations", _named("relay_preparation_changelist")),
        Page("new bulk send", _named("relay_preparation_add")),
        Page("templates", _named("relay_mailtemplate_changelist")),
        Page("what people did", _named("relay_activity_changelist")),
        Page("reports", _named(reports)),
        Page("report", _named("reports_generatedreport_change", row_of("reports_generatedreport"))),
        Page("deliveries", _named(deliveries)),
        Page("deliveries to one person", lambda filled: _named(deliveries, query=f"?q={filled.address}")(filled)),
        Page("deliveries of the last days", _named(deliveries, query=f"?local_day__gte={_a_week_ago()}")),
        Page("deliveries of a month", _named(deliveries, query=f"?{_half_a_year_ago()}")),
        Page("delivery", _named("reports_delivery_change", row_of("reports_deliveries"))),
    ]


def _a_week_ago() -> date:
    from django.utils import timezone

    return timezone.localdate() - WEEK


def _half_a_year_ago() -> str:
    first = (_a_week_ago() - 26 * WEEK).replace(day=1)
    return f"local_day__gte={first}&local_day__lt={(first + 5 * WEEK).replace(day=1)}"


def _poll_of_list(filled: Filled) -> str:
    asked = "&".join(f"id={pk}" for pk in [filled.moving, *filled.finished])
    return _named("relay_bulksend_list_progress", query=f"?{asked}")(filled)


# --- filling ----------------------------------------------------------------------------------------------------


def _bulk_sends(connection: Connection, filled: Filled) -> None:
    from django.utils import timezone

    from relay.models import BulkSend

    now = timezone.now()
    texts = {
        "template_id": "aviso-de-pago",
        "template_name": "Aviso de pago",
        "template_subject": "{{nombre}}, su cuota vence el {{vence}}",
        "template_html": "<p>{{nombre}} {{monto}}</p>".ljust(TEMPLATE_BYTES),
        "file_name": "cuotas.csv",
        "file_encoding": "utf-8",
        "file_delimiter": ";",
        "address_column": "correo",
        "columns": ["nombre", "cedula", "monto", "vence"],
    }
    moving = max(1, int(filled.rows * MOVING_SHARE))
    each = max(1, (filled.rows - moving) // FINISHED_SENDS)
    for number in range(FINISHED_SENDS):
        at = now - timedelta(days=9 * (FINISHED_SENDS - number))
        sent = BulkSend.objects.create(
            name=f"Cuotas {at:%Y-%m-%d}", status="done", total=each, finished_at=at, scheduled_at=at, **texts
        )
        filled.finished.append(sent.pk)
    draft = BulkSend.objects.create(name="Cuotas en borrador", status="draft", total=1000, **texts)
    filled.ids["draft"] = draft.pk
    sending = {"status": "sending", "total": moving, "processing_started_at": now}
    filled.moving = BulkSend.objects.create(name="Cuotas de este mes", **sending, **texts).pk


# Of what has ended: 97 % accepted, 1 % refused, 2 % excluded. Of what moves: the first 60 % likewise, of each thousand
# one unknown; then a few under way, and the rest pending.
_RECIPIENTS = """
    INSERT INTO relay_recipient (bulk_send_id, "row", email, variables, state, reason, reason_detail, message_id,
        delivery, accepted_at, attempts, sending_since, lease_id, look_at)
    SELECT %(id)s, n + 1, 'persona' || (n::bigint * 7919 + %(id)s) %% %(people)s || '@example.com', %(variables)s,
        state,
        CASE state WHEN 'refused' THEN 'refused' WHEN 'unknown' THEN 'no_answer' WHEN 'excluded' THEN 'duplicate'
            ELSE '' END,
        CASE state WHEN 'refused' THEN '400.' || n %% 7 WHEN 'excluded' THEN '2' ELSE '' END,
        CASE state WHEN 'accepted' THEN 'm-' || n ELSE '' END,
        CASE state WHEN 'accepted' THEN '/accounts/1/deliveries/' || n ELSE '' END,
        CASE state WHEN 'accepted' THEN at END,
        CASE WHEN state IN ('accepted', 'refused', 'unknown') THEN 1 ELSE 0 END,
        CASE WHEN state NOT IN ('pending', 'excluded') THEN at END,
        CASE state WHEN 'sending' THEN 1 END,
        CASE WHEN state = 'unknown' AND n %% 2000 <> 0 THEN now() + interval '1 hour' END
    FROM (
        SELECT n, %(began)s + n * interval '8 ms' AS at,
            CASE WHEN n > %(called)s + 200 THEN 'pending' WHEN n > %(called)s THEN 'sending'
                WHEN %(moves)s AND n %% 1000 = 0 THEN 'unknown' WHEN n %% 100 = 7 THEN 'refused'
                WHEN n %% 100 IN (8, 9) THEN 'excluded' ELSE 'accepted' END AS state
        FROM generate_series(1, %(total)s) n
    ) rows
"""
_VARIABLES = json.dumps({"nombre": "María José Peña", "cedula": "0912345678", "monto": "125,50", "vence": "2026-12-15"})


def _recipients(connection: Connection, filled: Filled) -> None:
    from relay.models import BulkSend

    with _without_indexes(connection, "relay_recipient"):
        for sent in BulkSend.objects.order_by("pk").only("total", "status", "finished_at", "processing_started_at"):
            moves, draft = sent.status == "sending", sent.status == "draft"
            connection.execute(
                _RECIPIENTS,
                {
                    "id": sent.pk,
                    "people": PEOPLE,
                    "variables": _VARIABLES,
                    "total": sent.total,
                    "moves": moves,
                    "called": -200 if draft else int(sent.total * 0.6) if moves else sent.total,
                    "began": sent.finished_at or sent.processing_started_at or sent.created_at,
                },
            )
            say(f"{sent.total:,} recipients of {sent.name}")
    found = connection.execute(
        "SELECT min(id) FROM relay_recipient WHERE bulk_send_id = %s", [filled.finished[-1]]
    ).fetchone()
    filled.ids["relay_recipient"] = int(found[0]) if found else 0


def _attempts(connection: Connection, filled: Filled) -> None:
    """Of the last bulk sends: a page asks for those of one recipient."""
    with _without_indexes(connection, "relay_attempt"):
        connection.execute(
            "INSERT INTO relay_attempt (recipient_id, started_at, ended_at, outcome, reason, status, code, detail,"
            " from_email, subject) SELECT id, sending_since, sending_since, state, '', 201, '', '',"
            " 'cobranzas@example.com', 'Su cuota vence' FROM relay_recipient"
            " WHERE bulk_send_id = ANY(%s) AND state IN ('accepted', 'refused', 'unknown')",
            [[filled.moving, filled.finished[-1]]],
        )


def _tallies(connection: Connection, filled: Filled) -> None:
    """As the migration counts what exists; and what busy workers have changed since the last folding."""
    migration: Any = import_module("relay.migrations.20251029151220_tallies")
    connection.execute("TRUNCATE relay_tally")
    connection.execute(migration._fill(migration._postgresql_key("1 hour")))
    connection.execute(
        f"INSERT INTO relay_tally ({migration.KEY}, span, n)"
        " SELECT %s, state, '', '', FALSE, date_trunc('minute', now()), 0, change"
        " FROM generate_series(1, 10000), (VALUES ('accepted', 20), ('accepted', -20)) changes (state, change)",
        [filled.moving],
    )


_DELIVERIES = """
    INSERT INTO reports_deliveries
        (key, sent_at, local_day, sender, sender_name, recipient, subject, status, opens, clicks, as_of)
    SELECT decode(md5(n::text), 'hex'), at, (at AT TIME ZONE 'America/Guayaquil')::date,
        (ARRAY['cobranzas', 'avisos', 'ofertas'])[1 + n %% 3] || '@example.com', 'Cobranzas Andina',
        'persona' || (n::bigint * 7919) %% %(people)s || '@example.com', 'Su cuota vence el 15 de diciembre',
        CASE WHEN n %% 50 = 0 THEN 'invalid' WHEN n %% 70 = 0 THEN 'rejected' ELSE 'sent' END,
        CASE WHEN n %% 4 = 0 THEN 1 ELSE 0 END, CASE WHEN n %% 20 = 0 THEN 1 ELSE 0 END, at + interval '1 day'
    FROM (
        SELECT n, now() - interval '365 days' + n * (interval '365 days' / %(total)s) AS at
        FROM generate_series(%(first)s::int, %(last)s::int) n
    ) rows
"""
_DELIVERIES_AT_ONCE = 1_000_000


def _deliveries(connection: Connection, filled: Filled) -> None:
    with _without_indexes(connection, "reports_deliveries"):
        for first in range(1, filled.deliveries + 1, _DELIVERIES_AT_ONCE):
            last = min(first + _DELIVERIES_AT_ONCE - 1, filled.deliveries)
            told = {"people": PEOPLE, "total": filled.deliveries, "first": first, "last": last}
            connection.execute(_DELIVERIES, told)
            say(f"{last:,} deliveries")
    found = connection.execute("SELECT max(id) FROM reports_deliveries").fetchone()
    filled.ids["reports_deliveries"] = int(found[0]) if found else 0


def _reports(connection: Connection, filled: Filled) -> None:
    from django.utils import timezone

    from reports.models import GeneratedReport

    now = timezone.now()
    GeneratedReport.objects.bulk_create(
        GeneratedReport(
            type="deliveries",
            first_day=at.date(),
            last_day=at.date(),
            starts_at=at,
            ends_at=at + timedelta(days=1),
            state="READY",
            rows=55_000,
            ready_at=at,
        )
        for at in (now - timedelta(days=number) for number in range(REPORTS))
    )
    filled.ids["reports_generatedreport"] = GeneratedReport.objects.latest("pk").pk


def _suppressions(connection: Connection, filled: Filled) -> None:
    connection.execute(
        "INSERT INTO relay_suppression (email, reason, created_at)"
        " SELECT 'persona' || n || '@example.com', 'Pidió no recibir más', now() FROM generate_series(1, %s) n",
        [SUPPRESSED],
    )


def _daily_totals(connection: Connection, filled: Filled) -> None:
    connection.execute(
        "INSERT INTO reports_dailytotal (local_day, status, rows, opened, clicked)"
        " SELECT local_day, status, count(*), count(*) FILTER (WHERE opens > 0), count(*) FILTER (WHERE clicks > 0)"
        " FROM reports_deliveries GROUP BY 1, 2"
    )


def _activity(connection: Connection, filled: Filled) -> None:
    connection.execute(
        "INSERT INTO relay_activity (at, by, what, about_kind, about_id, about_label, address, details)"
        " SELECT now() - n * interval '1 minute', 'operador' || n %% 30,"
        " (ARRAY['login', 'decided', 'exported'])[1 + n %% 3], 'relay.bulksend', n %% 500, 'Cuotas', '192.0.2.1', '{}'"
        " FROM generate_series(1, %s) n",
        [ACTS],
    )


# In this order; what is made of other tables comes after them.
FILLS: dict[str, Callable[[Connection, Filled], None]] = {
    "relay_bulksend": _bulk_sends,
    "relay_recipient": _recipients,
    "relay_attempt": _attempts,
    "relay_tally": _tallies,
    "relay_suppression": _suppressions,
    "reports_deliveries": _deliveries,
    "reports_dailytotal": _daily_totals,
    "reports_generatedreport": _reports,
    "relay_activity": _activity,
}


def _fill(connection: Connection, filled: Filled) -> None:
    connection.execute("SET maintenance_work_mem = '512MB'")
    connection.execute("SET session_replication_role = replica")  # no row begins as accepted: the guards say so
    for table, fill in FILLS.items():
        found = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
        if not found or found[0] is None:
            say(f"there is no {table} in this version")
            continue
        started = time.perf_counter()
        fill(connection, filled)
        say(f"{table} filled in {time.perf_counter() - started:.0f} s")
    connection.execute("SET session_replication_role = origin")
    connection.execute("VACUUM ANALYZE")


@contextlib.contextmanager
def _without_indexes(connection: Connection, table: str) -> Iterator[None]:
    """They are built anew afterwards, which is much faster than to fill them row by row. Constraints stay."""
    found = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND NOT EXISTS"
        " (SELECT 1 FROM pg_constraint WHERE conname = indexname)",
        [table],
    ).fetchall()
    for name, _definition in found:
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    yield
    for _name, definition in found:
        connection.execute(definition)


# --- asking -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Measured:
    page: Page
    milliseconds: list[float]
    first: float
    cpu: float  # milliseconds of ours in the middle request: what a busy machine cannot make longer
    statements: list[tuple[float, str, Any]]  # of one request: milliseconds, SQL, parameters

    def percentile(self, share: float) -> float:
        return sorted(self.milliseconds)[ceil(len(self.milliseconds) * share) - 1]

    @property
    def met(self) -> bool:
        return self.percentile(0.95) < GOAL_MS

    def __str__(self) -> str:
        p50, p95 = self.percentile(0.5), self.percentile(0.95)
        verdict = "met" if self.met else "MISSED"
        figures = (p50, p95, min(self.milliseconds), self.first, self.cpu, len(self.statements))
        return f"{self.page.name:34}{''.join(f'{figure:9.0f}' for figure in figures)}   {verdict}"


def _operator() -> Any:
    """Whoever may do all that can be done in the console, without being a superuser."""
    from django.contrib.auth.models import Permission, User
    from django.test import Client

    operator = User.objects.create_user("lucia", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(content_type__app_label__in=["relay", "reports"]))
    client = Client()
    client.force_login(operator)
    return client


def _ask(client: Any, page: Page, filled: Filled, repeat: int) -> Measured | None:
    from django.db import connection
    from django.urls import NoReverseMatch

    try:
        address = page.address(filled)
    except NoReverseMatch:
        say(f"there is no page «{page.name}» in this version")
        return None
    started = time.perf_counter()
    answer = client.get(address, follow=True)
    first = 1000 * (time.perf_counter() - started)
    if answer.status_code != 200:
        say(f"«{page.name}» ANSWERED {answer.status_code}: {address}")
        return None
    if answer.redirect_chain:
        address = answer.redirect_chain[-1][0]
        say(f"«{page.name}» leads to {address}")
    times, cpu = [], []
    for _ in range(repeat):
        started, worked = time.perf_counter(), time.process_time()
        client.get(address)
        times.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.process_time() - worked))
    statements: list[tuple[float, str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            statements.append((1000 * (time.perf_counter() - started), sql, params))

    with connection.execute_wrapper(note):
        client.get(address)
    measured = Measured(page, times, first, median(cpu), statements)
    say(str(measured))
    return measured


def _explain(connection: Connection, measured: Measured) -> None:
    """The slowest statement of a page that takes too long, as the database carries it out."""
    took, statement, params = max(measured.statements, key=lambda statement: statement[0])
    print(f"\n{measured.page.name}: its slowest statement took {took:.0f} ms")
    if took < WORTH_EXPLAINING_MS:
        return
    print(statement)
    with contextlib.suppress(psycopg.Error):
        for (line,) in connection.execute("EXPLAIN (ANALYZE, BUFFERS) " + statement, params).fetchall():
            print(f"    {line}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench pages", description="The console with millions of rows behind it.")
    parser.add_argument("--rows", type=int, default=10_000_000, metavar="N", help="recipients")
    parser.add_argument("--deliveries", type=int, default=20_000_000, metavar="N")
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="requests of each page, after a first one")
    parser.add_argument("--only", default="", metavar="TEXT", help="pages whose name contains it")
    options = parser.parse_args(arguments)
    filled = Filled(options.rows, options.deliveries)
    with new_installation(durable=False) as installation:
        use_django(installation)
        from django.test import override_settings

        with connected(installation) as connection, override_settings(**_IN_PROCESS, STATIC_ROOT=installation.folder):
            _fill(connection, filled)
            client = _operator()
            asked = [page for page in _pages() if options.only in page.name]
            measured = [found for page in asked if (found := _ask(client, page, filled, options.repeat))]
            names = ("p50 ms", "p95 ms", "best", "first", "cpu", "queries")
            print(f"\n{'':34}{''.join(f'{name:>9}' for name in names)}   goal: p95 < {GOAL_MS} ms")
            print(*measured, sep="\n")
            for one in measured:
                if not one.met:
                    _explain(connection, one)
    return 0


# The settings of production, but for what only a server has: TLS, and static files collected into one folder.
_IN_PROCESS: dict[str, Any] = {
    "ALLOWED_HOSTS": ["testserver"],
    "SECURE_SSL_REDIRECT": False,
    "STORAGES": {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    },
}
