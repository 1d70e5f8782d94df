"""Accounts, credentials and quotas (relay API notes §1.2, §1.3, §4.5)."""

from dataclasses import dataclass
from typing import Any

from relay_sandbox.answers import Json, Problem, json_answer, link
from relay_sandbox.clock import Clock, http_date, iso, window
from relay_sandbox.faults import quota_problem
from relay_sandbox.store import Store
from relay_sandbox.wire import Request, Response

PERIODS = ("hourly", "daily", "monthly")


@dataclass(frozen=True, slots=True)
class Account:
    id: int
    name: str
    api_key: str
    domains: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/accounts/{self.id}"


ACCOUNTS = (
    Account(1, "sandbox", "sandbox-key", ("example.com", "avisos.example.com")),
    Account(2, "otra", "otra-key", ("otra.example.com",)),
)


class Accounts:
    """Tells whose key a request carries. Answers are remembered per header, since a client sends one key."""

    def __init__(self) -> None:
        self._by_key = {account.api_key: account for account in ACCOUNTS}
        self._by_segment = {segment: one for one in ACCOUNTS for segment in (str(one.id), one.name)}

    def owner(self, request: Request) -> Account:
        """The account of the credential; 401.0 without one, 401.1 for an unknown one."""
        header = request.headers.get("authorization", "").strip()
        if header:
            scheme, _, key = header.partition(" ")
            key = key.strip() if scheme.lower() in ("token", "bearer") else ""
        elif "api_key=" in request.target:
            key = request.query.get("api_key", "")
        else:
            raise Problem(401, 0, "No credentials were sent")
        account = self._by_key.get(key)
        if account is None:
            raise Problem(401, 1, "The token is not valid")
        return account

    def authorise(self, request: Request, segment: str) -> Account:
        """The account in the path, by id or name, if the credential is its own: 401.x, 403.1, 404.1."""
        owner = self.owner(request)
        account = self._by_segment.get(segment.lower())
        if account is None:
            raise Problem(404, 1, "No such account", extra={"resourceNotFoundPath": f"/accounts/{segment}"})
        if account is not owner:
            raise Problem(403, 1, "The credential belongs to another account")
        return account


class Quotas:
    """Counts of deliveries per UTC hour, day and month, for every account.

    Counts live in memory and are taken from the store when a window begins, the clock is shifted or limits change.
    """

    def __init__(self, store: Store, clock: Clock, limits: dict[str, int]) -> None:
        self._store = store
        self._clock = clock
        self.limits = limits
        self._counts: dict[tuple[int, str], list[int]] = {}

    def forget(self) -> None:
        self._counts.clear()

    def count(self, account: int, period: str, now: int) -> list[int]:
        """[window start, window end, deliveries in it]; kept up to date by `take`."""
        found = self._counts.get((account, period))
        if found is None or not found[0] <= now < found[1]:
            start, end = window(period, now)
            found = [start, end, self.stored(account, start, end)]
            self._counts[account, period] = found
        return found

    def stored(self, account: int, start: int, end: int) -> int:
        sql = "SELECT count(*) FROM deliveries WHERE account = ? AND received >= ? AND received < ?"
        return int(self._store.value(sql, (account, start, end)))

    def take(self, account: int, wanted: int, now: int) -> None:
        """Count `wanted` deliveries, or raise 402.1 when one of the limits does not allow them."""
        counts = []
        for period, limit in self.limits.items():
            found = self.count(account, period, now)
            if found[2] + wanted > limit:
                raise quota_problem(period, limit, found[2], found[1], now)
            counts.append(found)
        for found in counts:
            found[2] += wanted


def check_limits(body: Json) -> dict[str, int | None]:
    for key, value in body.items():
        if key not in PERIODS:
            raise ValueError(f'Unknown key "{key}"; known are {", ".join(PERIODS)}.')
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise ValueError(f'"{key}" must be a whole number, or null for no limit.')
    return body


class AccountPages:
    """The read-only resources of an account."""

    def __init__(self, store: Store, clock: Clock, quotas: Quotas) -> None:
        self._store = store
        self._clock = clock
        self._quotas = quotas

    def limits(self, request: Request, account: Account) -> Response:
        now = self._clock.now()
        body: Json = {"dkimConfigurationRequired": False, "domainConfigurationRequired": False}
        for period, limit in self._quotas.limits.items():
            _, end, count = self._quotas.count(account.id, period, now)
            body[period] = {"limit": limit, "remaining": max(0, limit - count), "reset": iso(end)}
        if not self._quotas.limits:
            body["noLimits"] = True
        body["hasNotDeliveries"] = not self._store.rows(
            "SELECT 1 FROM deliveries WHERE account = ? LIMIT 1", (account.id,)
        )
        body["_links"] = [link(f"{account.path}/status/limits", "self", "Limits")]
        return json_answer(body, "limit-status", headers=(("Date", http_date(now)),))

    def plan(self, request: Request, account: Account) -> Response:
        start, end = window("monthly", self._clock.now())
        count = self._quotas.stored(account.id, start, end)
        body = {"deliveriesCount": count, "startDate": iso(start), "endDate": iso(end), "accountClosed": False}
        return json_answer({**body, "_links": []}, "plan-status")

    def domains(self, request: Request, account: Account) -> Response:
        body = {
            "default": account.domains[0],
            "domains": [_domain(name) for name in account.domains],
            "_links": [link(f"{account.path}/domains", "self", "Domains")],
        }
        return json_answer(body, "domains")

    def domain(self, request: Request, account: Account, name: str) -> Response:
        if name.lower() not in account.domains:
            raise Problem(404, 1, "No such domain", extra={"resourceNotFoundPath": request.path})
        keys = {"dkim_selector": "sel1", "dkim_public_key": "MIGfMA0sandbox"}
        tracking = {"tracking_domain": f"trk.{name}", "canonical_tracking_domain": "trk.example.net"}
        return json_answer({**_domain(name), **keys, **tracking, "_links": []}, "domain")

    def user(self, request: Request, account: Account) -> Response:
        body = {
            "user_email": f"persona@{account.domains[0]}",
            "user_id": account.id,
            "account_name": account.name,
            "pending_activation": False,
            "domain": account.domains[0],
            "password_empty": False,
            "firstName": "Persona",
            "lastName": "De Prueba",
            "company_name": "Relay de prueba",
            "_links": [],
        }
        return json_answer(body, "user")

    def api_keys(self, request: Request, account: Account) -> Response:
        return json_answer({"api_keys": [{"api_key": account.api_key}], "_links": []}, "api-keys")


def _domain(name: str) -> dict[str, Any]:
    ready = {f"{what}_ready": True for what in ("dkim", "spf", "dmarc", "tracking_domain")}
    return {"name": name, "disabled": False, **ready}
