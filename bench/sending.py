"""A bulk send by its real command (`bulk start ID --drain`) against the sandbox relay over real HTTP.

A slow relay: the ceiling is connections ÷ latency. One that answers at once: the ceiling is bare aiohttp, which posts
the same messages (each body built for its call) over as many connections to the same sandbox and reads the answers as
JSON, in turns with the product.
It is measured for the slow relay too, to show what this machine allows.

`whole` counts from the first claim until the bulk send is `done`: ramp, every commit and the final count included.
`steady` is the rate at which the sandbox received the middle 80 % of the calls.

The sender, be it the product or bare aiohttp, has the first core for itself. The sandbox and PostgreSQL, which are
other machines in real life, share the rest.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp

from bench.measuring import Line, new_installation, run, say, show
from relay_client import Recipient, TemplateMessage, bodies
from relay_client.types import to_json
from tests.installation import Installation, people
from tests.sandbox import Sandbox, running_sandbox


@dataclass(slots=True)
class Case:
    latency_ms: int
    connections: int
    recipients: int
    goal: float
    # What was measured, in calls per second and MB.
    whole: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{f'{self.latency_ms} ms' if self.latency_ms else 'at once'}, {self.connections} connections"

    def lines(self) -> Iterator[Line]:
        ideal = [self.connections * 1000 / self.latency_ms] * len(self.whole) if self.latency_ms else self.bare
        yield Line(f"{self.name}: whole", "calls/s", self.whole, ideal, self.goal)
        yield Line(f"{self.name}: steady", "calls/s", self.steady, ideal)
        if self.latency_ms:
            yield Line(f"{self.name}: bare aiohttp", "calls/s", self.bare, ideal)
        yield Line(f"{self.name}: peak memory", "MB", self.peak, at_most=200)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench sending", description="A whole bulk send, slow and instant relay.")
    parser.add_argument("--recipients", type=int, metavar="N", help="in every case (default: 10,000 to 30,000)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    parser.add_argument("--sqlite", action="store_true", help="the product on SQLite instead of PostgreSQL")
    options = parser.parse_args(arguments)
    # Some 150 latencies and more.
    cases = [Case(100, 50, 10_000, 0.90), Case(100, 200, 30_000, 0.80), Case(0, 50, 20_000, 0.60)]
    wrong: list[str] = []
    core, *others = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    _run_on(others)
    with new_installation(sqlite=options.sqlite) as installation:
        for case in cases:
            recipients = people(options.recipients or case.recipients)
            _run_on(others)
            with running_sandbox(Path(":memory:"), "--latency-ms", str(case.latency_ms)) as sandbox:
                _run_on([core] if others else [])
                for number in range(options.repeat):
                    _measure_bare(case, sandbox, recipients)
                    wrong += _measure_product(case, installation, sandbox, recipients)
                    rates = f"{case.whole[-1]:,.0f}/s, bare aiohttp {case.bare[-1]:,.0f}/s"
                    say(f"{case.name}: {rates} ({number + 1} of {options.repeat})")
    show([line for case in cases for line in case.lines()])
    for problem in wrong:
        say(f"THE LEDGER IS WRONG: {problem}")
    return 1 if wrong else 0


def _run_on(cores: Collection[int]) -> None:
    """We, and what is started from now on."""
    if cores:
        os.sched_setaffinity(0, cores)


def _measure_product(
    case: Case, installation: Installation, sandbox: Sandbox, recipients: Sequence[tuple[str, ...]]
) -> list[str]:
    """Returns what is wrong with the ledger."""
    sandbox.reset()
    environment = {**sandbox.environment(), "RELAY_MAX_CONNECTIONS": str(case.connections)}
    file = installation.write_file(recipients)
    create = ("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
    bulk_send_id = str(installation.json(*create, **environment)["id"])
    sent = run(installation, "bulk", "start", bulk_send_id, "--drain", **environment)
    if sent.result["status"] != "done":
        raise SystemExit(f"bench: THE LEDGER IS WRONG: {sent.result}")
    case.peak.append(sent.peak_mb)
    code = f"from relay.models import BulkSend; b = BulkSend.objects.get(pk={bulk_send_id});"
    code += "print((b.finished_at - b.processing_started_at).total_seconds())"
    case.whole.append(len(recipients) / float(installation.run("shell", "-v0", "-c", code).output))
    received = sorted(datetime.fromisoformat(call["received_at"]) for call in sandbox.calls())
    first, last = len(received) // 10, len(received) * 9 // 10
    case.steady.append((last - first) / (received[last] - received[first]).total_seconds())
    return _wrong(installation, int(bulk_send_id), sandbox, [row[1] for row in recipients])


def _wrong(installation: Installation, bulk_send_id: int, sandbox: Sandbox, addresses: Sequence[str]) -> list[str]:
    """Every recipient accepted once by the relay, and each acceptance in the ledger, with its message id."""
    at_relay = sandbox.accepted_ids()
    ledger = installation.results(bulk_send_id)
    problems = []
    if sorted(at_relay.values()) != sorted(addresses):
        problems.append(f"{len(at_relay)} messages at the relay for {len(addresses)} recipients, or not one for each")
    if {row["message_id"]: row["email"] for row in ledger if row["state"] == "accepted"} != at_relay:
        problems.append("the accepted of the ledger are not those of the relay")
    if len(ledger) != len(addresses):
        problems.append(f"{len(ledger)} rows in the ledger for {len(addresses)} recipients")
    return [f"bulk send {bulk_send_id}: {problem}" for problem in problems]


def _measure_bare(case: Case, sandbox: Sandbox, recipients: Sequence[tuple[str, ...]]) -> None:
    sandbox.reset()
    names = ("nombre", "cedula", "monto", "vence")  # as `Installation.write_file` has them
    messages = (
        TemplateMessage(
            recipients=(Recipient(email),),
            model=dict(zip(names, (name, *others), strict=True)),
            from_email="cobranzas@example.com",
            from_name="Cobranzas Andina",
        )
        for name, email, *others in recipients
    )
    fields = [bodies.template_message_fields(message) for message in messages]
    case.bare.append(len(fields) / asyncio.run(_bare(sandbox, fields, case.connections)))


async def _bare(sandbox: Sandbox, messages: Sequence[bodies.Fields], connections: int) -> float:
    """Seconds from the first call to the last answer."""
    url = f"{sandbox.url}/accounts/{sandbox.account}/templates/{sandbox.template}/message"
    headers = {"Authorization": f"Bearer {sandbox.key}", "Content-Type": "application/json"}
    waiting = iter(messages)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def caller() -> None:
            for message in waiting:
                async with session.post(url, data=to_json(message)) as answer:
                    if answer.status != 201 or not (await answer.json())["createdResourceId"]:
                        raise SystemExit(f"bench: the sandbox answered {answer.status} to bare aiohttp")

        started = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(connections)))
        return time.perf_counter() - started
