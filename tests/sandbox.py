"""The sandbox relay as a process of its own, and what tests ask it over HTTP."""

import contextlib
import csv
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class Sandbox:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        self.process = process
        self.url: str = said["url"]
        self.key: str = said["api_key"]
        self.account: str = said["account"]
        self.template: str = said["template_ids"][0]
        self.template_ids: list[str] = said["template_ids"]

    def environment(self) -> dict[str, str]:
        return {
            "DOPPLER_RELAY_API_KEY": self.key,
            "DOPPLER_RELAY_ACCOUNT_ID": self.account,
            "DOPPLER_RELAY_BASE_URL": self.url + "/",
        }

    def reset(self) -> None:
        self.ask("DELETE", "/_sandbox/messages")
        self.ask("DELETE", "/_sandbox/faults")
        self.ask("PUT", "/_sandbox/limits", {"hourly": None, "daily": None, "monthly": None})
        self.ask("PUT", "/_sandbox/clock", {"offset_seconds": 0})
        self.log()

    def faults(self, **faults: Any) -> None:
        self.ask("PUT", "/_sandbox/faults", faults)

    def log(self, **settings: Any) -> None:
        """How its list of deliveries behaves: `filter`, `lag_seconds`, `hide_links`."""
        self.ask("PUT", "/_sandbox/log", settings)

    def stats(self) -> dict[str, Any]:
        return dict(json.loads(self.ask("GET", "/_sandbox/stats")))

    def messages(self) -> list[dict[str, Any]]:
        """Everything it accepted, oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            after = found[-1]["id"] if found else 0
            page = json.loads(self.ask("GET", f"/_sandbox/messages?after={after}&limit=500"))
            items = page["items"] if isinstance(page, dict) else page
            if not items:
                return found
            found += items

    def deliveries(self) -> list[dict[str, str]]:
        """One line for each message and address it accepted, in order."""
        return self._csv("/_sandbox/messages.csv")

    def accepted(self) -> Counter[str]:
        """How many messages it accepted for each address."""
        return Counter(row["recipient"] for row in self.deliveries())

    def accepted_ids(self) -> dict[str, str]:
        """message id → address."""
        return {row["message_id"]: row["recipient"] for row in self.deliveries()}

    def calls(self) -> list[dict[str, str]]:
        """Every send call it received, in order."""
        return self._csv("/_sandbox/calls.csv")

    def _csv(self, path: str) -> list[dict[str, str]]:
        return list(csv.DictReader(self.ask("GET", path).decode("utf-8-sig").splitlines()))

    def ask(self, method: str, path: str, body: object = None) -> bytes:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"token {self.key}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())


@contextlib.contextmanager
def running_sandbox(store: Path, *arguments: str) -> Iterator[Sandbox]:
    command = [sys.executable, "-m", "relay_sandbox", "--port", "0", "--store", str(store), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield Sandbox(process)
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()
