"""A recipients file by its real command (`bulk create`) into the ledger on PostgreSQL.

The file has 8 columns, `;`, some accents, 1 % of bad addresses and 1 % of repeated ones. The time is that of the
whole command: start of the interpreter, encoding and layout, every address and variable judged, repeats and
suppressions looked up, the file of rejected rows written, the planner's statistics.

The ceiling is `psql \\copy` of the finished rows, from a file as COPY wrote it, into the same table: 4 indexes, 7
checks, the guarding triggers, the foreign key to the bulk send. The table is emptied before each import and copy.
"""

import argparse
import csv
import random
from pathlib import Path
from typing import Any

from bench.ceilings import Connection, connected, dump, empty, find_psql, seconds_to_copy
from bench.measuring import Line, Run, new_installation, run, say, show
from tests.sandbox import running_sandbox

HEADER = ("nombre", "correo", "cedula", "monto", "vence", "ciudad", "agencia", "producto")
NAMES = ("Ana", "Luis Alberto", "María José", "Íñigo", "Zoila", "Ramón", "Lucía", "Andrés", "Belén", "Nuñez & Hijos")
CITIES = ("Quito", "Guayaquil", "Cuenca", "Latacunga", "Ibarra", "Manta", "San Miguel de los Bancos")
DOMAINS = ("gmail.com", "hotmail.com", "outlook.es", "yahoo.com", "empresa.com.ec", "example.com")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench import", description="A recipients file into the ledger.")
    parser.add_argument("--recipients", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)
    rows = options.recipients
    psql = find_psql()
    if psql is None:
        say("there is no psql here, so there will be no ceiling: install postgresql-client")
    imports: list[Run] = []
    copies: list[float] = []
    with new_installation() as installation, running_sandbox(Path(":memory:")) as sandbox:
        file, finished = installation.folder / "recipients.csv", installation.folder / "rows.copy"

        def imported() -> Run:
            create = ("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
            return run(installation, *create, **sandbox.environment())

        with connected(installation) as connection:
            _write_file(file, rows // 10)
            small = imported()
            expected = _write_file(file, rows)
            for number in range(options.repeat):
                empty(connection, "relay_recipient, relay_attempt, relay_settlement")
                imports.append(imported())
                wrong = _wrong(connection, imports[-1].result, expected)
                if wrong:
                    say(f"THE LEDGER IS WRONG: {wrong}")
                    return 1
                if psql:
                    dump(connection, "relay_recipient", finished)
                    empty(connection, "relay_recipient, relay_attempt, relay_settlement")
                    copies.append(seconds_to_copy(psql, "relay_recipient", finished, installation))
                took = f"import {imports[-1].seconds:.1f} s" + (f", psql \\copy {copies[-1]:.1f} s" if copies else "")
                say(f"{took} ({number + 1} of {options.repeat})")
    peaks = [one.peak_mb for one in imports]
    rates, limits = [rows / one.seconds for one in imports], [rows / seconds for seconds in copies]
    growth = [100 * peak / small.peak_mb for peak in peaks]
    show(
        [
            Line(f"import of {rows:,}", "rows/s", rates, limits, 0.45),
            Line(f"peak memory, {rows:,} rows", "MB", peaks, at_most=300),
            Line(f"peak memory, {rows // 10:,} rows", "MB", [small.peak_mb]),
            Line("peak memory of the larger", "% of it", growth, at_most=110),
        ]
    )
    return 0


def _write_file(path: Path, rows: int) -> dict[str, int]:
    """The same file each time. Returns how many rows have to be excluded for which reason."""
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
            amount, due = f"{chance.randint(10, 1500)},{number % 100:02d}", f"2026-12-{chance.randint(1, 28):02d}"
            place = (chance.choice(CITIES), f"Agencia {chance.randint(1, 40)}", "Crédito de consumo")
            writer.writerow((f"{chance.choice(NAMES)} Peña", email, f"{number:010d}", amount, due, *place))
    return {reason: count for reason, count in excluded.items() if count}


def _wrong(connection: Connection, result: dict[str, Any], expected: dict[str, int]) -> str:
    sql = "SELECT reason, count(*) FROM relay_recipient WHERE bulk_send_id = %s AND state = 'excluded' GROUP BY reason"
    stored = dict(connection.execute(sql, [result["id"]]).fetchall())
    told = result["excluded_by_reason"]
    return "" if told == stored == expected else f"excluded: told {told}, stored {stored}, expected {expected}"
