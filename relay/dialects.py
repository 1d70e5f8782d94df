"""What the two databases say differently, for the modules that speak SQL to them."""

from datetime import UTC, datetime

from django.db import connection


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def now() -> str:
    """The database's clock as SQL; on PostgreSQL at the statement's start, not the transaction's, and not
    `clock_timestamp()`, with which the planner uses no index."""
    return "statement_timestamp()" if is_postgresql() else "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"


def now_plus() -> str:
    """The database's clock plus a parameter in seconds, as SQL."""
    if is_postgresql():
        return "statement_timestamp() + %s * interval '1 second'"
    return "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', %s || ' seconds')"


def epoch() -> str:
    """Seconds since 1970 by the database's clock, as SQL."""
    if is_postgresql():
        return "extract(epoch FROM statement_timestamp())::float8"
    return "((julianday('now') - 2440587.5) * 86400.0)"


def later(one: str, other: str) -> str:
    """The later of two moments in seconds, as SQL."""
    return f"{'greatest' if is_postgresql() else 'max'}({one}, {other})"


def lock(mode: str) -> str:
    # SQLite has one writer at a time, from BEGIN IMMEDIATE on: nothing to lock.
    return f" FOR {mode}" if is_postgresql() else ""


def as_datetime(value: datetime | str) -> datetime:
    """SQLite gives text or naive datetimes, depending on the column; both are UTC."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def sqlite_datetime(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def as_parameter(value: datetime) -> str:
    """A moment inside a JSON parameter, in the form in which the database keeps it."""
    return str(value) if is_postgresql() else sqlite_datetime(value)


def ids() -> str:
    """A parameter with a JSON list of ids, as the inside of `IN (…)`."""
    if is_postgresql():
        return "SELECT json_array_elements_text(%s::json)::bigint"
    return "SELECT value FROM json_each(%s)"


def database_now() -> datetime:
    """The time by the clock that all hosts share."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now()}", [])
        return as_datetime(cursor.fetchone()[0])
