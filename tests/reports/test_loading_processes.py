"""Loaders that are killed, that come at once, whose database goes away: all or nothing, and once."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from tests.installation import Installation, kill, new_database
from tests.reports.steps import done, start

ROWS = 20_000
ADDS_UP = {"rows": ROWS, "inserted": ROWS - ROWS // 100, "updated": 0, "unchanged": 0, "rejected": ROWS // 100}


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with new_database(tmp_path) as database:
        yield Installation(tmp_path, database)


def test_a_loader_killed_at_any_moment_leaves_all_or_nothing_and_a_later_run_completes_it(installation: Installation):
    chance = random.Random(4)
    for number in range(8):
        report = str(done(start(installation, "make", str(ROWS), str(number)))["id"])
        loader = start(installation, "load", report, "default")
        time.sleep(chance.uniform(0.3, 2.5))
        kill(loader)
        before = done(start(installation, "standing"))["default"]
        assert before["deliveries"] == (ADDS_UP["inserted"] if before["loads"] else 0)
        done(start(installation, "waiting"))
        if len(done(start(installation, "standing"))["default"]["loads"]) == number:
            done(start(installation, "load", report, "default"))  # killed before it had asked
        after = done(start(installation, "standing"))["default"]
        assert after["deliveries"] == ADDS_UP["inserted"]
        assert [told[0] for told in after["loads"]] == [ROWS] * (number + 1)
        assert [told[2] for told in after["loads"]] == [0] + [ADDS_UP["inserted"]] * number
        assert [told[:2] for told in after["requests"]] == [["done", ROWS]] * (number + 1)


def test_of_two_at_once_one_loads_and_the_other_says_so(installation: Installation):
    report = str(done(start(installation, "make", str(ROWS)))["id"])
    told = [done(process) for process in [start(installation, "load", report, "default") for _number in range(3)]]
    losers = [one for one in told if "error" in one]
    assert [one for one in told if "error" not in one] == [ADDS_UP]
    assert {one["kind"] for one in losers} <= {"AlreadyLoaded", "LoadUnderWay"}
    assert all("«default»" in one["error"] for one in losers)
    assert done(start(installation, "standing"))["default"]["requests"] == [["done", ROWS, ADDS_UP["inserted"]]]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite is not a server that goes away")
def test_a_database_that_is_cut_off_leaves_nothing_and_a_later_run_completes_it(installation: Installation):
    report = str(done(start(installation, "make", "100000"))["id"])
    loader = start(installation, "load", report, "default")
    settings = installation.environment
    server = {name: settings[f"DB_{name.upper()}"] for name in ("host", "port", "user", "password")}
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query LIKE 'COPY reports%%'"
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as other:  # type: ignore[arg-type]
        while loader.poll() is None and not other.execute(cut, [settings["DB_NAME"]]).fetchall():
            time.sleep(0.05)
    told = done(loader)
    assert told["kind"] == "LoadFailed"
    assert "«default»" in told["error"]
    assert "@" not in told["error"]
    before = done(start(installation, "standing"))["default"]
    assert (before["deliveries"], before["loads"], before["requests"]) == (0, [], [["failed", None, None]])
    assert done(start(installation, "load", report, "default"))["inserted"] == 99_000
