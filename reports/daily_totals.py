"""How many deliveries of each local day stand in which status: what a page shows of twenty million rows.

The totals of a day are counted anew from its deliveries in the transaction that changed some of them, so they are exact
after any order of loads, and whatever is loaded at all has to be read no more than once again.
"""

import json
from collections.abc import Collection
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

_COUNTED = """
INSERT INTO reports_dailytotal (local_day, status, rows, opened, clicked)
SELECT local_day, status, count(*), sum(CASE WHEN opens > 0 THEN 1 ELSE 0 END),
       sum(CASE WHEN clicks > 0 THEN 1 ELSE 0 END)
  FROM reports_deliveries {where} GROUP BY local_day, status
"""
# By the index on the local day; some file may have thousands of days.
_OF_DAYS = {
    "postgresql": "WHERE local_day = ANY(%s::date[])",
    "sqlite": "WHERE local_day IN (SELECT value FROM json_each(%s))",
}


def recount(connection: BaseDatabaseWrapper, days: Collection[str]) -> None:
    """To be called inside the transaction that changed deliveries of these days (`2026-03-01`)."""
    if not days:
        return
    where = _OF_DAYS[connection.vendor]
    named: Any = sorted(days) if connection.vendor == "postgresql" else json.dumps(sorted(days))
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM reports_dailytotal {where}", [named])  # noqa: S608  (one of _OF_DAYS)
        cursor.execute(_COUNTED.format(where=where), [named])


def count_all(connection: BaseDatabaseWrapper) -> None:
    """For the migration: of everything that was loaded before there were totals."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM reports_dailytotal")
        cursor.execute(_COUNTED.format(where=""))
