"""What the relay may answer while a report is collected, and what remains of each."""

import socket
import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from relay_client import parsing
from reports import asking, collector_lease, patience
from reports.models import GeneratedReport
from tests.reports.collecting.runs import Made, New, again, collect, counts
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("impatient", "three_sent")]


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


def test_the_port_of_the_discard_service_is_closed_here() -> None:
    """Or the test of a relay that is away proves nothing."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 9)) != 0
