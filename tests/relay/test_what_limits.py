"""What keeps a worker from going faster, as it tells with its heartbeat for people who look."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from relay import pacing
from relay.models import BulkSend, Lease
from tests.relay.test_calling import drain
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db(transaction=True)
Limit = Lease.Limit


def told_while_sending(bulk_send: BulkSend, until: str) -> set[str]:
    """What its lease said, read about ten times a second until it says this; then the bulk send is paused."""
    told: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while until not in told and not over.is_set():
            told.update(
                Lease.objects.filter(bulk_send=bulk_send, released_at=None).values_list("limited_by", flat=True)
            )
            time.sleep(0.1)
        if not over.is_set():
            bulk_send.pause()
        connection.close()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        drain(bulk_send)
    finally:
        over.set()
        looking.join()
    return told


def test_its_connections_limit_it_when_all_of_them_wait_for_the_relay(
    new: Callable[..., BulkSend], sandbox: Sandbox
) -> None:
    sandbox.faults(latency_ms=300)
    assert Limit.CONNECTIONS in told_while_sending(new(300), Limit.CONNECTIONS)


def test_fewer_connections_than_it_could_use_are_said_to_be_shared(
    new: Callable[..., BulkSend], sandbox: Sandbox, settings: Any
) -> None:
    settings.RELAY_MAX_CONNECTIONS_TOTAL = 4
    sandbox.faults(latency_ms=300)
    told = told_while_sending(new(200), Limit.SHARED_CONNECTIONS)
    assert Limit.SHARED_CONNECTIONS in told
    assert Limit.CONNECTIONS not in told


def test_a_rate_limits_it(new: Callable[..., BulkSend]) -> None:
    assert Limit.RATE in told_while_sending(new(200, max_rate=20.0), Limit.RATE)


def test_a_relay_that_says_429_limits_it(new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=200, rates={"429": 0.4})
    assert Limit.THROTTLED in told_while_sending(new(300), Limit.THROTTLED)


def test_the_governor_tells_a_relay_that_refuses_from_one_that_slows_down() -> None:
    governor = pacing.Governor(50)
    governor.answered(0.1)
    governor.tick()
    governor.answered(2.0)
    governor.tick()
    assert (governor.limit < 50, governor.was_throttled) == (True, False)
    governor.throttled()
    governor.tick()
    assert governor.was_throttled
