"""./dev test: everything on SQLite, then what touches the database again on a real PostgreSQL.

Arguments go to pytest. TEST_DATABASE_URL names a server to use instead of a private one (its user must be allowed to
create databases); only databases whose names begin with `test_` are made and dropped there.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests import postgres

ROOT = Path(__file__).resolve().parent.parent
# What knows nothing of a database runs once.
DATABASE_TESTS = ["tests/relay", "tests/journeys", "tests/faults", "tests/task_engines", "tests/reports"]
PURE = ["recipients", "addresses", "rendering", "pacing", "matching"]


def main(arguments: list[str]) -> int:
    chosen = [argument for argument in arguments if not argument.startswith("-")]
    print("tests: on SQLite", flush=True)
    failed = _pytest(["-n2", *arguments], {"USE_SQLITE": "1"})
    print("tests: starting PostgreSQL", flush=True)
    with postgres.server() as server:
        print(f"tests: on PostgreSQL ({server.host}:{server.port})", flush=True)
        pure = [f"--ignore-glob=tests/relay/test_{name}*" for name in PURE]
        paths = [] if chosen else [*DATABASE_TESTS, *pure]
        both = {**server.environment("test_relay"), **server.analytics("test_analytics")}
        failed_there = _pytest(["-n2", *arguments, *paths], both)
    return failed or failed_there


def _pytest(arguments: list[str], environment: dict[str, str]) -> int:
    started = time.monotonic()
    # Nothing of the machine's own settings may reach a test.
    settings = ("DOPPLER_", "RELAY_", "DB_", "BULK_", "REPORTS_", "ANALYTICS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    live = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("DOPPLER_") and "DOPPLER_RELAY_LIVE_TESTS" in os.environ
    }
    environment = {**kept, **live, "ENV_FILE": "", "DEBUG": "True", **environment}
    code = subprocess.call([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, env=environment)
    print(f"tests: took {time.monotonic() - started:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
