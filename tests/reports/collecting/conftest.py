"""A sandbox whose reports are made at once, and reports for it."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from reports import patience
from reports.models import GeneratedReport
from tests.reports.collecting.sent import send
from tests.sandbox import Sandbox, running_sandbox


@pytest.fixture(scope="session")
def _sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    store = tmp_path_factory.mktemp("sandbox") / "store.sqlite3"
    with running_sandbox(store, "--report-seconds", "0.2", "--delivery-seconds", "0") as sandbox:
        yield sandbox


@pytest.fixture
def impatient(settings: Any, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The settings of an installation that asks often and gives up soon."""
    settings.DOPPLER_RELAY_API_KEY = sandbox.key
    settings.DOPPLER_RELAY_ACCOUNT_ID = sandbox.account
    settings.DOPPLER_RELAY_BASE_URL = sandbox.url + "/"
    settings.ATTACHMENTS_ROOT = tmp_path / "attachments"
    settings.DOPPLER_REPORTS_TIMEOUT = 0.5
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = 0.1
    settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 0.2
    settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT = 10.0
    settings.RELAY_LEASE_SECONDS = 2.0
    monkeypatch.setattr(patience, "looks", lambda: (0.1, 0.4, 1.0))
    return settings


@pytest.fixture
def new_report() -> Callable[..., GeneratedReport]:
    """Of today; until tomorrow, so that what was sent a moment ago is in it."""

    def new(**fields: Any) -> GeneratedReport:
        today = timezone.localdate()
        moment = timezone.now().replace(microsecond=0)
        usual = {
            "type": "deliveries",
            "first_day": today,
            "last_day": today,
            "starts_at": moment - timedelta(days=1),
            "ends_at": moment + timedelta(days=1),
        }
        return GeneratedReport.objects.create(**(usual | fields))

    return new


@pytest.fixture
def three_sent(sandbox: Sandbox) -> None:
    send(sandbox, 3)


@pytest.fixture
def requests_made(sandbox: Sandbox) -> Callable[[], list[dict[str, Any]]]:
    """The report requests that the relay has, newest first."""

    def made() -> list[dict[str, Any]]:
        page = json.loads(sandbox.ask("GET", "/reports/reportrequests?per_page=200"))
        return list(page["items"])

    return made


@pytest.fixture
def wait_until() -> Callable[..., None]:
    def wait(true: Callable[[], Any], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    return wait
