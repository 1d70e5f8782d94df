"""HTTP/1.1 on a thin asyncio protocol.

Why not a framework: a relay that answers at once must not be slower than the client that is being measured, and
faults need the socket itself (a reset, half an answer, no answer at all). One request at a time per connection;
pipelined bytes wait in the buffer.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, unquote

MAX_HEAD = 64 * 1024
MAX_BODY = 40 * 1024 * 1024
JSON_TYPE = "application/json; charset=utf-8"

_LINGER_RESET = struct.pack("ii", 1, 0)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Response:
    """A whole answer, or a streamed one when `chunks` is set (sent chunked, one chunk at a time)."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()
    chunks: Iterable[bytes] | None = None


class BadRequest(Exception):
    """What arrived is not HTTP we can read; the connection is closed after the answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: "Connection"
    _query: dict[str, str] | None = field(default=None)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the query string; the first of a repeated one counts."""
        if self._query is None:
            raw = self.target.partition("?")[2]
            try:
                pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=200)
            except ValueError:
                pairs = []
            self._query = {key: clean(value) for key, value in reversed(pairs)}
        return self._query

    def segments(self) -> list[str]:
        return [clean(unquote(part)) for part in self.path.split("/")[1:]]


def clean(text: str) -> str:
    """Text that can be stored and written as UTF-8: lone surrogates become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


Handler = Callable[[Request], Response | None]
Refusal = Callable[[BadRequest], Response]


class Connection(asyncio.Protocol):
    """Reads requests, hands each to `handle`, and writes its answer.

    `handle` returns the answer, or None when it will be given later through `answer` (or never).
    """

    def __init__(self, handle: Handler, refuse: Refusal) -> None:
        self._handle = handle
        self._refuse = refuse
        self._buffer = bytearray()
        self._busy = False
        self._keep_alive = True
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._length = 0
        self._chunked: ChunkedBody | None = None
        self._head_only = False
        self._drained = asyncio.Event()
        self._drained.set()
        self._pump: asyncio.Task[None] | None = None
        self.closed = False
        self.on_close: Callable[[], None] | None = None

    # -- asyncio.Protocol ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._drained.set()
        self._buffer.clear()
        if self._pump is not None:
            self._pump.cancel()
        if self.on_close is not None:
            self.on_close()
            self.on_close = None

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._busy:
            if len(self._buffer) > MAX_HEAD:  # a client that pipelines without reading answers has to wait
                self.transport.pause_reading()
            return
        self._advance()

    # -- answers ---------------------------------------------------------------------------------------------

    def answer(self, response: Response) -> None:
        if self.closed:
            return
        if response.chunks is not None:
            self._pump = asyncio.get_running_loop().create_task(self._stream(response))
            return
        self.answer_bytes(self.render(response))

    def answer_bytes(self, data: bytes) -> None:
        """Write a finished answer and go on with the next request of this connection."""
        if self.closed:
            return
        self.transport.write(data)
        self._finish()

    def render(self, response: Response) -> bytes:
        head = self._head_lines(response)
        head.append(f"Content-Length: {len(response.body)}\r\n\r\n")
        data = "".join(head).encode("latin-1", "replace")
        return data if self._head_only else data + response.body

    def reset(self) -> None:
        """Close with a TCP reset, so that the other side sees a broken connection and no answer."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.closed:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.transport.abort()

    def close(self) -> None:
        self.transport.close()

    def truncate(self, response: Response) -> None:
        """Half of the body under a header that promises all of it, then the end."""
        self.begin(response)
        self.transport.close()

    def begin(self, response: Response) -> None:
        """Half of the body under a header that promises all of it."""
        data = self.render(response)
        self.transport.write(data[: len(data) - (len(response.body) + 1) // 2])

    def _head_lines(self, response: Response) -> list[str]:
        reason = _REASONS.get(response.status, "")
        lines = [f"HTTP/1.1 {response.status} {reason}\r\nContent-Type: {response.content_type}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in response.headers]
        if not self._keep_alive:
            lines.append("Connection: close\r\n")
        return lines

    async def _stream(self, response: Response) -> None:
        lines = self._head_lines(response)
        lines.append("Transfer-Encoding: chunked\r\n\r\n")
        self.transport.write("".join(lines).encode("latin-1", "replace"))
        if not self._head_only:
            for chunk in cast(Iterable[bytes], response.chunks):
                if chunk:
                    self.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await self._drained.wait()
                await asyncio.sleep(0)
                if self.closed:
                    return
            self.transport.write(b"0\r\n\r\n")
        self._pump = None
        self._finish()

    def _finish(self) -> None:
        self._busy = False
        self.on_close = None
        if not self._keep_alive:
            self.transport.close()
            return
        if self._buffer:
            # not recursively: a client may pipeline thousands of requests in one packet
            asyncio.get_running_loop().call_soon(self._continue)

    def _continue(self) -> None:
        if not self.closed and not self._busy:
            self.transport.resume_reading()
            self._advance()

    # -- requests --------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        try:
            request = self._next_request()
        except BadRequest as problem:
            self._keep_alive = False
            self._busy = True
            self.answer(self._refuse(problem))
            return
        if request is None:
            return
        self._busy = True
        response = self._handle(request)
        if response is not None:
            self.answer(response)

    def _next_request(self) -> Request | None:
        if self._head is None and not self._read_head():
            return None
        body = self._read_body()
        if body is None:
            return None
        method, target, headers = cast(tuple[str, str, dict[str, str]], self._head)
        self._head = None
        self._chunked = None
        return Request(method, target, headers, body, self)

    def _read_head(self) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):  # RFC 9112 §2.2: empty lines before a request are skipped
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(buffer) >= MAX_HEAD:
                raise BadRequest(431, "The headers are too large.")
            return False
        method, target, version, headers = parse_head(bytes(buffer[:end]))
        del buffer[: end + 4]
        self._head = (method, target, headers)
        self._head_only = method == "HEAD"
        wish = headers.get("connection", "").lower()
        self._keep_alive = "close" not in wish if version == "HTTP/1.1" else "keep-alive" in wish
        self._plan_body(headers)
        return True

    def _plan_body(self, headers: dict[str, str]) -> None:
        coding = headers.get("transfer-encoding")
        length = headers.get("content-length", "0")
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in headers:
                raise BadRequest(400, "Transfer-Encoding must be chunked, without Content-Length.")
            self._chunked = ChunkedBody()
        else:
            if not (length.isascii() and length.isdigit()):
                raise BadRequest(400, "Content-Length is not a number.")
            self._length = int(length) if len(length) < 16 else MAX_BODY + 1
            if self._length > MAX_BODY:
                raise BadRequest(413, "The request is larger than 40 MB.")
        if headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_body(self) -> bytes | None:
        if self._chunked is not None:
            return self._chunked.feed(self._buffer)
        if len(self._buffer) < self._length:
            return None
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        return body


def parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, target, version and lower-cased headers (repeated ones joined by a comma)."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0") or not parts[1].startswith("/"):
        raise BadRequest(400, "The request line is not HTTP/1.1.")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "A header line is malformed.")
        name = name.lower()
        headers[name] = value.strip() if name not in headers else f"{headers[name]}, {value.strip()}"
    return parts[0], parts[1], parts[2], headers


class ChunkedBody:
    """Collects a chunked body from the connection's buffer; None until it is complete."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._missing = -1  # bytes still to come of the current chunk; -1: a size line is next

    def feed(self, buffer: bytearray) -> bytes | None:
        while True:
            if self._missing < 0:
                end = buffer.find(b"\r\n", 0, 1024)
                if end < 0:
                    if len(buffer) >= 1024:
                        raise BadRequest(400, "A chunk's size line is too long.")
                    return None
                self._missing = self._size(bytes(buffer[:end]))
                if self._missing == 0:
                    return self._trailer(buffer, end)
                del buffer[: end + 2]
            if len(buffer) < self._missing + 2:
                return None
            if buffer[self._missing : self._missing + 2] != b"\r\n":
                raise BadRequest(400, "A chunk is longer than it says.")
            self._body += buffer[: self._missing]
            del buffer[: self._missing + 2]
            self._missing = -1

    def _size(self, line: bytes) -> int:
        try:
            size = int(line.split(b";")[0].strip(), 16)
        except ValueError:
            raise BadRequest(400, "A chunk's size is not a hexadecimal number.") from None
        if size < 0 or len(self._body) + size > MAX_BODY:
            raise BadRequest(413, "The request is larger than 40 MB.")
        return size

    def _trailer(self, buffer: bytearray, end: int) -> bytes | None:
        """After the last chunk: trailer lines, which nobody needs, and an empty line."""
        stop = buffer.find(b"\r\n\r\n", end)
        if stop < 0:
            if len(buffer) > MAX_HEAD:
                raise BadRequest(431, "The trailer is too large.")
            self._missing = -1
            return None
        del buffer[: stop + 4]
        return bytes(self._body)
