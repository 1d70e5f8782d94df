"""What the tests of processes do inside an installation: `python -m tests.reports.steps STEP …` gives a JSON object."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import django

from tests.installation import ROOT, Installation


def make(rows: str, made: str = "1") -> dict[str, Any]:
    """A report of so many rows, of which every fiftieth is twice there and every hundredth cannot be typed."""
    from tests.reports.rows import new_report, row

    told = [
        row(
            f"persona{number - (number % 50 == 1)}@example.com",
            when=f"2026-03-01 {6 + number % 12:02d}:00:00"
            if number % 50 != 1
            else f"2026-03-01 {6 + (number - 1) % 12:02d}:00:00",
            opens="x" if number % 100 == 99 else 0,
        )
        for number in range(int(rows))
    ]
    report = new_report(told, made=int(made), rows=int(rows))
    return {"id": report.pk}


def load(report_id: str, alias: str) -> dict[str, Any]:
    from relay.explained import Explained
    from reports import loading
    from reports.models import GeneratedReport

    try:
        request = loading.request_load(GeneratedReport.objects.get(pk=report_id), alias, by=None)
        return asdict(loading.load(request))
    except Explained as problem:
        return {"error": str(problem), "kind": type(problem).__name__}


def waiting() -> dict[str, Any]:
    from reports import loading

    return {"ended": [request.state for request in loading.load_waiting(stop=lambda: False)]}


def standing() -> dict[str, Any]:
    """What is loaded, and what the requests say of it."""
    from reports import loading
    from reports.models import Delivery, LoadRequest, ReportLoad

    return {
        alias: {
            "deliveries": Delivery.objects.using(alias).count(),
            "loads": list(ReportLoad.objects.using(alias).values_list("rows", "inserted", "unchanged", "rejected")),
            "requests": list(
                LoadRequest.objects.filter(alias=alias).order_by("id").values_list("state", "rows", "inserted")
            ),
        }
        for alias in loading.aliases()
    }


def start(installation: Installation, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.reports.steps", *arguments],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR", **installation.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process: "subprocess.Popen[str]") -> dict[str, Any]:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return dict(json.loads(output))


if __name__ == "__main__":
    django.setup()
    steps = {"make": make, "load": load, "waiting": waiting, "standing": standing}
    print(json.dumps(steps[sys.argv[1]](*sys.argv[2:]), default=str))
    sys.stdout.flush()
    os._exit(0)
