"""The bulk send and the worker that most tests of the ledger begin with."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import translation

from relay import ledger
from relay.ledger import HeldLease
from relay.models import BulkSend
from tests.relay.rows import new_bulk_send
from tests.relay.templates_at_relay import TemplatesAtRelay
from tests.sandbox import Sandbox, running_sandbox


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send(10)


@pytest.fixture
def lease(bulk_send: BulkSend) -> HeldLease:
    return ledger.acquire(bulk_send.pk)


@pytest.fixture
def new(sandbox: Sandbox, settings: Any) -> Callable[..., BulkSend]:
    """Makes bulk sends for the sandbox relay."""
    settings.DOPPLER_RELAY_API_KEY = sandbox.key
    settings.DOPPLER_RELAY_ACCOUNT_ID = sandbox.account
    settings.DOPPLER_RELAY_BASE_URL = sandbox.url + "/"
    settings.RELAY_MAX_CONNECTIONS = 10

    def new(rows: int, **fields: Any) -> BulkSend:
        # Rendered here: the relay's template need not fit.
        return new_bulk_send(rows, subject="Hola {{nombre}}", from_email="avisos@example.com", **fields)

    return new


@pytest.fixture(scope="session")
def _sandbox_of_templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A relay of its own: the shared one keeps its samples, which other tests send with."""
    with running_sandbox(tmp_path_factory.mktemp("templates") / "store.sqlite3") as sandbox:
        yield sandbox


@pytest.fixture
def at_relay(_sandbox_of_templates: Sandbox, settings: Any) -> TemplatesAtRelay:
    """A sandbox relay without templates, and an installation that is set up for it and not patient."""
    sandbox = _sandbox_of_templates
    settings.DOPPLER_RELAY_API_KEY = sandbox.key
    settings.DOPPLER_RELAY_ACCOUNT_ID = sandbox.account
    settings.DOPPLER_RELAY_BASE_URL = sandbox.url + "/"
    settings.RELAY_TIMEOUT_SECONDS = 1
    sandbox.reset()
    at_relay = TemplatesAtRelay(sandbox)
    at_relay.clear()
    return at_relay


@pytest.fixture
def english() -> Iterator[None]:
    """The sentences as they stand in the code."""
    with translation.override("en"):
        yield
