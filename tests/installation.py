"""An installation of the product with a database of its own, used only through its commands, as sub-processes."""

import atexit
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import psycopg

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    output: str
    errors: str

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.output))


class Installation:
    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {
            "ENV_FILE": "",
            "DEBUG": "True",
            "PATH": os.environ["PATH"],
            "ATTACHMENTS_ROOT": str(folder / "attachments"),
            "REPORTS_TIMER_LOCK_PATH": str(folder / "timer.lock"),
            **environment,
        }

    def run(self, *arguments: str, timeout: float = 300, **environment: str) -> Result:
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=timeout)
        return Result(process.returncode, output, errors)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The command as a running process, for tests that stop or kill it."""
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_logged(self, log: IO[bytes], *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """The command as a running process that may say any amount: all of it goes to a file."""
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdout=log,
            stderr=log,
        )

    def json(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """The result of a command that must succeed."""
        result = self.run(*arguments, "--json", **environment)
        assert result.code == 0, result.errors
        return result.json

    def refusal(self, *arguments: str, **environment: str) -> str:
        """The sentence of a command that must fail in the agreed manner."""
        result = self.run(*arguments, "--json", **environment)
        assert result.code == 1, (result.code, result.output, result.errors)
        assert "Traceback" not in result.errors
        sentence = str(result.json["error"])
        assert sentence in result.errors
        assert "\n" not in sentence
        return sentence

    def write_file(self, rows: Iterable[tuple[str, ...]], name: str = "recipients.csv") -> Path:
        """A recipients file for the first sample template."""
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=";")
            writer.writerow(["nombre", "correo", "cedula", "monto", "vence"])
            writer.writerows(rows)
        return path

    def create(self, template: str, file: Path, *more: str) -> int:
        return int(self.json("bulk", "create", "--template", template, "--recipients", str(file), *more)["id"])

    def results(self, bulk_send_id: int) -> list[dict[str, str]]:
        """The ledger, as an operator gets it."""
        target = self.folder / f"results-{bulk_send_id}.csv"
        self.json("bulk", "results", str(bulk_send_id), "--output", str(target))
        with target.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def wait_until(self, bulk_send_id: int, key: str, at_least: int, timeout: float = 30) -> dict[str, Any]:
        """Asks `bulk status` until a count has grown that far."""
        deadline = time.monotonic() + timeout
        while True:
            status = self.json("bulk", "status", str(bulk_send_id))
            if status[key] >= at_least:
                return status
            assert time.monotonic() < deadline, status


def people(count: int, start: int = 0) -> list[tuple[str, ...]]:
    return [
        (f"Persona {number}", f"persona{number}@example.com", f"{number:010d}", f"{number},50", "2026-12-15")
        for number in range(start, start + count)
    ]


def states(results: list[dict[str, str]]) -> Counter[str]:
    return Counter(row["state"] for row in results)


def kill(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.communicate(timeout=60)


@contextlib.contextmanager
def new_database(folder: Path) -> Iterator[dict[str, str]]:
    """A migrated database for one test, a copy of one that is made once; on the server of this run if it has one."""
    if os.environ.get("USE_SQLITE") != "0":
        environment = {"USE_SQLITE": "1", "SQLITE_PATH": str(folder / "db.sqlite3")}
        shutil.copyfile(_sqlite_template(), environment["SQLITE_PATH"])
        yield environment
        return
    server = {name: os.environ[name] for name in ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD")}
    name = _new_name()
    template = _postgresql_template(tuple(server.items()))
    with connected(server) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield {"USE_SQLITE": "0", **server, "DB_NAME": name}
    finally:
        with connected(server) as connection:  # a new one: the server may have been restarted meanwhile
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def new_analytics(server: dict[str, str]) -> Iterator[dict[str, str]]:
    """A second database on the PostgreSQL of this run, empty: the variables that name it to an installation."""
    name = _new_name()
    with connected(server) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        place = {f"ANALYTICS_{key}": server[key] for key in ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD")}
        yield {**place, "ANALYTICS_DB_NAME": name}
    finally:
        with connected(server) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@cache
def _sqlite_template() -> Path:
    folder = tempfile.mkdtemp(prefix="relay-template-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, "db.sqlite3")
    _migrate({"USE_SQLITE": "1", "SQLITE_PATH": str(path)})
    return path


@cache
def _postgresql_template(server: tuple[tuple[str, str], ...]) -> str:
    name = _new_name()
    with connected(dict(server)) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    atexit.register(_drop, name, server)
    _migrate({"USE_SQLITE": "0", **dict(server), "DB_NAME": name})
    return name


def _drop(name: str, server: tuple[tuple[str, str], ...]) -> None:
    with contextlib.suppress(psycopg.OperationalError), connected(dict(server)) as connection:  # it may be gone
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _new_name() -> str:
    return "test_" + "".join(random.choices(string.ascii_lowercase, k=12))


def connected(server: dict[str, str], database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=server["DB_HOST"],
        port=server["DB_PORT"],
        user=server["DB_USER"],
        password=server["DB_PASSWORD"],
        dbname=database,
        autocommit=True,
    )


def _migrate(environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env={"ENV_FILE": "", "DEBUG": "True", "PATH": os.environ["PATH"], **environment},
        check=True,
    )
