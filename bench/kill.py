"""Everything that may die is killed while it sends: `kill -9`, SIGSTOP for longer than a lease, the database, its
connections. Then ledger and relay are compared row by row. Exit 1 unless nobody was lost, nobody written to twice
and nothing is left unknown.
"""

import argparse
import contextlib
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from bench.measuring import PRODUCTION, say
from tests import postgres
from tests.executioner import Executioner, Plan, Report
from tests.installation import Installation, new_database
from tests.sandbox import running_sandbox


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    say(f"{plan.recipients:,} recipients, {plan.senders} senders, seed {plan.seed}")
    with _new_installation(options.sqlite) as (installation, restart), running_sandbox(Path(":memory:")) as sandbox:
        installation.environment |= sandbox.environment()
        executioner = Executioner(plan, installation, sandbox, restart, say)
        report = executioner.run()
        _show(report)
        if report.right:
            return 0
        _explain(report, executioner if options.keep else None)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("./dev bench kill", description="Kill the senders; nobody is lost or doubled.")
    parser.add_argument("--kills", type=int, default=100, metavar="N", help="kill -9; other deaths come on top")
    parser.add_argument("--senders", type=int, default=4, metavar="N", help="processes (on SQLite: 1)")
    parser.add_argument("--recipients", type=int, metavar="N", help="default: as many as keep them busy meanwhile")
    parser.add_argument("--sqlite", action="store_true", help="one sender on SQLite instead of PostgreSQL")
    parser.add_argument("--stops-only", action="store_true", help="only SIGSTOP … SIGCONT, at a high rate of calls")
    parser.add_argument("--seed", type=int, metavar="S", help="of the faults and the executions (default: any)")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="of the whole (default: by the kills)")
    parser.add_argument("--keep", action="store_true", help="after a failure keep ledger, relay and logs in a folder")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    senders = 1 if options.sqlite else options.senders
    # Between two executions each sender should have called some dozens. In a stop it must be called at a high rate to
    # be caught between the check of the lease and the bytes that leave, and a stop lasts for seconds.
    each = 100 if options.stops_only else 25
    busy = {"latency_ms": 20, "latency_spread_ms": 15, "connections": 20} if options.stops_only else {}
    return Plan(
        kills=options.kills,
        senders=senders,
        recipients=options.recipients or max(200, options.kills * senders * each),
        seed=random.randrange(10**6) if options.seed is None else options.seed,
        timeout=options.timeout or 180 + options.kills * 10,
        stops_only=options.stops_only,
        **busy,
    )


@contextlib.contextmanager
def _new_installation(sqlite: bool) -> Iterator[tuple[Installation, Callable[[str], None] | None]]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relay-kill-")))
        restart = None
        if sqlite:
            os.environ["USE_SQLITE"] = "1"
        else:
            say("starting PostgreSQL")
            server = stack.enter_context(postgres.server(durable=True))
            restart = server.restart
            os.environ |= server.environment("postgres")
        yield Installation(folder, {**stack.enter_context(new_database(folder)), **PRODUCTION}), restart


def _show(report: Report) -> None:
    while_sending = sum(execution.status == "sending" for execution in report.executions)
    lines: list[tuple[str, object]] = [(str(kind), count) for kind, count in sorted(report.by_kind().items())]
    lines += [
        ("  of all these, while it was sending", while_sending),
        ("recipients", f"{report.comparison.recipients:,}"),
        ("calls at the relay", f"{report.comparison.calls:,}"),
        *((name, len(rows)) for name, rows in report.comparison.faults().items()),
        ("take-over, median and longest", _seconds(report.take_overs)),
        ("sender runs ended by an unexplained exception", report.unexplained_ends),
        ("duration", f"{report.seconds:.0f} s"),
    ]
    print(*(f"{name:48}{value:>16}" for name, value in lines), sep="\n")


def _seconds(samples: list[float]) -> str:
    return f"{median(samples):.1f} s, {max(samples):.1f} s" if samples else "—"


def _explain(report: Report, keep: Executioner | None) -> None:
    say(report.what_is_wrong())
    if keep is None:
        say(f"again with --seed {report.plan.seed} --keep, and look at the rows of these addresses in both")
        return
    folder = Path(tempfile.mkdtemp(prefix="relay-killed-"))
    keep.keep(folder)
    say(f"kept in {folder}: relay_recipient.csv and relay_attempt.csv beside messages.csv and calls.csv")
