"""A database that is away is waited for; what is wrong with a statement is an error at once."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from django.db import DataError, Error, InterfaceError, InternalError, OperationalError, connection
from psycopg import errors

from relay import books as books_module
from relay.books import Books, is_away
from tests.relay.ledger_acts import ON_POSTGRESQL

ENDED: list[type[psycopg.Error]] = [
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
]


def as_django_says_it(cause: psycopg.Error) -> InternalError:
    """As Django's `wrap_database_errors` raises it."""
    error = InternalError(str(cause))
    error.__cause__ = cause
    return error


def run(work: Callable[[], str]) -> str:
    async def in_books() -> str:
        async with Books() as books:
            return await books(work)

    return asyncio.run(in_books())


def failing_once(error: Exception) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def work() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return "done"

    return work, calls


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books_module, "RETRY_SECONDS", 0.01)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("gone"),
        InterfaceError("connection already closed"),
        *(as_django_says_it(cause("25")) for cause in ENDED),
    ],
    ids=repr,
)
def test_a_database_that_is_away_is_asked_again(error: Error) -> None:
    work, calls = failing_once(error)
    assert run(work) == "done"
    assert len(calls) == 2


@pytest.mark.parametrize(
    "error",
    [
        DataError("too long"),
        InternalError("of SQLite, or without a cause"),
        as_django_says_it(errors.InFailedSqlTransaction("25P02")),
        as_django_says_it(errors.InternalError_("XX000")),
    ],
    ids=repr,
)
def test_another_error_is_one_at_once(error: Error) -> None:
    work, calls = failing_once(error)
    with pytest.raises(type(error)):
        run(work)
    assert len(calls) == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@ON_POSTGRESQL
def test_a_server_that_became_a_standby_is_one_that_is_away() -> None:
    """What a connection says that was left over from before the failover."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        with connection.cursor() as cursor, pytest.raises(InternalError) as said:
            cursor.execute("UPDATE relay_bulksend SET name = name")
    finally:
        connection.close()
    assert is_away(said.value)
