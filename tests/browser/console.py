"""The console served for real: gunicorn as a process of its own, with the database of an installation."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.installation import ROOT, Installation


@contextlib.contextmanager
def running_console(installation: Installation, name: str = "console") -> Iterator[str]:
    """Its address, such as http://127.0.0.1:43211, once it answers."""
    port = _free_port()
    address = f"127.0.0.1:{port}"
    log = installation.folder / f"{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "config.wsgi:application", "--bind", address),
                *("--worker-class", "gthread", "--threads", "8", "--graceful-timeout", "3", "--no-control-socket"),
            ],
            cwd=ROOT,
            env=installation.environment,
            stdout=said,
            stderr=said,
        )
        try:
            _wait_for(f"http://{address}/admin/login/", process, log)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(timeout=20)


@contextlib.contextmanager
def running_worker(installation: Installation) -> Iterator[None]:
    """The background jobs of the installation, done as they come."""
    with (installation.folder / "worker.log").open("ab") as log:
        process = installation.start_logged(log, "worker")
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
