"""Senders are killed, stopped and cut off while they send; then ledger and relay are compared, row by row.

The executions are spread over the progress of the bulk send, not over time, so that a slow machine sees as many of
them in the middle of the work as a fast one. The last ones fall while the unknown is settled.
"""

import contextlib
import csv
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg

from tests.installation import Installation, people
from tests.sandbox import Sandbox

LEASE_SECONDS = 4
# Short, so that a hundred deaths and their settlement fit into minutes.
SHORT_TIMES = {
    "RELAY_LEASE_SECONDS": str(LEASE_SECONDS),
    "RELAY_TIMEOUT_SECONDS": "2",
    "RELAY_SETTLEMENT_LOOKS": "3,6,9",
    "RELAY_STOP_LOSS": "0",  # a tenth of the calls fail on purpose
    "LOG_LEVEL": "WARNING",
}
SEND_FAULTS = {
    "400": 0.02,
    "413_html": 0.005,
    "429": 0.01,
    "429_bare": 0.005,
    "500_before": 0.01,
    "500_after": 0.01,
    "502_html_before": 0.005,
    "502_html_after": 0.005,
    "reset_before": 0.01,
    "reset_after": 0.01,
    "close_before": 0.005,
    "close_after": 0.005,
    "stall_before": 0.002,
    "stall_after": 0.002,
    "truncated_after": 0.005,
    "html_after": 0.005,
    "no_id_after": 0.005,
}
READ_FAULTS = {"429": 0.01, "500": 0.02, "502_html": 0.01, "reset": 0.02, "close": 0.01, "stall": 0.005, "html": 0.01}
REFUSING = {"400", "413_html"}

LOOK_SECONDS = 0.1
REST_SECONDS = 0.5  # between two executions, and before an ended sender is started again


class Kind(StrEnum):
    KILL = "kill -9"
    STOP = "SIGSTOP … SIGCONT"
    TERM = "SIGTERM"
    CUT = "connections cut"
    FAST = "database restart"
    CRASH = "database crash"


@dataclass(frozen=True, slots=True)
class Plan:
    kills: int  # of the main kind: kill -9, or with `stops_only` SIGSTOP; the others come on top
    senders: int
    recipients: int
    seed: int
    timeout: float
    latency_ms: int = 200
    latency_spread_ms: int = 150
    connections: int = 6
    stops_only: bool = False

    def environment(self) -> dict[str, str]:
        return {**SHORT_TIMES, "RELAY_MAX_CONNECTIONS": str(self.connections)}

    def faults(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "latency_ms": self.latency_ms,
            "latency_spread_ms": self.latency_spread_ms,
            "rates": SEND_FAULTS,
            "reads": READ_FAULTS,
        }


@dataclass(slots=True)
class Execution:
    kind: Kind
    at: float
    pid: int | None = None  # of the sender it fell on
    until: float | None = None  # of a stop: when it went on
    status: str = ""  # of the bulk send then


class Ledger:
    """What stands in the database, by a connection of our own that outlives restarts."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.is_postgresql = environment["USE_SQLITE"] != "1"
        self._postgresql: psycopg.Connection[tuple[Any, ...]] | None = None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        if not self.is_postgresql:
            with contextlib.closing(sqlite3.connect(self._environment["SQLITE_PATH"], timeout=60)) as connection:
                return connection.execute(sql).fetchall()
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._connected().execute(sql).fetchall()  # type: ignore[call-overload,no-any-return]
            except psycopg.OperationalError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _connected(self) -> "psycopg.Connection[tuple[Any, ...]]":
        if self._postgresql is None:
            names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
            found = {name: self._environment[f"DB_{of}"] for name, of in names.items()}
            self._postgresql = psycopg.connect(**found, autocommit=True)  # type: ignore[arg-type]
        return self._postgresql

    def close(self) -> None:
        if self._postgresql is not None:
            self._postgresql.close()
        self._postgresql = None

    def cut_others(self) -> None:
        """Ends every other connection to this database."""
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def status(self) -> str:
        return str(self.rows("SELECT status FROM relay_bulksend")[0][0])

    def counts(self) -> Counter[str]:
        return Counter(dict(self.rows("SELECT state, count(*) FROM relay_recipient GROUP BY state")))

    def leases(self) -> Iterator[tuple[int, float, float | None]]:
        """Process id of the owner, when it was acquired, when it ended."""
        for owner, acquired, released in self.rows("SELECT owner, acquired_at, released_at FROM relay_lease"):
            yield int(owner.split(":")[-2]), _seconds(acquired), released and _seconds(released)

    def span(self, bulk_send: int) -> tuple[float, float]:
        """When it was first claimed from, and when it was done."""
        sql = "SELECT processing_started_at, finished_at FROM relay_bulksend WHERE id = "
        ((began, ended),) = self.rows(sql + str(bulk_send))
        return _seconds(began), _seconds(ended)

    def holders(self) -> set[int]:
        return {pid for pid, _acquired, released in self.leases() if released is None}


def _seconds(moment: datetime | str) -> float:
    moment = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Sender:
    """A process that sends and, whatever happens to it, is started again, as a service manager would."""

    def __init__(self, installation: Installation, number: int, environment: dict[str, str]) -> None:
        self._installation = installation
        self._environment = environment
        self._log = installation.folder / f"sender-{number}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.stop: Execution | None = None
        self._ended = 0.0
        self.runs = 0

    def start(self, *command: str) -> None:
        with self._log.open("ab") as log:
            self.process = self._installation.start_logged(log, *command, **self._environment)
        self.runs += 1

    def look_after(self) -> None:
        now = time.time()
        if self.stop is not None and self.stop.until is not None and now >= self.stop.until:
            self.signal(signal.SIGCONT)
            self.stop = None
        if self.process is not None and self.process.poll() is not None:
            self.process, self._ended = None, now
        if self.process is None and now >= self._ended + REST_SECONDS:
            self.start("process_bulk_scheduled", "--json")

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    @property
    def vulnerable(self) -> bool:
        return self.process is not None and self.process.poll() is None and self.stop is None

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=60)

    def unexplained_ends(self) -> int:
        """Runs that ended by an exception that no command explains."""
        return self._log.read_bytes().count(b"Traceback (most recent call last)") if self._log.exists() else 0


@dataclass(slots=True)
class Comparison:
    """Ledger against relay. Each list names rows by address (they are invented)."""

    recipients: int = 0
    calls: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    called_again: list[str] = field(default_factory=list)
    wrong_proof: list[str] = field(default_factory=list)
    wrongly_refused: list[str] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)

    def faults(self) -> dict[str, list[str]]:
        return {
            "lost": self.lost,
            "doubled": self.doubled,
            "unknown left": self.unknown,
            "called again after it was accepted": self.called_again,
            "message id or link of another": self.wrong_proof,
            "refused without a refusal": self.wrongly_refused,
            "more calls than attempts": self.unaccounted,
        }

    @property
    def right(self) -> bool:
        return not any(self.faults().values())


def compare(results: list[dict[str, str]], sandbox: Sandbox, expected: Iterable[str]) -> Comparison:
    """`expected`: the addresses that must have been written to, once each."""
    messages, calls = sandbox.deliveries(), sandbox.calls()
    accepted = Counter(message["recipient"] for message in messages)
    proofs = {message["recipient"]: message for message in messages}
    calls_of: dict[str, list[dict[str, str]]] = {}
    for call in calls:
        calls_of.setdefault(call["recipient"], []).append(call)
    found = Comparison(recipients=len(results), calls=len(calls))
    found.doubled = [address for address, times in accepted.items() if times > 1]
    found.lost = sorted({*expected} - {row["email"] for row in results})
    for row in results:
        _judge(row, calls_of.get(row["email"], []), accepted[row["email"]], proofs.get(row["email"]), found)
    return found


def _judge(
    row: dict[str, str], calls: list[dict[str, str]], accepted: int, proof: dict[str, str] | None, found: Comparison
) -> None:
    address = row["email"]
    if int(row["attempts"]) < len(calls):
        found.unaccounted.append(address)
    # Once the relay has it there must be no other call, whatever that call came to.
    if any(call["accepted"] == "1" for call in calls[:-1]):
        found.called_again.append(address)
    match row["state"]:
        case "accepted":
            if not accepted:
                found.lost.append(address)
            elif proof is not None and not _proves(row, proof):
                found.wrong_proof.append(address)
        case "refused":
            if accepted or not calls or calls[-1]["fault"] not in REFUSING:
                found.wrongly_refused.append(address)
        case "unknown":
            found.unknown.append(address)
        case _:
            found.lost.append(address)


def _proves(row: dict[str, str], proof: dict[str, str]) -> bool:
    """By a settlement a row may have the link alone; what it has must be that of its own message."""
    id_fits = row["message_id"] in ("", proof["message_id"])
    link_fits = row["delivery"] == "" or row["delivery"].rstrip("/").rpartition("/")[2] == proof["delivery"]
    return id_fits and link_fits and bool(row["message_id"] or row["delivery"])


@dataclass(slots=True)
class Report:
    plan: Plan
    executions: list[Execution]
    comparison: Comparison
    take_overs: list[float]
    seconds: float
    left: str  # what was not finished in time; empty: all is done
    unexplained_ends: int

    @property
    def right(self) -> bool:
        return self.comparison.right and not self.left

    def by_kind(self) -> Counter[Kind]:
        return Counter(execution.kind for execution in self.executions)

    def what_is_wrong(self) -> str:
        lines = [f"seed {self.plan.seed}: {self.left}"] if self.left else []
        for name, rows in self.comparison.faults().items():
            if rows:
                more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
                lines.append(f"seed {self.plan.seed}: {name}: {', '.join(sorted(rows)[:5])}{more}")
        return "\n".join(lines)


Progress = Callable[[str], None]


class Executioner:
    """Runs one plan. `restart` restarts the database in a mode of pg_ctl, where that is possible."""

    def __init__(
        self,
        plan: Plan,
        installation: Installation,
        sandbox: Sandbox,
        restart: Callable[[str], None] | None = None,
        say: Progress = lambda _text: None,
    ) -> None:
        self.plan = plan
        self.installation = installation
        self.sandbox = sandbox
        self.ledger = Ledger(installation.environment)
        self._restart = restart
        self._say = say
        self._chance = random.Random(plan.seed)
        self._executions: list[Execution] = []
        self._senders: list[Sender] = []
        self._last = 0.0

    def run(self) -> Report:
        expected = people(self.plan.recipients)
        self.sandbox.faults()  # the file is made in peace
        bulk_send = self.installation.create(self.sandbox.template, self.installation.write_file(expected))
        self.sandbox.faults(**self.plan.faults())
        started = time.monotonic()
        try:
            left = self._send(bulk_send)
        finally:
            for sender in self._senders:
                sender.end()
        took_over = list(self._take_overs())
        results = self.installation.results(bulk_send)
        comparison = compare(results, self.sandbox, (row[1] for row in expected))
        self.ledger.close()
        unexplained = sum(sender.unexplained_ends() for sender in self._senders)
        took = time.monotonic() - started
        return Report(self.plan, self._executions, comparison, took_over, took, left, unexplained)

    # --- Sending, while it goes wrong

    def _send(self, bulk_send: int) -> str:
        """Until all executions are spent and the bulk send is done; returns what is left when the time is up."""
        environment = self.plan.environment()
        self._senders = [Sender(self.installation, number, environment) for number in range(self.plan.senders)]
        self._senders[0].start("bulk", "start", str(bulk_send), "--drain", "--json")
        waiting = self._plan_executions()
        deadline = time.monotonic() + self.plan.timeout
        said = 0.0
        while time.monotonic() < deadline:
            status = self.ledger.status()
            if status not in ("draft", "pending"):
                for sender in self._senders:
                    sender.look_after()
            if status in ("paused", "error"):
                self.installation.run("bulk", "resume", str(bulk_send), "--json", **environment)
            counts = self.ledger.counts()
            share = 1 - (counts["pending"] + counts["sending"]) / self.plan.recipients
            if waiting and share >= waiting[-1][0] and time.monotonic() >= self._last + self._rest(share):
                if self._execute(waiting[-1][1], status):
                    waiting.pop()
                    self._last = time.monotonic()
            elif not waiting and status == "done" and not any(sender.stop for sender in self._senders):
                return ""
            if time.monotonic() > said + 30:
                said = time.monotonic()
                self._say(f"{len(self._executions)} executions, {len(waiting)} to come, {status}: {dict(counts)}")
            time.sleep(LOOK_SECONDS)
        return f"not done in {self.plan.timeout:.0f} s: {len(waiting)} executions to come, {status}, {dict(counts)}"

    def _rest(self, share: float) -> float:
        return REST_SECONDS if share < 0.99 else 2 * REST_SECONDS

    def _plan_executions(self) -> list[tuple[float, Kind]]:
        """The share of the rows that must have been called, and what happens then; the first at the end."""
        main = Kind.STOP if self.plan.stops_only else Kind.KILL
        kinds = [main] * self.plan.kills
        if not self.plan.stops_only:
            kinds += [Kind.STOP] * max(1, self.plan.kills // 6)
            kinds += [Kind.TERM] * max(1, self.plan.kills // 12)
            if self.ledger.is_postgresql:
                kinds += [Kind.CUT] * max(1, self.plan.kills // 8)
            if self._restart is not None:
                kinds += [Kind.FAST] * max(1, self.plan.kills // 30) + [Kind.CRASH] * max(1, self.plan.kills // 20)
        self._chance.shuffle(kinds)
        moments = sorted(self._chance.uniform(0.005, 1.06) for _ in kinds)
        return [(min(moment, 0.998), kind) for moment, kind in zip(moments, kinds, strict=True)][::-1]

    # --- The executions

    def _execute(self, kind: Kind, status: str) -> bool:
        """False when there is nobody to execute just now."""
        execution = Execution(kind, time.time(), status=status)
        match kind:
            case Kind.KILL | Kind.STOP | Kind.TERM:
                victim = self._victim()
                if victim is None or victim.process is None:
                    return False
                self._strike(victim, execution)
            case Kind.CUT:
                self.ledger.cut_others()
            case Kind.FAST | Kind.CRASH:
                assert self._restart is not None
                self._restart("fast" if kind == Kind.FAST else "immediate")
        self._executions.append(execution)
        return True

    def _victim(self) -> Sender | None:
        """Mostly one that is sending; now and then one that has just been started, or settles."""
        vulnerable = [sender for sender in self._senders if sender.vulnerable]
        holders = self.ledger.holders()
        sending = [sender for sender in vulnerable if sender.process and sender.process.pid in holders]
        if self._chance.random() < 0.85 and self.ledger.status() == "sending":
            vulnerable = sending
        if self.plan.stops_only and len(vulnerable) < 2 <= self.plan.senders:
            return None  # somebody has to go on, else nobody takes over
        return self._chance.choice(vulnerable) if vulnerable else None

    def _strike(self, victim: Sender, execution: Execution) -> None:
        assert victim.process is not None
        execution.pid = victim.process.pid
        if execution.kind == Kind.STOP:
            victim.signal(signal.SIGSTOP)
            execution.until = execution.at + LEASE_SECONDS * self._chance.uniform(1.1, 2.0)
            victim.stop = execution
        else:
            victim.signal(signal.SIGKILL if execution.kind == Kind.KILL else signal.SIGTERM)

    # --- What came of it

    def _take_overs(self) -> Iterator[float]:
        """Seconds from a death, or from the beginning of a stop, until somebody took over what it held."""
        leases = list(self.ledger.leases())
        for execution in self._executions:
            if execution.kind not in (Kind.KILL, Kind.STOP):
                continue
            for pid, acquired, released in leases:
                ended = released if released is not None else float("inf")
                if pid != execution.pid or not acquired <= execution.at < ended:
                    continue
                # Who woke up before anybody came ended his lease himself.
                if execution.until is None or ended < execution.until:
                    yield ended - execution.at

    def keep(self, folder: Path) -> None:
        """What a person needs to find out what happened."""
        folder.mkdir(parents=True, exist_ok=True)
        _write(
            folder / "executions.csv", [(one.at, one.kind, one.pid, one.until, one.status) for one in self._executions]
        )
        for table in ("relay_recipient", "relay_attempt", "relay_lease", "relay_settlement", "relay_bulksend"):
            _write(folder / f"{table}.csv", self.ledger.rows(f"SELECT * FROM {table} ORDER BY id"))
        for name in ("messages.csv", "calls.csv"):
            (folder / name).write_bytes(self.sandbox.ask("GET", f"/_sandbox/{name}"))
        for log in self.installation.folder.glob("sender-*.log"):
            (folder / log.name).write_bytes(log.read_bytes())
        self.ledger.close()


def _write(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
