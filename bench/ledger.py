"""Claim and record by `ledger.take_turn` alone, on PostgreSQL whose commits reach the disk: no relay, no loop.

The table holds a million rows of finished bulk sends besides. Autovacuum is off while it is measured: what the ledger
needs must not depend on it. A row counts when it has been claimed, recorded, and its attempt appended, with one commit
a turn.

`bare` is what the table allows: two UPDATEs a row in batches of the same size, claimed by a cursor and settled from
arrays by plain psycopg, each with its commit; no lease, no attempt, no status. `COPY` writes the same finished rows and
attempts once, in one transaction.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from bench.measuring import Line, new_installation, say, show, use_django

type Connection = psycopg.Connection[tuple[Any, ...]]

FINISHED = 1_000_000
SMALL, LARGE = 10_000, 1_000_000
ENGINE, BATCHES = 50, (50, 200, 500, 2000)  # a process claims twice its connections: 50 of 25, 500 of 250
GOAL = 20_000


@dataclass(slots=True)
class Case:
    rows: int
    batch: int
    turns: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)

    def line(self) -> Line:
        name = f"{self.rows:,} rows, {self.batch} a turn"
        # With 50 a turn the commit, which waits for the disk, is most of it: no claim of 50 is in need of such a rate.
        return Line(name, "rows/s", self.turns, self.bare, at_least=GOAL if self.batch >= 500 else None)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench ledger", description="Claim and record, by the ledger alone.")
    parser.add_argument("--rows", type=int, default=LARGE, metavar="N", help="of the large bulk send")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)
    cases = [Case(SMALL, batch) for batch in BATCHES] + [Case(options.rows, ENGINE), Case(options.rows, 500)]
    with new_installation() as installation:
        use_django(installation)
        with _connect(installation.environment) as connection:
            _prepare(connection)
            copies = [_copy(connection, SMALL * 10) for _ in range(options.repeat)]
            healths = [_measure(connection, case) for case in cases for _ in range(_times(case, options.repeat))]
    small, large = (
        next(case for case in cases if case.rows == n and case.batch == ENGINE) for n in (SMALL, options.rows)
    )
    apart = [100 * abs(_middle(small.turns) / rate - 1) for rate in large.turns]
    last = healths[-1]
    lines = [case.line() for case in cases]
    lines += [
        Line(f"{options.rows:,} rows against {SMALL:,}", "% apart", apart, at_most=25),
        Line("COPY of the same finished rows", "rows/s", copies),
        Line("updates in place (HOT)", "%", [one.hot for one in healths]),
        Line("last tenth against the first, last run", "%", [last.last_tenth]),
        Line("dead rows that nobody vacuumed, last run", "rows", [last.dead]),
    ]
    show(lines)
    return 0


def _times(case: Case, repeat: int) -> int:
    return repeat if case.rows > SMALL else repeat * 3


def _middle(samples: list[float]) -> float:
    return sorted(samples)[len(samples) // 2]


def _connect(environment: dict[str, str]) -> Connection:
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    return psycopg.connect(**{name: environment[f"DB_{of}"] for name, of in names.items()}, autocommit=True)  # type: ignore[arg-type]


def _prepare(connection: Connection) -> None:
    say(f"{FINISHED:,} rows of finished bulk sends")
    for table in ("relay_recipient", "relay_attempt", "relay_lease", "relay_bulksend", "relay_tally"):
        connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    for _ in range(4):
        _finished_rows(connection, _new_bulk_send(connection, FINISHED // 4), FINISHED // 4)
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def _finished_rows(connection: Connection, bulk_send: int, rows: int) -> None:
    connection.execute("SET session_replication_role = replica")  # no row begins as accepted: the guards say so
    connection.execute(
        'INSERT INTO relay_recipient (bulk_send_id, "row", email, variables, state, message_id, delivery, accepted_at,'
        " attempts, sending_since) SELECT %s, n, 'persona' || n || '@example.com', %s, 'accepted', md5(n::text),"
        " '/accounts/1/deliveries/' || md5(n::text), now(), 1, now() FROM generate_series(2, %s) n",
        [bulk_send, VARIABLES, rows + 1],
    )
    connection.execute("SET session_replication_role = origin")


VARIABLES = json.dumps({"nombre": "María José Peña", "cedula": "0912345678", "monto": "125,50", "vence": "2026-12-15"})


def _new_bulk_send(connection: Connection, rows: int) -> int:
    from relay.models import BulkSend

    texts = dict.fromkeys(("name", "template_id", "template_html", "file_name", "address_column"), "x")
    return int(BulkSend.objects.create(**texts, status="sending", total=rows).pk)


def _pending(connection: Connection, rows: int) -> int:
    """A bulk send as an import leaves it."""
    bulk_send = _new_bulk_send(connection, rows)
    connection.execute(
        'INSERT INTO relay_recipient (bulk_send_id, "row", email, variables, state)'
        " SELECT %s, n, 'persona' || n || '@example.com', %s, 'pending' FROM generate_series(2, %s) n",
        [bulk_send, VARIABLES, rows + 1],
    )
    connection.execute("ANALYZE relay_recipient")
    connection.execute("CHECKPOINT")
    return bulk_send


@dataclass(frozen=True, slots=True)
class Health:
    hot: float
    dead: float
    last_tenth: float


def _measure(connection: Connection, case: Case) -> Health:
    case.bare.append(_timed(case.rows, _bare, connection, _pending(connection, case.rows), case.batch))
    before = _statistics(connection)
    bulk_send = _pending(connection, case.rows)
    moments: list[float] = []
    case.turns.append(_timed(case.rows, _turns, bulk_send, case.batch, moments))
    _check(connection, bulk_send, case.rows)
    after = _statistics(connection)
    updated, hot = after[0] - before[0], after[1] - before[1]
    say(f"{case.rows:,} rows, {case.batch} a turn: {case.turns[-1]:,.0f}/s, bare {case.bare[-1]:,.0f}/s")
    tenth = max(1, len(moments) // 10)
    first, last = moments[tenth] - moments[0], moments[-1] - moments[-1 - tenth]
    return Health(100 * hot / updated, after[2], 100 * first / last)


def _timed(rows: int, work: Callable[..., None], *arguments: Any) -> float:
    started = time.perf_counter()
    work(*arguments)
    return rows / (time.perf_counter() - started)


def _turns(bulk_send: int, batch: int, moments: list[float]) -> None:
    """As the engine does it: heartbeats, and a look for rows that came back, at the engine's intervals."""
    from relay import ledger

    lease = ledger.acquire(bulk_send)
    outcomes: list[ledger.Outcome] = []
    looked = beat = time.monotonic()
    while True:
        now = time.monotonic()
        if now > beat + 1:
            beat = now
            ledger.heartbeat(lease, calls_in_flight=batch, calls_per_second=1.0)
        look_back = now > looked + 0.2
        looked = now if look_back else looked
        turn = ledger.take_turn(lease, outcomes, batch, look_back=look_back)
        moments.append(now)
        if not turn.claimed:
            break
        began = lease.now()
        outcomes = [
            ledger.Outcome(
                recipient_id=claimed.id,
                state="accepted",
                started_at=began,
                ended_at=began,
                message_id="8c0d1f7e-2a54-4c1b-9f6e-0d3b5a7c9e11",
                delivery="/accounts/1/deliveries/8c0d1f7e-2a54-4c1b-9f6e-0d3b5a7c9e11",
                status=201,
                from_email="cobranzas@example.com",
                subject="María José, su cuota vence el 15 de diciembre",
            )
            for claimed in turn.claimed
        ]
    ledger.release(lease)


def _bare(connection: Connection, bulk_send: int, batch: int) -> None:
    """The least that marks a row twice: nothing proves who did it, and no attempt is kept."""
    connection.execute("SET session_replication_role = replica")  # nor do the guards look
    claim = (
        "WITH picked AS (SELECT id FROM relay_recipient WHERE bulk_send_id = %s AND \"row\" > %s AND state = 'pending'"
        " ORDER BY \"row\" LIMIT %s FOR UPDATE SKIP LOCKED) UPDATE relay_recipient r SET state = 'sending',"
        " lease_id = 1, sending_since = now() FROM picked WHERE r.id = picked.id"
        ' RETURNING r.id, r."row", r.email, r.variables'
    )
    settle = (
        "UPDATE relay_recipient r SET state = 'accepted', lease_id = NULL, message_id = o.message,"
        " delivery = o.message, accepted_at = now(), attempts = 1"
        " FROM unnest(%s::bigint[], %s::text[]) o(id, message) WHERE r.id = o.id"
    )
    cursor = 0
    while claimed := connection.execute(claim, [bulk_send, cursor, batch]).fetchall():
        cursor = max(row[1] for row in claimed)
        message = "8c0d1f7e-2a54-4c1b-9f6e-0d3b5a7c9e11"
        connection.execute(settle, [[row[0] for row in claimed], [message] * len(claimed)])
    connection.execute("SET session_replication_role = origin")


def _copy(connection: Connection, rows: int) -> float:
    """One COPY of finished recipients and one of their attempts, in one transaction."""
    source = _new_bulk_send(connection, rows)
    _finished_rows(connection, source, rows)
    target = _new_bulk_send(connection, rows)
    columns = 'bulk_send_id, "row", email, variables, state, message_id, delivery, accepted_at, attempts, sending_since'
    recipients = (
        f"COPY (SELECT {columns.replace('bulk_send_id', str(target))} FROM relay_recipient"
        f" WHERE bulk_send_id = {source}) TO STDOUT"
    )
    kept = "recipient_id, started_at, ended_at, outcome, reason, code, detail, from_email, subject, status"
    attempts = (
        "COPY (SELECT id, now(), now(), 'accepted', '', '', '', 'cobranzas@example.com', 'Su cuota vence', 201"
        f" FROM relay_recipient WHERE bulk_send_id = {source}) TO STDOUT"
    )
    data = []
    for statement in (recipients, attempts):
        with connection.cursor().copy(statement) as copy:
            data.append(b"".join(bytes(block) for block in copy))
    connection.execute("SET session_replication_role = replica")
    started = time.perf_counter()
    with connection.transaction():
        for table, block in zip((f"relay_recipient ({columns})", f"relay_attempt ({kept})"), data, strict=True):
            with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                copy.write(block)
    took = time.perf_counter() - started
    connection.execute("SET session_replication_role = origin")
    return rows / took


def _check(connection: Connection, bulk_send: int, rows: int) -> None:
    sql = (
        "SELECT count(*), count(DISTINCT a.recipient_id) FROM relay_recipient r JOIN relay_attempt a"
        " ON a.recipient_id = r.id WHERE r.bulk_send_id = %s AND r.state = 'accepted' AND a.outcome = 'accepted'"
    )
    found = connection.execute(sql, [bulk_send]).fetchone()
    if found != (rows, rows):
        raise SystemExit(f"bench: THE LEDGER IS WRONG: {found} of {rows} rows")


def _statistics(connection: Connection) -> tuple[float, float, float]:
    """Updates, updates in place, dead rows of the recipients so far."""
    from django.db import connection as products

    for session in (products.cursor(), connection):
        session.execute("SELECT pg_stat_force_next_flush()")  # else a session tells its counts when it pleases
        session.execute("SELECT 1")
    sql = "SELECT n_tup_upd, n_tup_hot_upd, n_dead_tup FROM pg_stat_user_tables WHERE relname = 'relay_recipient'"
    found = connection.execute(sql).fetchone()
    assert found is not None
    return float(found[0]), float(found[1]), float(found[2])
