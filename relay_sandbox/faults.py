"""Faults on request: which call gets one, decided by a seed, and what the caller then sees.

The settings are JSON (see README.md): rates per kind, drawn once per call, and scripts per recipient. A script
goes before the rates. `…_after` kinds and `html_after`, `no_id_after`, `truncated_after` accept the message first.
Reports have scripts of their own, one for each step: `create`, `poll`, `list`, `file`; so have templates: `list`,
`get`, `get_body`, `create`, `update`, `body`, `delete`.
"""

import asyncio
import gzip
import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Literal

from relay_sandbox.answers import Json, Problem, json_answer, problem_answer
from relay_sandbox.clock import Clock, http_date, iso, window
from relay_sandbox.wire import Connection, Response

STALL_SECONDS = 600.0

How = Literal["answer", "reset", "close", "truncate", "stall", "half"]


@dataclass(frozen=True, slots=True)
class Fault:
    """`accepted`: the message is stored first. `status`: what the caller reads, None when there is no answer."""

    kind: str
    how: How
    accepted: bool
    status: int | None


def _table(*rows: tuple[str, How, bool, int | None]) -> dict[str, Fault]:
    return {row[0]: Fault(*row) for row in rows}


SEND_FAULTS = _table(
    ("429", "answer", False, 429),
    ("429_bare", "answer", False, 429),
    ("402", "answer", False, 402),
    ("400", "answer", False, 400),
    ("401", "answer", False, 401),
    ("403", "answer", False, 403),
    ("404", "answer", False, 404),
    ("413_html", "answer", False, 413),
    ("500_before", "answer", False, 500),
    ("500_after", "answer", True, 500),
    ("502_html_before", "answer", False, 502),
    ("502_html_after", "answer", True, 502),
    ("reset_before", "reset", False, None),
    ("reset_after", "reset", True, None),
    ("close_before", "close", False, None),
    ("close_after", "close", True, None),
    ("truncated_after", "truncate", True, 201),
    ("stall_before", "stall", False, None),
    ("stall_after", "stall", True, None),
    ("html_after", "answer", True, 200),
    ("no_id_after", "answer", True, 200),
)

READ_FAULTS = _table(
    ("429", "answer", False, 429),
    ("429_bare", "answer", False, 429),
    ("401", "answer", False, 401),
    ("403", "answer", False, 403),
    ("404", "answer", False, 404),
    ("500", "answer", False, 500),
    ("502_html", "answer", False, 502),
    ("html", "answer", False, 200),
    ("reset", "reset", False, None),
    ("close", "close", False, None),
    ("truncated", "truncate", True, 200),
    ("stall", "stall", False, None),
)

# What becomes of the file of a report; `accepted` means that its true content goes into the answer.
FILE_FAULTS = _table(
    ("403", "answer", False, 403),
    ("404", "answer", False, 404),
    ("429", "answer", False, 429),
    ("500", "answer", False, 500),
    ("502_html", "answer", False, 502),
    ("html", "answer", False, 200),
    ("reset", "reset", False, None),
    ("close", "close", False, None),
    ("stall", "stall", False, None),
    ("redirect", "answer", False, 302),
    ("empty", "answer", False, 200),
    ("gzip", "answer", True, 200),
    ("cut", "answer", True, 200),
    ("other_columns", "answer", True, 200),
    ("endless", "answer", True, 200),
    ("truncated", "truncate", True, 200),
    ("stalled", "half", True, 200),
)

# By step: the kinds that its script may name.
REPORT_FAULTS = {"create": SEND_FAULTS, "poll": READ_FAULTS, "list": READ_FAULTS, "file": FILE_FAULTS}
TEMPLATE_FAULTS = {
    **dict.fromkeys(("list", "get", "get_body"), READ_FAULTS),
    **dict.fromkeys(("create", "update", "body", "delete"), SEND_FAULTS),
}
STEPS = {"reports": REPORT_FAULTS, "templates": TEMPLATE_FAULTS}

_KEYS = (
    "seed",
    "latency_ms",
    "latency_spread_ms",
    "reset_in_seconds",
    "rates",
    "recipients",
    "reads",
    "reports",
    "templates",
    "report_links",
    "redirect_to",
)


class Rates:
    """One draw per call over kinds whose rates add up to at most 1; the rest is no fault."""

    def __init__(self, rates: dict[str, float], faults: dict[str, Fault], seed: str) -> None:
        self._random = random.Random(seed)
        self._limits: list[tuple[float, Fault]] = []
        total = 0.0
        for kind, rate in rates.items():
            total += rate
            self._limits.append((total, faults[kind]))

    def draw(self) -> Fault | None:
        if not self._limits:
            return None
        value = self._random.random()
        return next((fault for limit, fault in self._limits if value < limit), None)


class Faults:
    """The settings in force. `defaults` are the latency and seed given at start; `clear` goes back to them."""

    def __init__(self, clock: Clock, *, latency_ms: float = 0, spread_ms: float = 0, seed: int = 0) -> None:
        self._clock = clock
        self._defaults: Json = {"seed": seed, "latency_ms": latency_ms, "latency_spread_ms": spread_ms}
        self.clear()

    def clear(self) -> None:
        self.load({})

    def load(self, config: object) -> None:
        """Replace all settings; ValueError with a sentence that names the key at fault, nothing changed then."""
        checked = check_config(config)
        self.config: Json = {**self._defaults, **checked}
        seed = self.config["seed"]
        self._sends = Rates(checked.get("rates", {}), SEND_FAULTS, f"{seed}:sends")
        self._reads = Rates(checked.get("reads", {}), READ_FAULTS, f"{seed}:reads")
        self._latency_random = random.Random(f"{seed}:latency")
        self._recipients: dict[str, str | list[str]] = {
            address.lower(): list(script) if isinstance(script, list) else script
            for address, script in checked.get("recipients", {}).items()
        }
        self._steps: dict[str, str | list[str]] = {
            f"{thing}.{step}": list(script) if isinstance(script, list) else script
            for thing in STEPS
            for step, script in checked.get(thing, {}).items()
        }

    def for_send(self, addresses: Iterable[str]) -> Fault | None:
        """The fault of this call. The rates are drawn every time, so scripts do not move the other draws."""
        drawn = self._sends.draw()
        if self._recipients:
            for address in addresses:
                script = self._recipients.get(address.lower())
                if script is not None:
                    return _step(script, SEND_FAULTS)
        return drawn

    def for_read(self) -> Fault | None:
        return self._reads.draw()

    def for_step(self, step: str) -> Fault | None:
        """The fault of this call (`reports.poll`); the rates of `reads` hold where its step has no script."""
        drawn = None if step == "reports.file" else self._reads.draw()
        script = self._steps.get(step)
        thing, _dot, name = step.partition(".")
        return drawn if script is None else _step(script, STEPS[thing][name])

    @property
    def report_links(self) -> str:
        """Where links to files lead instead of here; empty: here."""
        return str(self.config.get("report_links", ""))

    def file_answer(self, fault: Fault, content: bytes) -> Response:
        """What the caller gets instead of a report's file. `content` is the true one."""
        if fault.kind == "redirect":
            return Response(302, headers=(("Location", str(self.config.get("redirect_to", "/"))),))
        if not fault.accepted:
            return _csv(b"") if fault.kind == "empty" else self.answer(fault, None)
        if fault.kind == "gzip":
            return Response(200, gzip.compress(content), "text/csv", (("Content-Encoding", "gzip"),))
        if fault.kind == "cut":
            return _csv(content[: len(content) - 10])
        if fault.kind == "other_columns":
            return _csv(b"Uno,Dos\r\n1,2\r\n")
        if fault.kind == "endless":
            header, _newline, rows = content.partition(b"\n")
            return Response(content_type="text/csv", chunks=chain([header + b"\n"], repeat(rows * 100)))
        return _csv(content)

    def latency(self) -> float:
        """Seconds this call has to take: latency ± spread."""
        latency = float(self.config["latency_ms"])
        spread = float(self.config["latency_spread_ms"])
        if spread:
            latency += self._latency_random.uniform(-spread, spread)
        return max(0.0, latency / 1000)

    def answer(self, fault: Fault, answer: Response | None, accept: str = "") -> Response:
        """What the caller reads instead of `answer` (which is the true one, or None when nothing was done)."""
        if fault.how == "truncate" and answer is not None:
            return answer
        if fault.kind == "no_id_after":
            return json_answer({"message": "Message accepted", "_links": []}, "creation-result")
        if fault.kind.startswith(("html", "413_html", "502_html")):
            return _html(fault.status or 200)
        return problem_answer(self._problem(fault), accept)

    def _problem(self, fault: Fault) -> Problem:
        status = fault.status or 500
        if status == 402:
            return self._quota_problem()
        if status == 400:
            return Problem(400, 1, "Some fields are not valid", errors=[("recipients[0].email", "Refused")])
        code, detail = _WORDS[status]
        retry = (("Retry-After", "1"),) if fault.kind == "429" else ()
        return Problem(status, code, detail, headers=retry)

    def _quota_problem(self) -> Problem:
        now = self._clock.now()
        seconds = self.config.get("reset_in_seconds")
        reset = window("hourly", now)[1] if seconds is None else now + int(float(seconds) * 1000)
        return quota_problem("hourly", 200, 200, reset, now)


_WORDS = {
    401: (1, "The token is not valid"),
    403: (1, "The credential belongs to another account"),
    404: (1, "No such entity"),
    429: (1, "Try later"),
    500: (0, "Something unexpected happened"),
}


def quota_problem(period: str, limit: int, count: int, reset: int, now: int) -> Problem:
    extra = {"limit": limit, "deliveriesCount": count, "period": period, "resetDate": iso(reset)}
    return Problem(402, 1, f"The {period} limit is used up", extra=extra, headers=(("Date", http_date(now)),))


def carry_out(fault: Fault, connection: Connection, response: Response) -> None:
    """Let the caller see the fault. A stall is nothing at all until the caller gives up."""
    if fault.how == "reset":
        connection.reset()
    elif fault.how == "close":
        connection.close()
    elif fault.how == "truncate":
        connection.truncate(response)
    elif fault.how == "half":
        connection.begin(response)
        asyncio.get_running_loop().call_later(STALL_SECONDS, connection.close)
    elif fault.how == "stall":
        asyncio.get_running_loop().call_later(STALL_SECONDS, connection.close)
    else:
        connection.answer(response)


def _html(status: int) -> Response:
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1><hr>proxy</body></html>\n"
    return Response(status, page.encode(), "text/html; charset=utf-8")


def _csv(content: bytes) -> Response:
    return Response(200, content, "text/csv")


def _step(script: str | list[str], known: dict[str, Fault]) -> Fault | None:
    kind = script if isinstance(script, str) else script.pop(0) if script else "ok"
    return known.get(kind)


# -- validation -------------------------------------------------------------------------------------------------


def check_config(config: object) -> Json:
    if not isinstance(config, dict):
        raise ValueError("The faults must be a JSON object.")
    for key in config:
        if key not in _KEYS:
            raise ValueError(f'Unknown key "{key}"; known are {", ".join(_KEYS)}.')
    if "seed" in config and (not isinstance(config["seed"], int) or isinstance(config["seed"], bool)):
        raise ValueError('"seed" must be a whole number.')
    for key, longest in (("latency_ms", 600_000), ("latency_spread_ms", 600_000), ("reset_in_seconds", 10**8)):
        if key in config and not _is_number(config[key], longest):
            raise ValueError(f'"{key}" must be a number from 0 to {longest}.')
    _check_rates(config.get("rates", {}), "rates", SEND_FAULTS)
    _check_rates(config.get("reads", {}), "reads", READ_FAULTS)
    _check_recipients(config.get("recipients", {}))
    for thing, steps in STEPS.items():
        _check_steps(thing, config.get(thing, {}), steps)
    for key in ("report_links", "redirect_to"):
        if not isinstance(config.get(key, ""), str):
            raise ValueError(f'"{key}" must be a URL.')
    return config


def _is_number(value: Any, longest: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= longest


def _check_rates(rates: object, key: str, known: dict[str, Fault]) -> None:
    if not isinstance(rates, dict):
        raise ValueError(f'"{key}" must be an object of kind and rate.')
    for kind, rate in rates.items():
        if kind not in known:
            raise ValueError(f'"{key}.{kind}" is no kind of fault; known are {", ".join(known)}.')
        if not _is_number(rate, 1):
            raise ValueError(f'"{key}.{kind}" must be a number from 0 to 1.')
    if sum(rates.values()) > 1.0000001:
        raise ValueError(f'The rates under "{key}" add up to more than 1.')


def _check_recipients(recipients: object) -> None:
    if not isinstance(recipients, dict):
        raise ValueError('"recipients" must be an object of address and kind.')
    for address, script in recipients.items():
        _check_script(f"recipients.{address}", script, SEND_FAULTS)


def _check_steps(thing: str, scripts: object, steps: dict[str, dict[str, Fault]]) -> None:
    if not isinstance(scripts, dict):
        raise ValueError(f'"{thing}" must be an object of step and kind.')
    for step, script in scripts.items():
        if step not in steps:
            raise ValueError(f'"{thing}.{step}" is no step; known are {", ".join(steps)}.')
        _check_script(f"{thing}.{step}", script, steps[step])


def _check_script(key: str, script: object, known: dict[str, Fault]) -> None:
    kinds = script if isinstance(script, list) else [script]
    for kind in kinds:
        if not isinstance(kind, str) or (kind != "ok" and kind not in known):
            raise ValueError(f'"{key}" names "{kind}", which is no kind of fault; known are ok, {", ".join(known)}.')
