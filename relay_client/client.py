"""The client. One rule decides everything here: did the request leave, or not?

A connection is handed over by the pool before the first byte of a request is written, never after. So
`_Connector.connect` is the border, and on which side of it a call fails is a fact of our own, not a reading of
exception classes. (The class must agree, though: should an aiohttp of the future hand over connections elsewhere, the
border would never be seen, and only unknowns may come of that.) For a change (POST, PUT, DELETE):

before (nothing left: `RelayUnavailable`)
    ClientConnectorError       refused, unreachable, reset while connecting
    ClientConnectorDNSError    the name does not resolve
    ClientConnectorSSLError, ClientConnectorCertificateError      no TLS, so no request either
    ConnectionTimeoutError     no connection within `connect_timeout_seconds`
after (anything may have happened: `RelayUnknown`)
    ServerDisconnectedError    closed without an answer; also a kept-alive connection the relay was just closing
    ClientOSError, ClientConnectionResetError     reset, broken pipe, even in the middle of our own body
    ClientPayloadError         the answer broke off
    ClientResponseError        the answer is not HTTP
    TimeoutError               no whole answer within `timeout_seconds`
    any other Exception        whatever it is, the request was out of our hands

A 4xx whose body got lost is still a 4xx: the status line has said no.

Questions (GET) may be repeated, so both sides are `RelayUnavailable` for them, and they are repeated here. Nothing
else is. aiohttp itself re-sends a request after a dropped kept-alive connection, but only with the methods of its
IDEMPOTENT_METHODS (`ClientSession._request`): POST is not among them. PUT and DELETE are: both state a result, so
that a second one changes nothing.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType
from typing import Self
from urllib.parse import quote
from weakref import WeakSet

import aiohttp
import stamina
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from . import bodies, parsing
from .errors import RelayCallWithdrawn, RelayNotFound, RelayUnavailable
from .parsing import Answer, Unreadable
from .types import (
    Accepted,
    Attachment,
    Delivery,
    Limits,
    Message,
    ReportRequest,
    Template,
    TemplateBody,
    TemplateDraft,
    TemplateMessage,
    to_json,
)

_SCHEMES = {"token": "token", "bearer": "Bearer"}
_MOST_OF_AN_ANSWER = 10 * 1024 * 1024
_MOST_OF_A_CHANGES_ANSWER = 1024 * 1024  # a link per delivery: some hundred recipients need more than 64 KB
_MOST_OF_A_PROBLEM = 64 * 1024
# Idle connections are dropped before common servers and proxies drop them (15 s is at the low end): a request
# written into a connection that is being closed ends as unknown.
_KEEP_ALIVE_SECONDS = 15.0
_LONGEST_WAIT_BETWEEN_READS = 5.0
_CONNECTING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)

# Set anew for each exchange. It starts to run when there is a connection: one that never ran proves that nothing left.
_clock: ContextVar[asyncio.Timeout] = ContextVar("relay_client_clock")


class _Connector(aiohttp.TCPConnector):
    """A pool that asks `may_leave` and starts the clock of an exchange when it hands over a connection."""

    answer_seconds: float
    may_leave: Callable[[], bool]

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=_KEEP_ALIVE_SECONDS)
        self._transports: WeakSet[asyncio.BaseTransport] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if req.method != "GET" and not self.may_leave():
            connection.release()
            raise RelayCallWithdrawn
        if connection.transport is not None:
            self._transports.add(connection.transport)
        clock = _clock.get()
        if clock.when() is None:  # else aiohttp repeats a question: no second helping of time
            clock.reschedule(asyncio.get_running_loop().time() + self.answer_seconds)
        return connection

    def stop_writing(self) -> None:
        for transport in list(self._transports):
            sock = transport.get_extra_info("socket")
            if sock is not None and not transport.is_closing():
                with contextlib.suppress(OSError):  # the other side has closed it: nothing can leave there either
                    sock.shutdown(socket.SHUT_WR)


class RelayClient:
    """The relay of one account, for one event loop, as an async context manager.

    `connect_timeout_seconds` covers name, connection and TLS; `timeout_seconds` runs from there until the whole
    answer is read. Waiting for one of the `max_connections` counts as neither. Redirects are not followed, cookies
    not kept, proxy variables not read, nothing is logged (stamina's own hooks announce the retries of reads; our
    errors show nothing there). Methods raise the errors of `relay_client.errors`; ValueError and TypeError are
    mistakes of the caller, raised before anything left.

    `may_leave` is asked once more when a change has its connection and its first byte would be written next; where it
    says no, the call raises `RelayCallWithdrawn`.
    """

    def __init__(
        self,
        *,
        api_key: str,
        account: str,
        base_url: str = "https://api.dopplerrelay.com/",
        auth_scheme: str = "Bearer",
        timeout_seconds: float = 30.0,
        connect_timeout_seconds: float = 10.0,
        max_connections: int = 25,
        read_attempts: int = 3,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> None:
        # None of these messages repeats the value: a key or a password may stand in the wrong place.
        if not api_key or not all("!" <= character <= "~" for character in api_key):
            raise ValueError("api_key must be printable ASCII without blanks or line breaks")
        if auth_scheme.lower() not in _SCHEMES:
            raise ValueError("auth_scheme must be 'token' or 'Bearer'")
        if timeout_seconds <= 0 or connect_timeout_seconds <= 0:
            raise ValueError("timeout_seconds and connect_timeout_seconds must be above 0")
        if max_connections < 1 or read_attempts < 1:
            raise ValueError("max_connections and read_attempts must be at least 1")
        self._account = account
        self._base = _checked_base(base_url)
        self._headers = {
            "Authorization": f"{_SCHEMES[auth_scheme.lower()]} {api_key}",
            "Accept": "application/json",
            "User-Agent": "relay-client",
        }
        self._timeout_seconds = timeout_seconds
        # `connect` holds for all addresses of the host together, where `sock_connect` would hold for each.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_seconds, sock_read=None)
        self._max_connections = max_connections
        self._read_attempts = read_attempts
        self.may_leave = may_leave
        self._json_headers = CIMultiDict({"Content-Type": "application/json"})
        self._messages_url = self._url("accounts", account, "messages")
        self._templates_url = self._url("accounts", account, "templates")
        self._deliveries_url = self._url("accounts", account, "deliveries")
        self._limits_url = self._url("accounts", account, "status", "limits")
        self._report_request_url = self._url("reports", "reportrequest")  # no account there: it is the key's (§1.3)
        self._report_requests_url = self._url("reports", "reportrequests")
        self._template_message_url = lru_cache(maxsize=256)(self._build_template_message_url)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<RelayClient host={self._base.host!r} account={self._account!r}>"

    async def __aenter__(self) -> Self:
        self._connector = connector = _Connector(self._max_connections)
        connector.answer_seconds = self._timeout_seconds
        connector.may_leave = lambda: self.may_leave()
        # As many calls as connections: so nobody waits inside the pool, where it would count as connecting.
        self._slots = asyncio.Semaphore(self._max_connections)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def stop_writing(self) -> None:
        """From now on not one byte leaves on any open connection; answers may still come. Safe in a signal handler."""
        if self._session is not None:
            self._connector.stop_writing()

    # --- messages ---------------------------------------------------------------------------------------------------

    async def send_message(self, message: Message) -> Accepted:
        return await self._send(self._messages_url, bodies.message_fields(message), message.attachments)

    async def send_template_message(self, template_id: str, message: TemplateMessage) -> Accepted:
        url = self._template_message_url(template_id)
        return await self._send(url, bodies.template_message_fields(message), message.attachments)

    async def _send(self, url: URL, fields: bodies.Fields, attachments: Sequence[Attachment]) -> Accepted:
        if not attachments:
            return await self._change("POST", url, to_json(fields), parsing.accepted)
        pieces = bodies.with_attachments(fields, attachments)
        length = sum(map(len, pieces))
        return await self._change("POST", url, bodies.streamed(pieces), parsing.accepted, length=length)

    # --- templates --------------------------------------------------------------------------------------------------

    def templates(self, *, per_page: int = 50) -> AsyncIterator[Template]:
        """All of them. A page may carry the bodies too: the largest one (200) could be too much of an answer."""
        if not 5 <= per_page <= 200:
            raise ValueError("per_page must be from 5 to 200")
        return self._items(self._templates_url.with_query({"per_page": str(per_page)}), parsing.template_from)

    async def get_template(self, template_id: str) -> Template:
        return await self._ask(self._template_url(template_id), parsing.template)

    async def get_template_body(self, template: Template) -> TemplateBody:
        """From the template's own link, else from `…/body` (relay API notes §3.1). A body that came with the template
        serves when the relay has no separate one."""
        link = next((e for e in template.links if parsing.has_relation(e, "rels/get-template-body")), None)
        url = self._linked(link.href) if link else self._template_url(template.id, "body")
        try:
            html, mseditor = await self._ask(url, parsing.template_body)
        except RelayNotFound:
            if not template.body:
                raise
            html, mseditor = None, template.body_type == "mseditor"
        if html is None:
            html = "" if template.body is None and template.body_type == "empty" else template.body
        if html is None:  # not "": a body that looks empty would hide the variables it needs
            raise parsing.no_answer("a template body without html", reading=True)
        return TemplateBody(html=html, mseditor=mseditor)

    async def create_template(self, draft: TemplateDraft) -> str:
        """Its id. The content is put in a second call, as the vendor's own application does (relay API notes §3.1)."""
        return await self._change(
            "POST", self._templates_url, to_json(bodies.template_fields(draft)), parsing.created_id
        )

    async def update_template(self, template_id: str, draft: TemplateDraft) -> None:
        """Replaces name, sender and subject; the body stays."""
        fields = bodies.template_fields(draft) | {"id": template_id}
        await self._change("PUT", self._template_url(template_id), to_json(fields), _nothing)

    async def put_template_body(self, template_id: str, html: str) -> None:
        await self._change("PUT", self._template_url(template_id, "body"), to_json({"html": html}), _nothing)

    async def delete_template(self, template_id: str) -> None:
        await self._change("DELETE", self._template_url(template_id), None, _nothing)

    # --- deliveries and limits --------------------------------------------------------------------------------------

    def deliveries(
        self,
        *,
        text: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        per_page: int = 200,
    ) -> AsyncIterator[Delivery]:
        """The relay's log: `start` included, `end` not, aware datetimes. Which columns `text` searches is not known
        (relay API notes §4.1), so check what comes. New deliveries may shift pages while they are read: expect
        repeats."""
        if not 5 <= per_page <= 200:
            raise ValueError("per_page must be from 5 to 200")
        query = {"per_page": str(per_page)}
        if text:
            query["filter"] = text
        if start is not None:
            query["from"] = _iso(start)
        # Without `to` the relay means "until now"; the vendor's application never sends a future one.
        if end is not None and (to := _iso(end)) and end <= datetime.now(UTC):
            query["to"] = to
        return self._items(self._deliveries_url.with_query(query), parsing.delivery_from)

    async def get_delivery(self, href: str) -> Delivery:
        """By a link from `Accepted.deliveries` or `Delivery.href`."""
        return await self._ask(self._linked(href), parsing.delivery)

    async def limits(self) -> Limits:
        return await self._ask(self._limits_url, parsing.limits)

    # --- reports ----------------------------------------------------------------------------------------------------

    async def request_report(self, start: datetime, end: datetime) -> str | None:
        """Asks for the CSV of `[start, end)`. None when the relay took the request without naming an id: look for it in
        `report_requests` by its period. `end` should not lie in the future (relay API notes §5)."""
        body = to_json({"start_date": _iso(start), "end_date": _iso(end)})
        return await self._change("POST", self._report_request_url, body, parsing.requested_report_id)

    async def report_request(self, request_id: str) -> ReportRequest:
        url = self._report_request_url.with_query({"reportRequestId": request_id})
        found = await self._ask(url, parsing.report_request)
        return found or ReportRequest(id=request_id, name="", start=None, end=None, processed=False, file_url=None)

    async def report_requests(self) -> list[ReportRequest]:
        return [item async for item in self._items(self._report_requests_url, parsing.report_request_from)]

    # --- one exchange -----------------------------------------------------------------------------------------------

    async def _items[T](self, url: URL, parse: Callable[[parsing.Json], T]) -> AsyncIterator[T]:
        """Every item of every page. Ends at an empty page and at one already read, whatever `next` says."""
        seen: set[URL] = set()
        while url not in seen:
            seen.add(url)
            items, following = await self._ask(url, parsing.page)
            for item in items:
                yield self._understood(parse, item, reading=True)
            if not items or following is None:
                return
            url = self._linked(following)

    async def _ask[T](self, url: URL, parse: Callable[[Answer], T]) -> T:
        async for attempt in stamina.retry_context(
            on=_worth_repeating,
            attempts=self._read_attempts,
            timeout=None,
            wait_initial=0.1,
            wait_max=2.0,
            wait_jitter=0.2,
        ):
            with attempt:
                answer = await self._exchange("GET", url, limit=_MOST_OF_AN_ANSWER)
                return self._understood(parse, answer, reading=True)
        raise AssertionError("unreachable")  # the context either returns or raises

    async def _change[T](
        self,
        method: str,
        url: URL,
        body: bytes | AsyncIterator[memoryview] | None,
        parse: Callable[[Answer], T],
        *,
        length: int | None = None,
    ) -> T:
        headers = self._json_headers if body is not None else None
        if length is not None:
            # With a known length aiohttp does not switch to chunks, which some servers and proxies refuse.
            headers = self._json_headers.copy()
            headers["Content-Length"] = str(length)
        answer = await self._exchange(method, url, body=body, headers=headers, limit=_MOST_OF_A_CHANGES_ANSWER)
        return self._understood(parse, answer, reading=False)

    async def _exchange(
        self,
        method: str,
        url: URL,
        *,
        limit: int,
        body: bytes | AsyncIterator[memoryview] | None = None,
        headers: CIMultiDict[str] | None = None,
    ) -> Answer:
        """One request, one answer of 2xx; everything else is raised. See the head of this file for which error and why.

        Errors are raised outside the `except`, so that they carry no `__context__`: aiohttp's exceptions hold the URL,
        whose query may be an address, and the request's headers. Its class name is all that is told."""
        if self._session is None:
            raise RuntimeError("use the client inside `async with`")
        reading = method == "GET"
        clock = asyncio.timeout(None)
        _clock.set(clock)
        status = 0
        answer_headers: Mapping[str, str] = {}
        raw = b""
        trouble = ""
        never_left = False
        try:
            async with (
                self._slots,
                clock,
                self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                status, answer_headers = response.status, response.headers
                raw = await _read(response, limit if status < 300 else _MOST_OF_A_PROBLEM)
        except RelayCallWithdrawn:
            raise
        except Exception as error:
            if clock.when() is None and not isinstance(error, aiohttp.ClientError | OSError):
                raise  # never left, and no matter of the network: a mistake in the program
            trouble = type(error).__name__
            never_left = clock.when() is None and isinstance(error, _CONNECTING)
        if never_left:
            raise RelayUnavailable(f"The relay cannot be reached, nothing was sent ({trouble}). Try again later.")
        if trouble and status < 400:
            raise parsing.no_answer(trouble, reading=reading, status=status or None)
        answer = Answer(status, answer_headers, raw)
        if not 200 <= status < 300:
            raise parsing.failure(answer, reading=reading)
        return answer

    def _understood[A, T](self, parse: Callable[[A], T], answer: A, *, reading: bool) -> T:
        try:
            return parse(answer)
        except Unreadable as unreadable:
            why = str(unreadable)
        raise parsing.no_answer(why, reading=reading, status=answer.status if isinstance(answer, Answer) else None)

    # --- addresses --------------------------------------------------------------------------------------------------

    def _url(self, *segments: str) -> URL:
        """Below the base; each segment is opaque, so that a `/` in an id cannot lead elsewhere."""
        if any(segment in ("", ".", "..") for segment in segments):
            raise ValueError("an account or an id is empty or no name")
        return URL(str(self._base) + "/".join(quote(segment, safe="") for segment in segments), encoded=True)

    def _template_url(self, template_id: str, *more: str) -> URL:
        return self._url("accounts", self._account, "templates", template_id, *more)

    def _build_template_message_url(self, template_id: str) -> URL:
        return self._template_url(template_id, "message")

    def _linked(self, href: str) -> URL:
        """The URL of a link: complete, or relative to the API's root (which a relay behind a path may or may not know
        by its full name). The key goes to our relay only: a link that leads anywhere else is refused."""
        try:
            url = URL(href)
            if not url.absolute and not url.scheme:
                url = URL(str(self._base) + href.removeprefix(self._base.path).lstrip("/"))
            safe = url.origin() == self._base.origin() and url.user is None
            if safe and ".." not in url.parts and url.path.startswith(self._base.path):
                return url
        except ValueError:
            pass
        raise RelayUnavailable("The relay gave a link that leads outside of it; it was not followed.")


def _checked_base(base_url: str) -> URL:
    """With a slash at the end; a path before it is kept."""
    try:
        url = URL(base_url)
        good = url.scheme in ("http", "https") and url.host and not (url.user or url.password)
    except ValueError:
        good = False
    if not good or url.query_string or url.fragment:
        raise ValueError("base_url must look like https://host/ without user, query or fragment")
    return URL(str(url).rstrip("/") + "/")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body, cut at the limit: a longer one is then no JSON any more, and nobody waits for the rest of it."""
    chunks, size = [], 0
    while chunk := await response.content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            response.close()
            break
    return b"".join(chunks)[:limit]


def _worth_repeating(error: Exception) -> bool | float:
    """True for the usual pause, seconds for the relay's own. A long one is the caller's to wait for."""
    if not isinstance(error, RelayUnavailable):
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= _LONGEST_WAIT_BETWEEN_READS else False


def _iso(moment: datetime) -> str:
    """UTC with milliseconds and `Z`: what the vendor's application sends (relay API notes §1.5). Both ends of a period
    are cut alike, so that neighbouring periods neither overlap nor leave a gap."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError("a moment needs a time zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _nothing(answer: Answer) -> None:
    """The body of a changed or deleted thing says nothing that is needed (relay API notes §3.1)."""
