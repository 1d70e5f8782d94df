"""Reports are requested by people for local days, and by themselves after a bulk send is done."""

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay.models import BulkSend
from reports.models import GeneratedReport
from reports.periods import PeriodProblem
from reports.requesting import UnknownType, request_due, request_report
from tests.relay.rows import new_bulk_send

NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)  # in Guayaquil

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.TIME_ZONE = "America/Guayaquil"
    settings.REPORTS_AUTO_ENABLED = True
    settings.REPORTS_AUTO_AFTER_MIN = 15
    settings.REPORTS_AUTO_DAYS = 3


def done(began: datetime = NOON, ended: datetime | None = None, **fields: Any) -> BulkSend:
    ended = ended or began + timedelta(hours=1)
    return new_bulk_send(0, **({"status": "done", "processing_started_at": began, "finished_at": ended} | fields))


def due_at(moment: datetime) -> int:
    with time_machine.travel(moment, tick=False):
        return request_due()


def test_a_report_of_local_days_is_pending_with_its_utc_period() -> None:
    user = User.objects.create(username="ana")
    with time_machine.travel(NOON, tick=False):
        report = request_report("opens", date(2026, 11, 18), date(2026, 11, 20), by=user)
    report.refresh_from_db()
    assert (report.state, report.type, report.requested_by, report.bulk_send) == ("PENDING", "opens", user, None)
    assert (report.first_day, report.last_day) == (date(2026, 11, 18), date(2026, 11, 20))
    assert (report.starts_at, report.ends_at) == (datetime(2026, 11, 18, 5, tzinfo=UTC), NOON)
    assert report.asked_at is None


def test_wrong_days_or_types_are_refused_in_a_sentence() -> None:
    with pytest.raises(PeriodProblem):
        request_report("opens", date(2026, 11, 18), date(2026, 11, 17))
    with pytest.raises(UnknownType, match="deliveries, bounces"):
        request_report("everything", date(2026, 11, 18), date(2026, 11, 18))
    assert not GeneratedReport.objects.exists()


def test_after_a_bulk_send_its_days_are_requested_once_and_then_daily() -> None:
    bulk_send = done()
    finished = NOON + timedelta(hours=1)
    assert due_at(finished + timedelta(minutes=14)) == 0
    assert due_at(finished + timedelta(minutes=16)) == 1
    report = GeneratedReport.objects.get()
    assert (report.type, report.bulk_send, report.requested_by) == ("deliveries", bulk_send, None)
    assert (report.first_day, report.last_day) == (date(2026, 11, 20), date(2026, 11, 20))

    assert due_at(finished + timedelta(hours=23)) == 0
    for day in (1, 2, 3):
        assert due_at(finished + timedelta(days=day, minutes=14)) == 0
        assert due_at(finished + timedelta(days=day, minutes=16)) == 1
        assert due_at(finished + timedelta(days=day, minutes=17)) == 0
    assert due_at(finished + timedelta(days=5)) == 0
    assert GeneratedReport.objects.count() == 4


def test_a_host_that_was_off_asks_once_for_all_that_it_missed() -> None:
    done()
    assert due_at(NOON + timedelta(days=2, hours=3)) == 1
    assert due_at(NOON + timedelta(days=2, hours=4)) == 0
    assert due_at(NOON + timedelta(days=6)) == 1
    assert due_at(NOON + timedelta(days=8)) == 0


def test_years_of_bulk_sends_are_not_made_up_for() -> None:
    done()
    assert due_at(NOON + timedelta(days=40)) == 0


def test_bulk_sends_of_the_same_days_need_one_report_together() -> None:
    done(NOON - timedelta(days=1), NOON)
    done(NOON - timedelta(hours=2), NOON - timedelta(hours=1))
    assert due_at(NOON + timedelta(minutes=20)) == 1
    report = GeneratedReport.objects.get()
    assert (report.first_day, report.last_day) == (date(2026, 11, 19), date(2026, 11, 20))


def test_a_report_that_somebody_requested_serves_too() -> None:
    done()
    with time_machine.travel(NOON + timedelta(hours=2), tick=False):
        request_report("deliveries", date(2026, 11, 1), date(2026, 11, 20))
    assert due_at(NOON + timedelta(hours=3)) == 0


@pytest.mark.parametrize(
    ("fields", "hours"),
    [
        ({"type": "bounces"}, 2.0),
        ({"first_day": date(2026, 11, 21)}, 2.0),
        ({"last_day": date(2026, 11, 19)}, 2.0),
        ({}, 1.1),  # before it was due: some of its facts may be missing
    ],
)
def test_a_report_that_does_not_cover_it_does_not(fields: dict[str, Any], hours: float) -> None:
    done()
    usual = {
        "type": "deliveries",
        "first_day": date(2026, 11, 20),
        "last_day": date(2026, 11, 20),
        "starts_at": NOON - timedelta(hours=12),
        "ends_at": NOON + timedelta(hours=1),
        "requested_at": NOON + timedelta(hours=hours),
    }
    GeneratedReport.objects.create(**(usual | fields))
    assert due_at(NOON + timedelta(hours=3)) == 1


def test_one_that_ended_in_an_error_is_not_asked_for_every_few_minutes() -> None:
    done()
    assert due_at(NOON + timedelta(hours=2)) == 1
    GeneratedReport.objects.update(state="ERROR", problem="misconfigured")
    assert due_at(NOON + timedelta(hours=3)) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "cancelled"},
        {"status": "sending", "finished_at": None},
        {"processing_started_at": None},  # nothing was sent
    ],
)
def test_other_bulk_sends_need_no_report(fields: dict[str, Any]) -> None:
    done(**fields)
    assert due_at(NOON + timedelta(hours=3)) == 0


def test_switched_off_nothing_is_requested(settings: Any) -> None:
    done()
    settings.REPORTS_AUTO_ENABLED = False
    assert due_at(NOON + timedelta(hours=3)) == 0


def test_one_that_was_paused_for_more_than_a_year_gets_the_days_of_its_end() -> None:
    done(NOON - timedelta(days=500), NOON)
    assert due_at(NOON + timedelta(hours=1)) == 1
    report = GeneratedReport.objects.get()
    assert (report.last_day - report.first_day).days == 365


def test_with_nothing_due_it_costs_two_questions_whatever_there_is() -> None:
    for day in range(100):
        done(NOON - timedelta(days=day * 3 + 20))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert due_at(NOON) == 0
    assert len(queries) <= 2


@pytest.mark.django_db(transaction=True)
def test_many_at_once_request_one() -> None:
    now = timezone.now()
    done(now - timedelta(hours=3), now - timedelta(hours=2))
    requested: list[int] = []
    barrier = threading.Barrier(6)

    def run() -> None:
        barrier.wait()
        requested.append(request_due())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(requested) == GeneratedReport.objects.count() == 1
