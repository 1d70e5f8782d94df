"""A recipients file by its real command (`bulk create`) into the ledger on PostgreSQL.

The file has 8 columns, `;`, some accents, 1 % of bad addresses and 1 % of repeated ones. The time is the whole
command's: start of the interpreter, encoding and layout, every address and variable judged, repeats and suppressions
looked up, the file of rejected rows written, and the planner's statistics.

The ceiling is `psql \\copy` of the finished rows, from a file as COPY wrote it, into the same table emptied by
TRUNCATE, as it is before each import too: 4 indexes (key, bulk send and row, address, rows that came back), 7 checks,
2 triggers that fire only on wrong rows, the foreign key to the bulk send.
"""

import argparse
import csv
import os
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.measuring import Line, Run, new_installation, run, say, show
from tests.installation import Installation
from tests.sandbox import running_sandbox

HEADER = ("nombre", "correo", "cedula", "monto", "vence", "ciudad", "agencia", "producto")
NAMES = ("Ana", "Luis Alberto", "María José", "Íñigo", "Zoila", "Ramón", "Lucía", "Andrés", "Belén", "Nuñez & Hijos")
SURNAMES = ("Peña", "Guamán", "Núñez", "Quispe", "Ibáñez", "Rojas", "Mamani", "Villacís", "Ordóñez", "Cárdenas")
CITIES = ("Quito", "Guayaquil", "Cuenca", "Latacunga", "Ibarra", "Manta", "San Miguel de los Bancos")
DOMAINS = ("gmail.com", "hotmail.com", "outlook.es", "yahoo.com", "empresa.com.ec", "example.com")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench import", description="A recipients file into the ledger.")
    parser.add_argument("--recipients", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)
    psql = _psql()
    if psql is None:
        say("there is no psql here: without it there is no ceiling (install postgresql-client)")
    imports: list[Run] = []
    copies: list[float] = []
    with new_installation() as installation, running_sandbox(Path(":memory:")) as sandbox:
        create = ("bulk", "create", "--template", sandbox.template, "--recipients")
        file, expected = _write_file(installation.folder / "recipients.csv", options.recipients)
        tenth, _ = _write_file(installation.folder / "tenth.csv", options.recipients // 10)
        with _connect(installation) as connection:
            small = run(installation, *create, str(tenth), **sandbox.environment())
            for repetition in range(options.repeat):
                _empty(connection)
                imports.append(run(installation, *create, str(file), **sandbox.environment()))
                wrong = _wrong(connection, imports[-1].result, expected)
                if wrong:
                    say(f"THE LEDGER IS WRONG: {wrong}")
                    return 1
                if psql:
                    copies.append(_copied(psql, installation, connection))
                copied = f", \\copy {copies[-1]:.1f} s" if copies else ""
                say(f"import {imports[-1].seconds:.1f} s{copied} ({repetition + 1} of {options.repeat})")
    rows = options.recipients
    peaks = [one.peak_mb for one in imports]
    show(
        [
            Line(f"import of {rows:,}", "rows/s", [rows / one.seconds for one in imports],
                 [rows / seconds for seconds in copies], 0.45),
            Line(f"peak memory, {rows:,} rows", "MB", peaks, at_most=300),
            Line(f"peak memory, {rows // 10:,} rows", "MB", [small.peak_mb]),
            Line("peak memory, the larger in % of the smaller", "%", [100 * peak / small.peak_mb for peak in peaks],
                 at_most=110),
        ]
    )  # fmt: skip
    return 0


def _write_file(path: Path, rows: int) -> tuple[Path, dict[str, int]]:
    """The same file each time; with it, how many rows have to be excluded for which reason."""
    chance = random.Random(2026)
    excluded = {"invalid_address": 0, "duplicate": 0}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(HEADER)
        for number in range(rows):
            email = f"persona.{number}@{DOMAINS[number % len(DOMAINS)]}"
            if number % 100 == 50:
                email = ("no tiene", f"persona{number}@@example.com", f"persona{number}@example..com")[number % 3]
                excluded["invalid_address"] += 1
            elif number % 100 == 99:
                email = f"PERSONA.{number - 1}@{DOMAINS[(number - 1) % len(DOMAINS)]}"
                excluded["duplicate"] += 1
            amount = f"{chance.randint(10, 1500)},{chance.randint(0, 99):02d}"
            person = f"{chance.choice(NAMES)} {chance.choice(SURNAMES)}"
            due = f"2026-12-{chance.randint(1, 28):02d}"
            agency = f"Agencia {chance.randint(1, 40)}"
            city = chance.choice(CITIES)
            writer.writerow((person, email, f"{number:010d}", amount, due, city, agency, "Crédito de consumo"))
    return path, {reason: count for reason, count in excluded.items() if count}


def _psql() -> Path | None:
    """The program itself, not Debian's script that chooses one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"), key=lambda path: float(path.parts[4]))
    on_path = shutil.which("psql")
    return found[-1] if found else Path(on_path) if on_path else None


def _connect(installation: Installation) -> psycopg.Connection[tuple[Any, ...]]:
    settings = installation.environment
    return psycopg.connect(
        host=settings["DB_HOST"],
        port=settings["DB_PORT"],
        dbname=settings["DB_NAME"],
        user=settings["DB_USER"],
        password=settings["DB_PASSWORD"],
        autocommit=True,
    )


def _empty(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    connection.execute("TRUNCATE relay_recipient, relay_attempt")
    connection.execute("CHECKPOINT")


def _wrong(connection: psycopg.Connection[tuple[Any, ...]], result: dict[str, Any], expected: dict[str, int]) -> str:
    told = result["excluded_by_reason"]
    stored = dict(
        connection.execute(
            "SELECT reason, count(*) FROM relay_recipient WHERE bulk_send_id = %s AND state = 'excluded'"
            " GROUP BY reason",
            [result["id"]],
        ).fetchall()
    )
    return "" if told == stored == expected else f"excluded: told {told}, stored {stored}, expected {expected}"


def _copied(psql: Path, installation: Installation, connection: psycopg.Connection[tuple[Any, ...]]) -> float:
    """Seconds to load what is in the table into the same table."""
    settings = installation.environment
    rows = installation.folder / "rows.copy"
    with rows.open("wb") as file, connection.cursor().copy("COPY relay_recipient TO STDOUT") as copy:
        for block in copy:
            file.write(block)
    _empty(connection)
    command = [str(psql), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
    command += ["--host", settings["DB_HOST"], "--port", settings["DB_PORT"], "--username", settings["DB_USER"]]
    command += ["--dbname", settings["DB_NAME"], "--command", f"\\copy relay_recipient from '{rows}'"]
    started = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "PGPASSWORD": settings["DB_PASSWORD"]})
    return time.perf_counter() - started
