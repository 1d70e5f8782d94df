"""The bulk send and the worker that most tests of the ledger begin with."""

import pytest

from relay import ledger
from relay.ledger import HeldLease
from relay.models import BulkSend
from tests.relay.rows import new_bulk_send


@pytest.fixture
def bulk_send() -> BulkSend:
    return new_bulk_send(10)


@pytest.fixture
def lease(bulk_send: BulkSend) -> HeldLease:
    return ledger.acquire(bulk_send.pk)
