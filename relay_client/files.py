"""Fetching the file of a report: from allowed hosts only, without the key, never more than was allowed.

The link opens without credentials, so it is a secret of a kind itself: no error, no log line and no `repr` here shows
more of it than its host.

```
FileError
├── FileLinkRefused   the link (or what it redirects to) leads where nothing may be fetched from
├── FileTooLarge      more bytes than allowed
├── FileRefused       the host will not give it: 4xx, or redirects without end
├── FileUnavailable   the host cannot be reached, or has no answer now (429, 5xx, no answer in time): later
└── FileBroken        it began to come, and broke off or came too slowly
```
"""

import ipaddress
import re
import time
from collections.abc import Callable, Collection

import aiohttp
from yarl import URL

_CONNECT_SECONDS = 10.0
_MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_DEFAULT_PORTS = {"https": 443, "http": 80}
# On the average, once the time-out of one read has passed: whoever sends less keeps us busy on purpose.
_LEAST_BYTES_PER_SECOND = 10_000
_HOST = re.compile(r"[a-z0-9.:-]{1,253}", re.ASCII)
_HEADERS = {
    "Accept": "text/csv, */*;q=0.5",
    # A small file that unpacks to a huge one would get past every limit: nothing is unpacked here.
    "Accept-Encoding": "identity",
    "User-Agent": "relay-client",
}


class FileError(Exception):
    """The file was not fetched. `what` and `host` are for people: neither holds the link."""

    def __init__(self, host: str, what: str) -> None:
        super().__init__(host, what)
        self.host = host
        self.what = what

    def __str__(self) -> str:
        return f"The file was not fetched from {self.host}: {self.what}."


class FileLinkRefused(FileError):
    """Nothing was asked of `host`: it is not one that files may come from, or not by this scheme, port or user."""


class FileTooLarge(FileError):
    """It has more bytes than `max_bytes`."""


class FileRefused(FileError):
    """The host answered that it does not give the file. Asking again by the same link will not help."""


class FileUnavailable(FileError):
    """No answer, or one that says "later". Asking again may help."""


class FileBroken(FileError):
    """The answer began well and did not end: all that was written so far is worth nothing."""


async def fetch_file(
    url: str,
    write: Callable[[bytes], object],
    *,
    allowed_hosts: Collection[str],
    relay_base_url: str,
    max_bytes: int,
    timeout_seconds: float,
) -> int:
    """Hands the file to `write`, piece by piece as it comes, and returns its size in bytes.

    Allowed are https on the usual port from `allowed_hosts` (exact names), and the origin of the relay itself, which
    may be http where that is this very machine. Redirects are followed only to what is allowed as well. Raises
    FileError; what `write` raises comes through as it is.
    """
    where = _allowed(url, allowed_hosts, relay_base_url)
    timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_SECONDS, sock_read=timeout_seconds)
    async with aiohttp.ClientSession(
        headers=_HEADERS,
        timeout=timeout,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    ) as session:
        for _redirect in range(_MOST_REDIRECTS + 1):
            response = await _ask(session, where)
            try:
                if response.status not in _REDIRECTS:
                    return await _read(response, where, write, max_bytes, timeout_seconds)
                where = _allowed(_target(where, response), allowed_hosts, relay_base_url)
            finally:
                response.close()
    raise FileRefused(_host_of(where), "redirects without end")


async def _ask(session: aiohttp.ClientSession, where: URL) -> aiohttp.ClientResponse:
    """Raised outside the `except`, here and below: exceptions of the library hold the link."""
    try:
        return await session.get(where, allow_redirects=False)
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        trouble = type(error).__name__
    raise FileUnavailable(_host_of(where), trouble)


async def _read(
    response: aiohttp.ClientResponse,
    where: URL,
    write: Callable[[bytes], object],
    max_bytes: int,
    timeout_seconds: float,
) -> int:
    host = _host_of(where)
    if response.status == 429 or response.status >= 500:
        raise FileUnavailable(host, str(response.status))
    if response.status != 200:
        raise FileRefused(host, str(response.status))
    if (response.content_length or 0) > max_bytes:
        raise FileTooLarge(host, f"more than {max_bytes} bytes")
    size, began = 0, time.monotonic()
    while piece := await _piece(response, host):
        size += len(piece)
        if size > max_bytes:
            raise FileTooLarge(host, f"more than {max_bytes} bytes")
        write(piece)
        took = time.monotonic() - began
        if took > timeout_seconds and size < took * _LEAST_BYTES_PER_SECOND:
            raise FileBroken(host, "it comes too slowly")
    return size


async def _piece(response: aiohttp.ClientResponse, host: str) -> bytes:
    """Empty at the end. A body shorter than its Content-Length, or without its last chunk, is an error of aiohttp's."""
    try:
        return await response.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        trouble = type(error).__name__
    raise FileBroken(host, f"it broke off ({trouble})")


def _target(where: URL, response: aiohttp.ClientResponse) -> str:
    try:
        return str(where.join(URL(response.headers.get("Location", ""), encoded=True)))
    except ValueError:
        return ""


def _allowed(url: str, allowed_hosts: Collection[str], relay_base_url: str) -> URL:
    """The link as it is asked for. Nothing is asked, and no name resolved, before it has passed here."""
    try:
        # As it came: a signature in it bears no other spelling. (But blanks and letters of people have to be encoded.)
        where = URL(url if url.isprintable() else "", encoded=url.isascii() and " " not in url)
        host, port = (where.raw_host or "").lower(), where.port
    except ValueError:
        where, host, port = URL(), "", None
    shown = _shown(host)
    if not host or where.scheme not in _DEFAULT_PORTS:
        raise FileLinkRefused(shown, "it is no link to a file")
    if where.raw_user is not None or where.raw_password is not None:
        raise FileLinkRefused(shown, "the link names a user")
    base = URL(relay_base_url)
    is_relay = (where.scheme, host, port) == (base.scheme, (base.raw_host or "").lower(), base.port)
    if where.scheme == "https" and (is_relay or (host in allowed_hosts and port == _DEFAULT_PORTS["https"])):
        return where
    if is_relay and _is_loopback(host):
        return where
    raise FileLinkRefused(shown, "nothing may be fetched from there")


def _host_of(where: URL) -> str:
    return _shown((where.raw_host or "").lower())


def _shown(host: str) -> str:
    # What looks like no host may be anything, even the secret part of the link.
    return host if _HOST.fullmatch(host) else "?"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
