"""`report` and `process_reports_pending`, as people and timers use them."""

import csv
import fcntl
import hashlib
import json
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, Result
from tests.reports.collecting.sent import send
from tests.sandbox import Sandbox

TODAY = datetime.now(UTC).date()
DAYS = ("--from", str(TODAY - timedelta(days=1)), "--to", str(TODAY))
Made = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _often(installation: Installation, tmp_path: Path) -> None:
    installation.environment |= {
        "DOPPLER_REPORTS_POLL_INITIAL_DELAY": "0.1",
        "DOPPLER_REPORTS_POLL_MAX_DELAY": "0.3",
        "DOPPLER_REPORTS_TIMEOUT": "1",
        "REPORTS_TIMER_LOCK_PATH": str(tmp_path / "lock" / "timer.lock"),
        "TIME_ZONE": "UTC",
    }


def request(installation: Installation, *more: str, kind: str = "deliveries") -> int:
    return int(installation.json("report", "request", "--type", kind, *(more or DAYS))["id"])


def test_from_a_request_to_a_file_that_is_loaded_once(
    installation: Installation, sandbox: Sandbox, requests_made: Made
) -> None:
    send(sandbox, 3)
    requested = installation.json("report", "request", "--type", "sent", *DAYS)
    assert requested == {"id": requested["id"], "state": "PENDING"}
    report = str(requested["id"])
    before = installation.json("report", "status", report)
    assert (before["state"], before["rows"], before["file"], before["error"]) == ("PENDING", None, None, None)
    assert (before["type"], before["from"], before["to"]) == ("sent", DAYS[1], DAYS[3])
    assert before["loads"] == []

    assert installation.json("process_reports_pending") == {
        "ready": 1,
        "error": 0,
        "waiting": 0,
        "left_to_others": 0,
        "loaded": 0,
    }
    status = installation.json("report", "status", report)
    assert (status["state"], status["rows"], status["error"]) == ("READY", 3, None)
    content = Path(status["file"]).read_bytes()
    assert Path(status["file"]).is_relative_to(installation.folder / "attachments" / "reports")
    assert (status["size"], status["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    assert {row["Email"] for row in rows} == {f"persona{number}@example.com" for number in range(3)}

    loaded = installation.json("report", "load", report, "--database", "default")
    assert loaded == {"rows": 3, "inserted": 3, "updated": 0, "unchanged": 0, "rejected": 0}
    assert installation.refusal("report", "load", report, "--database", "default")
    (load,) = installation.json("report", "status", report)["loads"]
    assert (load["alias"], load["rows"], load["inserted"]) == ("default", 3, 3)
    assert load["loaded_at"]
    assert len(requests_made()) == 1


def test_wrong_usage_exits_2_and_asks_for_nothing(installation: Installation) -> None:
    wrong = [
        ("--type", "everything", *DAYS),
        ("--type", "sent", "--from", "ayer", "--to", "2026-01-01"),
        ("--type", "sent", "--from", "2026-02-30", "--to", "2026-03-01"),
        ("--type", "sent", "--from", "2026-02-01"),
        ("--from", "2026-02-01", "--to", "2026-02-01"),
    ]
    for arguments in wrong:
        assert installation.run("report", "request", *arguments, "--json").code == 2, arguments
    assert installation.json("process_reports_pending")["waiting"] == 0


def test_what_cannot_be_done_is_said_in_a_sentence(installation: Installation, sandbox: Sandbox) -> None:
    tomorrow = str(TODAY + timedelta(days=2))
    installation.refusal("report", "request", "--type", "sent", "--from", tomorrow, "--to", tomorrow)
    installation.refusal("report", "request", "--type", "sent", "--from", "2026-02-02", "--to", "2026-02-01")
    for action in (("status",), ("retry",), ("load", "--database", "default")):
        assert "99" in installation.refusal("report", action[0], "99", *action[1:])
    report = str(request(installation))
    installation.refusal("report", "retry", report)
    installation.refusal("report", "load", report, "--database", "default")
    send(sandbox, 1)
    installation.json("process_reports_pending")
    installation.refusal("report", "retry", report)
    installation.refusal("report", "load", report, "--database", "nowhere")


def test_an_error_is_counted_explained_and_retried(installation: Installation, sandbox: Sandbox) -> None:
    send(sandbox, 2)
    report = str(request(installation))
    sandbox.faults(reports={"file": ["gzip"]})
    assert installation.json("process_reports_pending")["error"] == 1  # exit 0
    status = installation.json("report", "status", report)
    assert (status["state"], status["rows"], status["file"]) == ("ERROR", None, None)
    assert status["error"]
    assert status["error"] in installation.run("report", "status", report).output
    assert installation.json("process_reports_pending")["error"] == 0  # it waits for a person
    assert installation.json("report", "retry", report) == {"id": int(report), "state": "PROCESSING"}
    assert installation.json("process_reports_pending")["ready"] == 1


def test_a_relay_that_is_away_is_no_failure_of_the_timer(installation: Installation, requests_made: Made) -> None:
    request(installation)
    result = installation.run("process_reports_pending", "--json", DOPPLER_RELAY_BASE_URL="http://127.0.0.1:9/")
    assert (result.code, result.json["waiting"], result.json["ready"]) == (0, 1, 0)
    assert result.errors.strip()
    assert installation.json("process_reports_pending")["ready"] == 1
    assert len(requests_made()) == 1


def test_without_a_key_it_says_so_and_holds_nothing(installation: Installation) -> None:
    assert installation.json("process_reports_pending", DOPPLER_RELAY_API_KEY="")["ready"] == 0  # nothing to do
    request(installation)
    result = installation.run("process_reports_pending", "--json", DOPPLER_RELAY_API_KEY="")
    assert result.code == 1
    assert "DOPPLER_RELAY_API_KEY" in result.json["error"]
    assert installation.json("process_reports_pending")["ready"] == 1


def test_with_nothing_to_do_it_ends_at_once(installation: Installation) -> None:
    began = time.monotonic()
    installation.run("help")
    start_up = time.monotonic() - began
    began = time.monotonic()
    installation.json("process_reports_pending")
    assert time.monotonic() - began < start_up + 2


def test_switched_off_it_says_so_and_does_it_only_when_forced(installation: Installation) -> None:
    request(installation)
    result = installation.run("process_reports_pending", "--json", REPORTS_TIMER_ENABLED="False")
    assert (result.code, result.json["ready"]) == (0, 0)
    assert "REPORTS_TIMER_ENABLED" in result.errors
    forced = installation.json("process_reports_pending", "--force", REPORTS_TIMER_ENABLED="False")
    assert forced["ready"] == 1


def test_a_second_timer_on_the_same_host_leaves_all_to_the_first(installation: Installation, tmp_path: Path) -> None:
    request(installation)
    lock = tmp_path / "lock" / "timer.lock"
    lock.parent.mkdir()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = installation.run("process_reports_pending", "--json")
        assert (result.code, result.json["left_to_others"], result.json["ready"]) == (0, 1, 0)
        assert result.errors.strip()
    assert installation.json("process_reports_pending")["ready"] == 1


def test_a_lock_that_cannot_be_is_a_sentence(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    assert "REPORTS_TIMER_LOCK_PATH" in installation.refusal("process_reports_pending")


def test_sigterm_ends_it_soon_with_true_states(
    installation: Installation, sandbox: Sandbox, requests_made: Made
) -> None:
    send(sandbox, 1)
    report = str(request(installation))
    # What it waits for would come in a minute.
    slow = {"DOPPLER_REPORTS_POLL_INITIAL_DELAY": "60", "DOPPLER_REPORTS_POLL_MAX_DELAY": "60"}
    process = installation.start("process_reports_pending", "--json", **slow)
    deadline = time.monotonic() + 30
    while not requests_made():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert time.monotonic() - began < 5
    result = json.loads(output)
    assert (result["ready"], result["waiting"], result["left_to_others"]) == (0, 1, 0)
    assert installation.json("report", "status", report)["state"] == "PROCESSING"
    assert installation.json("process_reports_pending")["ready"] == 1
    assert len(requests_made()) == 1


# --- ten at once --------------------------------------------------------------------------------------------------


def at_once(installation: Installation, count: int) -> list[Result]:
    """So many timers, each of a host of its own."""
    processes = [
        installation.start(
            "process_reports_pending", "--json", REPORTS_TIMER_LOCK_PATH=str(installation.folder / f"{number}.lock")
        )
        for number in range(count)
    ]
    results = []
    for process in processes:
        output, errors = process.communicate(timeout=120)
        results.append(Result(process.returncode, output, errors))
    return results


def test_ten_processes_ask_for_each_report_once(
    installation: Installation, sandbox: Sandbox, requests_made: Made
) -> None:
    send(sandbox, 3)
    reports = [request(installation, kind=kind) for kind in ("deliveries", "bounces", "opens", "clicks")]
    sandbox.faults(latency_ms=150)
    results = at_once(installation, 10)
    assert [result.code for result in results] == [0] * 10, [result.errors for result in results]
    assert sum(result.json["ready"] for result in results) == len(reports)
    assert sum(result.json["error"] for result in results) == 0
    standing = [installation.json("report", "status", str(report)) for report in reports]
    assert [one["state"] for one in standing] == ["READY"] * len(reports)
    assert len(requests_made()) == len(reports)
    files = list((installation.folder / "attachments" / "reports").iterdir())
    assert {str(path) for path in files} == {one["file"] for one in standing}
    assert len(files) == len(reports)
