"""Runs of collecting inside a test, and what they left."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.db import connection

from reports.collecting import Collected, collect_pending, retry
from reports.models import GeneratedReport

New = Callable[..., GeneratedReport]
Made = Callable[[], list[dict[str, Any]]]


def collect(**options: Any) -> Collected:
    async def run() -> Collected:
        async with asyncio.timeout(60):
            return await collect_pending(**options)

    return asyncio.run(run())


def again(report: GeneratedReport) -> Collected:
    """«Retry», and a run."""
    report.refresh_from_db()
    retry(report)
    return collect()


def counts(collected: Collected) -> dict[str, int]:
    found = {"ready": collected.ready, "error": collected.error, "waiting": collected.waiting}
    return {name: count for name, count in found.items() if count}


def files(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "reports").iterdir()) if (root / "reports").exists() else []


async def ask_only(report: GeneratedReport) -> None:
    """A run that is stopped as soon as the report has its number."""
    stop = asyncio.Event()
    task = asyncio.create_task(collect_pending(stop=stop))
    while not await asyncio.to_thread(_number_of, report.pk):
        await asyncio.sleep(0.02)
    stop.set()
    await task
    await asyncio.sleep(0.3)  # the sandbox has made it


def _number_of(report_id: int) -> str:
    try:
        return GeneratedReport.objects.get(pk=report_id).request_id
    finally:
        connection.close()
