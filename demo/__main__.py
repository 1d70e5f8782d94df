"""./dev demo [--check]: the whole product on this machine with nothing configured.

Starts the sandbox relay, migrates a SQLite of its own, creates an operator, sends a sample file of 2,000 recipients,
loads the relay's report of it, leaves some more bulk sends to watch and to decide about, and serves the console and the
inbox until Ctrl-C. With --check it serves nothing and
exits 0 only if ledger, sandbox and report agree row by row. Everything it makes is below .dev/demo, made anew each
time.
"""

import argparse
import contextlib
import csv
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from demo.sample import write_sample

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".dev" / "demo"
OPERATOR = "operador"
SAMPLE = "destinatarios.csv"
SLOWLY = 4  # messages per second: of 2,000 there is something to watch for some minutes
# How often the timers' commands run here; in production a systemd timer runs them every two minutes.
TIMER_SECONDS = 5
TIMERS = ("process_bulk_scheduled", "process_reports_pending")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--check", action="store_true", help="serve nothing; exit 0 only if ledger and relay agree")
    check = parser.parse_args().check
    with _folder(check) as folder, _sandbox(folder, 0 if check else _port(8025)) as sandbox:
        environment = _environment(folder, sandbox)
        password = _set_up(environment)
        bulk_send = _send_sample(folder, environment, sandbox["template_ids"][0])
        agree = _ledger_and_sandbox_agree(folder, environment, sandbox, bulk_send)
        agree = agree and _report_agrees(environment, sandbox)
        if check or not agree:
            return 0 if agree else 1
        _leave_something_to_do(folder, environment, sandbox["template_ids"][0])
        _serve(environment, sandbox, password)
    return 0


@contextlib.contextmanager
def _folder(check: bool) -> Iterator[Path]:
    """Where it makes its files: kept for looking at, but a check (several may run at once) leaves nothing."""
    if check:
        with tempfile.TemporaryDirectory(prefix="relay-demo-") as folder:
            yield Path(folder)
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    yield FOLDER


@contextlib.contextmanager
def _sandbox(folder: Path, port: int) -> Iterator[dict[str, Any]]:
    """The sandbox as a process of its own; what it said of itself when it was ready."""
    _say("starting a sandbox relay (nothing leaves this machine)")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "relay_sandbox",
            "--port",
            str(port),
            "--store",
            str(folder / "sandbox.sqlite3"),
            "--latency-ms",
            "40",
            "--latency-spread-ms",
            "20",
            *("--quota-hourly", "10000", "--quota-daily", "50000", "--quota-monthly", "1000000"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101  (it was asked for)
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(timeout=10)


def _environment(folder: Path, sandbox: dict[str, Any]) -> dict[str, str]:
    return {
        **os.environ,
        "ENV_FILE": "",
        "DEBUG": "True",
        "SECRET_KEY": secrets.token_urlsafe(40),
        "USE_SQLITE": "1",
        "SQLITE_PATH": str(folder / "db.sqlite3"),
        "ATTACHMENTS_ROOT": str(folder / "attachments"),
        "DOPPLER_RELAY_API_KEY": sandbox["api_key"],
        "DOPPLER_RELAY_ACCOUNT_ID": sandbox["account"],
        "DOPPLER_RELAY_BASE_URL": sandbox["url"] + "/",
        "DOPPLER_REPORTS_POLL_INITIAL_DELAY": "1",
        "REPORTS_TIMER_LOCK_PATH": str(folder / "timer.lock"),
        "LOG_LEVEL": "WARNING",
    }


def _set_up(environment: dict[str, str]) -> str:
    """Database, sender and operator; returns the operator's password."""
    _say("preparing a database of its own")
    _manage(environment, "migrate", "--verbosity", "0")
    _manage(environment, "sender", "add", "cobranzas@example.com", "--name", "Cobranzas Ejemplo")
    password = secrets.token_urlsafe(9)
    _manage(
        {**environment, "DJANGO_SUPERUSER_PASSWORD": password},
        *("createsuperuser", "--noinput", "--username", OPERATOR, "--email", "operador@example.com"),
        *("--verbosity", "0"),
    )
    return password


def _send_sample(folder: Path, environment: dict[str, str], template: str) -> int:
    write_sample(folder / SAMPLE)
    _say("checking a sample file of 2,000 recipients, bad rows among them")
    _create(folder, environment, template, "Aviso de pago, diciembre")
    bulk_send = 1
    _say("sending its valid rows")
    _manage(environment, "bulk", "start", str(bulk_send), "--accept-rejects", "--drain")
    return bulk_send


def _create(folder: Path, environment: dict[str, str], template: str, name: str, *more: str) -> None:
    order = ("bulk", "create", "--template", template, "--recipients", str(folder / SAMPLE), "--name", name)
    _manage(environment, *order, "--sender", "cobranzas@example.com", *more, quiet=True)


def _leave_something_to_do(folder: Path, environment: dict[str, str], template: str) -> None:
    """For the start page: one bulk send on its way, one with an hour to come, one that waits for a decision."""
    _say("leaving three more bulk sends: on its way, scheduled, to be decided about")
    zone = ZoneInfo(environment.get("TIME_ZONE", "America/Guayaquil"))
    tomorrow = (datetime.now(zone) + timedelta(days=1)).replace(hour=9, minute=0, second=0, microsecond=0)
    _create(folder, environment, template, "Recordatorio, diciembre", "--accept-rejects", "--rate", str(SLOWLY))
    _manage(environment, "bulk", "start", "2", quiet=True)
    at = ("--schedule-at", tomorrow.isoformat())
    _create(folder, environment, template, "Último aviso, diciembre", "--accept-rejects", *at)
    _create(folder, environment, template, "Saludo de fin de año")


def _ledger_and_sandbox_agree(
    folder: Path, environment: dict[str, str], sandbox: dict[str, Any], bulk_send: int
) -> bool:
    """Every accepted row is one message of the relay with that id and address, and the relay has no other."""
    target = folder / "resultados.csv"
    _manage(environment, "bulk", "results", str(bulk_send), "--output", str(target))
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ours = sorted((row["message_id"], row["email"]) for row in rows if row["state"] == "accepted")
    theirs = sorted((message["message_id"], message["recipient"]) for message in _messages(sandbox))
    agree = bool(ours) and ours == theirs and all(row["state"] in {"accepted", "excluded"} for row in rows)
    _say(
        f"ledger: {len(rows)} rows, {len(ours)} accepted, {len(rows) - len(ours)} excluded; relay: {len(theirs)} "
        f"messages; row by row they {'agree' if agree else 'DO NOT AGREE'}"
    )
    return agree


def _report_agrees(environment: dict[str, str], sandbox: dict[str, Any]) -> bool:
    """The relay's report of today, collected and loaded, has each of its messages."""
    _say("asking the relay for its report of today, and loading it")
    time.sleep(1)  # it ends at a whole second: asked for in this one it would lack the last messages
    today = datetime.now(ZoneInfo(environment.get("TIME_ZONE", "America/Guayaquil"))).date().isoformat()
    asked = _told(environment, "report", "request", "--type", "deliveries", "--from", today, "--to", today)
    _told(environment, "process_reports_pending")
    loaded = _told(environment, "report", "load", str(asked["id"]), "--database", "default")
    messages = _messages(sandbox)
    agree = bool(loaded["inserted"] == loaded["rows"] == len(messages))
    _say(f"report: {loaded['rows']} rows, {loaded['inserted']} loaded; relay: {len(messages)} messages")
    return agree


def _serve(environment: dict[str, str], sandbox: dict[str, Any], password: str) -> None:
    port = _port(8000)
    console = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _say(f"console: http://127.0.0.1:{port}/admin/   user: {OPERATOR}   password: {password}")
    _say(f"inbox:   {sandbox['inbox']}   (Ctrl-C ends all of it)")
    timers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while console.poll() is None:
            # Each by itself: one sends for minutes, and a report need not wait for that.
            for command in TIMERS:
                if command not in timers or timers[command].poll() is not None:
                    timers[command] = _started(environment, command)
            time.sleep(TIMER_SECONDS)
        _say("the console could not be served")
    except KeyboardInterrupt:
        _say("bye")
    finally:
        for process in (console, *timers.values()):
            process.terminate()
            process.wait(timeout=10)


def _started(environment: dict[str, str], command: str) -> "subprocess.Popen[bytes]":
    """In a session of its own: Ctrl-C is for us, and we end it in good order."""
    order = [sys.executable, "manage.py", command]
    return subprocess.Popen(order, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def _manage(environment: dict[str, str], *arguments: str, quiet: bool = False) -> None:
    code = subprocess.call(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL if quiet else None,
    )
    if code:
        sys.exit(f"demo: «manage.py {arguments[0]}» failed (exit {code}): see above")


def _told(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What a command says with --json."""
    said = subprocess.run(
        [sys.executable, "manage.py", *arguments, "--json"], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    if said.returncode:
        sys.exit(f"demo: «manage.py {arguments[0]}» failed (exit {said.returncode}): see above")
    return dict(json.loads(said.stdout))


def _messages(sandbox: dict[str, Any]) -> list[dict[str, str]]:
    with urllib.request.urlopen(sandbox["url"] + "/_sandbox/messages.csv", timeout=30) as answer:  # noqa: S310
        return list(csv.DictReader(answer.read().decode("utf-8-sig").splitlines()))


def _port(wanted: int) -> int:
    """The usual port where it is free, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0 if wanted == 8025 else wanted + secrets.randbelow(900) + 1
    return wanted


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
