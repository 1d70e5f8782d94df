"""Reports as an operator has them: requested, collected, kept as a file, loaded into one database and into another."""

import csv
import os
import time
from pathlib import Path

import pytest

from tests.installation import Installation, connected, new_analytics, people
from tests.sandbox import Sandbox

QUICK = {"DOPPLER_REPORTS_POLL_INITIAL_DELAY": "0.2", "DOPPLER_REPORTS_POLL_MAX_DELAY": "1"}


@pytest.fixture
def sent(installation: Installation, sandbox: Sandbox) -> Installation:
    """With 300 messages at the relay."""
    installation.environment |= QUICK
    bulk_send = installation.create(sandbox.template, installation.write_file(people(300)))
    assert installation.json("bulk", "start", str(bulk_send), "--drain")["accepted"] == 300
    time.sleep(1)  # a report ends at a whole second: one of this very second would lack the last messages
    return installation


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - 5 * 3600))  # in Guayaquil


def request(installation: Installation, kind: str = "deliveries") -> str:
    days = ("--from", today(), "--to", today())
    requested = installation.json("report", "request", "--type", kind, *days)
    assert requested["state"] == "PENDING"
    return str(requested["id"])


def test_a_report_is_requested_collected_and_loaded_once(sent: Installation) -> None:
    report = request(sent)
    assert "no está listo" in sent.refusal("report", "load", report, "--database", "default")

    done = sent.json("process_reports_pending")
    assert (done["ready"], done["error"], done["waiting"]) == (1, 0, 0)
    ready = sent.json("report", "status", report)
    assert (ready["state"], ready["rows"], ready["error"], ready["loads"]) == ("READY", 300, None, [])
    file = Path(ready["file"])
    assert file.parent == sent.folder / "attachments" / "reports"
    with file.open(encoding="utf-8-sig", newline="") as handle:
        assert sorted(row["Email"] for row in csv.DictReader(handle)) == sorted(person[1] for person in people(300))

    loaded = sent.json("report", "load", report, "--database", "default")
    assert loaded == {"rows": 300, "inserted": 300, "updated": 0, "unchanged": 0, "rejected": 0}
    assert "ya se cargó en «default»" in sent.refusal("report", "load", report, "--database", "default")
    (load,) = sent.json("report", "status", report)["loads"]
    assert (load["alias"], load["inserted"]) == ("default", 300)


def test_the_seven_types_and_overlapping_reports_never_count_twice(sent: Installation) -> None:
    reports = [request(sent, kind) for kind in ("deliveries", "bounces", "sent")]
    assert sent.json("process_reports_pending")["ready"] == 3
    loads = [sent.json("report", "load", report, "--database", "default") for report in reports]
    assert sum(load["inserted"] for load in loads) == 300
    assert all(load["rows"] == 300 for load in loads)
    count = "from reports.models import Delivery; print(Delivery.objects.count())"
    assert sent.run("shell", "-v0", "-c", count).output.strip() == "300"


def test_without_a_second_database_there_is_none_to_load_into(sent: Installation) -> None:
    report = request(sent)
    sent.json("process_reports_pending")
    said = sent.refusal("report", "load", report, "--database", "analytics")
    assert "analytics" in said
    assert "default" in said


@pytest.mark.skipif(os.environ.get("USE_SQLITE") != "0", reason="analytics is a PostgreSQL")
def test_the_same_report_goes_into_default_and_into_analytics(sent: Installation) -> None:
    server = {key: sent.environment[key] for key in ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD")}
    with new_analytics(server) as analytics:
        sent.environment |= analytics
        assert sent.run("migrate", "--database", "analytics", "--verbosity", "0").code == 0
        report = request(sent)
        sent.json("process_reports_pending")

        for alias in ("analytics", "default"):
            assert sent.json("report", "load", report, "--database", alias)["inserted"] == 300
            assert f"«{alias}»" in sent.refusal("report", "load", report, "--database", alias)
        assert {load["alias"] for load in sent.json("report", "status", report)["loads"]} == {"default", "analytics"}

        server = {name.removeprefix("ANALYTICS_"): value for name, value in analytics.items()}
        with connected(server, server["DB_NAME"]) as connection:
            tables = {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")}
            assert {"reports_deliveries", "reports_reportload"} <= tables
            assert not {name for name in tables if name.startswith(("relay_", "auth_", "procrastinate", "task"))}
            daily = connection.execute("SELECT sum(total), count(*) FROM report_daily").fetchone()
            assert daily is not None
            assert daily[0] == 300


@pytest.mark.skipif(os.environ.get("USE_SQLITE") != "0", reason="analytics is a PostgreSQL")
def test_two_processes_that_load_one_report_at_once_load_it_once(sent: Installation) -> None:
    report = request(sent)
    sent.json("process_reports_pending")
    processes = [sent.start("report", "load", report, "--database", "default", "--json") for _ in range(3)]
    outputs = [process.communicate(timeout=120) for process in processes]
    codes = sorted(process.returncode for process in processes)
    assert codes == [0, 1, 1], outputs
    assert sent.json("report", "status", report)["loads"][0]["inserted"] == 300
