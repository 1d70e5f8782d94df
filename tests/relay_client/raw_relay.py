"""A relay that is nothing but a socket, so that every fault is a real one."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from relay_client import RelayClient

KEY = "KEY-3f9c-of-the-account"


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


type ClientMaker = Callable[..., Awaitable[RelayClient]]
type Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


def http(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> bytes:
    """A whole answer; what is not bytes goes out as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(raw)}"]
    # As the real relay does (relay API notes §1.5): comparing the content type for equality would fail here.
    given = {"Content-Type": "application/json; charset=utf-8; profile=https://relay.example/schemas/x.json"}
    lines += [f"{name}: {value}" for name, value in (given | (headers or {})).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


def reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class RawRelay:
    """Reads requests and does with each what `behaves` says, or gives the `answers` in turn, the last for ever."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.answers: list[bytes] = [http(201, {"createdResourceId": "id-1"})]
        self.behaves: Behaviour | None = None
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while not writer.is_closing():
                self.requests.append(await _request(reader))
                if self.behaves is not None:
                    await self.behaves(writer)
                else:
                    writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (header.partition(":") for header in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(line, headers, body)


class RelayAccount(NamedTuple):
    """What the contract suite needs of a relay, ours or the live one."""

    base_url: str
    key: str
    account: str
    template_id: str
    recipient: str
