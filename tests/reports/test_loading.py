"""One report into one database: what is counted, what is refused, and what stands afterwards."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection, connections
from django.utils import translation

from reports.loading import AlreadyLoaded, Counts, LoadFailed, LoadRefused, load, load_waiting, request_load
from reports.models import Delivery, GeneratedReport, LoadRequest, ReportLoad
from reports.rejects import rejects_path
from tests.reports.rows import new_report, row, table, text_of

pytestmark = pytest.mark.django_db
GOOD = [row(f"persona{number}@example.com") for number in range(40)]
WITH_ANALYTICS = pytest.mark.skipif("analytics" not in django_settings.DATABASES, reason="there is no second database")


@pytest.fixture(autouse=True)
def english() -> Any:
    with translation.override("en"):
        yield


def waiting_for(report: GeneratedReport, alias: str = "default") -> LoadRequest:
    return request_load(report, alias, by=None)


def failure(request: LoadRequest) -> LoadFailed:
    with pytest.raises(LoadFailed) as failed:
        load(request)
    request.refresh_from_db()
    assert (request.state, request.error) == (LoadRequest.State.FAILED, str(failed.value))
    assert not ReportLoad.objects.exists()
    assert not Delivery.objects.exists()
    return failed.value


# --- What is written


def test_counts_stand_in_the_load_and_in_the_request():
    person = User.objects.create(username="ana")
    report = new_report([*GOOD, row(opens="x")])
    steps: list[tuple[int, int]] = []
    request = request_load(report, "default", by=person)
    counts = load(request, progress=lambda rows, total: steps.append((rows, total)))
    assert counts == Counts(41, 40, 0, 0, 1)
    request.refresh_from_db()
    stored = ReportLoad.objects.get()
    for told in (request, stored):
        assert (told.rows, told.inserted, told.updated, told.unchanged, told.rejected) == (41, 40, 0, 0, 1)
    assert (request.state, request.loaded_at, request.rows_read) == (LoadRequest.State.DONE, stored.loaded_at, 41)
    assert (stored.report, stored.alias, stored.type, stored.loaded_by) == (report.uuid, "default", "deliveries", "ana")
    assert steps[-1] == (41, 41)


def test_a_report_without_a_file_loads_no_rows():
    assert load(waiting_for(new_report(file="", size=None, sha256="", rows=0))) == Counts()
    assert ReportLoad.objects.get().rows == 0


def test_rejected_rows_stand_beside_the_report_as_they_came(settings: Any):
    settings.REPORTS_MAX_REJECT_SHARE = 0.7
    bad = row("luis@example.com", when="2026-02-30 00:00:00", subject='=1+1 "x", ñ')
    report = new_report([row(), bad, row()[:3]])
    assert load(waiting_for(report)) == Counts(3, 1, 0, 0, 2)
    written = rejects_path(Path(str(report.path)))
    assert written.name == Path(report.file).stem + ".rejects.csv"
    assert written.read_bytes().decode() == text_of(
        [("3", "Date", "this date does not exist", *bad), ("4", "", "it has 3 cells instead of 8", *row()[:3])],
        ("line", "column", "reason", *text_of([]).strip().split(",")),
    )
    assert written.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in written.parent.iterdir() if path.name.startswith(".")] == []


def test_a_report_without_rejected_rows_leaves_no_file_of_them():
    report = new_report(GOOD)
    load(waiting_for(report))
    assert not rejects_path(Path(str(report.path))).exists()


# --- What is refused


def test_too_many_rejected_rows_refuse_the_report_whole(settings: Any):
    settings.REPORTS_MAX_REJECT_SHARE = 0.05
    report = new_report([*GOOD[:37], row(opens="x"), row(opens="y")])
    failed = failure(waiting_for(report))
    assert failed.code == "too_many_rejects"
    assert "2 of 39 rows" in str(failed)
    assert f"reports/{Path(report.file).stem}.rejects.csv" in str(failed)
    assert rejects_path(Path(str(report.path))).read_bytes().count(b"\r\n") == 3


def test_a_share_that_is_just_allowed_is_loaded(settings: Any):
    settings.REPORTS_MAX_REJECT_SHARE = 0.025
    assert load(waiting_for(new_report([*GOOD[:39], row(opens="x")]))).rejected == 1


def test_a_file_that_is_gone_is_said():
    report = new_report(GOOD)
    Path(str(report.path)).unlink()
    assert failure(waiting_for(report)).code == "file_missing"


@pytest.mark.parametrize("content", [text_of(GOOD[:-1]).encode(), text_of(GOOD).encode()[:-30], b"", b"\x1f\x8b"])
def test_a_file_that_is_another_is_not_loaded(content: bytes):
    report = new_report(GOOD)
    Path(str(report.path)).write_bytes(content)
    assert failure(waiting_for(report)).code == "file_changed"


def test_a_file_that_is_no_report_is_said():
    failed = failure(waiting_for(new_report(content=b"Subject,Date\nHola,2026-03-01 10:00:00\n")))
    assert (failed.code, "Sender" in str(failed)) == ("not_a_report", True)


def test_a_full_disk_loads_nothing_and_leaves_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.REPORTS_MAX_REJECT_SHARE = 1
    report = new_report([*GOOD, row(opens="x")])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    request = waiting_for(report)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        failed = failure(request)
    assert failed.code == "not_written"
    assert "No space left" in str(failed)
    folder = Path(str(report.path)).parent
    assert [path.name for path in folder.iterdir()] == [Path(report.file).name]
    assert load(waiting_for(report)).rows == 41  # and when there is room, all of it


def test_a_trouble_of_the_database_is_said_without_anybodys_data():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE reports_deliveries RENAME TO away")
    request = waiting_for(new_report(GOOD))
    with pytest.raises(LoadFailed, match="«default» cannot be used") as failed:
        load(request)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE away RENAME TO reports_deliveries")
    assert "example.com" not in str(failed.value)
    request.refresh_from_db()
    assert (request.state, request.problem) == (LoadRequest.State.FAILED, "database")
    assert load(waiting_for(request.report)).inserted == 40


def test_only_a_ready_report_can_be_asked_for():
    report = new_report(GOOD, state=GeneratedReport.State.PROCESSING)
    with pytest.raises(LoadRefused, match="not ready"):
        waiting_for(report)
    with pytest.raises(LoadRefused, match="no database «elsewhere»"):
        waiting_for(new_report(GOOD), "elsewhere")
    assert not LoadRequest.objects.exists()


# --- Once


def test_a_second_load_is_refused_and_says_where_and_when():
    report = new_report(GOOD)
    request = waiting_for(report)
    load(request)
    when = ReportLoad.objects.get().loaded_at
    with pytest.raises(AlreadyLoaded, match="«default» already") as refused:
        load(request)
    assert f"{when:%Y-%m-}" in str(refused.value)
    with pytest.raises(AlreadyLoaded):
        waiting_for(report)
    assert Delivery.objects.count() == 40


def test_what_was_killed_between_the_two_commits_is_done_without_loading_again():
    request = waiting_for(new_report(GOOD))
    load(request)
    LoadRequest.objects.update(state="loading", rows=None, loaded_at=None, inserted=None)
    (ended,) = load_waiting(stop=lambda: False)
    assert (ended.state, ended.rows, ended.inserted) == (LoadRequest.State.DONE, 40, 40)
    assert Delivery.objects.count() == 40


def test_a_waiting_request_is_the_same_and_a_failed_one_waits_again():
    report = new_report(GOOD)
    assert waiting_for(report) == waiting_for(report)
    LoadRequest.objects.update(state="failed", problem="file_missing", rows_read=7)
    again = waiting_for(report)
    assert (again.state, again.problem, again.rows_read) == (LoadRequest.State.WAITING, "", 0)


def test_what_waits_is_loaded_one_after_the_other_and_failures_are_recorded():
    requests = [waiting_for(new_report(GOOD, made=number)) for number in range(3)]
    Path(str(requests[1].report.path)).unlink()
    assert [request.state for request in load_waiting(stop=lambda: False)] == ["done", "failed", "done"]
    assert load_waiting(stop=lambda: False) == []


def test_it_stops_between_two_when_told():
    for number in range(3):
        waiting_for(new_report(GOOD, made=number))
    answers = iter([False, True])
    assert len(load_waiting(stop=lambda: next(answers))) == 1
    assert LoadRequest.objects.filter(state="waiting").count() == 2


# --- Elsewhere


@WITH_ANALYTICS
@pytest.mark.django_db(databases=["default", "analytics"])
def test_the_other_database_stays_possible():
    report = new_report(GOOD)
    load(waiting_for(report))
    assert load(waiting_for(report, "analytics")) == Counts(40, 40, 0, 0, 0)
    assert table("default") == table("analytics")
    with connections["analytics"].cursor() as cursor:
        cursor.execute("SELECT total FROM report_daily")
        assert cursor.fetchall() == [(40,)]
    with pytest.raises(AlreadyLoaded, match="«analytics»"):
        waiting_for(report, "analytics")


def test_a_database_that_is_no_longer_configured_is_said():
    request = LoadRequest.objects.create(report=new_report(GOOD), alias="elsewhere")
    assert "«elsewhere» cannot be used (it is not configured)" in str(failure(request))


def test_days_are_those_of_this_installation(settings: Any):
    settings.TIME_ZONE = "America/Santiago"
    settings.DOPPLER_REPORTS_CSV_TIMEZONE = "America/Guayaquil"
    load(waiting_for(new_report([row(when="2026-03-01 23:30:00")])))
    delivery = Delivery.objects.get()
    assert (delivery.sent_at, str(delivery.local_day)) == (datetime(2026, 3, 2, 4, 30, tzinfo=UTC), "2026-03-02")
