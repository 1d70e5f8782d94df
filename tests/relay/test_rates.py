"""What all processes share: a rate, and the connections of the account."""

import pytest

from relay import ledger, rates
from relay.models import Lease, Pace
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


def test_what_is_promised_to_one_is_not_promised_to_another():
    """Three workers ask for a second's worth each at the same moment: they get three seconds in a row."""
    begins = [rates.promise({"account": 100.0}, 100)[0] for _ in range(3)]
    assert begins == [pytest.approx(0.0, abs=0.2), pytest.approx(1.0, abs=0.2), pytest.approx(2.0, abs=0.2)]


def test_an_idle_time_gives_no_credit():
    rates.promise({"account": 100.0}, 10)
    Pace.objects.update(promised_until=1.0)  # long ago
    assert rates.promise({"account": 100.0}, 100)[0] == 0.0
    assert rates.promise({"account": 100.0}, 100)[0] == pytest.approx(1.0, abs=0.2)


def test_the_slower_of_two_rates_decides():
    begin, seconds = rates.promise({"account": 100.0, "send:1": 10.0}, 20)
    assert (begin, seconds) == (pytest.approx(0.0, abs=0.001), 2.0)
    assert rates.promise({"account": 100.0}, 1)[0] == pytest.approx(0.2, abs=0.2)
    assert rates.promise({"send:1": 10.0}, 1)[0] == pytest.approx(2.0, abs=0.2)


def test_a_changed_rate_does_not_wait_for_what_was_promised_under_the_old_one():
    rates.promise({rates.of_send(7): 0.01}, 1)
    rates.forget(7)
    assert rates.promise({rates.of_send(7): 100.0}, 1)[0] == 0.0


@pytest.mark.parametrize(
    ("rate", "usable", "calls"), [(0.2, 50, 1), (10, 50, 10), (1000, 50, 50), (99.5, 500, 100), (1000, 0, 1)]
)
def test_a_slice_is_a_second_of_the_rate_or_what_the_worker_can_make_of_it(rate, usable, calls):
    assert rates.slice_of(rate, usable) == calls


def test_without_a_total_every_process_has_its_own_connections(settings):
    settings.RELAY_MAX_CONNECTIONS_TOTAL = None
    lease = ledger.acquire(new_bulk_send().pk)
    assert rates.connections_for(lease.id, 25, 0) == 25


def test_connections_of_the_account_are_shared_and_never_more(settings):
    settings.RELAY_MAX_CONNECTIONS_TOTAL = 10
    bulk_send = new_bulk_send()
    first, second, third = (ledger.acquire(bulk_send.pk).id for _ in range(3))
    Lease.objects.filter(pk__in=[second, third]).update(released_at="2026-01-01T00:00:00Z")
    assert rates.connections_for(first, 25, 0) == 10
    Lease.objects.filter(pk__in=[second, third]).update(released_at=None)
    # All are in use: who comes later waits until the first has fewer calls in flight.
    assert rates.connections_for(second, 25, 0) == 0
    assert rates.connections_for(first, 25, 8) == 3
    assert rates.connections_for(second, 25, 0) == 2
    assert rates.connections_for(first, 25, 3) == 3
    assert rates.connections_for(second, 25, 2) == 3
    assert rates.connections_for(third, 25, 0) == 3
    assert sum(Lease.objects.values_list("connections", flat=True)) <= 10


def test_a_worker_that_is_gone_holds_no_connections(settings):
    settings.RELAY_MAX_CONNECTIONS_TOTAL = 10
    bulk_send = new_bulk_send()
    first, second = ledger.acquire(bulk_send.pk), ledger.acquire(bulk_send.pk)
    rates.connections_for(first.id, 5, 0)
    ledger.release(first)
    assert rates.connections_for(second.id, 25, 0) == 10
