"""Puts the parts together: routes, authorisation, faults of reads, and the listening socket."""

import asyncio
import sqlite3
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from relay_sandbox.accounts import Account, AccountPages, Accounts, Quotas
from relay_sandbox.answers import Json, Problem, problem_answer
from relay_sandbox.clock import Clock
from relay_sandbox.deliveries import Deliveries, LogSettings
from relay_sandbox.faults import Faults, carry_out
from relay_sandbox.inbox import Inbox
from relay_sandbox.inspection import Inspection
from relay_sandbox.reports import Reports
from relay_sandbox.sending import Parts, Sending
from relay_sandbox.stats import Stats
from relay_sandbox.store import Store
from relay_sandbox.templates import Templates
from relay_sandbox.wire import BadRequest, Connection, Request, Response

type Endpoint = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Options:
    host: str = "127.0.0.1"
    port: int = 8025
    store: str = "sandbox.sqlite3"
    latency_ms: float = 0
    latency_spread_ms: float = 0
    seed: int = 0
    faults: Json = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    delivery_seconds: float = 3
    report_seconds: float = 2
    allow_remote: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    endpoint: Endpoint
    access: str
    """"account": key and account of the path; "key": key only; "open": neither."""
    step: str = ""
    """Of a report or a template, for its faults: `reports.poll`."""


class Routes:
    """Finds the endpoint of a method and path. A segment `{}` stands for anything and becomes an argument."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}

    def add(self, method: str, path: str, endpoint: Endpoint, access: str = "account", step: str = "") -> None:
        pattern = path.split("/")[1:]
        self._routes.setdefault((method, len(pattern)), []).append((pattern, Route(endpoint, access, step)))

    def find(self, method: str, segments: list[str]) -> tuple[Route, list[str]] | None:
        wanted = "GET" if method == "HEAD" else method
        for pattern, route in self._routes.get((wanted, len(segments)), ()):
            if all(want in ("{}", have) for want, have in zip(pattern, segments, strict=True)):
                values = [have for want, have in zip(pattern, segments, strict=True) if want == "{}"]
                return route, values
        return None


class Server:
    """One sandbox. `start` listens; `url` and `port` are known then; `stop` closes and flushes the store.

    `failed` is set to an exception when the sandbox cannot go on (the store cannot be written).
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = Clock()
        self.store = Store(options.store, self.clock.now())
        self.faults = Faults(
            self.clock,
            latency_ms=options.latency_ms,
            spread_ms=options.latency_spread_ms,
            seed=options.seed,
        )
        self.faults.load(options.faults)
        self.accounts = Accounts()
        self.quotas = Quotas(self.store, self.clock, dict(options.limits))
        self.stats = Stats(self.store)
        self.log = LogSettings()
        self.templates = Templates(self.store, self.clock)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sending = self._sending()
        self.routes = self._routes()
        self.url = ""
        self._listener: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    def _sending(self) -> Sending:
        parts = Parts(self.store, self.clock, self.accounts, self.quotas, self.templates, self.faults, self.stats)
        return Sending(parts, self._fail)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    # -- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self.handle, self._refuse),
            self.options.host,
            self.options.port,
            backlog=4096,
        )
        port = self._listener.sockets[0].getsockname()[1]
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self.store.close()

    # -- requests --------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Response | None:
        """The answer, or None when it comes later."""
        try:
            segments = request.segments()
            if request.method == "POST" and segments[0] == "accounts":
                # the hot path first, past the table of routes
                if len(segments) == 3 and segments[2] == "messages":
                    self.sending.receive(request, segments[1], None)
                    return None
                if len(segments) == 5 and segments[2] == "templates" and segments[4] == "message":
                    self.sending.receive(request, segments[1], segments[3])
                    return None
            return self._route(request, segments)
        except Exception as error:
            return self._answer_to(error, request)

    def _route(self, request: Request, segments: list[str]) -> Response | None:
        found = self.routes.find(request.method, segments)
        if found is None:
            raise Problem(404, 0, "No such route", extra={"resourceNotFoundPath": request.path})
        route, values = found
        if route.access == "open":
            self._check_host(request)
            answer: Response = route.endpoint(request, *values)
            fault = self.faults.for_step(route.step) if route.step else None
            if fault is None:
                return answer
            content = b"".join(answer.chunks or ()) if fault.accepted else b""
            carry_out(fault, request.connection, self.faults.file_answer(fault, content))
            return None
        return self._api(request, route, values)

    def _answer_to(self, error: Exception, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        if isinstance(error, Problem):
            return problem_answer(error, accept)
        if isinstance(error, sqlite3.Error):
            self._fail(error)
        else:  # a defect of ours: say so where the person who started the sandbox looks
            traceback.print_exception(error, file=sys.stderr)
        return problem_answer(Problem(500, 0, "The sandbox itself failed"), accept)

    def _api(self, request: Request, route: Route, values: list[str]) -> Response | None:
        if route.access == "account":
            account = self.accounts.authorise(request, values.pop(0))
        else:
            account = self.accounts.owner(request)
        fault = self.faults.for_step(route.step) if route.step else self.faults.for_read()
        latency = self.faults.latency()
        if fault is None and not latency:
            return route.endpoint(request, account, *values)
        asyncio.get_running_loop().call_later(latency, self._late, request, route, account, values, fault)
        return None

    def _late(self, request: Request, route: Route, account: Account, values: list[str], fault: Any) -> None:
        """After the latency: the answer, or the fault instead."""
        if request.connection.closed:
            return
        accept = request.headers.get("accept", "")
        answer = None
        if fault is None or fault.accepted:
            try:
                answer = route.endpoint(request, account, *values)
            except Exception as error:
                answer = self._answer_to(error, request)
        if fault is None and answer is not None:
            request.connection.answer(answer)
        elif fault is not None:
            carry_out(fault, request.connection, self.faults.answer(fault, answer, accept))

    def _check_host(self, request: Request) -> None:
        """Keep pages of other sites out: one that lets its own name point here could read the mails."""
        if self.options.allow_remote:
            return
        try:
            name = urlsplit(f"//{request.headers.get('host', 'localhost')}").hostname or ""
        except ValueError:
            name = ""
        if not (name == "localhost" or name.endswith(".localhost") or is_loopback(name)):
            raise Problem(403, 0, "The sandbox answers to loopback names only, see --allow-remote")

    def _refuse(self, problem: BadRequest) -> Response:
        return problem_answer(Problem(problem.status, 0, problem.detail))

    def _routes(self) -> Routes:
        routes = Routes()
        account, templates = "/accounts/{}", self.templates
        pages = AccountPages(self.store, self.clock, self.quotas)
        routes.add("GET", f"{account}/status/limits", pages.limits)
        routes.add("GET", f"{account}/status/plan", pages.plan)
        routes.add("GET", f"{account}/domains", pages.domains)
        routes.add("GET", f"{account}/domains/{{}}", pages.domain)
        routes.add("GET", "/user", pages.user, "key")
        routes.add("GET", "/user/apikeys", pages.api_keys, "key")
        routes.add("GET", f"{account}/templates", templates.index, step="templates.list")
        routes.add("POST", f"{account}/templates", templates.create, step="templates.create")
        routes.add("GET", f"{account}/templates/{{}}", templates.get, step="templates.get")
        routes.add("PUT", f"{account}/templates/{{}}", templates.update, step="templates.update")
        routes.add("DELETE", f"{account}/templates/{{}}", templates.delete, step="templates.delete")
        routes.add("GET", f"{account}/templates/{{}}/body", templates.get_body, step="templates.get_body")
        routes.add("PUT", f"{account}/templates/{{}}/body", templates.put_body, step="templates.body")
        self._add_reading_routes(routes)
        self._add_open_routes(routes)
        return routes

    def _add_reading_routes(self, routes: Routes) -> None:
        deliveries = Deliveries(self.store, self.clock, self.options.delivery_seconds, self.log)
        routes.add("GET", "/accounts/{}/deliveries", deliveries.index)
        routes.add("GET", "/accounts/{}/deliveries/{}", deliveries.get)
        routes.add("GET", "/accounts/{}/statistics/{}/{}", deliveries.statistics)
        reports = Reports(
            self.store,
            self.clock,
            self.options.report_seconds,
            self.options.delivery_seconds,
            lambda: self.faults.report_links.rstrip("/") or self.url,
        )
        routes.add("POST", "/reports/reportrequest", reports.create, "key", "reports.create")
        routes.add("GET", "/reports/reportrequest", reports.get, "key", "reports.poll")
        routes.add("GET", "/reports/reportrequests", reports.index, "key", "reports.list")
        routes.add("GET", "/files/reports/{}", reports.file, "open", "reports.file")

    def _add_open_routes(self, routes: Routes) -> None:
        inbox = Inbox(self.store, self.clock, self.stats, self.options.delivery_seconds)
        routes.add("GET", "/", inbox.index, "open")
        routes.add("GET", "/inbox/{}", inbox.mail, "open")
        routes.add("GET", "/inbox/{}/html", inbox.html, "open")
        routes.add("GET", "/inbox/{}/attachments/{}", inbox.attachment, "open")
        look = Inspection(self.store, self.clock, self.faults, self.quotas, self.stats, self.log)
        routes.add("GET", "/_sandbox/messages", look.messages, "open")
        routes.add("DELETE", "/_sandbox/messages", look.empty, "open")
        routes.add("GET", "/_sandbox/messages.csv", look.messages_csv, "open")
        routes.add("GET", "/_sandbox/calls.csv", look.calls_csv, "open")
        routes.add("GET", "/_sandbox/stats", look.stats, "open")
        routes.add("GET", "/_sandbox/faults", look.get_faults, "open")
        routes.add("PUT", "/_sandbox/faults", look.put_faults, "open")
        routes.add("DELETE", "/_sandbox/faults", look.clear_faults, "open")
        routes.add("GET", "/_sandbox/limits", look.get_limits, "open")
        routes.add("PUT", "/_sandbox/limits", look.put_limits, "open")
        routes.add("GET", "/_sandbox/log", look.get_log, "open")
        routes.add("PUT", "/_sandbox/log", look.put_log, "open")
        routes.add("GET", "/_sandbox/clock", look.get_clock, "open")
        routes.add("PUT", "/_sandbox/clock", look.put_clock, "open")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
