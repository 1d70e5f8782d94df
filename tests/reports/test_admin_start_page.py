"""What the start page shows of reports."""

import csv
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from reports import problems
from reports.loading import load as load_it
from reports.loading import request_load
from reports.models import DailyTotal
from tests.relay.admin_rows import HOSTILE, bulk_send, user
from tests.reports import rows
from tests.reports.report_rows import Loading, State, load, report, with_file

pytestmark = pytest.mark.django_db
START = "/admin/"
LIVE = "/admin/start/live/"


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def manager(client: Client) -> Client:
    """Somebody who may look at reports, and at nothing else."""
    client.force_login(user("reportes", "view_generatedreport"))
    return client


def shown(client: Client, address: str = START) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def total(status: str = "sent", count: int = 10, opened: int = 0, clicked: int = 0, days_ago: int = 0) -> None:
    day = timezone.localdate() - timedelta(days=days_ago)
    DailyTotal.objects.create(local_day=day, status=status, rows=count, opened=opened, clicked=clicked)


def figure(page: str, name: str) -> tuple[str, str]:
    """Today's number, and that of thirty days."""
    after = page.partition(f"<dt>{name}</dt>")[2]
    today = after.partition("</dd>")[0].rpartition(">")[2]
    lately = after.split("</dd>")[1].rpartition(">")[2]
    return today, lately.partition(" in ")[0]


def test_who_may_see_reports_sees_no_bulk_sends(manager: Client):
    page = shown(manager)
    assert "Reports waiting or in error" in page
    assert "Bulk sends under way" not in page
    assert "Quotas" not in page


def test_who_may_see_neither_gets_no_numbers(client: Client):
    client.force_login(user("mira", "view_bulksend"))
    total()
    assert "Delivered" not in shown(client)
    assert [client.get(f"/admin/start/{name}.csv").status_code for name in ("deliveries", "reading")] == [403, 403]


def test_who_may_look_up_deliveries_sees_their_sums(client: Client):
    client.force_login(user("mira", "view_delivery"))
    total()
    assert figure(shown(client), "Delivered") == ("10", "10")


def test_deliveries_are_told_by_what_became_of_them(manager: Client):
    total("sent", 90, opened=40, clicked=7)
    total("rejected", 4)
    total("invalid", 1)
    total("retrying", 2)
    total("dropped", 3)
    total("sent", 1000, opened=1, days_ago=29)
    total("sent", 5000, days_ago=30)
    page = shown(manager)
    assert figure(page, "Delivered") == ("90", "1,090")
    assert figure(page, "Bounced") == ("7", "7")
    assert figure(page, "Opened") == ("40", "41")
    assert figure(page, "Clicked") == ("7", "7")


def test_the_days_are_files_too(manager: Client):
    total("sent", 90, opened=40, clicked=7)
    total("dropped", 3)
    told = {
        name: list(csv.reader(manager.get(f"/admin/start/{name}.csv").content.decode("utf-8-sig").splitlines()))
        for name in ("deliveries", "reading")
    }
    today = timezone.localdate().isoformat()
    assert told["deliveries"][0] == ["Day", "Delivered", "Bounced", "Dropped, on their way or other"]
    assert told["deliveries"][-1] == [today, "90", "0", "3"]
    assert told["reading"][-1] == [today, "40", "7"]


def test_what_is_loaded_stands_there_after_the_load(manager: Client):
    yesterday = timezone.localdate() - timedelta(days=1)
    told = [rows.row(f"persona{n}@example.com", when=f"{yesterday} 15:00:00", opens=n) for n in range(3)]
    load_it(request_load(rows.new_report(told), "default", by=None))
    page = shown(manager)
    assert figure(page, "Delivered") == ("0", "3")
    assert figure(page, "Opened") == ("0", "2")


def test_without_any_delivery_the_chart_says_what_to_do(manager: Client):
    bulk_send()
    assert "request a report, then load it" in shown(manager)


def test_reports_in_error_and_loads_that_failed_need_a_person(manager: Client, attachments: Path):
    failed = report(State.ERROR)
    loaded = with_file(attachments)
    load(loaded, Loading.FAILED)
    page = shown(manager)
    assert f"Report {failed.pk} (Deliveries" in page
    assert f"Report {loaded.pk} was not loaded into «default»" in page
    assert f'href="/admin/reports/generatedreport/{failed.pk}/change/"' in page


def test_what_failed_long_ago_does_not(manager: Client):
    report(State.ERROR, requested_at=timezone.now() - timedelta(days=40))
    page = shown(manager)
    assert "Nothing needs a person" in page
    assert "None is waiting." in page


def test_what_waits_is_shown_with_how_far_it_is(manager: Client, attachments: Path):
    report(State.PENDING)
    loaded = with_file(attachments, rows=4)
    load(loaded, Loading.LOADING, rows_read=1)
    page = shown(manager)
    assert "Not asked of the relay yet." in page
    assert "Loading into: default" in page
    assert 'max="100" value="25"' in page


def test_nothing_waits_and_who_may_asks_for_a_report(manager: Client, lucia: Client):
    assert "/admin/reports/generatedreport/add/" in shown(lucia)


def test_it_moves_while_a_report_does(manager: Client, attachments: Path):
    assert "data-moving" not in shown(manager, LIVE)
    waiting = load(with_file(attachments), Loading.WAITING)
    assert "data-moving" in shown(manager, LIVE)
    waiting.state = Loading.FAILED
    waiting.problem, waiting.problem_params = problems.DATABASE, {"alias": "default", "detail": "too slow"}
    waiting.save()
    report(State.PROCESSING)
    assert "data-moving" in shown(manager, LIVE)


def test_words_of_others_stay_text(manager: Client):
    report(State.ERROR, problem=problems.DATABASE, problem_params={"alias": HOSTILE, "detail": HOSTILE})
    assert HOSTILE not in manager.get(START).content.decode()


def test_more_reports_do_not_make_more_queries(manager: Client, django_assert_max_num_queries: Any, attachments: Path):
    for number in range(12):
        report(State.PENDING)
        report(State.ERROR)
        load(with_file(attachments, f"reports/{number}.csv"), Loading.FAILED)
    with django_assert_max_num_queries(25) as captured:
        shown(manager)
    assert [query["sql"] for query in captured.captured_queries if "reports_deliveries" in query["sql"]] == []


# --- The lists of reports while there is nothing in them


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("/admin/reports/generatedreport/", "No report was requested yet"),
        ("/admin/reports/delivery/", "No delivery is loaded yet"),
    ],
)
def test_an_empty_list_says_what_to_do(lucia: Client, address: str, title: str):
    page = shown(lucia, address)
    assert title in page
    assert 'class="relay-link" href="/admin/reports/generatedreport/' in page
    assert title not in shown(lucia, f"{address}?q=otra")


def test_who_may_not_do_it_is_not_led_there(client: Client):
    client.force_login(user("mira", "view_generatedreport", "view_delivery"))
    assert "/admin/reports/generatedreport/add/" not in shown(client, "/admin/reports/generatedreport/")


def test_a_list_with_something_in_it_shows_that(lucia: Client):
    report(State.PENDING)
    page = shown(lucia, "/admin/reports/generatedreport/")
    assert 'id="result_list"' in page
    assert "No report was requested yet" not in page
