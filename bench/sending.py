"""A bulk send by its real command (`bulk start ID --drain`) against the sandbox relay over real HTTP.

A slow relay: the ceiling is connections ÷ latency. One that answers at once: the ceiling is bare aiohttp, which posts
the same bodies over as many connections to the same sandbox and reads the answers as JSON, in turns with the product.
It is measured for the slow relay too, to show what this machine allows.

`whole` counts from the first claim until the bulk send is `done`: ramp, every commit and the final count included.
`steady` is the rate at which the sandbox received the middle 80 % of the calls.

The relay is another machine in real life, so the sandbox has a core of its own, and so has the sender, be it the
product or bare aiohttp. PostgreSQL runs wherever there is room: its work is taken from both, for the product only.
"""

import argparse
import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from bench.measuring import Line, new_installation, run, say, show
from relay_client import Recipient, TemplateMessage, bodies
from relay_client.types import to_json
from tests.installation import Installation, people
from tests.sandbox import Sandbox, running_sandbox


@dataclass(frozen=True, slots=True)
class Case:
    latency_ms: int
    connections: int
    recipients: int  # enough for 100 latencies and more
    goal: float

    @property
    def name(self) -> str:
        return f"{f'{self.latency_ms} ms' if self.latency_ms else 'at once'}, {self.connections} connections"


CASES = (Case(100, 50, 10_000, 0.90), Case(100, 200, 30_000, 0.80), Case(0, 50, 20_000, 0.60))


@dataclass(slots=True)
class Samples:
    """Calls per second, and MB."""

    whole: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench sending", description="A whole bulk send, slow and instant relay.")
    parser.add_argument("--recipients", type=int, metavar="N", help="for every case (default: 10,000 to 30,000)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--sqlite", action="store_true", help="the product on SQLite instead of PostgreSQL")
    options = parser.parse_args(arguments)
    lines: list[Line] = []
    wrong: list[str] = []
    with new_installation(sqlite=options.sqlite) as installation:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        for case in CASES:
            recipients = people(options.recipients or case.recipients)
            samples = Samples()
            _pin(cores, 1)
            with running_sandbox(Path(":memory:"), "--latency-ms", str(case.latency_ms)) as sandbox:
                _pin(cores, 0)
                for repetition in range(options.repeat):
                    wrong += _measure(case, installation, sandbox, recipients, samples)
                    say(f"{case.name}: {samples.whole[-1]:,.0f}/s, bare aiohttp {samples.bare[-1]:,.0f}/s"
                        f" ({repetition + 1} of {options.repeat})")  # fmt: skip
            lines += _lines(case, samples)
    show(lines)
    for problem in wrong:
        say(f"THE LEDGER IS WRONG: {problem}")
    return 1 if wrong else 0


def _pin(cores: Sequence[int], index: int) -> None:
    """What is started from now on runs on that core; so do we, as bare aiohttp."""
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[index]})


def _lines(case: Case, samples: Samples) -> Iterator[Line]:
    ideal = [case.connections / case.latency_ms * 1000] if case.latency_ms else samples.bare
    yield Line(f"{case.name}: whole", "calls/s", samples.whole, ideal, case.goal)
    yield Line(f"{case.name}: steady", "calls/s", samples.steady, ideal)
    if case.latency_ms:
        yield Line(f"{case.name}: bare aiohttp", "calls/s", samples.bare, ideal)
    yield Line(f"{case.name}: peak memory of the sender", "MB", samples.peak, at_most=200)


def _measure(
    case: Case, installation: Installation, sandbox: Sandbox, recipients: Sequence[tuple[str, ...]], samples: Samples
) -> list[str]:
    """Bare aiohttp, then the product. Returns what is wrong with the ledger."""
    sandbox.reset()
    samples.bare.append(len(recipients) / asyncio.run(_bare(sandbox, _bodies(recipients), case.connections)))
    sandbox.reset()
    environment = {**sandbox.environment(), "RELAY_MAX_CONNECTIONS": str(case.connections)}
    file = installation.write_file(recipients)
    create = ("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
    bulk_send_id = installation.json(*create, **environment)["id"]
    sent = run(installation, "bulk", "start", str(bulk_send_id), "--drain", **environment)
    samples.peak.append(sent.peak_mb)
    samples.whole.append(len(recipients) / _seconds_taken(installation, bulk_send_id))
    samples.steady.append(_steady_rate(sandbox))
    return _wrong(installation, bulk_send_id, sandbox, [row[1] for row in recipients])


def _bodies(recipients: Sequence[tuple[str, ...]]) -> list[bytes]:
    """What the product sends for the rows of `Installation.write_file`, made in advance."""
    names = ("nombre", "cedula", "monto", "vence")
    messages = (
        TemplateMessage(
            recipients=(Recipient(email),),
            model=dict(zip(names, (name, *others), strict=True)),
            from_email="cobranzas@example.com",
            from_name="Cobranzas Andina",
        )
        for name, email, *others in recipients
    )
    return [to_json(bodies.template_message_fields(message)) for message in messages]


async def _bare(sandbox: Sandbox, messages: Sequence[bytes], connections: int) -> float:
    """Seconds from the first call to the last answer."""
    url = f"{sandbox.url}/accounts/{sandbox.account}/templates/{sandbox.template}/message"
    headers = {"Authorization": f"Bearer {sandbox.key}", "Content-Type": "application/json"}
    waiting = iter(messages)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def caller() -> None:
            for message in waiting:
                async with session.post(url, data=message) as answer:
                    created: dict[str, Any] = await answer.json()
                    if answer.status != 201 or not created["createdResourceId"]:
                        raise SystemExit(f"bench: the sandbox answered {answer.status} to bare aiohttp")

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(connections)))
        return time.perf_counter() - started


def _seconds_taken(installation: Installation, bulk_send_id: int) -> float:
    """From the lease, before the first claim, until `done`: without the start of the interpreter."""
    settings = installation.environment
    sql = f"SELECT processing_started_at, finished_at FROM relay_bulksend WHERE id = {bulk_send_id:d}"
    connection: Any
    if settings["USE_SQLITE"] == "1":
        connection = sqlite3.connect(settings["SQLITE_PATH"])
    else:
        connection = psycopg.connect(
            host=settings["DB_HOST"],
            port=settings["DB_PORT"],
            dbname=settings["DB_NAME"],
            user=settings["DB_USER"],
            password=settings["DB_PASSWORD"],
        )
    try:
        began, ended = (datetime.fromisoformat(str(moment)) for moment in connection.execute(sql).fetchone())
    finally:
        connection.close()
    return (ended - began).total_seconds()


def _steady_rate(sandbox: Sandbox) -> float:
    received = sorted(datetime.fromisoformat(call["received_at"]) for call in sandbox.calls())
    first, last = len(received) // 10, len(received) * 9 // 10
    return (last - first) / (received[last] - received[first]).total_seconds()


def _wrong(installation: Installation, bulk_send_id: int, sandbox: Sandbox, addresses: Sequence[str]) -> list[str]:
    """Every recipient accepted once by the relay, and each acceptance in the ledger, with its message id."""
    at_relay = sandbox.accepted_ids()
    ledger = installation.results(bulk_send_id)
    problems = []
    if sorted(at_relay.values()) != sorted(addresses):
        problems.append(f"the relay accepted {len(at_relay)} messages for {len(addresses)} recipients, or not for each")
    if {row["message_id"]: row["email"] for row in ledger if row["state"] == "accepted"} != at_relay:
        problems.append("the accepted of the ledger are not those of the relay")
    if len(ledger) != len(addresses):
        problems.append(f"{len(ledger)} rows in the ledger for {len(addresses)} recipients")
    return [f"bulk send {bulk_send_id}: {problem}" for problem in problems]
