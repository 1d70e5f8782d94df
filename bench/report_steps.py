"""What `bench report` does inside the installation, as processes of their own: register a file, load a report."""

import hashlib
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import django


def register(file: str, first: str, days: str, rows: str, made: str) -> dict[str, object]:
    """A READY report as if the relay had given `file` (below ATTACHMENTS_ROOT)."""
    from django.conf import settings

    from reports.models import GeneratedReport

    path = settings.ATTACHMENTS_ROOT / file
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    starts = datetime.fromisoformat(first).replace(tzinfo=UTC)
    report = GeneratedReport.objects.create(
        type="deliveries",
        first_day=starts.date(),
        last_day=starts.date() + timedelta(days=int(days) - 1),
        starts_at=starts,
        ends_at=starts + timedelta(days=int(days)),
        state="READY",
        file=file,
        size=path.stat().st_size,
        sha256=digest,
        rows=int(rows),
        made_at=datetime.fromisoformat(made).replace(tzinfo=UTC),
        ready_at=datetime.fromisoformat(made).replace(tzinfo=UTC),
    )
    return {"id": report.pk}


def load(report_id: str, alias: str) -> dict[str, object]:
    from reports import loading
    from reports.models import GeneratedReport

    report = GeneratedReport.objects.get(pk=int(report_id))
    return asdict(loading.load(loading.request_load(report, alias, by=None)))


if __name__ == "__main__":
    django.setup()
    print(json.dumps({"register": register, "load": load}[sys.argv[1]](*sys.argv[2:])))
