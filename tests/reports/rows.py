"""Reports as the relay would have given them: a file below ATTACHMENTS_ROOT and its READY row."""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections

from reports.models import GeneratedReport

HEADER = ("Subject", "Sender", "SenderName", "Email", "Status", "Date", "Opens", "Clicks")
DAY = date(2026, 3, 1)
_numbers = count(1)


def row(
    email: str = "ana@example.com",
    status: str = "Sent",
    when: str = "2026-03-01 15:00:00",
    opens: int | str = 0,
    clicks: int | str = 0,
    subject: str = "Su factura",
    sender: str = "cobros@example.com",
    name: str = "Cobros",
) -> tuple[str, ...]:
    return subject, sender, name, email, status, when, str(opens), str(clicks)


def text_of(rows: Iterable[Sequence[str]], header: Sequence[str] = HEADER) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def new_report(
    told: Iterable[Sequence[str]] = (), *, made: int = 0, content: bytes | None = None, **fields: Any
) -> GeneratedReport:
    """READY, made at `made` o'clock on the day after DAY; `content` instead of `rows` where bytes matter."""
    written = text_of(told).encode() if content is None else content
    name = f"reports/report-{next(_numbers)}.csv"
    path = Path(settings.ATTACHMENTS_ROOT, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written)
    return GeneratedReport.objects.create(
        **{
            "type": GeneratedReport.Type.DELIVERIES,
            "first_day": DAY,
            "last_day": DAY,
            "starts_at": datetime(2026, 3, 1, 5, tzinfo=UTC),
            "ends_at": datetime(2026, 3, 2, 5, tzinfo=UTC),
            "state": GeneratedReport.State.READY,
            "file": name,
            "size": len(written),
            "sha256": hashlib.sha256(written).hexdigest(),
            "rows": max(0, written.count(b"\n") - 1),
            "made_at": datetime(2026, 3, 2, made, tzinfo=UTC),
            "ready_at": datetime(2026, 3, 2, made, tzinfo=UTC),
            **fields,
        }
    )


def table(alias: str = "default") -> list[tuple[Any, ...]]:
    """The deliveries of a database, without what depends on the order of loading (`id`, `as_of`: decision 11)."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT sent_at, ordinal, local_day, sender, sender_name, recipient, subject, status, opens, clicks, extra"
            " FROM reports_deliveries ORDER BY sent_at, key, ordinal"
        )
        return [tuple(map(str, found)) for found in cursor.fetchall()]
