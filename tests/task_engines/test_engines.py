"""Both engines behind `django.tasks`, by real worker processes that are really killed: one suite for both."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import Installation, people, states
from tests.sandbox import Sandbox

ENGINES = ["db"] if os.environ.get("USE_SQLITE") != "0" else ["db", "procrastinate"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, installation: Installation) -> str:
    installation.environment |= {"TASKS_ENGINE": request.param, "LOG_LEVEL": "INFO"}
    return str(request.param)


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[str]]:
    """What the jobs have written so far."""
    file = tmp_path / "jobs.txt"
    return lambda: file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def enqueue(installation: Installation, tmp_path: Path) -> Callable[..., str]:
    def enqueue(*statements: str) -> str:
        """Statements of Python; `file` is where jobs write. Returns what they print."""
        code = f"from tests.task_engines.jobs import *; file = {str(tmp_path / 'jobs.txt')!r}\n" + "\n".join(statements)
        result = installation.run("shell", "-v0", "-c", code)
        assert result.code == 0, result.errors
        return result.output

    return enqueue


@contextlib.contextmanager
def running_worker(installation: Installation, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    worker = installation.start("worker", *options, **environment)
    try:
        yield worker
    finally:
        kill_all(worker)


def kill_all(worker: subprocess.Popen[str]) -> None:
    """The supervisor and its children, at once, as an out-of-memory killer or a power cut does."""
    children = children_of(worker.pid)
    worker.kill()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    worker.communicate(timeout=30)


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


Lines = Callable[[], list[str]]
Enqueue = Callable[..., str]


def test_jobs_run_once_in_order_of_priority_and_in_the_main_thread(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    enqueue(
        "note.using(priority=-5).enqueue(file, 'low')",
        "note.enqueue(file, 'usual')",
        "note.using(priority=50).enqueue(file, 'high')",
        "note_thread.using(priority=-10).enqueue(file)",
        "note_attempt.using(priority=-20).enqueue(file)",
    )
    with running_worker(installation, "--queues", "sending"):
        wait_for(lambda: len(lines()) >= 5)
        time.sleep(2)
    assert lines() == ["high", "usual", "low", "main", "attempt 1"]


def test_a_job_waits_for_its_hour(engine: str, installation: Installation, enqueue: Enqueue, lines: Lines) -> None:
    with running_worker(installation, "--queues", "sending"):
        wait_for(lambda: "ready" in lines() or enqueue("note.enqueue(file, 'ready')"))
        enqueue(
            "from datetime import timedelta; from django.utils import timezone",
            "note.using(run_after=timezone.now() + timedelta(seconds=6)).enqueue(file, 'later')",
        )
        time.sleep(3)
        assert "later" not in lines()
        wait_for(lambda: "later" in lines())


def test_what_is_rolled_back_was_never_queued(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    enqueue(
        "from django.db import transaction",
        "try:",
        "    with transaction.atomic():",
        "        note.enqueue(file, 'never'); raise KeyError",
        "except KeyError: pass",
        "with transaction.atomic(): note.enqueue(file, 'committed')",
    )
    with running_worker(installation, "--queues", "sending"):
        wait_for(lines)
        time.sleep(2)
    assert lines() == ["committed"]


def test_a_failed_job_is_told_and_not_tried_again(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    failed, good = enqueue("print(fail.enqueue(file).id)", "print(note.enqueue(file, 'good').id)").split()
    with running_worker(installation, "--queues", "sending") as worker:
        wait_for(lambda: "good" in lines())
        time.sleep(3)
        worker.terminate()
        _output, errors = worker.communicate(timeout=60)
    assert "RuntimeError" in errors
    assert "ana@example.com" not in errors
    told = enqueue(
        f"one, other = fail.get_result({failed!r}), note.get_result({good!r})",
        "print(one.status, one.attempts, one.is_finished, other.status, other.args, other.return_value)",
    )
    assert lines() == ["failed", "good"]
    assert told.split(" ", 4)[:4] == ["FAILED", "1", "True", "SUCCESSFUL"]
    assert "'good'] None" in told


def test_sigterm_ends_the_job_that_runs_and_begins_no_other(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    enqueue("take.enqueue(file, 4)", "note.enqueue(file, 'next')")
    with running_worker(installation, "--queues", "sending", "--json") as worker:
        wait_for(lines)
        worker.terminate()
        output, _errors = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert output.strip() == '{"queues": ["sending"]}'
    assert lines() == ["begun", "ended"]
    with running_worker(installation, "--queues", "sending"):
        wait_for(lambda: "next" in lines())


def test_a_job_that_is_being_ended_is_taken_for_lost_by_nobody(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    enqueue("take.enqueue(file, 40)")
    with running_worker(installation, "--queues", "sending") as first:
        wait_for(lines)
        with running_worker(installation, "--queues", "sending"):
            first.terminate()
            assert first.wait(timeout=90) == 0
            time.sleep(3)
    assert lines() == ["begun", "ended"]


def test_a_job_can_see_that_it_is_to_stop(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    enqueue("until_stopped.enqueue(file)")
    with running_worker(installation, "--queues", "sending") as worker:
        wait_for(lines)
        worker.terminate()
        assert worker.wait(timeout=60) == 0
    assert lines() == ["begun", "stopped"]


def test_the_job_of_a_killed_worker_is_run_by_another_within_a_minute(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    enqueue("die_at_first.enqueue(file)")
    with running_worker(installation, "--queues", "sending"):
        wait_for(lines)
    killed_at = time.monotonic()
    with running_worker(installation, "--queues", "sending"):
        wait_for(lambda: "ended" in lines())
        assert time.monotonic() - killed_at < 60
        time.sleep(6)
    assert len(lines()) == 3


def test_a_long_import_delays_no_send(engine: str, installation: Installation, enqueue: Enqueue, lines: Lines) -> None:
    enqueue("import_for.enqueue(file, 60)")
    with running_worker(installation):
        wait_for(lines)
        enqueue("note.enqueue(file, 'sent')")
        wait_for(lambda: "sent" in lines(), seconds=20)


def test_children_end_by_themselves_when_their_supervisor_was_killed(
    engine: str, installation: Installation, enqueue: Enqueue, lines: Lines
) -> None:
    enqueue("until_stopped.enqueue(file)")
    with running_worker(installation, "--queues", "sending,reports") as worker:
        wait_for(lines)
        children = children_of(worker.pid)
        assert len(children) == 2
        worker.kill()
        worker.wait(timeout=30)
        wait_for(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))
    assert lines() == ["begun", "stopped"]


def test_an_unknown_queue_is_refused(engine: str, installation: Installation) -> None:
    assert "envios" in installation.refusal("worker", "--queues", "envios")


# --- Bulk sends


def a_bulk_send(installation: Installation, sandbox: Sandbox, count: int) -> int:
    return installation.create(sandbox.template, installation.write_file(people(count)))


def test_a_worker_sends_what_is_started_and_settles_it_without_any_timer(
    engine: str, installation: Installation, sandbox: Sandbox
) -> None:
    installation.environment["RELAY_SETTLEMENT_LOOKS"] = "1,2,3"
    sandbox.faults(recipients={"persona3@example.com": ["500_after"], "persona4@example.com": ["500_before"]})
    with running_worker(installation):
        bulk_send = a_bulk_send(installation, sandbox, 200)
        installation.json("bulk", "start", str(bulk_send))
        wait_for(lambda: installation.json("bulk", "status", str(bulk_send))["status"] == "done")
    assert states(installation.results(bulk_send)) == {"accepted": 200}
    assert max(sandbox.accepted().values()) == 1


def test_two_workers_share_a_bulk_send_and_one_is_killed(
    engine: str, installation: Installation, sandbox: Sandbox
) -> None:
    installation.environment |= {
        "RELAY_SETTLEMENT_LOOKS": "2,6,9",
        "RELAY_LEASE_SECONDS": "4",
        "RELAY_TIMEOUT_SECONDS": "2",
        "RELAY_MAX_CONNECTIONS": "5",
    }
    sandbox.faults(latency_ms=60)
    bulk_send = a_bulk_send(installation, sandbox, 2500)
    with running_worker(installation) as first, running_worker(installation):
        installation.json("bulk", "start", str(bulk_send))
        wait_for(lambda: sandbox.stats()["in_flight"] > 5)  # both are at it
        kill_all(first)
        wait_for(lambda: installation.json("bulk", "status", str(bulk_send))["status"] == "done", seconds=120)
    assert states(installation.results(bulk_send)) == {"accepted": 2500}
    assert max(sandbox.accepted().values()) == 1


def test_what_nobody_runs_does_not_pile_up(engine: str, installation: Installation, sandbox: Sandbox) -> None:
    """The timer alone sends everything; its installation may have no worker at all."""
    bulk_send = a_bulk_send(installation, sandbox, 5)
    installation.json("bulk", "start", str(bulk_send))
    installation.json("bulk", "pause", str(bulk_send))
    installation.json("bulk", "resume", str(bulk_send))
    code = "from relay.tasks import send, request_sending; from task_engines.engine import engine\n"
    code += f"request_sending({bulk_send}); print(engine().waits(send, {bulk_send}))"
    assert installation.run("shell", "-v0", "-c", code).output.strip() == "True"
    assert installation.json("process_bulk_scheduled")["accepted"] == 5
    with running_worker(installation, "--queues", "sending"):
        time.sleep(6)  # the job that was left over finds nothing to do
    assert max(sandbox.accepted().values()) == 1
