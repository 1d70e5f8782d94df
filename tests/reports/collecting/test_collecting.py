"""From a request to a file, inside one process: each step, what the relay may answer to it, and what remains."""

import asyncio
import hashlib
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from relay.account import NotConfigured
from relay_client import parsing
from reports import asking, collecting, collector_lease, patience, report_files
from reports.collecting import Collected, NotInError, collect_pending, retry
from reports.models import GeneratedReport
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("impatient", "three_sent")]

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


# --- the way to a file


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


# --- a relay that misbehaves


@pytest.mark.parametrize(
    "fault",
    ["reset_after", "close_after", "500_after", "502_html_after", "html_after", "truncated_after", "stall_after"]
    + ["no_id_after"],
)
def test_a_lost_answer_is_found_in_the_relays_list(
    fault: str, new_report: New, sandbox: Sandbox, requests_made: Made
) -> None:
    sandbox.faults(reports={"create": [fault]})
    new_report()
    assert counts(collect()) == {"ready": 1}
    assert len(requests_made()) == 1


@pytest.mark.parametrize("fault", ["reset_before", "close_before", "500_before", "stall_before"])
def test_a_request_that_never_arrived_is_asked_again_after_the_last_look(
    fault: str, new_report: New, sandbox: Sandbox, requests_made: Made
) -> None:
    sandbox.faults(reports={"create": [fault]})
    report = new_report()
    began = time.monotonic()
    assert counts(collect()) == {"ready": 1}
    assert time.monotonic() - began > patience.looks()[-1]
    assert len(requests_made()) == 1
    report.refresh_from_db()
    assert report.looks == 0


def test_two_lost_reports_of_one_period_take_different_requests(
    new_report: New, sandbox: Sandbox, requests_made: Made
) -> None:
    sandbox.faults(reports={"create": ["reset_after"] * 3})
    moment = timezone.now().replace(microsecond=0)
    for _ in range(3):
        new_report(starts_at=moment - timedelta(days=1), ends_at=moment)
    assert counts(collect()) == {"ready": 3}
    numbers = set(GeneratedReport.objects.values_list("request_id", flat=True))
    assert len(numbers) == len(requests_made()) == 3


def test_a_request_of_another_report_or_period_is_never_taken(
    new_report: New, sandbox: Sandbox, requests_made: Made
) -> None:
    moment = timezone.now().replace(microsecond=0)
    period = {"starts_at": moment - timedelta(days=1), "ends_at": moment}
    new_report(**period)
    new_report(starts_at=moment - timedelta(days=2), ends_at=moment)
    assert counts(collect()) == {"ready": 2}
    owned = {report.request_id for report in GeneratedReport.objects.all()}
    sandbox.faults(reports={"create": ["reset_before"]})
    lost = new_report(**period)
    assert counts(collect()) == {"ready": 1}
    lost.refresh_from_db()
    assert lost.request_id not in owned
    assert len(requests_made()) == 3


def test_a_number_that_another_report_took_from_the_list_leaves_a_report_that_is_looked_for(new_report: New) -> None:
    other = new_report(state="ERROR", problem="timed_out", request_id="77")
    report = new_report()
    lease = collector_lease.open_lease()
    collector_lease.take(lease, limit=1)
    assert asking._keep_number(report, "77", lease) is False
    assert asking._keep_number(report, "78", lease) is True
    other.refresh_from_db()
    report.refresh_from_db()
    assert (other.request_id, report.request_id) == ("77", "78")


def test_a_relay_that_numbers_nothing_is_said_to(new_report: New, sandbox: Sandbox, monkeypatch: Any) -> None:
    sandbox.faults(reports={"create": ["no_id_after"]})
    report = new_report()
    with monkeypatch.context() as patch:
        patch.setattr(parsing, "_report_id", lambda item: None)
        assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.state, report.problem, report.asked_at) == ("ERROR", "no_number", None)
    assert counts(again(report)) == {"ready": 1}


@pytest.mark.parametrize("fault", ["500", "502_html", "429", "html", "reset", "close", "stall", "truncated"])
def test_a_poll_without_a_usable_answer_leaves_it_to_the_next_run(
    fault: str, new_report: New, sandbox: Sandbox, requests_made: Made
) -> None:
    sandbox.faults(reports={"poll": fault})  # always: client and HTTP library repeat a question
    report = new_report()
    found = collect()
    report.refresh_from_db()
    sandbox.faults()
    assert counts(found) == {"waiting": 1}
    assert found.problem
    assert (report.state, report.collector_until) == ("PROCESSING", None)
    assert report.request_id
    assert counts(collect()) == {"ready": 1}
    assert len(requests_made()) == 1


def test_an_outage_does_not_use_up_the_patience_but_for_a_day(new_report: New, sandbox: Sandbox, settings: Any) -> None:
    report = new_report()
    sandbox.faults(reports={"poll": "500"})
    assert counts(collect()) == {"waiting": 1}
    GeneratedReport.objects.update(polling_since=timezone.now() - timedelta(hours=20))
    assert counts(collect()) == {"waiting": 1}
    GeneratedReport.objects.update(polling_since=timezone.now() - timedelta(hours=25))
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert report.problem == "timed_out"
    sandbox.faults()
    assert counts(again(report)) == {"ready": 1}


def test_a_relay_that_is_away_is_not_asked_and_later_once(new_report: New, settings: Any, sandbox: Sandbox) -> None:
    url, settings.DOPPLER_RELAY_BASE_URL = settings.DOPPLER_RELAY_BASE_URL, "http://127.0.0.1:9/"
    report = new_report()
    found = collect()
    report.refresh_from_db()
    assert counts(found) == {"waiting": 1}
    assert found.waits == patience.AWAY_SECONDS
    assert (report.state, report.asked_at) == ("PENDING", None)
    settings.DOPPLER_RELAY_BASE_URL = url
    assert counts(collect()) == {"ready": 1}


def test_told_to_wait_it_was_not_asked(new_report: New, sandbox: Sandbox, requests_made: Made) -> None:
    sandbox.faults(reports={"create": ["429"]})
    report = new_report()
    assert counts(collect()) == {"waiting": 1}
    report.refresh_from_db()
    assert (report.state, report.asked_at) == ("PENDING", None)
    assert requests_made() == []
    assert counts(collect()) == {"ready": 1}


@pytest.mark.parametrize(
    ("step", "fault", "problem", "detail", "number_kept"),
    [
        ("create", "400", "refused", "400.1", False),
        ("create", "401", "misconfigured", "401.1", False),
        ("create", "403", "misconfigured", "403.1", False),
        ("create", "402", "misconfigured", "402.1", False),
        ("create", "404", "misconfigured", "404.1", False),
        ("poll", "401", "misconfigured", "401.1", True),
        ("poll", "403", "misconfigured", "403.1", True),
        ("poll", "404", "forgotten", None, False),
    ],
)
def test_a_no_is_an_error_that_retry_goes_on_from(
    step: str,
    fault: str,
    problem: str,
    detail: str | None,
    number_kept: bool,
    new_report: New,
    sandbox: Sandbox,
    requests_made: Made,
) -> None:
    sandbox.faults(reports={step: [fault]})
    report = new_report()
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.state, report.problem, report.problem_params.get("detail")) == ("ERROR", problem, detail)
    assert report.error
    assert bool(report.request_id) == bool(report.asked_at) == number_kept
    asked_before = len(requests_made())
    assert counts(again(report)) == {"ready": 1}
    assert len(requests_made()) == asked_before + (0 if number_kept else 1)


def test_a_list_that_refuses_the_key_keeps_the_trace_of_the_request(
    new_report: New, sandbox: Sandbox, requests_made: Made
) -> None:
    sandbox.faults(reports={"create": ["reset_after"], "list": ["401"]})
    report = new_report()
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.problem, report.request_id) == ("misconfigured", "")
    assert report.asked_at is not None
    assert counts(again(report)) == {"ready": 1}
    assert len(requests_made()) == 1


def test_a_list_that_cannot_be_read_is_read_by_the_next_run(
    new_report: New, sandbox: Sandbox, requests_made: Made
) -> None:
    sandbox.faults(reports={"create": ["reset_after"], "list": ["502_html"] * 3})
    new_report()
    assert counts(collect()) == {"waiting": 1}
    assert counts(collect()) == {"ready": 1}
    assert len(requests_made()) == 1


# --- patience


def test_patience_ends_and_retry_goes_on_with_the_same_request(
    new_report: New, sandbox: Sandbox, settings: Any, requests_made: Made
) -> None:
    settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT = 0.5
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 0})
    report = new_report()
    # Its reports are made an hour from now.
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 3600})
    asyncio.run(_ask_only(report))
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


async def _ask_only(report: GeneratedReport) -> None:
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


def test_a_report_is_asked_after_once_before_the_patience_is_called_over(new_report: New, settings: Any) -> None:
    report = new_report()
    asyncio.run(_ask_only(report))
    GeneratedReport.objects.update(polling_since=timezone.now() - timedelta(days=1))
    assert counts(collect()) == {"ready": 1}


def test_what_is_fetched_long_after_it_was_made_is_not_newer_than_it_was_asked(new_report: New) -> None:
    report = new_report()
    asyncio.run(_ask_only(report))
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


# --- files


@pytest.mark.parametrize(
    ("fault", "problem"),
    [("404", "not_fetched"), ("403", "not_fetched"), ("html", "not_a_report"), ("gzip", "not_a_report")]
    + [("empty", "not_a_report"), ("other_columns", "not_a_report"), ("cut", "cut_off"), ("endless", "too_large")]
    + [("redirect", "bad_link")],
)
def test_a_file_that_is_none_is_an_error_and_retry_fetches_again(
    fault: str, problem: str, new_report: New, sandbox: Sandbox, settings: Any, requests_made: Made
) -> None:
    settings.REPORTS_MAX_FILE_MB = 1
    sandbox.faults(reports={"file": [fault]}, redirect_to="https://elsewhere.example.com/secret.csv")
    report = new_report()
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.state, report.problem, report.file) == ("ERROR", problem, "")
    assert "secret" not in report.error
    assert files(settings.ATTACHMENTS_ROOT) == []
    assert counts(again(report)) == {"ready": 1}
    assert len(files(settings.ATTACHMENTS_ROOT)) == len(requests_made()) == 1


@pytest.mark.parametrize("fault", ["429", "500", "502_html", "reset", "close", "stall", "truncated", "stalled"])
def test_a_file_that_does_not_come_whole_is_fetched_by_the_next_run(
    fault: str, new_report: New, sandbox: Sandbox, settings: Any, requests_made: Made
) -> None:
    sandbox.faults(reports={"file": fault})
    report = new_report()
    assert counts(collect()) == {"waiting": 1}
    report.refresh_from_db()
    sandbox.faults()
    assert report.state == "PROCESSING"
    assert files(settings.ATTACHMENTS_ROOT) == []
    assert counts(collect()) == {"ready": 1}
    assert len(requests_made()) == 1


def test_a_file_that_always_breaks_off_is_an_error_when_the_patience_is_over(
    new_report: New, sandbox: Sandbox, settings: Any
) -> None:
    sandbox.faults(reports={"file": "truncated"})
    report = new_report()
    assert counts(collect()) == {"waiting": 1}
    settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT = 0.01
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert report.problem == "not_fetched"
    assert report.problem_params["detail"].startswith("127.0.0.1: it broke off")


def test_a_link_over_http_to_another_machine_is_not_followed(new_report: New, sandbox: Sandbox) -> None:
    sandbox.faults(report_links="http://files.dopplerrelay.com/")
    report = new_report()
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.problem, report.problem_params) == ("bad_link", {"host": "files.dopplerrelay.com"})


@pytest.fixture
def _small_files() -> Iterator[None]:
    """The kernel lets no file of this process grow beyond 16 MB, as a full disk would not (SQLite's is smaller)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024 * 1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_small_files")
def test_a_file_that_the_kernel_takes_no_more_of(new_report: New, sandbox: Sandbox, settings: Any) -> None:
    sandbox.faults(reports={"file": "endless"})
    report = new_report()
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.problem, report.problem_params) == ("disk", {"detail": "File too large"})
    assert files(settings.ATTACHMENTS_ROOT) == []
    sandbox.faults()
    assert counts(again(report)) == {"ready": 1}


@pytest.mark.parametrize("step", ["write", "complete", "put_in_place"])
def test_a_disk_that_is_full_at_any_moment(
    step: str, new_report: New, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, os.strerror(28))

    report = new_report()
    with monkeypatch.context() as patch:
        patch.setattr(report_files.PartialFile, step, full)
        assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert (report.problem, report.problem_params) == ("disk", {"detail": "No space left on device"})
    assert files(settings.ATTACHMENTS_ROOT) == []
    assert counts(again(report)) == {"ready": 1}


def test_a_place_where_no_folder_can_be_made(new_report: New, settings: Any, tmp_path: Path) -> None:
    (tmp_path / "attachments").write_text("a file")
    report = new_report()
    assert counts(collect()) == {"error": 1}
    report.refresh_from_db()
    assert report.problem == "disk"
    (tmp_path / "attachments").unlink()
    assert counts(again(report)) == {"ready": 1}


def test_what_killed_runs_left_is_removed_and_nothing_else(new_report: New, settings: Any) -> None:
    report, other = new_report(), new_report(collector="b", collector_until=timezone.now() + timedelta(minutes=1))
    folder = settings.ATTACHMENTS_ROOT / "reports"
    folder.mkdir(parents=True)
    left = folder / f".{Path(report_files.name_of(report)).name}.{'a' * 32}.part"
    young = folder / f".{Path(report_files.name_of(report)).name}.{'b' * 32}.part"
    others = folder / f".{Path(report_files.name_of(other)).name}.{'c' * 32}.part"
    foreign = folder / ".notes.csv.part"
    for path in (left, young, others, foreign):
        path.write_text("x")
    for path in (left, others, foreign):
        os.utime(path, (time.time() - 100, time.time() - 100))
    assert collect().ready == 1
    assert not left.exists()
    assert young.exists()
    assert others.exists()
    assert foreign.exists()


# --- one process at a time


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
    asyncio.run(_ask_only(report))
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


def test_the_port_of_the_discard_service_is_closed_here() -> None:
    """Or the test of a relay that is away proves nothing."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 9)) != 0
