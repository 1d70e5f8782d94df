"""`python -m relay_sandbox`: arguments, the line that says where it listens, and a clean end."""

import argparse
import asyncio
import json
import math
import signal
import sys
from pathlib import Path
from typing import Any

from relay_sandbox.accounts import ACCOUNTS
from relay_sandbox.faults import check_config
from relay_sandbox.samples import SAMPLES
from relay_sandbox.server import Options, Server, is_loopback
from relay_sandbox.store import StoreError


def main() -> int:
    options = options_of(sys.argv[1:])
    try:
        return asyncio.run(serve(options))
    except KeyboardInterrupt:
        return 0


def options_of(arguments: list[str]) -> Options:
    parser = _parser()
    args = parser.parse_args(arguments)
    if not args.allow_remote and not is_loopback(args.host):
        parser.error(f"{args.host} can be reached from other machines; add --allow-remote if you mean it")
    limits = {"hourly": args.quota_hourly, "daily": args.quota_daily, "monthly": args.quota_monthly}
    return Options(
        host="127.0.0.1" if args.host == "localhost" else args.host,  # one address, one port
        port=args.port,
        store=args.store,
        latency_ms=args.latency_ms,
        latency_spread_ms=args.latency_spread_ms,
        seed=args.seed,
        faults=args.faults,
        limits={period: limit for period, limit in limits.items() if limit is not None},
        delivery_seconds=args.delivery_seconds,
        report_seconds=args.report_seconds,
        allow_remote=args.allow_remote,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("relay_sandbox", description="A local Doppler Relay to try things on.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=_port, default=8025, help="0 takes any free one (default 8025)")
    add("--store", default="sandbox.sqlite3", metavar="FILE", help='":memory:" keeps nothing')
    add("--latency-ms", type=_amount, default=0.0, metavar="N", help="every API call takes so long")
    add("--latency-spread-ms", type=_amount, default=0.0, metavar="N", help="give or take")
    add("--faults", type=_faults, default={}, metavar="JSON|@FILE", help="see README.md")
    add("--seed", type=int, default=0, metavar="N", help="of the faults")
    for period in ("hourly", "daily", "monthly"):
        add(f"--quota-{period}", type=_count, metavar="N", help="deliveries allowed")
    add("--delivery-seconds", type=_amount, default=3.0, metavar="N", help="from queued to sent (default 3)")
    add("--report-seconds", type=_amount, default=2.0, metavar="N", help="until a report is ready (default 2)")
    add("--allow-remote", action="store_true", help="allow a --host that is not loopback")
    return parser


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be from 0 to 65535")
    return number


def _amount(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and 0 <= number <= 1_000_000_000):
        raise argparse.ArgumentTypeError("must be a number from 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _faults(text: str) -> Any:
    try:
        raw = Path(text[1:]).read_text("utf-8") if text.startswith("@") else text
        return check_config(json.loads(raw))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


async def serve(options: Options) -> int:
    """Run until a signal; 1 when the store or the port cannot be had."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        server = Server(options)
    except StoreError as error:
        return _give_up(str(error))
    try:
        await server.start()
    except OSError as error:
        await server.stop()
        return _give_up(f"Cannot listen on {options.host}:{options.port}: {error.strerror or error}.")
    _announce(server, options)
    server.failed.add_done_callback(lambda _: stopping.set())
    await stopping.wait()
    if server.failed.done():
        return _give_up(f"The store cannot be written: {server.failed.exception()}.")
    await server.stop()
    return 0


def _announce(server: Server, options: Options) -> None:
    account = ACCOUNTS[0]
    line = {
        "url": server.url,
        "account": account.name,
        "account_id": str(account.id),
        "api_key": account.api_key,
        "template_ids": [sample.id for sample in SAMPLES],
        "inbox": f"{server.url}/",
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    sys.stderr.write(f"Relay de prueba en {server.url} (correos en {options.store}). Ctrl-C para terminar.\n")


def _give_up(sentence: str) -> int:
    sys.stderr.write(sentence + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
