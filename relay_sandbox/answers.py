"""JSON answers, problems, links and pages in the shapes of the relay (relay API notes §1.5–1.7 and §6)."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode

from relay_sandbox.wire import Request, Response

SCHEMAS = "https://api.dopplerrelay.com/schemas"
MIN_PER_PAGE, MAX_PER_PAGE, DEFAULT_PER_PAGE = 5, 200, 20

type Json = dict[str, Any]
type FieldError = tuple[str, str]

TITLES = {
    (400, 0): "Bad request",
    (400, 1): "Validation error",
    (400, 2): "Invalid date interval",
    (401, 0): "Authentication required",
    (401, 1): "Invalid token",
    (402, 1): "Deliveries limit exceeded",
    (403, 0): "Not enough privileges",
    (403, 1): "Forbidden account",
    (404, 0): "Route not found",
    (404, 1): "Not found",
    (413, 0): "Request too large",
    (429, 1): "Too many requests",
    (431, 0): "Headers too large",
    (500, 0): "Unexpected error",
    (502, 0): "Bad gateway",
}


class Problem(Exception):
    """A refusal in the relay's words; the server turns it into an answer."""

    def __init__(
        self,
        status: int,
        code: int,
        detail: str,
        *,
        errors: Iterable[FieldError] = (),
        extra: Json | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = list(errors)
        self.extra = extra or {}
        self.headers = headers


def invalid(errors: Iterable[FieldError]) -> Problem:
    return Problem(400, 1, "Some fields are not valid", errors=errors)


def dumps(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_answer(value: object, schema: str, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    content_type = f"application/json; charset=utf-8; profile={SCHEMAS}/{schema}.json"
    return Response(status, dumps(value), content_type, headers)


def problem_answer(problem: Problem, accept: str = "") -> Response:
    title = TITLES.get((problem.status, problem.code), "Error")
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    body: Json = {
        "title": title,
        "detail": problem.detail,
        "status": problem.status,
        "errorCode": problem.code,
        "type": f"/docs/errors/{problem.status}.{problem.code}-{slug}",
        **problem.extra,
        "_links": [],
    }
    if problem.errors:
        body["errors"] = [{"key": key, "detail": detail} for key, detail in problem.errors]
    if "application/problem+json" in accept.lower():
        content_type = "application/problem+json; charset=utf-8"
    else:
        content_type = f'application/json; charset=utf-8; profile="{SCHEMAS}/problem.json"'
    headers = problem.headers
    if problem.status == 401:
        headers = (*headers, ("WWW-Authenticate", "Bearer"))
    return Response(problem.status, dumps(body), content_type, headers)


def link(href: str, rel: str, description: str) -> Json:
    return {"href": href, "description": description, "rel": rel}


def page_of(request: Request) -> tuple[int, int]:
    """`page` and `per_page` of the query; 400.1 when out of range."""
    page = _whole(request, "page", 1, 1, 1_000_000_000)
    return page, _whole(request, "per_page", DEFAULT_PER_PAGE, MIN_PER_PAGE, MAX_PER_PAGE)


def _whole(request: Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if re.fullmatch(r"[0-9]{1,10}", text) is None or not low <= int(text) <= high:
        raise invalid([(name, f"Must be a whole number from {low} to {high}")])
    return int(text)


def page_answer(request: Request, schema: str, items: list[Json], count: int) -> Response:
    page, per_page = page_of(request)
    pages = max(1, -(-count // per_page))
    body = {
        "items": items,
        "pageSize": per_page,
        "itemsCount": count,
        "currentPage": page,
        "pagesCount": pages,
        "_links": _page_links(request, page, pages),
    }
    return json_answer(body, schema)


def _page_links(request: Request, page: int, pages: int) -> list[Json]:
    """One link per distinct page, with every relation it has as tokens of one `rel`."""
    relations: dict[int, list[str]] = {}
    for relation, number in (("first", 1), ("last", pages), ("next", page + 1), ("previous", page - 1)):
        if 1 <= number <= pages:
            relations.setdefault(number, []).append(relation)
    relations.setdefault(page, []).append("self")
    return [
        link(_page_href(request, number), " ".join(names), f"{'/'.join(names).capitalize()} page")
        for number, names in relations.items()
    ]


def _page_href(request: Request, page: int) -> str:
    query = {name: value for name, value in request.query.items() if name not in ("api_key", "page")}
    return f"{quote(request.path, safe='/%')}?{urlencode({**query, 'page': str(page)})}"
