"""The relay's log: list of deliveries, one delivery, statistics (relay API notes §4.1–4.3)."""

from dataclasses import dataclass, fields
from typing import Any

from relay_sandbox.accounts import Account
from relay_sandbox.answers import Json, Problem, invalid, json_answer, link, page_answer, page_of
from relay_sandbox.clock import Clock, iso, parse_moment
from relay_sandbox.outcomes import OPEN_FACTOR, RETRY_FACTOR, visible_state
from relay_sandbox.store import Row, Store
from relay_sandbox.wire import Request, Response

MAX_FILTER = 100
_BUCKET_HOURS = {"by_hour": 1, "by_day": 24}
_HOUR = 3_600_000

_FROM = "FROM deliveries d JOIN messages m ON m.id = d.message"
COLUMNS = "d.id, d.guid, d.account, d.received, d.recipient, d.fate, d.opens, d.clicks, m.subject, m.from_email"

# :sent and :retried are the latest moments at which something must have been accepted to be sent by now
_STATISTICS = """
SELECT (received - :start) / :bucket AS bucket, count(*) AS total,
    sum((fate = 0 AND received <= :sent) OR (fate = 4 AND received <= :retried)) AS sent,
    sum(fate IN (1, 2) AND received <= :sent) AS hard_bounced,
    sum(fate = 4 AND received <= :sent AND received > :retried) AS soft_bounced,
    sum(fate = 3 AND received <= :sent) AS dropped,
    sum(opens > 0 AND received <= iif(fate = 4, :retried_open, :open)) AS opened,
    sum(clicks > 0 AND received <= iif(fate = 4, :retried_open, :open)) AS clicked,
    sum(iif(received <= iif(fate = 4, :retried_open, :open), opens, 0)) AS opens,
    sum(iif(received <= iif(fate = 4, :retried_open, :open), clicks, 0)) AS clicks
FROM deliveries WHERE account = :account AND received >= :start AND received < :stop GROUP BY 1
"""
_SERIES = {
    "deliveries": (
        "total",
        "sent",
        "hard_bounced",
        "soft_bounced",
        "dropped",
        "opened",
        "clicked",
    ),
    "events": ("opens", "clicks"),
}


# What `filter` searches, as `PUT /_sandbox/log` names it.
_SEARCHED = {
    "all": ("m.subject", "m.from_email", "d.recipient"),
    "subject": ("m.subject",),
    "ignored": (),
}


@dataclass(slots=True)
class LogSettings:
    """How the list of deliveries behaves where the relay is unknown: set while running, for tests of who reads it."""

    filter: str = "all"
    lag_seconds: float = 0
    hide_links: bool = False

    def load(self, config: Json) -> None:
        """Replaces all settings; ValueError with a sentence that names the key at fault, nothing changed then."""
        known = {one.name for one in fields(self)}
        if not set(config) <= known:
            raise ValueError(f"The keys are {', '.join(sorted(known))}.")
        wanted = LogSettings(**config)
        if wanted.filter not in list(_SEARCHED):  # whatever the type
            raise ValueError(f'"filter" is one of {", ".join(_SEARCHED)}.')
        if isinstance(wanted.lag_seconds, bool) or not isinstance(wanted.lag_seconds, int | float):
            raise ValueError('"lag_seconds" is a number.')
        if not isinstance(wanted.hide_links, bool):
            raise ValueError('"hide_links" is true or false.')
        self.filter, self.lag_seconds, self.hide_links = wanted.filter, wanted.lag_seconds, wanted.hide_links


class Deliveries:
    def __init__(self, store: Store, clock: Clock, delivery_seconds: float, log: LogSettings) -> None:
        self._store = store
        self._clock = clock
        self._log = log
        self._delivery_ms = int(delivery_seconds * 1000)
        # Clients that follow `next` ask for the same count thousands of times; it holds until something new comes
        self._counts: dict[tuple[Any, ...], tuple[int, int]] = {}

    def index(self, request: Request, account: Account) -> Response:
        page, per_page = page_of(request)
        where, parameters = self._where(request, account)
        rows = self._store.rows(
            f"SELECT {COLUMNS} {_FROM} WHERE {where} ORDER BY d.received DESC, d.id DESC LIMIT ? OFFSET ?",
            (*parameters, per_page, (page - 1) * per_page),
        )
        now = self._clock.now()
        items = [self._item(row, now) for row in rows]
        return page_answer(request, "delivery-collection", items, self._count(where, parameters))

    def _where(self, request: Request, account: Account) -> tuple[str, tuple[Any, ...]]:
        text = request.query.get("filter", "")
        if len(text) > MAX_FILTER:
            raise invalid([("filter", f"Must have at most {MAX_FILTER} characters")])
        start, stop = period_of(request.query, "from", "to")
        where, parameters = "d.account = ?", [account.id]
        if start is not None:
            where, parameters = f"{where} AND d.received >= ?", [*parameters, start]
        if stop is not None:
            where, parameters = f"{where} AND d.received < ?", [*parameters, stop]
        if self._log.lag_seconds:
            shown_until = self._clock.now() - int(self._log.lag_seconds * 1000)
            where, parameters = f"{where} AND d.received < ?", [*parameters, shown_until]
        columns = _SEARCHED[self._log.filter]
        if not text or not columns:
            return where, tuple(parameters)
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        likes = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
        return f"{where} AND ({likes})", (*parameters, *[pattern] * len(columns))

    def _count(self, where: str, parameters: tuple[Any, ...]) -> int:
        self._store.commit()
        newest = self._store.last_delivery
        known = self._counts.get((where, parameters))
        if known is not None and known[0] == newest:
            return known[1]
        source = _FROM if "m." in where else "FROM deliveries d"
        count = int(self._store.value(f"SELECT count(*) {source} WHERE {where}", parameters))
        if len(self._counts) > 100:
            self._counts.clear()
        self._counts[where, parameters] = newest, count
        return count

    def get(self, request: Request, account: Account, guid: str) -> Response:
        row = self._store.row(
            f"SELECT {COLUMNS} {_FROM} WHERE d.guid = ? AND d.account = ?", (guid.lower(), account.id)
        )
        if row is None:
            raise Problem(404, 1, "No such delivery", extra={"resourceNotFoundPath": request.path})
        return json_answer(self._item(row, self._clock.now()), "delivery")

    def _item(self, row: Row, now: int) -> Json:
        """No id of the message: it has not been seen in the relay's answers. The link tells deliveries apart."""
        age = now - row["received"]
        return {
            "subject": row["subject"],
            "senderAddress": row["from_email"],
            "recipientAddress": row["recipient"],
            "date": iso(row["received"]),
            **visible_state(row["fate"], row["opens"], row["clicks"], age, self._delivery_ms),
            "_links": [] if self._log.hide_links else [_own_link(row)],
        }

    # -- statistics ------------------------------------------------------------------------------------------

    def statistics(self, request: Request, account: Account, series: str, interval: str) -> Response:
        if series not in _SERIES or interval not in _BUCKET_HOURS:
            raise Problem(404, 0, "No such route", extra={"resourceNotFoundPath": request.path})
        page, per_page = page_of(request)
        hours = _BUCKET_HOURS[interval]
        bucket = hours * _HOUR
        start, stop = period_of(request.query, "from", "to")
        stop = self._clock.now() if stop is None else stop
        start = (stop - 30 * bucket if start is None else start) // bucket * bucket
        buckets = max(0, -(-(stop - start) // bucket))
        first = start + (page - 1) * per_page * bucket
        shown = max(0, min(per_page, buckets - (page - 1) * per_page))
        rows = self._bucket_rows(account, first, min(stop, first + shown * bucket), bucket) if shown else {}
        items = [_bucket(series, hours, first + n * bucket, rows.get(n)) for n in range(shown)]
        return page_answer(request, f"{series}-statistics", items, buckets)

    def _bucket_rows(self, account: Account, start: int, stop: int, bucket: int) -> dict[int, Row]:
        now, delay = self._clock.now(), self._delivery_ms
        parameters = {
            "account": account.id,
            "start": start,
            "stop": stop,
            "bucket": bucket,
            "sent": now - delay,
            "retried": now - RETRY_FACTOR * delay,
            "open": now - OPEN_FACTOR * delay,
            "retried_open": now - OPEN_FACTOR * RETRY_FACTOR * delay,
        }
        return {row["bucket"]: row for row in self._store.rows(_STATISTICS, parameters)}


def _own_link(row: Row) -> Json:
    href = f"/accounts/{row['account']}/deliveries/{row['guid']}"
    return link(href, "self /docs/rels/get-delivery", "This delivery")


def _bucket(series: str, hours: int, start: int, row: Row | None) -> Json:
    counts = {name: row[name] if row is not None else 0 for name in _SERIES[series]}
    item: Json = {"from": _iso_or_edge(start), "hours": hours, **counts}
    if series == "events":
        item["to"] = _iso_or_edge(start + hours * _HOUR)
        item["openings"] = counts["opens"]
    return item


_FIRST_MOMENT, _LAST_MOMENT = -62_135_596_800_000, 253_402_300_799_000


def _iso_or_edge(milliseconds: int) -> str:
    """A bucket may begin before the year 1 or end after 9999, which dates cannot say."""
    return iso(max(_FIRST_MOMENT, min(_LAST_MOMENT, milliseconds)))


def period_of(values: Json, start_name: str, stop_name: str) -> tuple[int | None, int | None]:
    """Two moments, each perhaps missing; 400.1 for dates without offset, 400.2 when the end is not later."""
    moments: list[int | None] = []
    errors = []
    for name in (start_name, stop_name):
        text = values.get(name)
        moment = None if text in (None, "") else parse_moment(text)
        if moment is None and text not in (None, ""):
            errors.append((name, "Must be a date with an offset, like 2025-03-01T00:00:00Z"))
        moments.append(moment)
    if errors:
        raise invalid(errors)
    start, stop = moments
    if start is not None and stop is not None and stop <= start:
        raise Problem(400, 2, f"{stop_name} must be later than {start_name}")
    return start, stop
