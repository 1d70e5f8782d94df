"""Which jobs are queued for bulk sends, in the tables of both engines; no worker runs them here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_tasks_db.models import DBTaskResult, get_date_max

from relay import reasons, sending, stages, tasks
from relay.books import Books
from relay.calling import Tally
from relay.models import BulkSend
from task_engines.engine import engine
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db

BACKENDS = {
    "db": "task_engines.embedded.EmbeddedBackend",
    "procrastinate": "task_engines.distributed.ProcrastinateBackend",
}


@pytest.fixture(params=BACKENDS, autouse=True)
def engine_name(request: pytest.FixtureRequest, settings: Any) -> str:
    name = str(request.param)
    if name == "procrastinate" and connection.vendor != "postgresql":
        pytest.skip("procrastinate keeps its jobs in PostgreSQL")
    settings.TASKS = {"default": {**settings.TASKS["default"], "BACKEND": BACKENDS[name]}}
    return name


def hours_of_jobs() -> list[datetime | None]:
    """When the jobs that wait are due; None: at once."""
    hours: list[datetime | None]
    if type(engine()).__name__ == "ProcrastinateBackend":
        from procrastinate.contrib.django.models import ProcrastinateJob

        hours = list(ProcrastinateJob.objects.order_by("id").values_list("scheduled_at", flat=True))
    else:
        jobs = DBTaskResult.objects.order_by("enqueued_at").values_list("run_after", flat=True)
        hours = [None if hour == get_date_max() else hour for hour in jobs]
    return hours


def jobs_due_in() -> list[int]:
    """Seconds, to the nearest five."""
    now = timezone.now()
    return [0 if hour is None else 5 * round((hour - now).total_seconds() / 5) for hour in hours_of_jobs()]


def comes_back_in(bulk_send: BulkSend, seconds: float, *rows: int) -> None:
    bulk_send.recipients.filter(row__in=rows).update(not_before=timezone.now() + timedelta(seconds=seconds))


@contextmanager
def hour(moment: timedelta, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock of this host, by which jobs are given their hours, is moved."""
    real = timezone.now
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: real() + moment)
        yield


def test_an_engine_counts_the_jobs_that_are_due_soon_enough() -> None:
    assert not engine().waits(tasks.send, 7)
    tasks.request_sending(7, in_seconds=600)
    assert engine().waits(tasks.send, 7)
    assert engine().waits(tasks.send, 7, within=601)
    assert not engine().waits(tasks.send, 7, within=599)
    assert not engine().waits(tasks.send, 7, within=0)
    assert not engine().waits(tasks.send, 8, within=601)
    tasks.request_sending(7)
    assert engine().waits(tasks.send, 7, within=0)


def test_a_job_whose_hour_has_come_waits_still(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks.request_sending(7, in_seconds=600)
    with hour(timedelta(seconds=601), monkeypatch):
        assert engine().waits(tasks.send, 7, within=0)


def test_a_job_for_later_keeps_none_from_being_queued_now() -> None:
    bulk_send = new_bulk_send(2)
    tasks.request_sending(bulk_send.pk, in_seconds=3600)
    for _ in range(3):
        tasks.tick()
        tasks.request_sending(bulk_send.pk)
    assert jobs_due_in() == [3600, 0]


def test_a_row_that_became_due_before_the_job_for_another_is_sent_at_the_next_tick() -> None:
    bulk_send = new_bulk_send(2)
    comes_back_in(bulk_send, 3600, 2)
    comes_back_in(bulk_send, -1, 3)
    tasks.request_sending(bulk_send.pk, in_seconds=3600)
    tasks.tick()
    assert jobs_due_in() == [3600, 0]


def test_a_job_for_sooner_is_queued_and_one_for_later_is_not() -> None:
    for seconds in (3600, 1800, 2400, 3600, 1802):
        tasks.request_sending(7, in_seconds=seconds)
    assert jobs_due_in() == [3600, 1800]


def test_two_that_reckon_the_same_hour_a_little_differently_queue_one_job() -> None:
    for seconds in (3600, 3599.5, 3599, 3598):
        tasks.request_sending(7, in_seconds=seconds)
    assert jobs_due_in() == [3600]


def test_ticks_while_all_that_is_left_comes_back_later_queue_one_more_look() -> None:
    """And not a job each, every five seconds: each costs the relay a question about its template."""
    bulk_send = new_bulk_send(1)
    comes_back_in(bulk_send, 3600, 2)
    tasks.request_sending(bulk_send.pk, in_seconds=3600)
    for _ in range(5):
        tasks.tick()
    assert jobs_due_in() == [3600, 30]


def test_a_tick_has_a_job_waiting_for_each_open_bulk_send() -> None:
    bulk_send = new_bulk_send(1)
    comes_back_in(bulk_send, 3600, 2)
    new_bulk_send(1, status="paused", reason=reasons.PERSON)
    tasks.tick()
    assert jobs_due_in() == [0]


@pytest.fixture
def jobs_are_forgotten() -> Iterator[None]:
    """Committed ones: procrastinate's tables are none of Django's, which empties only its own after a test."""
    yield
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE procrastinate_jobs CASCADE")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("jobs_are_forgotten")
def test_a_turn_that_finds_nothing_to_do_ends_and_leaves_the_jobs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    bulk_send = new_bulk_send(1)
    comes_back_in(bulk_send, 3600, 2)
    tasks.request_sending(bulk_send.pk, in_seconds=3600)

    async def nothing_now(bulk_send_id: int, **options: Any) -> Tally:
        async with Books() as books:
            return Tally(waits=await books(stages.next_due_in, bulk_send_id))

    monkeypatch.setattr(sending, "drain", nothing_now)
    for _ in range(3):
        asyncio.run(tasks.send.func(bulk_send.pk))
    assert jobs_due_in() == [3600]
