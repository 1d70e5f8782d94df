"""Fetching a report's file: what is followed, what is refused, what is told of the link (nothing but its host)."""

import asyncio
import gzip
from collections.abc import Callable

import pytest
from raw_relay import RawRelay, http, reset

from relay_client import (
    FileBroken,
    FileError,
    FileLinkRefused,
    FileRefused,
    FileTooLarge,
    FileUnavailable,
    fetch_file,
    files,
)

HOSTS = ("files.example.com",)
BASE = "https://relay.example.com/"


class Target:
    """Where the pieces go."""

    def __init__(self) -> None:
        self.content = b""

    def __call__(self, piece: bytes) -> None:
        self.content += piece


async def fetch(relay: RawRelay, path: str = "/files/secret-1.csv", **options: object) -> bytes:
    target = Target()
    usual = {"allowed_hosts": HOSTS, "relay_base_url": relay.url + "/", "max_bytes": 1000, "timeout_seconds": 2.0}
    size = await fetch_file(relay.url + path, target, **(usual | options))  # type: ignore[arg-type]
    assert size == len(target.content)
    return target.content


async def refusal(relay: RawRelay, kind: type[FileError], **options: object) -> FileError:
    with pytest.raises(kind) as caught:
        await fetch(relay, **options)  # type: ignore[arg-type]
    error = caught.value
    assert "secret" not in f"{error} {error!r} {error.args}"
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


async def test_the_file_comes_as_it_is_without_key_and_cookies(raw_relay: RawRelay) -> None:
    packed = gzip.compress(b"Subject,Sender\r\n")
    raw_relay.answers = [http(200, packed, {"Content-Encoding": "gzip", "Set-Cookie": "a=b"})]
    assert await fetch(raw_relay) == packed
    await fetch(raw_relay)
    for request in raw_relay.requests:
        assert request.line == "GET /files/secret-1.csv HTTP/1.1"
        assert "authorization" not in request.headers
        assert "cookie" not in request.headers
        assert request.headers["accept-encoding"] == "identity"


async def test_no_proxy_of_the_environment_sees_the_link(raw_relay: RawRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    raw_relay.answers = [http(200, b"x")]
    assert await fetch(raw_relay) == b"x"


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example.com/secret.csv",
        "https://files.example.com:8443/secret.csv",
        "https://files.example.com.evil.example/secret.csv",
        "https://sub.files.example.com/secret.csv",
        "https://files.example.com@evil.example/secret.csv",
        "https://user:secret@files.example.com/x.csv",
        "https://secret@files.example.com/x.csv",
        "https://evil.example/secret.csv",
        "https://files.example.com./secret.csv",
        "http://relay.example.com/secret.csv",
        "https://relay.example.com:444/secret.csv",
        "http://127.0.0.1:9/secret.csv",
        "http://[::1]/secret.csv",
        "https://169.254.169.254/secret",
        "ftp://files.example.com/secret.csv",
        "file:///etc/secret",
        "//files.example.com/secret.csv",
        "/secret.csv",
        "secret",
        "",
        "https://",
        "https://files.example.com:99999/secret.csv",
        "https://fi les.example.com/secret",
        "https://[bad/secret",
        "https://files.example.com/a\r\nX-Secret: b",
    ],
)
async def test_a_link_that_leads_elsewhere_is_never_asked_for(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.aiohttp, "ClientSession", _forbidden)
    with pytest.raises(FileLinkRefused) as caught:
        await fetch_file(url, _forbidden, allowed_hosts=HOSTS, relay_base_url=BASE, max_bytes=1000, timeout_seconds=1.0)
    assert "secret" not in str(caught.value)


def _forbidden(*args: object, **options: object) -> None:
    raise AssertionError("something was asked or written")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://files.example.com/a/b.csv?sig=a%2Fb", BASE),
        ("https://FILES.example.com/a.csv", BASE),
        ("https://files.example.com:443/a.csv", BASE),
        ("https://relay.example.com/a.csv", BASE),
        ("https://relay.example.com:8443/a.csv", "https://relay.example.com:8443/"),
        ("http://127.0.0.1:8025/a.csv", "http://127.0.0.1:8025/"),
        ("http://localhost:8025/a.csv", "http://localhost:8025/"),
        ("http://[::1]:8025/a.csv", "http://[::1]:8025/"),
    ],
)
def test_a_link_to_an_allowed_host_or_the_relay_itself_may_be_followed(url: str, base: str) -> None:
    # As it came: a signature in it would not bear another spelling.
    assert str(files._allowed(url, HOSTS, base)).partition("/a")[2] == url.partition("/a")[2]


async def test_a_link_with_blanks_is_encoded(raw_relay: RawRelay) -> None:
    raw_relay.answers = [http(200, b"x")]
    await fetch(raw_relay, "/files/Reporte año 1.csv")
    assert raw_relay.requests[0].line == "GET /files/Reporte%20a%C3%B1o%201.csv HTTP/1.1"


async def test_redirects_are_followed_where_a_link_may_lead(raw_relay: RawRelay) -> None:
    raw_relay.answers = [
        http(302, b"", {"Location": "/files/second.csv"}),
        http(307, b"", {"Location": raw_relay.url + "/third.csv"}),
        http(200, b"content"),
    ]
    assert await fetch(raw_relay) == b"content"
    assert raw_relay.requests[-1].line == "GET /third.csv HTTP/1.1"


@pytest.mark.parametrize(
    "location", ["https://evil.example/secret", "http://127.0.0.1:9/secret", "file:///etc/secret", "http://[bad"]
)
async def test_a_redirect_elsewhere_is_refused(raw_relay: RawRelay, location: str) -> None:
    raw_relay.answers = [http(302, b"", {"Location": location})]
    await refusal(raw_relay, FileLinkRefused)
    assert len(raw_relay.requests) == 1


async def test_redirects_in_a_circle_end(raw_relay: RawRelay) -> None:
    raw_relay.answers = [http(302, b"", {"Location": "/files/secret-1.csv"})]
    assert (await refusal(raw_relay, FileRefused)).what == "redirects without end"
    assert len(raw_relay.requests) == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, FileRefused), (403, FileRefused), (404, FileRefused), (204, FileRefused), (206, FileRefused)]
    + [(429, FileUnavailable), (500, FileUnavailable), (503, FileUnavailable)],
)
async def test_an_answer_without_the_file_says_whether_asking_again_helps(
    raw_relay: RawRelay, status: int, kind: type[FileError]
) -> None:
    raw_relay.answers = [http(status, b"")]
    error = await refusal(raw_relay, kind)
    assert (error.host, error.what) == ("127.0.0.1", str(status))


async def test_a_host_that_cannot_be_reached(raw_relay: RawRelay) -> None:
    target = Target()
    with pytest.raises(FileUnavailable) as caught:
        await fetch_file(
            "http://127.0.0.1:9/secret.csv",
            target,
            allowed_hosts=HOSTS,
            relay_base_url="http://127.0.0.1:9/",
            max_bytes=1000,
            timeout_seconds=1.0,
        )
    assert "secret" not in str(caught.value)


async def test_a_host_that_answers_nothing(raw_relay: RawRelay) -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    raw_relay.behaves = stall
    await refusal(raw_relay, FileUnavailable, timeout_seconds=0.2)


def _sending(*pieces: bytes, pause: float = 0.0, then: Callable[[asyncio.StreamWriter], object] | None = None):  # type: ignore[no-untyped-def]
    async def behave(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if then is None:
            await asyncio.sleep(60)
        else:
            then(writer)

    return behave


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(_sending(HEAD + b"half", then=lambda writer: writer.close()), id="shorter than it says"),
        pytest.param(_sending(CHUNKED, then=lambda writer: writer.close()), id="without its last chunk"),
        pytest.param(_sending(HEAD + b"half", pause=0.1, then=reset), id="reset"),
        pytest.param(_sending(HEAD + b"half"), id="stalled"),
        pytest.param(_sending(HEAD, *[b"x"] * 90, pause=0.05), id="a byte at a time"),
    ],
)
async def test_a_file_that_breaks_off_is_no_file(raw_relay: RawRelay, behaviour) -> None:  # type: ignore[no-untyped-def]
    raw_relay.behaves = behaviour
    await refusal(raw_relay, FileBroken, timeout_seconds=0.5)


async def test_a_file_larger_than_allowed_ends_at_the_limit(raw_relay: RawRelay) -> None:
    raw_relay.answers = [http(200, b"x" * 1001)]
    target = Target()
    with pytest.raises(FileTooLarge):
        await fetch_file(
            raw_relay.url + "/x",
            target,
            allowed_hosts=HOSTS,
            relay_base_url=raw_relay.url,
            max_bytes=1000,
            timeout_seconds=2,
        )
    assert target.content == b""

    # Without a length: as soon as it is too much.
    raw_relay.behaves = _sending(b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 600] * 100, pause=0.01)
    await refusal(raw_relay, FileTooLarge)


async def test_exactly_the_limit_is_allowed(raw_relay: RawRelay) -> None:
    raw_relay.answers = [http(200, b"x" * 1000)]
    assert len(await fetch(raw_relay)) == 1000


async def test_what_the_writer_raises_comes_through(raw_relay: RawRelay) -> None:
    raw_relay.answers = [http(200, b"x")]

    def full(piece: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await fetch_file(
            raw_relay.url + "/x",
            full,
            allowed_hosts=HOSTS,
            relay_base_url=raw_relay.url,
            max_bytes=1000,
            timeout_seconds=2,
        )
