"""The bulk send and the worker that most tests of the ledger begin with."""

from collections.abc import Callable
from typing import Any

import pytest

from relay import ledger
from relay.ledger import HeldLease
from relay.models import BulkSend
from tests.relay.rows import new_bulk_send
from tests.sandbox import Sandbox


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
