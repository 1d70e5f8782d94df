"""Database work of an event loop, in the one thread that owns the connection."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog
from django.conf import settings
from django.db import Error, InterfaceError, InternalError, OperationalError, connections

log = structlog.get_logger(__name__)

RETRY_SECONDS = 0.5

# PostgreSQL says so of connections that a new one replaces, and Django knows them as InternalError only: the server is
# a standby now (after a failover), or it ended a transaction that took too long.
_ENDED = {"25006", "25P03", "25P04"}


def is_away(error: Error) -> bool:
    """The database cannot be reached, or this connection serves no more: closed and tried again, it may do."""
    if isinstance(error, InternalError):
        return getattr(error.__cause__, "sqlstate", None) in _ENDED
    return isinstance(error, OperationalError | InterfaceError)


class Books:
    """`await books(work, …)`, as an async context manager.

    A database that is away is waited for, twice as long as a lease lasts (until somebody takes a lease over, its
    outcomes can still be recorded); then the database's error is raised. Whatever is called here must bear to be
    repeated: a commit may have been made although its confirmation was lost.
    """

    async def __aenter__(self) -> "Books":
        self._executor = ThreadPoolExecutor(1, "books")
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._run(connections.close_all)
        finally:
            self._executor.shutdown(wait=False)

    async def __call__[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        away_since: float | None = None
        while True:
            try:
                return await self._run(work, *args, **kwargs)
            except Error as error:
                if not is_away(error):
                    raise
                now = time.monotonic()
                away_since = away_since or now
                if now > away_since + 2 * settings.RELAY_LEASE_SECONDS:
                    raise
                log.warning("database_away", error=type(error).__name__)
                await self._run(connections.close_all)  # of that thread; the next statement connects anew
                await asyncio.sleep(RETRY_SECONDS)

    async def _run[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: work(*args, **kwargs))
