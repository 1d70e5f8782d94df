"""The ceiling of what fills a table: `psql \\copy` of the finished rows into it, with all its indexes."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.installation import Installation

type Connection = psycopg.Connection[tuple[Any, ...]]


def connected(installation: Installation) -> Connection:
    settings = installation.environment
    return psycopg.connect(**_server(settings), dbname=settings["DB_NAME"], autocommit=True)  # type: ignore[arg-type]


def _server(settings: dict[str, str]) -> dict[str, str]:
    return {name: settings[f"DB_{name.upper()}"] for name in ("host", "port", "user", "password")}


def empty(connection: Connection, tables: str) -> None:
    connection.execute(f"TRUNCATE {tables}")
    connection.execute("CHECKPOINT")


def dump(connection: Connection, source: str, target: Path) -> None:
    """Of a table, or of a query in parentheses."""
    with target.open("wb") as file, connection.cursor().copy(f"COPY {source} TO STDOUT") as copy:
        for block in copy:
            file.write(block)


def find_psql() -> Path | None:
    """The program itself where we know its place, not Debian's script that chooses one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"), key=lambda path: float(path.parts[4]))
    on_path = shutil.which("psql")
    return found[-1] if found else Path(on_path) if on_path else None


def seconds_to_copy(psql: Path, table: str, rows: Path, installation: Installation) -> float:
    settings = installation.environment
    environment = {**os.environ, **{f"PG{name.upper()}": value for name, value in _server(settings).items()}}
    options = ["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", settings["DB_NAME"]]
    started = time.perf_counter()
    subprocess.run([psql, *options, "--command", f"\\copy {table} from '{rows}'"], check=True, env=environment)
    return time.perf_counter() - started
