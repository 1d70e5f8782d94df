"""What the environment may say: the names and defaults of the deployment guide, and what is refused, in which words."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.environment import BASE_DIR, Environment, EnvironmentProblem, read_environment

ROOT = Path(__file__).resolve().parent.parent
NAMES = {name.upper() for name in Environment.model_fields}
SECRETS = {"SECRET_KEY", "DB_PASSWORD", "ANALYTICS_DB_PASSWORD", "DOPPLER_RELAY_API_KEY"}


@pytest.fixture
def read(monkeypatch):
    """Reads an environment of nothing but the given variables."""
    for name in [*os.environ]:
        if name.upper() in NAMES:
            monkeypatch.delenv(name)

    def read(*, env_file: str = "", **variables: str) -> Environment:
        monkeypatch.setenv("ENV_FILE", env_file)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return read_environment()

    return read


@pytest.fixture
def problems(read):
    """The lines that say what is wrong."""

    def problems(**variables: str) -> list[str]:
        with pytest.raises(EnvironmentProblem) as caught:
            read(**variables)
        # Nothing that quotes the values may hang on it: a traceback would print it.
        assert caught.value.__suppress_context__
        assert caught.value.__cause__ is None
        first, *lines = str(caught.value).splitlines()
        assert ".env" in first
        return [line.strip() for line in lines]

    return problems


DEFAULTS = {
    "ALLOWED_HOSTS": [],
    "CSRF_TRUSTED_ORIGINS": [],
    "INSECURE_HTTP": False,
    "TIME_ZONE": "America/Guayaquil",
    "LOG_LEVEL": "INFO",
    "USE_SQLITE": True,
    "SQLITE_PATH": BASE_DIR / "db.sqlite3",
    "DB_HOST": "127.0.0.1",
    "DB_PORT": 5432,
    "DB_NAME": "",
    "DB_USER": "",
    "ATTACHMENTS_ROOT": BASE_DIR / "attachments",
    "DOPPLER_RELAY_ACCOUNT_ID": "",
    "DOPPLER_RELAY_FROM_EMAIL": "",
    "DOPPLER_RELAY_FROM_NAME": "",
    "DOPPLER_RELAY_BASE_URL": "https://api.dopplerrelay.com/",
    "DOPPLER_RELAY_AUTH_SCHEME": "Bearer",
    "RELAY_MAX_CONNECTIONS": 25,
    "RELAY_TIMEOUT_SECONDS": 30,
    "RELAY_LEASE_SECONDS": 60,
    "RELAY_MAX_CONNECTIONS_TOTAL": None,
    "RELAY_MAX_RATE": None,
    "RELAY_SETTLEMENT_LOOKS": (120, 600, 1800),
    "RELAY_STOP_LOSS": 0.5,
    "RELAY_HOLIDAYS_COUNTRY": "",
    "ANALYTICS_DB_HOST": "127.0.0.1",
    "ANALYTICS_DB_PORT": 5432,
    "ANALYTICS_DB_NAME": "",
    "ANALYTICS_DB_USER": "",
    "ANALYTICS_DB_SSLMODE": "prefer",
    "DOPPLER_REPORTS_TIMEOUT": 30,
    "DOPPLER_REPORTS_POLL_INITIAL_DELAY": 5,
    "DOPPLER_REPORTS_POLL_MAX_DELAY": 15,
    "DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT": 900,
    "DOPPLER_REPORTS_FILE_HOSTS": ["files.dopplerrelay.com"],
    "DOPPLER_REPORTS_CSV_TIMEZONE": "UTC",
    "REPORTS_MAX_FILE_MB": 2048,
    "REPORTS_MAX_REJECT_SHARE": 0.05,
    "REPORTS_AUTO_ENABLED": True,
    "REPORTS_AUTO_AFTER_MIN": 15,
    "REPORTS_AUTO_DAYS": 3,
    "REPORTS_TIMER_ENABLED": True,
    "REPORTS_TIMER_INTERVAL": 15,
    "REPORTS_TIMER_LOCK_PATH": BASE_DIR / "tmp" / "timer.lock",
    "BULK_MAX_UPLOAD_MB": 200,
    "BULK_MISSED_AFTER_MIN": 60,
    "BULK_APPROVAL_ABOVE": None,
    "BULK_CONFIRM_ABOVE": 1000,
    "TASKS_ENGINE": "",
    "BULK_SCHEDULER_ENABLED": True,
    "BULK_SCHEDULER_INTERVAL_MIN": 2,
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_unset_variable_has_the_documented_default(read, name):
    assert getattr(read(DEBUG="True"), name.lower()) == DEFAULTS[name]


def test_debug_is_off_unless_it_is_asked_for(read):
    assert read(SECRET_KEY="x" * 50).debug is False


def test_the_secrets_are_empty_unless_they_are_given_and_never_shown(read):
    unset = read(DEBUG="True")
    given = read(DEBUG="True", **dict.fromkeys(SECRETS, "muysecreto"))
    for name in SECRETS:
        assert getattr(unset, name.lower()).get_secret_value() == ""
        assert getattr(given, name.lower()).get_secret_value() == "muysecreto"
    assert "muysecreto" not in repr(given) + str(given)


def test_an_empty_variable_counts_as_unset(read):
    env = read(DEBUG="True", DB_PORT="", RELAY_TIMEOUT_SECONDS="", TIME_ZONE="", USE_SQLITE="", ALLOWED_HOSTS="")
    assert (env.db_port, env.relay_timeout_seconds, env.time_zone) == (5432, 30, "America/Guayaquil")
    assert (env.use_sqlite, env.allowed_hosts) == (True, [])


# As the deployment guide writes it, and what a key needs.
GUIDE = """
DEBUG=False
SECRET_KEY=una-clave-larga
USE_SQLITE=0
DB_HOST=127.0.0.1
DB_PORT=5432
DB_NAME=doppler_prod
DB_USER=doppler_user
DB_PASSWORD=la_password_segura

ALLOWED_HOSTS=app.example.com,203.0.113.7,localhost,127.0.0.1

DOPPLER_RELAY_API_KEY=abc
DOPPLER_RELAY_ACCOUNT_ID=cuenta
DOPPLER_RELAY_FROM_EMAIL=avisos@example.com
DOPPLER_RELAY_FROM_NAME="Cobranzas Ñandú"
DOPPLER_RELAY_BASE_URL=https://api.dopplerrelay.com/
DOPPLER_RELAY_AUTH_SCHEME=Bearer
DOPPLER_REPORTS_TIMEOUT=30
BULK_SCHEDULER_ENABLED=False
BULK_SCHEDULER_INTERVAL_MIN=5
"""


def test_the_env_file_of_the_guide_is_read(read, tmp_path):
    path = tmp_path / ".env"
    path.write_text(GUIDE, encoding="utf-8")
    env = read(env_file=str(path))
    assert (env.debug, env.use_sqlite, env.bulk_scheduler_enabled) == (False, False, False)
    assert (env.db_host, env.db_port, env.db_name, env.db_user) == ("127.0.0.1", 5432, "doppler_prod", "doppler_user")
    assert env.db_password.get_secret_value() == "la_password_segura"
    assert env.allowed_hosts == ["app.example.com", "203.0.113.7", "localhost", "127.0.0.1"]
    assert env.doppler_relay_api_key.get_secret_value() == "abc"
    assert (env.doppler_relay_account_id, env.doppler_relay_from_email) == ("cuenta", "avisos@example.com")
    assert (env.doppler_relay_from_name, env.bulk_scheduler_interval_min) == ("Cobranzas Ñandú", 5)


def test_a_real_variable_wins_over_the_file(read, tmp_path):
    path = tmp_path / ".env"
    path.write_text(GUIDE, encoding="utf-8")
    assert read(env_file=str(path), DB_NAME="otra").db_name == "otra"


def test_without_env_file_the_one_beside_manage_py_is_read(monkeypatch, read, tmp_path):
    (tmp_path / ".env").write_text("DEBUG=True\nDB_NAME=de_archivo\n")
    read(DEBUG="True")
    monkeypatch.delenv("ENV_FILE")
    monkeypatch.setattr("config.environment.BASE_DIR", tmp_path)
    assert read_environment().db_name == "de_archivo"


def test_an_empty_env_file_variable_reads_no_file(read, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("DB_NAME=de_archivo\n")
    monkeypatch.setattr("config.environment.BASE_DIR", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read(DEBUG="True").db_name == ""


def test_a_file_that_begins_with_a_byte_order_mark_loses_no_variable(read, tmp_path):
    path = tmp_path / ".env"
    path.write_text("DB_NAME=primera\nDEBUG=True\n", encoding="utf-8-sig")
    assert read(env_file=str(path)).db_name == "primera"


def test_a_file_that_is_not_utf_8_is_refused_in_words(read, tmp_path):
    path = tmp_path / ".env"
    path.write_bytes("DEBUG=True\nDOPPLER_RELAY_FROM_NAME=Ñandú\n".encode("cp1252"))
    with pytest.raises(EnvironmentProblem, match="UTF-8"):
        read(env_file=str(path))


def test_a_file_that_is_named_and_missing_is_refused(read, tmp_path):
    with pytest.raises(EnvironmentProblem, match="ENV_FILE"):
        read(env_file=str(tmp_path / "no.env"), DEBUG="True")


WRONG = [
    ("DEBUG", "clave-9f3"),
    ("USE_SQLITE", "clave-9f3"),
    ("INSECURE_HTTP", "clave-9f3"),
    ("BULK_SCHEDULER_ENABLED", "clave-9f3"),
    ("DB_PORT", "clave-9f3"),
    ("DB_PORT", "0"),
    ("DB_PORT", "65536"),
    ("LOG_LEVEL", "clave-9f3"),
    ("TIME_ZONE", "clave-9f3"),
    ("TIME_ZONE", "../clave-9f3"),
    ("DOPPLER_RELAY_AUTH_SCHEME", "clave-9f3"),
    ("DOPPLER_RELAY_BASE_URL", "clave-9f3"),
    ("DOPPLER_RELAY_BASE_URL", "api.clave-9f3.example/"),
    ("DOPPLER_RELAY_BASE_URL", "ftp://clave-9f3.example/"),
    ("DOPPLER_RELAY_BASE_URL", "http://clave-9f3.example/"),
    ("DOPPLER_RELAY_BASE_URL", "http://localhost.clave-9f3.example/"),
    ("DOPPLER_RELAY_BASE_URL", "https://"),
    ("DOPPLER_RELAY_BASE_URL", "https://[clave-9f3]/"),
    ("RELAY_MAX_CONNECTIONS", "0"),
    ("RELAY_MAX_CONNECTIONS", "1001"),
    ("RELAY_MAX_CONNECTIONS", "clave-9f3"),
    ("RELAY_TIMEOUT_SECONDS", "0"),
    ("RELAY_TIMEOUT_SECONDS", "-1"),
    ("RELAY_TIMEOUT_SECONDS", "601"),
    ("RELAY_TIMEOUT_SECONDS", "nan"),
    ("RELAY_TIMEOUT_SECONDS", "clave-9f3"),
    ("RELAY_LEASE_SECONDS", "0"),
    ("RELAY_LEASE_SECONDS", "3601"),
    ("RELAY_LEASE_SECONDS", "clave-9f3"),
    ("BULK_SCHEDULER_INTERVAL_MIN", "0"),
    ("BULK_SCHEDULER_INTERVAL_MIN", "1441"),
    ("BULK_SCHEDULER_INTERVAL_MIN", "2.5"),
    ("BULK_SCHEDULER_INTERVAL_MIN", "clave-9f3"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_variable_is_one_line_that_names_it_and_never_shows_it(problems, name, value):
    (line,) = problems(**{"DEBUG": "True", name: value})
    assert re.match(rf"{name}: \S", line)
    assert "clave-9f3" not in line


@pytest.mark.parametrize(
    ("name", "value", "read_as"),
    [
        ("DB_PORT", "65535", 65535),
        ("LOG_LEVEL", "warning", "WARNING"),
        ("DOPPLER_RELAY_AUTH_SCHEME", "bearer", "Bearer"),
        ("DOPPLER_RELAY_AUTH_SCHEME", "TOKEN", "token"),
        ("TIME_ZONE", "America/Bogota", "America/Bogota"),
        ("USE_SQLITE", "1", True),
        ("INSECURE_HTTP", "1", True),
        ("BULK_SCHEDULER_ENABLED", "False", False),
        ("RELAY_MAX_CONNECTIONS", "1000", 1000),
        ("RELAY_TIMEOUT_SECONDS", "0.5", 0.5),
        ("ALLOWED_HOSTS", " a.example.com, ,b.example.com ,", ["a.example.com", "b.example.com"]),
        ("CSRF_TRUSTED_ORIGINS", "https://a.example.com", ["https://a.example.com"]),
        ("SQLITE_PATH", "data/x.sqlite3", BASE_DIR / "data/x.sqlite3"),
        ("SQLITE_PATH", "/srv/x.sqlite3", Path("/srv/x.sqlite3")),
        ("ATTACHMENTS_ROOT", "/srv/files", Path("/srv/files")),
        *(
            ("DOPPLER_RELAY_BASE_URL", url, url)
            for url in (
                "https://relay.example.com/",
                "http://127.0.0.1:8025/",
                "http://localhost:8025/",
                "http://[::1]:8025/",
            )
        ),
    ],
)
def test_a_right_variable_is_read_as_it_is_meant(read, name, value, read_as):
    assert getattr(read(**{"DEBUG": "True", name: value}), name.lower()) == read_as


def test_all_wrong_variables_are_said_at_once(problems):
    lines = problems(DEBUG="True", DB_PORT="x", LOG_LEVEL="y", RELAY_MAX_CONNECTIONS="-1")
    assert {line.partition(":")[0] for line in lines} == {"DB_PORT", "LOG_LEVEL", "RELAY_MAX_CONNECTIONS"}


@pytest.mark.parametrize("debug", [{}, {"DEBUG": "False"}, {"DEBUG": "0", "SECRET_KEY": ""}])
def test_without_debug_a_secret_key_is_demanded(problems, debug):
    (line,) = problems(**debug)
    assert "SECRET_KEY" in line


def test_postgresql_needs_a_name_and_a_user(problems):
    (line,) = problems(DEBUG="True", USE_SQLITE="0")
    assert "DB_NAME" in line
    assert "DB_USER" in line
    (line,) = problems(DEBUG="True", USE_SQLITE="0", DB_NAME="x")
    assert "DB_NAME" not in line


def test_sqlite_needs_neither(read):
    assert read(DEBUG="True", USE_SQLITE="1").db_name == ""


@pytest.mark.parametrize(("lease", "timeout"), [("30", "30"), ("29.9", "30"), ("60", "90")])
def test_a_lease_lasts_longer_than_a_call(problems, lease, timeout):
    (line,) = problems(DEBUG="True", RELAY_LEASE_SECONDS=lease, RELAY_TIMEOUT_SECONDS=timeout)
    assert "RELAY_LEASE_SECONDS" in line
    assert "RELAY_TIMEOUT_SECONDS" in line


def test_a_lease_a_little_longer_than_a_call_is_accepted(read):
    assert read(DEBUG="True", RELAY_LEASE_SECONDS="30.1", RELAY_TIMEOUT_SECONDS="30").relay_lease_seconds == 30.1


def test_what_is_missing_shows_no_secret(problems):
    lines = problems(DB_PASSWORD="muysecreto", USE_SQLITE="0", DOPPLER_RELAY_API_KEY="muysecreto")
    assert "muysecreto" not in "\n".join(lines)


# --- From outside


def start(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ENV_FILE": "", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_nothing_starts_in_a_wrong_environment():
    result = start(DB_PORT="clave-9f3", DOPPLER_RELAY_API_KEY="muysecreto")
    assert result.returncode != 0
    assert "DB_PORT: " in result.stderr
    assert "clave-9f3" not in result.stderr + result.stdout
    assert "muysecreto" not in result.stderr + result.stdout


# --- What is written about it


@pytest.fixture
def example() -> dict[str, str]:
    """The variables of .env.example, those that are commented out included."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^#?([A-Z][A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_the_example_names_every_variable_and_no_other(example):
    assert set(example) == NAMES


def test_what_the_example_has_commented_out_is_the_default(read, tmp_path):
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    path = tmp_path / ".env"
    path.write_text(re.sub(r"^#([A-Z][A-Z_]+=)", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    env = read(env_file=str(path), SECRET_KEY="x")
    for name in set(re.findall(r"^#([A-Z][A-Z_]+)=", text, re.MULTILINE)) - SECRETS:
        assert getattr(env, name.lower()) == DEFAULTS[name], name


def test_every_default_is_checked_here():
    assert set(DEFAULTS) == NAMES - SECRETS - {"DEBUG"}


def test_looks_that_end_too_soon_are_for_a_sandbox_only(read):
    with pytest.raises(EnvironmentProblem, match="RELAY_SETTLEMENT_LOOKS must end with 300"):
        read(DEBUG="True", RELAY_SETTLEMENT_LOOKS="1,2,299")
    assert read(DEBUG="True", RELAY_SETTLEMENT_LOOKS="1,300").relay_settlement_looks == (1, 300)
    here = read(DEBUG="True", RELAY_SETTLEMENT_LOOKS="1,2,3", DOPPLER_RELAY_BASE_URL="http://127.0.0.1:8025/")
    assert here.relay_settlement_looks == (1, 2, 3)
