"""The sandbox as a process, and clients that see what really crosses the wire."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECIPIENT = {"type": "to", "email": "ana@example.com", "name": "Ana Pérez"}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return f"{self.json['status']}.{self.json['errorCode']}"


class Relay:
    """A running sandbox. Calls carry the key of account `sandbox` unless told otherwise."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.said = json.loads(process.stdout.readline())
        self.url: str = self.said["url"]
        self.address = ("127.0.0.1", int(self.url.rsplit(":", 1)[1]))
        self.payment, self.newsletter, self.welcome, self.draft = self.said["template_ids"]

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        auth: str | None = "token sandbox-key",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **({"Authorization": auth} if auth else {}), **(headers or {})}
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())

    def get(self, path: str, **query: object) -> Answer:
        return self.call("GET", path + ("?" + urllib.parse.urlencode(query) if query else ""))

    def send(self, email: str = "ana@example.com", **changes: object) -> Answer:
        return self.call("POST", "/accounts/sandbox/messages", message(email, **changes))

    def send_template(self, template: str, model: object, **changes: object) -> Answer:
        body = {"recipients": [RECIPIENT], "model": model, **changes}
        return self.call("POST", f"/accounts/sandbox/templates/{template}/message", body)

    def messages(self) -> list[Any]:
        items: list[Any] = self.get("/_sandbox/messages", limit=1000).json["items"]
        return items

    def accepted(self) -> list[str]:
        return [address for item in self.messages() for address in item["recipients"]]

    def faults(self, **config: object) -> Answer:
        return self.call("PUT", "/_sandbox/faults", config)

    def shift_clock(self, seconds: float) -> None:
        assert self.call("PUT", "/_sandbox/clock", {"offset_seconds": seconds}).status == 200

    def reset(self) -> None:
        self.call("DELETE", "/_sandbox/messages")
        self.call("DELETE", "/_sandbox/faults")
        self.call("PUT", "/_sandbox/limits", {"hourly": None, "daily": None, "monthly": None})
        self.shift_clock(0)
        self.call("PUT", "/_sandbox/log", {})


def message(email: str = "ana@example.com", **changes: object) -> dict[str, object]:
    body: dict[str, object] = {
        "from_email": "avisos@example.com",
        "from_name": "Avisos",
        "recipients": [{"type": "to", "email": email}],
        "subject": "Hola",
        "html": "<p>Hola</p>",
    }
    return {**body, **changes}


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "relay_sandbox", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def running(*arguments: str, store: str | Path = ":memory:") -> Iterator[Relay]:
    process = start("--port", "0", "--store", str(store), *arguments)
    with process:  # closes the pipes
        try:
            yield Relay(process)
        finally:
            process.terminate()
            assert process.wait(timeout=10) in (0, -9)


def raw_exchange(relay: Relay, request: bytes, timeout: float = 5) -> bytes | str:
    """What comes back on a bare socket until it is closed; "reset" or "silence" when nothing more does."""
    with socket.create_connection(relay.address, timeout=timeout) as connection:
        connection.sendall(request)
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionResetError:
            return "reset"
        except TimeoutError:
            return received or "silence"
        return received


def raw_send(email: str = "ana@example.com") -> bytes:
    body = json.dumps(message(email)).encode()
    return (
        b"POST /accounts/sandbox/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: token sandbox-key\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
    )
