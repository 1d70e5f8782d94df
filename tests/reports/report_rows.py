"""Reports in every state, for the tests of the console."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from django.utils import timezone

from reports import problems
from reports.models import GeneratedReport, LoadRequest

State = GeneratedReport.State
Loading = LoadRequest.State
CONTENT = b"Subject,Sender,SenderName,Email,Status,Date,Opens,Clicks\n"


def report(state: str = State.PENDING, **fields: Any) -> GeneratedReport:
    needs: dict[str, Any] = {}
    if state == State.PROCESSING:
        needs = {"asked_at": timezone.now()}
    if state == State.READY:
        needs = {"rows": 0, "ready_at": timezone.now()}
    if state == State.ERROR:
        needs = {"problem": problems.TIMED_OUT, "problem_params": {"minutes": 15}}
    return GeneratedReport.objects.create(
        **{
            "type": "deliveries",
            "first_day": date(2026, 11, 20),
            "last_day": date(2026, 11, 22),
            "starts_at": datetime(2026, 11, 20, 5, tzinfo=UTC),
            "ends_at": datetime(2026, 11, 23, 5, tzinfo=UTC),
            "state": state,
            **needs,
            **fields,
        }
    )


def with_file(root: Path, name: str = "reports/entregas-1.csv", rows: int = 3, **fields: Any) -> GeneratedReport:
    """A READY one, its file on the disk."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    described = {"file": name, "size": len(CONTENT), "sha256": "5" * 64, "rows": rows}
    return report(State.READY, **described, **fields)


def load(of: GeneratedReport, state: str = Loading.DONE, alias: str = "default", **fields: Any) -> LoadRequest:
    needs: dict[str, Any] = {}
    if state == Loading.DONE:
        counts = {"rows": 30, "inserted": 19, "updated": 7, "unchanged": 3, "rejected": 1}
        needs = {"loaded_at": timezone.now(), **counts}
    if state == Loading.FAILED:
        needs = {"problem": problems.DATABASE, "problem_params": {"alias": alias, "detail": "too slow"}}
    return LoadRequest.objects.create(report=of, alias=alias, state=state, **{**needs, **fields})
