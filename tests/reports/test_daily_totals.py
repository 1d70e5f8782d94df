"""The totals of days are what counting all deliveries would give, after whatever was loaded in whatever order."""

from datetime import date
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports import daily_totals
from reports.loading import LoadFailed, load, request_load
from reports.models import DailyTotal, Delivery, GeneratedReport
from tests.reports.rows import new_report, row

WITH_ANALYTICS = pytest.mark.skipif("analytics" not in django_settings.DATABASES, reason="there is no second database")
pytestmark = pytest.mark.django_db


def loaded(report: GeneratedReport, alias: str = "default") -> None:
    load(request_load(report, alias, by=None))


def totals(alias: str = "default") -> list[tuple[str, str, int, int, int]]:
    kept = DailyTotal.objects.using(alias).order_by("local_day", "status")
    return [(str(one.local_day), one.status, one.rows, one.opened, one.clicked) for one in kept]


def counted(alias: str = "default") -> list[tuple[str, str, int, int, int]]:
    """The same by reading every delivery, in other words than those of the product."""
    found: dict[tuple[str, str], list[int]] = {}
    for delivery in Delivery.objects.using(alias).all():
        of_day = found.setdefault((str(delivery.local_day), delivery.status), [0, 0, 0])
        of_day[0] += 1
        of_day[1] += delivery.opens > 0
        of_day[2] += delivery.clicks > 0
    return sorted((day, status, *numbers) for (day, status), numbers in found.items())  # type: ignore[misc]


def test_a_day_is_told_by_its_statuses():
    loaded(
        new_report(
            [
                row("ana@example.com", opens=3, clicks=1),
                row("luis@example.com", opens=1),
                row("eva@example.com", status="Rejected"),
                row("zoe@example.com", when="2026-03-02 05:00:00"),  # midnight in Guayaquil
            ]
        )
    )
    assert totals() == [
        ("2026-03-01", "rejected", 1, 0, 0),
        ("2026-03-01", "sent", 2, 2, 1),
        ("2026-03-02", "sent", 1, 0, 0),
    ]


def test_news_move_a_delivery_from_one_status_to_another():
    loaded(new_report([row(status="Retrying"), row("luis@example.com", status="Retrying")], made=1))
    loaded(new_report([row(opens=2)], made=2))
    assert totals() == [("2026-03-01", "retrying", 1, 0, 0), ("2026-03-01", "sent", 1, 1, 0)]


def test_a_status_that_nobody_has_any_more_is_gone():
    loaded(new_report([row(status="Queued")], made=1))
    loaded(new_report([row()], made=2))
    assert totals() == [("2026-03-01", "sent", 1, 0, 0)]


def test_a_report_that_changes_nothing_does_not_touch_them():
    loaded(new_report([row()], made=1))
    before = list(DailyTotal.objects.values_list("pk", flat=True))
    loaded(new_report([row()], made=2))
    assert list(DailyTotal.objects.values_list("pk", flat=True)) == before


def test_a_load_that_fails_leaves_them_as_they_were():
    loaded(new_report([row()], made=1))
    with pytest.raises(LoadFailed):
        loaded(new_report([row("eva@example.com"), *[row(opens="x")] * 9], made=2))
    assert totals() == [("2026-03-01", "sent", 1, 0, 0)]


def test_a_delivery_counts_for_the_day_that_it_has_though_the_zone_is_another_by_now(settings: Any):
    early = row(when="2026-03-02 03:00:00", status="Retrying")  # still the first of March in Guayaquil
    loaded(new_report([early], made=1))
    settings.TIME_ZONE = "UTC"
    loaded(new_report([row(when="2026-03-02 03:00:00"), row("eva@example.com", when="2026-03-02 03:00:00")], made=2))
    assert totals() == counted() == [("2026-03-01", "sent", 1, 0, 0), ("2026-03-02", "sent", 1, 0, 0)]


people = st.sampled_from(["ana@example.com", "luis@example.com", "eva@example.com"])
moments = st.sampled_from(["2026-03-01 15:00:00", "2026-03-01 15:00:01", "2026-03-02 04:59:59", "2026-03-02 05:00:00"])
statuses = st.sampled_from(["Sent", "Queued", "Retrying", "Rejected", "Dropped", "Otra"])
told = st.lists(st.builds(row, people, statuses, moments, st.integers(0, 2), st.integers(0, 2)), max_size=12)
ALIASES = [alias for alias in ("default", "analytics") if alias in django_settings.DATABASES]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(told, st.integers(0, 5)), min_size=1, max_size=4))
@pytest.mark.django_db(databases=ALIASES)
def test_totals_equal_a_full_count_after_overlapping_loads(reports: list[tuple[list[tuple[str, ...]], int]]):
    for alias in ALIASES:
        Delivery.objects.using(alias).all().delete()
        DailyTotal.objects.using(alias).all().delete()
    for rows, made in reports:
        report = new_report(rows, made=made)
        for alias in ALIASES:
            loaded(report, alias)
            assert totals(alias) == counted(alias)


def test_what_was_loaded_before_there_were_totals_is_counted_by_the_migration():
    loaded(new_report([row(), row("eva@example.com", opens=1)]))
    DailyTotal.objects.all().delete()
    daily_totals.count_all(connections["default"])
    assert totals() == [("2026-03-01", "sent", 2, 1, 0)]


def test_no_days_no_work(django_assert_num_queries: Any):
    with django_assert_num_queries(0):
        daily_totals.recount(connections["default"], set())


@WITH_ANALYTICS
@pytest.mark.django_db(databases=["default", "analytics"])
def test_each_database_has_its_own():
    loaded(new_report([row()]), "analytics")
    assert totals("analytics") == [(str(date(2026, 3, 1)), "sent", 1, 0, 0)]
    assert totals() == []
