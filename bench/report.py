"""A report of the relay by the real loading into `reports_deliveries` on PostgreSQL: empty, filled, and again.

The file is as the relay gives it: eight columns, three days in the order of time, subjects of which every one is
another, a hundred senders' rows a second apart or together, 5 % bounces, 1 % of rows that are twice there. The time is
that of a whole process: start of the interpreter, encoding and layout, SHA-256, cells typed, the merge, the commit.

The ceiling is `psql \\copy` of the finished rows, from a file as COPY wrote it, into the same table with its four
indexes in the same state: empty, or holding the rows of the first report. The second report has the days of the first
and other people, so all its rows take the way over the staging table.
"""

import argparse
import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.ceilings import Connection, connected, dump, empty, find_psql, seconds_to_copy
from bench.measuring import Line, Run, new_installation, run, say, show, use_django
from tests.installation import Installation

FIRST, DAYS = datetime(2026, 3, 1, tzinfo=UTC), 3
TABLES = "reports_deliveries, reports_confirmations, reports_dailytotal"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench report", description="A report into the table that people query.")
    parser.add_argument("--rows", type=int, default=2_000_000, metavar="N")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)
    rows = options.rows
    psql = find_psql()
    if psql is None:
        say("there is no psql here, so there will be no ceiling: install postgresql-client")
    runs: dict[str, list[Run]] = {"empty": [], "again": [], "filled": []}
    copies: dict[str, list[float]] = {"empty": [], "filled": []}
    with new_installation() as installation, connected(installation) as connection:
        use_django(installation)
        folder = installation.folder / "attachments" / "reports"
        folder.mkdir(parents=True)
        _write_file(folder / "small.csv", rows // 10, "uno")
        _write_file(folder / "one.csv", rows, "uno")
        _write_file(folder / "other.csv", rows, "otro")
        small = _load(installation, folder / "small.csv", rows // 10, 0)
        for number in range(options.repeat):
            empty(connection, TABLES)
            known = 0
            for name, file in (("empty", "one"), ("again", "one"), ("filled", "other")):
                runs[name].append(_load(installation, folder / f"{file}.csv", rows, number))
                wrong = _wrong(connection, name, runs[name][-1].result, rows)
                if wrong:
                    say(f"THE TABLE IS WRONG: {wrong}")
                    return 1
                if name != "again" and psql:
                    dump(
                        connection, f"(SELECT * FROM reports_deliveries WHERE id > {known} ORDER BY id)", folder / name
                    )
                    known = connection.execute("SELECT max(id) FROM reports_deliveries").fetchone()[0]  # type: ignore[index]
                connection.execute("CHECKPOINT")
            if psql:
                empty(connection, TABLES)
                for name, taken in copies.items():
                    taken.append(seconds_to_copy(psql, "reports_deliveries", folder / name, installation))
                    connection.execute("CHECKPOINT")
            took = ", ".join(f"{name} {found[-1].seconds:.1f} s" for name, found in runs.items())
            took += "".join(f", \\copy {name} {found[-1]:.1f} s" for name, found in copies.items() if found)
            say(f"{took} ({number + 1} of {options.repeat})")
    _show(rows, runs, copies, small)
    return 0


def _show(rows: int, runs: dict[str, list[Run]], copies: dict[str, list[float]], small: Run) -> None:
    rates = {name: [rows / one.seconds for one in found] for name, found in runs.items()}
    limits = {name: [rows / seconds for seconds in found] for name, found in copies.items()}
    peaks = [max(found[number].peak_mb for found in runs.values()) for number in range(len(runs["empty"]))]
    show(
        [
            Line(f"{rows:,} rows into an empty table", "rows/s", rates["empty"], limits["empty"], 0.70),
            Line(f"{rows:,} more into the filled one", "rows/s", rates["filled"], limits["filled"], 0.50),
            Line("the same content again", "rows/s", rates["again"], limits["empty"]),
            Line("rows changed by it", "rows", [float(_changes(one)) for one in runs["again"]], at_most=0),
            Line(f"peak memory, {rows:,} rows", "MB", peaks, at_most=200),
            Line(f"peak memory, {rows // 10:,} rows", "MB", [small.peak_mb]),
        ]
    )


def _changes(run: Run) -> int:
    return int(run.result["inserted"]) + int(run.result["updated"])


def _wrong(connection: Connection, name: str, result: dict[str, Any], rows: int) -> str:
    expected = {
        "empty": (rows, 0, 0, rows),
        "again": (0, 0, rows, rows),
        "filled": (rows, 0, 0, 2 * rows),
    }[name]
    stored = connection.execute("SELECT count(*) FROM reports_deliveries").fetchone()[0]  # type: ignore[index]
    found = (result["inserted"], result["updated"], result["unchanged"], stored)
    return "" if found == expected else f"{name}: inserted, updated, unchanged, stored are {found}, not {expected}"


def _load(installation: Installation, path: Path, rows: int, number: int) -> Run:
    report = _register(path, rows, FIRST + timedelta(days=DAYS + number + 1))
    return run(installation, "report", "load", str(report), "--database", "default")


def _register(path: Path, rows: int, made: datetime) -> int:
    """A READY report, as if the relay had given this file."""
    from reports.models import GeneratedReport

    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    report = GeneratedReport.objects.create(
        type="deliveries",
        first_day=FIRST.date(),
        last_day=FIRST.date() + timedelta(days=DAYS - 1),
        starts_at=FIRST,
        ends_at=FIRST + timedelta(days=DAYS),
        state="READY",
        file=f"reports/{path.name}",
        size=path.stat().st_size,
        sha256=digest,
        rows=rows,
        made_at=made,
        ready_at=made,
    )
    return int(report.pk)


def _write_file(path: Path, rows: int, who: str) -> None:
    """The same file each time."""
    chance = random.Random(f"2026 {who}")
    line, states = "", ["Sent"] * 18 + ["Rejected", "Dropped"]
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("Subject,Sender,SenderName,Email,Status,Date,Opens,Clicks\n")
        for number in range(rows):
            if number % 100 == 99:
                file.write(line)
                continue
            moment = FIRST + timedelta(seconds=number * DAYS * 86_400 // rows)
            person = f"persona.{who}.{chance.randint(1, 10**9)}@example.com"
            subject = f"Señor cliente, su factura {chance.randint(1, 9_999_999):07d} está lista"
            line = f'"{subject}",notices{number % 100}@example.com,"Cobranzas {number % 100}",{person},'
            line += f"{chance.choice(states)},{moment:%Y-%m-%d %H:%M:%S},{chance.choice((0, 0, 0, 1, 2))},0\n"
            file.write(line)
