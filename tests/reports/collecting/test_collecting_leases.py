"""A report is collected by one process at a time, whatever happens to it."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from reports import collecting, collector_lease, report_files
from reports.models import GeneratedReport
from tests.reports.collecting.runs import Made, New, ask_only, collect, counts, files

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("impatient", "three_sent")]


def test_a_report_that_somebody_collects_is_left_to_them(new_report: New, requests_made: Made) -> None:
    report = new_report(collector="elsewhere:1:a", collector_until=timezone.now() + timedelta(minutes=1))
    found = collect()
    assert (found.ready, found.left_to_others, found.waiting) == (0, 1, 0)
    assert requests_made() == []
    GeneratedReport.objects.update(collector_until=timezone.now() - timedelta(seconds=1))
    assert counts(collect()) == {"ready": 1}
    report.refresh_from_db()
    assert report.collector != "elsewhere:1:a"


def test_who_lost_a_report_writes_nothing_of_it(new_report: New, wait_until: Any) -> None:
    """The database's row says who it is; a process that slept finds out at its next write or heartbeat."""
    report = new_report()
    first, second = collector_lease.open_lease(), collector_lease.open_lease()
    (ours,) = collector_lease.take(first, limit=10)
    assert collector_lease.take(second, limit=10) == []
    GeneratedReport.objects.update(collector_until=timezone.now() - timedelta(seconds=1))
    (theirs,) = collector_lease.take(second, limit=10)
    assert collector_lease.renew(first) == {report.pk}
    with pytest.raises(collector_lease.ReportLost):
        collector_lease.write(first, ours, request_id="1")
    collector_lease.write(second, theirs, request_id="2")
    report.refresh_from_db()
    assert report.request_id == "2"


def test_a_run_that_loses_a_report_on_the_way_leaves_it_alone(new_report: New, settings: Any) -> None:
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 1.5
    report = new_report()

    def steal() -> None:
        while not GeneratedReport.objects.exclude(request_id="").exists():
            time.sleep(0.02)
        GeneratedReport.objects.update(collector="thief", collector_until=timezone.now() + timedelta(minutes=1))
        connection.close()

    thread = threading.Thread(target=steal)
    thread.start()
    found = collect()
    thread.join()
    assert (found.ready, found.error, found.left_to_others) == (0, 0, 1)
    report.refresh_from_db()
    assert (report.state, report.collector) == ("PROCESSING", "thief")
    assert files(settings.ATTACHMENTS_ROOT) == []


def test_a_request_whose_lease_ran_out_is_withdrawn_before_it_leaves(
    new_report: New, requests_made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_lease.CollectorLease, "holds", lambda self: False)
    report = new_report()
    assert counts(collect()) == {"waiting": 1}
    report.refresh_from_db()
    assert (report.state, report.asked_at) == ("PENDING", None)
    assert requests_made() == []


def test_a_long_wait_keeps_its_lease(new_report: New, settings: Any) -> None:
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 3.0
    settings.RELAY_LEASE_SECONDS = 1.0
    new_report()
    stolen: list[Any] = []

    def try_to_take() -> None:
        time.sleep(0.3)
        lease = collector_lease.open_lease()
        for _ in range(8):
            time.sleep(0.3)
            stolen.extend(collector_lease.take(lease, limit=1))
        connection.close()

    thread = threading.Thread(target=try_to_take)
    thread.start()
    found = collect()
    thread.join()
    assert counts(found) == {"ready": 1}
    assert stolen == []


def test_stopped_it_ends_soon_and_a_later_run_goes_on(new_report: New, settings: Any, requests_made: Made) -> None:
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 30.0
    report = new_report()
    began = time.monotonic()
    asyncio.run(ask_only(report))
    assert time.monotonic() - began < 5
    report.refresh_from_db()
    assert (report.state, report.collector_until) == ("PROCESSING", None)
    settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY = settings.DOPPLER_REPORTS_POLL_MAX_DELAY = 0.1
    assert counts(collect()) == {"ready": 1}
    assert len(requests_made()) == 1


def test_a_fault_of_ours_with_one_report_keeps_the_others_going(
    new_report: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = new_report()
    new_report()
    honest = collecting._Run._wait_for

    async def faulty(self: Any, report: GeneratedReport) -> Any:
        if report.pk == bad.pk:
            raise RuntimeError("a fault of ours")
        return await honest(self, report)

    monkeypatch.setattr(collecting._Run, "_wait_for", faulty)
    assert counts(collect()) == {"ready": 1, "waiting": 1}
    bad.refresh_from_db()
    assert (bad.state, bad.collector_until) == ("PROCESSING", None)


def test_killed_between_the_name_of_the_file_and_the_commit_it_is_fetched_again(
    new_report: New, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = report_files.PartialFile.put_in_place

    def put_and_die(self: Any) -> None:
        honest(self)
        raise RuntimeError("as if killed")

    report = new_report()
    with monkeypatch.context() as patch:
        patch.setattr(report_files.PartialFile, "put_in_place", put_and_die)
        assert counts(collect()) == {"waiting": 1}
    assert len(files(settings.ATTACHMENTS_ROOT)) == 1
    report.refresh_from_db()
    assert report.state == "PROCESSING"
    assert counts(collect()) == {"ready": 1}
    assert len(files(settings.ATTACHMENTS_ROOT)) == 1
