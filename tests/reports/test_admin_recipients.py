"""What the page of a recipient says of the delivery of its message."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay.models import Recipient
from reports import loading
from reports.admin.recipients import delivery_of, delivery_section
from reports.models import Delivery, GeneratedReport
from tests.console import page
from tests.relay.admin_rows import State, bulk_send, recipient
from tests.reports.rows import new_report, row

pytestmark = pytest.mark.django_db


@pytest.fixture
def accepted() -> Recipient:
    return recipient(bulk_send(), 2, State.ACCEPTED, email="Ana.Vera@example.com")


def load(when: Any, **told: Any) -> GeneratedReport:
    """A report of the day around that moment, with one message in it."""
    usual: dict[str, Any] = {"email": "ana.vera@example.com", "subject": "Su cuota vence", "opens": 3, "clicks": 2}
    report = new_report(
        [row(when=f"{when:%Y-%m-%d %H:%M:%S}", **(usual | told))],
        starts_at=timezone.now() - timedelta(hours=12),
        ends_at=timezone.now() + timedelta(hours=12),
    )
    loading.load(loading.request_load(report, "default", by=None))
    return report


def test_a_report_that_knows_it_tells_status_opens_and_clicks_and_which_it_is(
    lucia: Client, accepted: Recipient
) -> None:
    report = load(accepted.accepted_at)
    shown = page(lucia, f"/admin/relay/recipient/{accepted.pk}/change/")
    assert str(Delivery.Status.SENT.label) in shown
    assert "<dd>3</dd>" in shown
    assert "<dd>2</dd>" in shown
    section = delivery_section(accepted)
    assert section
    assert f" {report.pk}, «" in section.content


def test_another_subject_sender_time_or_person_is_another_message(accepted: Recipient) -> None:
    assert accepted.accepted_at
    load(accepted.accepted_at, subject="Otro asunto")
    load(accepted.accepted_at, email="luis@example.com")
    load(accepted.accepted_at - timedelta(hours=2))
    assert delivery_of(accepted) is None
    load(accepted.accepted_at + timedelta(minutes=3), status="Rejected")
    load(accepted.accepted_at + timedelta(seconds=2))
    found = delivery_of(accepted)
    assert found
    assert found.status == Delivery.Status.SENT  # the nearest


def test_it_is_said_when_no_report_covers_the_day_and_when_one_does_not_have_it(accepted: Recipient) -> None:
    nothing = delivery_section(accepted)
    assert nothing
    assert "<dd>" not in nothing.content
    load(accepted.accepted_at, email="luis@example.com")
    absent = delivery_section(accepted)
    assert absent
    assert "<dd>" not in absent.content
    assert absent.content != nothing.content


@pytest.mark.parametrize("state", sorted(set(State.values) - {State.ACCEPTED}))
def test_nothing_is_said_of_what_was_not_accepted(state: str) -> None:
    assert delivery_section(recipient(bulk_send(), 2, state)) is None


def test_it_is_found_by_an_index(accepted: Recipient) -> None:
    with CaptureQueriesContext(connection) as captured:
        delivery_of(accepted)
    asked = next(query["sql"] for query in captured if "reports_deliveries" in query["sql"])
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # of an empty table everything is read
        cursor.execute(f"EXPLAIN {'' if connection.vendor == 'postgresql' else 'QUERY PLAN '}{asked}")
        plan = str(cursor.fetchall())
    assert "delivery_by_recipient" in plan
