"""Files that are none, that do not come whole, that find no room."""

import os
import resource
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from reports import report_files
from tests.reports.collecting.runs import Made, New, again, collect, counts, files
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("impatient", "three_sent")]


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
