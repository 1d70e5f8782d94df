"""Answers → types and errors. Pure, and suspicious of every byte.

A body may be missing, HTML from a proxy, cut short, in the wrong charset, a list, a string (relay API notes §6.1).
Nothing here raises anything but `Unreadable` on such input. The content type is not looked at: it carries a
`profile=` parameter (§1.5), and a proxy may have its own, so JSON is simply tried.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from .errors import (
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayQuotaExceeded,
    RelayRejected,
    RelayUnavailable,
    RelayUnknown,
)
from .types import Accepted, Delivery, Limit, Limits, Link, ReportRequest, Template

LONGEST_WAIT = 3600.0
_LONGEST_DETAIL = 500
_LONGEST_ID = 200
_MOST_ERRORS = 20
_PROBLEM_TYPE = re.compile(r"/errors/\d{3}\.(\d{1,4})(?!\d)", re.ASCII)

type Json = dict[str, Any]


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    raw: bytes


class Unreadable(Exception):
    """An answer that does not say what it has to. The text is ours and names what is missing."""


# --- errors ---------------------------------------------------------------------------------------------------------


def failure(answer: Answer, *, reading: bool) -> RelayError | RelayMisconfigured:
    """The error an answer other than 2xx stands for. `reading` is True for a GET, which may be repeated."""
    status = answer.status
    problem = _problem(answer.raw)
    code = _code(status, problem)
    shown = code or str(status)
    facts: Json = {
        "status": status,
        "code": code,
        "detail": _first_text(problem, "detail", "message", "title"),
    }
    if status in (401, 403):
        return RelayMisconfigured(
            f"The relay refuses the API key or the account ({shown}). Check both in the settings.", **facts
        )
    if status == 402:
        return _quota_exceeded(problem, shown, {**facts, "told_at": told_at(answer.headers)})
    if status == 404:
        return RelayNotFound(
            f"The relay does not know what the call names ({shown}). Check the template, link or request id.", **facts
        )
    wait = retry_after(answer.headers)
    if status == 429:
        return RelayUnavailable(
            f"The relay asks for fewer calls ({shown}). Wait before calling again.",
            retry_after=wait,
            throttled=True,
            **facts,
        )
    if 400 <= status < 500 and status != 408:
        return RelayRejected(
            f"The relay refused the request ({shown}). It will refuse it again until it is changed.",
            errors=_errors(problem),
            **facts,
        )
    # 408, every 5xx, and the 1xx and 3xx that have no business here: nothing says that it was not carried out.
    hint = "; check the scheme and host of the base URL" if 300 <= status < 400 else ""
    return no_answer(f"an answer that settles nothing ({shown}){hint}", reading=reading, retry_after=wait, **facts)


def no_answer(
    why: str, *, reading: bool, retry_after: float | None = None, **facts: Any
) -> RelayUnavailable | RelayUnknown:
    """The request left and its outcome is open: harmless for a question, `RelayUnknown` for a change."""
    if reading:
        sentence = f"The relay gave no usable answer: {why}. Ask again later."
        return RelayUnavailable(sentence, retry_after=retry_after, **facts)
    sentence = f"The request may have arrived, but there is no usable answer: {why}. Look before repeating it."
    return RelayUnknown(sentence, **facts)


def told_at(headers: Mapping[str, str]) -> datetime | None:
    """The relay's clock when it answered (the `Date` header); None when it is absent or nonsense."""
    try:
        moment = parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds or an HTTP date, between 0 and an hour; None when absent or nonsense."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            seconds = (moment - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    if seconds != seconds:  # "nan" is a number to float()
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _quota_exceeded(problem: Json, shown: str, facts: Json) -> RelayQuotaExceeded:
    reset_at = moment(problem.get("resetDate"))
    until = f"until {reset_at.isoformat()}" if reset_at else "for now; ask for the limits"
    return RelayQuotaExceeded(
        f"The sending quota of the account is used up ({shown}). Nothing more is accepted {until}.",
        limit=_int(problem.get("limit")),
        deliveries_count=_int(problem.get("deliveriesCount")),
        period=_text(problem.get("period"))[:_LONGEST_ID],
        reset_at=reset_at,
        **facts,
    )


def _problem(raw: bytes) -> Json:
    try:
        return _object(raw)
    except Unreadable:
        return {}


def _code(status: int, problem: Json) -> str:
    """Errors are told apart by `status.errorCode` (relay API notes §6.1); the number also stands in `type`."""
    number = _int(problem.get("errorCode"))
    if number is None:
        found = _PROBLEM_TYPE.search(_text(problem.get("type")))
        number = int(found[1]) if found else None
    return f"{status}.{number}" if number is not None and 0 <= number <= 9999 else ""


def _errors(problem: Json) -> tuple[tuple[str, str], ...]:
    errors = problem.get("errors")
    if not isinstance(errors, list):
        return ()
    return tuple(
        (_text(error.get("key"))[:_LONGEST_ID], _text(error.get("detail"))[:_LONGEST_DETAIL])
        for error in errors[:_MOST_ERRORS]
        if isinstance(error, dict)
    )


# --- successes ------------------------------------------------------------------------------------------------------


def accepted(answer: Answer) -> Accepted:
    body = _object(answer.raw)
    return Accepted(message_id=_created_id(body), deliveries=_delivery_hrefs(body))


def created_id(answer: Answer) -> str:
    return _created_id(_object(answer.raw))


def page(answer: Answer) -> tuple[list[Json], str | None]:
    """The items, and the href of the next page. An item that is no object makes the page unreadable: a listing
    silently short of an entry could prove the absence of a message that was sent."""
    body = _object(answer.raw)
    items = body.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Unreadable("a page without a list of items")
    following = next((link.href for link in links(body) if "next" in link.rel.split()), None)
    return items, following


def template(answer: Answer) -> Template:
    return template_from(_object(answer.raw))


def template_from(item: Json) -> Template:
    template_id = _id(item.get("id"))
    if template_id is None:
        raise Unreadable("a template without an id")
    return Template(
        id=template_id,
        name=_text(item.get("name")),
        from_email=_text(item.get("from_email")),
        from_name=_text(item.get("from_name")),
        subject=_text(item.get("subject")),
        body_type=_text(item.get("bodyType")),
        body=_text(item.get("body")) if isinstance(item.get("body"), str) else None,
        thumbnail=_text(item.get("thumbnail")) or None,
        created_at=moment(item.get("created_at")),
        last_updated=moment(item.get("last_updated")),
        links=tuple(links(item)),
    )


def template_body(answer: Answer) -> tuple[str | None, bool]:
    """HTML, None when the answer has none, and whether the visual editor made it."""
    body = _object(answer.raw)
    html = body.get("html")
    return (_text(html) if isinstance(html, str) else None), body.get("mseditor") is not None


def delivery(answer: Answer) -> Delivery:
    return delivery_from(_object(answer.raw))


def delivery_from(item: Json) -> Delivery:
    own = _delivery_hrefs(item) or tuple(link.href for link in links(item) if "self" in link.rel.split())
    return Delivery(
        sender=_text(item.get("senderAddress")),
        recipient=_text(item.get("recipientAddress")),
        subject=_text(item.get("subject")),
        date=moment(item.get("date")),
        status=_text(item.get("status")).lower(),
        bounce_type=_text(item.get("bounceType")) or None,
        opens=_int(item.get("opens")) or 0,
        clicks=_int(item.get("clicks")) or 0,
        href=own[0] if own else "",
    )


def limits(answer: Answer) -> Limits:
    body = _object(answer.raw)
    return Limits(
        monthly=_limit(body.get("monthly")),
        daily=_limit(body.get("daily")),
        hourly=_limit(body.get("hourly")),
        unlimited=body.get("noLimits") is True,
        told_at=told_at(answer.headers),
    )


def _limit(value: object) -> Limit | None:
    if not isinstance(value, dict):
        return None
    limit, remaining = _int(value.get("limit")), _int(value.get("remaining"))
    if limit is None or remaining is None:
        return None
    return Limit(limit=limit, remaining=remaining, reset=moment(value.get("reset")))


def report_request(answer: Answer) -> ReportRequest | None:
    """None while the relay has nothing to say yet: a 202 or an empty body (relay API notes §5)."""
    if answer.status == 202 or not answer.raw.strip():
        return None
    return report_request_from(_object(answer.raw))


def report_request_from(item: Json) -> ReportRequest:
    return ReportRequest(
        id=_report_id(item) or "",
        name=_text(item.get("name")),
        start=moment(item.get("start_date")),
        end=moment(item.get("end_date")),
        processed=item.get("processed") is True,
        file_url=_text(item.get("file_path")).strip() or None,
    )


def requested_report_id(answer: Answer) -> str | None:
    """Where the id of a new report request stands is not settled (relay API notes §5): every place it was seen in."""
    return _report_id(_problem(answer.raw)) or _id_in_href(answer.headers.get("Location", ""))


def _report_id(item: Json) -> str | None:
    for name in ("createdResourceId", "reportRequestId", "id"):
        if found := _id(item.get(name)):
            return found
    hrefs = [link.href for link in links(item)]
    return next((found for find in (_id_in_query, _id_in_path) for href in hrefs if (found := find(href))), None)


def _id_in_href(href: str) -> str | None:
    return _id_in_query(href) or _id_in_path(href)


def _id_in_query(href: str) -> str | None:
    try:
        return _id(parse_qs(urlsplit(href).query).get("reportRequestId", [None])[0])
    except ValueError:
        return None


def _id_in_path(href: str) -> str | None:
    last = href.partition("?")[0].partition("#")[0].rstrip("/").rpartition("/")[2]
    return last if last.isascii() and last.isdigit() and len(last) <= _LONGEST_ID else None


# --- links ----------------------------------------------------------------------------------------------------------


def links(item: Json, containing: str = "") -> Iterator[Link]:
    """`_links` is a list (relay API notes §1.6); what does not look like a link is passed over.

    `containing` is a cheap first look at the relations, for answers that come by the thousand.
    """
    found = item.get("_links")
    if not isinstance(found, list):
        return
    for link in found:
        if isinstance(link, dict) and containing in str(link.get("rel")):
            rel, href = _text(link.get("rel")), _text(link.get("href"))
            if rel and href:
                yield Link(rel=rel, href=href)


def has_relation(link: Link, relation: str) -> bool:
    """True when one of the blank-separated tokens is the relation or a documentation path ending in it. Whole
    tokens: `rels/get-delivery` must not match `rels/get-delivery-collection`."""
    for token in link.rel.split():
        path = token.partition("?")[0].partition("#")[0]
        if path == relation or path.endswith("/" + relation):
            return True
    return False


def _delivery_hrefs(item: Json) -> tuple[str, ...]:
    found = links(item, containing="rels/get-delivery")
    return tuple(dict.fromkeys(link.href for link in found if has_relation(link, "rels/get-delivery")))


# --- values ---------------------------------------------------------------------------------------------------------


def _object(raw: bytes) -> Json:
    try:
        try:
            value = json.loads(raw)
        except UnicodeDecodeError:
            # Latin-1 under a UTF-8 label, say: names suffer, but ids and codes are ASCII and worth having.
            value = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Unreadable("a body that is not a JSON object")
    return value


def _created_id(body: Json) -> str:
    created = _id(body.get("createdResourceId"))
    if created is None:
        raise Unreadable("no createdResourceId")
    return created


def _id(value: object) -> str | None:
    """An id as text, whether it came as text or as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 2**63 else None
    text = _text(value).strip()
    return text if 0 < len(text) <= _LONGEST_ID else None


def _text(value: object) -> str:
    """Text that any database takes: without NUL and half surrogates, both of which JSON can smuggle in."""
    if not isinstance(value, str):
        return ""
    if not value.isascii():
        value = value.encode("utf-8", "replace").decode()
    return value.replace("\0", "")


def _first_text(item: Json, *names: str) -> str:
    return next((text[:_LONGEST_DETAIL] for name in names if (text := _text(item.get(name)).strip())), "")


def _int(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return _int(int(value))
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < 2**63 else None


def moment(value: object) -> datetime | None:
    """ISO 8601 with `Z` or an offset and up to 7 fraction digits; without an offset it is UTC, the relay's zone."""
    try:
        parsed = datetime.fromisoformat(_text(value).strip())
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
