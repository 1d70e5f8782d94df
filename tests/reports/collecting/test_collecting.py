"""From a request to a file, inside one process: each step, how long it is waited for, and what remains."""

import asyncio
import hashlib
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from relay.account import NotConfigured
from reports import patience
from reports.collecting import Collected, NotInError, retry
from reports.models import GeneratedReport
from tests.reports.collecting.runs import Made, New, again, ask_only, collect, counts, files
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("impatient", "three_sent")]


def test_a_report_is_asked_for_once_and_its_file_is_kept(new_report: New, requests_made: Made, settings: Any) -> None:
    report = new_report(type="bounces")
    seen: list[Collected] = []
    assert counts(collect(progress=seen.append)) == {"ready": 1}
    report.refresh_from_db()
    assert (report.state, report.rows, report.error) == ("READY", 3, "")
    assert report.file == f"reports/bounces_{report.first_day}_{report.last_day}_{report.uuid}.csv"
    assert report.path is not None
    content = report.path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbfSubject,Sender,")
    assert (report.size, report.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert report.path.stat().st_mode & 0o777 == settings.FILE_UPLOAD_PERMISSIONS
    assert files(settings.ATTACHMENTS_ROOT) == [report.path.name]
    assert report.asked_at is not None
    assert report.ready_at is not None
    assert report.made_at is not None
    assert report.asked_at < report.made_at < report.ready_at
    assert report.collector_until is None
    assert len(requests_made()) == 1
    assert seen[0].taken == 1

    assert collect() == Collected()
    assert len(requests_made()) == 1


def test_without_anything_to_do_the_relay_is_not_even_known(settings: Any, new_report: New) -> None:
    settings.DOPPLER_RELAY_API_KEY = ""
    assert collect() == Collected()
    report = new_report()
    with pytest.raises(NotConfigured):
        collect()
    report.refresh_from_db()
    assert (report.state, report.collector_until) == ("PENDING", None)


def test_a_report_without_rows_is_ready_and_has_no_file(new_report: New, settings: Any) -> None:
    day = timezone.now().replace(microsecond=0) - timedelta(days=30)
    report = new_report(starts_at=day, ends_at=day + timedelta(days=1))
    assert counts(collect()) == {"ready": 1}
    report.refresh_from_db()
    assert (report.state, report.rows, report.file, report.path) == ("READY", 0, "", None)
    assert files(settings.ATTACHMENTS_ROOT) == []


def test_several_reports_are_waited_for_at_the_same_time(new_report: New, settings: Any, requests_made: Made) -> None:
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 1.0
    reports = [new_report() for _ in range(6)]
    began = time.monotonic()
    assert counts(collect()) == {"ready": 6}
    assert time.monotonic() - began < 4
    assert len({report.request_id for report in GeneratedReport.objects.all()}) == len(reports) == len(requests_made())


def test_a_report_that_is_requested_meanwhile_is_collected_too(new_report: New) -> None:
    new_report()
    late: list[GeneratedReport] = []

    def progress(collected: Collected) -> None:
        if not late:
            thread = threading.Thread(target=lambda: (late.append(new_report()), connection.close()))
            thread.start()
            thread.join()

    assert counts(collect(progress=progress)) == {"ready": 2}


def test_attachments_behind_a_symbolic_link(new_report: New, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    settings.ATTACHMENTS_ROOT.symlink_to(tmp_path / "volume")
    new_report()
    assert counts(collect()) == {"ready": 1}
    assert len(files(tmp_path / "volume")) == 1


# --- patience


def test_patience_ends_and_retry_goes_on_with_the_same_request(
    new_report: New, sandbox: Sandbox, settings: Any, requests_made: Made
) -> None:
    settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT = 0.5
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 0})
    report = new_report()
    # Its reports are made an hour from now.
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 3600})
    asyncio.run(ask_only(report))
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 0})
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.problem, report.problem_params) == ("timed_out", {"minutes": 1})
    number = report.request_id
    # Over long ago; still it is asked after once before it is called that again.
    assert counts(again(report)) == {"error": 1}
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 4000})
    assert counts(again(report)) == {"ready": 1}
    report.refresh_from_db()
    assert report.request_id == number
    assert len(requests_made()) == 1


def test_a_report_is_asked_after_once_before_the_patience_is_called_over(new_report: New, settings: Any) -> None:
    report = new_report()
    asyncio.run(ask_only(report))
    GeneratedReport.objects.update(polling_since=timezone.now() - timedelta(days=1))
    assert counts(collect()) == {"ready": 1}


def test_what_is_fetched_long_after_it_was_made_is_not_newer_than_it_was_asked(new_report: New) -> None:
    report = new_report()
    asyncio.run(ask_only(report))
    asked_at = timezone.now() - timedelta(hours=3)
    GeneratedReport.objects.update(asked_at=asked_at)
    assert counts(collect()) == {"ready": 1}
    report.refresh_from_db()
    assert report.made_at == asked_at


def test_pauses_double_up_to_the_longest(settings: Any) -> None:
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY, settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 5.0, 30.0
    settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT = 900.0
    assert patience.first_pause() == 5
    for waited, longest in [(5, 10), (15, 20), (35, 30), (800, 30)]:
        assert all(0.8 * longest <= patience.pause_after(waited) <= longest for _ in range(50))
    assert patience.pause_after(895) == 5  # the last time at the very end
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = 60.0
    assert patience.first_pause() == 30
    settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 0.0
    assert patience.pause_after(1) == patience.SHORTEST_PAUSE


def test_only_a_report_in_error_is_retried(new_report: New) -> None:
    for fields in [{"state": "PENDING"}, {"state": "PROCESSING", "asked_at": timezone.now()}]:
        report = new_report(**fields)
        with pytest.raises(NotInError):
            retry(report)
    report = new_report(state="ERROR", problem="refused")
    retry(report)
    assert (report.state, report.problem, report.error) == ("PENDING", "", "")
    with pytest.raises(NotInError):
        retry(report)


def test_without_sleeping_it_says_when_to_come_back(new_report: New, settings: Any) -> None:
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 0.5
    new_report()
    found = collect(sleeps=False)
    assert counts(found) == {"waiting": 1}
    assert found.waits is not None
    assert 0 < found.waits <= 0.5
    time.sleep(found.waits)
    assert counts(collect(sleeps=False)) == {"ready": 1}
