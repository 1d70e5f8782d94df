"""Fixtures that start real parts: the sandbox relay, and an installation of the product used through its commands."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.test import Client

from tests.installation import Installation, new_database
from tests.sandbox import Sandbox, running_sandbox

os.environ.setdefault("ENV_FILE", "")
os.environ.setdefault("DEBUG", "True")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQLite in a file, as in real life: one in memory is shared between threads under other rules for locks."""
    if connection.vendor == "sqlite":
        settings.DATABASES["default"]["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def _the_record_can_be_emptied_between_tests() -> Iterator[None]:
    """A test with transactions of its own ends with every table emptied; on SQLite by DELETE, which guards refuse."""
    emptying = DatabaseWrapper.ops_class.execute_sql_flush

    def without_guards(operations: Any, statements: Any) -> None:
        with operations.connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, -5) = '_kept'")
            guards = cursor.fetchall()
            for name, _sql in guards:
                cursor.execute(f"DROP TRIGGER {name}")
            emptying(operations, statements)
            for _name, sql in guards:
                cursor.execute(sql)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DatabaseWrapper.ops_class, "execute_sql_flush", without_guards)
        yield


@pytest.fixture(scope="session")
def _sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox") / "store.sqlite3") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_sandbox_process: Sandbox) -> Sandbox:
    """The sandbox relay over HTTP: empty, without faults, without limits, its clock right."""
    _sandbox_process.reset()
    return _sandbox_process


@pytest.fixture
def installation(tmp_path: Path, sandbox: Sandbox) -> Iterator[Installation]:
    """The product with a database of its own, set up for the sandbox; used as people use it, through commands."""
    with new_database(tmp_path) as database:
        yield Installation(tmp_path, {**database, **sandbox.environment()})


@pytest.fixture
def lucia(client: Client) -> Client:
    """The console, used by somebody who may do everything."""
    client.force_login(User.objects.create_superuser("lucia"))
    return client
