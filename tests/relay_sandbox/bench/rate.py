"""How many sends per second the sandbox accepts, store included.

    python -m tests.relay_sandbox.bench.rate [--seconds 5] [--runs 5] [--connections 50] [--latency-ms 0] [--messages N]

The sandbox runs on core 0, the load on core 1 (where the machine has two). The load is a raw asyncio client, since a
full HTTP client is slower than the sandbox. Prints accepted sends per second of each run, the answer times, and the
sandbox's resident memory.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.relay_sandbox.harness import Relay, message, running


class Load:
    """Numbered requests over some connections until the time or the number is used up."""

    def __init__(self, relay: Relay, template: bool) -> None:
        self.relay = relay
        self.path = f"/accounts/1/templates/{relay.payment}/message" if template else "/accounts/1/messages"
        self.template = template
        self.numbers = itertools.count()
        self.times: list[float] = []
        self.done = 0
        self.refused = 0

    def request(self) -> bytes:
        body = message(f"persona{next(self.numbers)}@example.com")
        if self.template:
            body["model"] = {"nombre": "Ana Pérez", "cedula": "0912345678", "monto": "125,40", "vence": "30/11/2026"}
            del body["html"], body["subject"]
        data = json.dumps(body).encode()
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: token {self.relay.said['api_key']}\r\n"
            f"Content-Type: application/json\r\nAccept: */*\r\nContent-Length: {len(data)}\r\n\r\n"
        ).encode() + data

    async def run(self, connections: int, seconds: float, most: int) -> float:
        """Seconds it took."""
        started = time.perf_counter()
        self.until, self.most = started + seconds, most
        await asyncio.gather(*(self.worker() for _ in range(connections)))
        return time.perf_counter() - started

    async def worker(self) -> None:
        reader, writer = await asyncio.open_connection(*self.relay.address)
        while time.perf_counter() < self.until and self.done < self.most:
            began = time.perf_counter()
            writer.write(self.request())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            if len(self.times) < 200_000:
                self.times.append(time.perf_counter() - began)
            self.done += 1
            self.refused += not head.startswith(b"HTTP/1.1 201")
        writer.close()


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024


def main() -> int:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder, _running(args, Path(folder)) as relay:
        rates = []
        for run in range(args.runs):
            load = Load(relay, template=run % 2 == 0)
            took = asyncio.run(load.run(args.connections, args.seconds, args.messages))
            rates.append((load.done - load.refused) / took)
            times = statistics.quantiles(load.times, n=100)
            print(
                f"{'template' if load.template else 'message':9} {rates[-1]:8,.0f}/s  p50 {times[49] * 1000:.1f} ms"
                f"  p99 {times[98] * 1000:.1f} ms  refused {load.refused}  {resident_mb(relay.process.pid):.0f} MB",
                flush=True,
            )
        stats = relay.get("/_sandbox/stats").json
    print(f"min {min(rates):,.0f}  median {statistics.median(rates):,.0f}  max {max(rates):,.0f}; {stats}")
    return 0


@contextlib.contextmanager
def _running(args: argparse.Namespace, folder: Path) -> Iterator[Relay]:
    """A sandbox on the first core; this process moves to the second."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])  # the sandbox inherits it
    with running("--latency-ms", str(args.latency_ms), store=folder / "sandbox.sqlite3") as relay:
        os.sched_setaffinity(0, cores[1:2] or cores)
        yield relay


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accepted sends per second of the sandbox.")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--messages", type=int, default=10**9)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
