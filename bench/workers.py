"""One worker against several that share the same bulk send, their clocks set apart: 25 connections each, 100 ms.

The time is that of the ledger, from the first claim until the bulk send is `done`. After each run ledger and relay are
compared row by row.
"""

import argparse
from pathlib import Path

from bench.measuring import Line, new_installation, say, show
from tests.clocks import apart
from tests.executioner import Ledger, compare
from tests.installation import Installation, people
from tests.sandbox import Sandbox, running_sandbox

LATENCY_MS, CONNECTIONS = 100, 25
# Seconds by which the hosts are wrong.
APART = (-86_400, -47, 0, 7_200)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("./dev bench workers", description="Several workers share one bulk send.")
    parser.add_argument("--recipients", type=int, default=10_000, metavar="N")
    parser.add_argument("--repeat", type=int, default=3, metavar="N")
    options = parser.parse_args(arguments)
    alone: list[float] = []
    together: list[float] = []
    with (
        new_installation() as installation,
        running_sandbox(Path(":memory:"), "--latency-ms", str(LATENCY_MS)) as sandbox,
    ):
        installation.environment |= {**sandbox.environment(), "RELAY_MAX_CONNECTIONS": str(CONNECTIONS)}
        for number in range(options.repeat):
            for rates, clocks in ((alone, APART[2:3]), (together, APART)):
                rate = _rate(installation, sandbox, options.recipients, clocks)
                if rate is None:
                    return 1
                rates.append(rate)
            say(f"one {alone[-1]:,.0f}/s, {len(APART)} {together[-1]:,.0f}/s ({number + 1} of {options.repeat})")
    ideal = CONNECTIONS * 1000 / LATENCY_MS
    one, several = f"1 worker, {CONNECTIONS} connections", f"{len(APART)} workers, clocks apart"
    show(
        [
            Line(one, "calls/s", alone, [ideal] * len(alone)),
            Line(several, "calls/s", together, [ideal * len(APART)] * len(together)),
            Line(f"{several}, against 1", "calls/s", together, alone, 3.0),
        ]
    )
    return 0


def _rate(installation: Installation, sandbox: Sandbox, count: int, clocks: tuple[int, ...]) -> float | None:
    """Calls per second; None when the ledger is wrong, which is said."""
    sandbox.ask("DELETE", "/_sandbox/messages")
    recipients = people(count)
    bulk_send = installation.create(sandbox.template, installation.write_file(recipients))
    installation.json("bulk", "start", str(bulk_send))
    workers = [installation.start("process_bulk_scheduled", "--json", **apart(seconds)) for seconds in clocks]
    said = [worker.communicate(timeout=600) for worker in workers]
    if any(worker.returncode for worker in workers):
        say(f"A WORKER FAILED: {said}")
        return None
    comparison = compare(installation.results(bulk_send), sandbox, (row[1] for row in recipients))
    if not comparison.right or comparison.calls != count:
        say(f"THE LEDGER IS WRONG: {comparison}")
        return None
    ledger = Ledger(installation.environment)
    began, ended = ledger.span(bulk_send)
    ledger.close()
    return count / (ended - began)
