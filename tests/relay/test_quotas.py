"""The relay's quotas: read by one for all, divided among workers, kept for the bulk send that began first."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from relay import ledger, quotas, reasons
from relay.models import BulkSend, Lease, Quota
from relay_client import Limit, Limits
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def told(*, hourly: int | None = None, daily: int | None = None, at: datetime = NOON, minutes: int = 20) -> Limits:
    """What the relay says at its noon: how much is left until in so many minutes."""

    def limit(left: int | None, reset: timedelta) -> Limit | None:
        return None if left is None else Limit(limit=1000, remaining=left, reset=at + reset)

    return Limits(
        monthly=None,
        daily=limit(daily, timedelta(hours=12)),
        hourly=limit(hourly, timedelta(minutes=minutes)),
        unlimited=hourly is None and daily is None,
        told_at=at,
    )


def read(limits: Limits) -> None:
    quotas.claim_reading(at_once=True)
    quotas.note(limits)


def worker(bulk_send: BulkSend) -> int:
    return ledger.acquire(bulk_send.pk).id


def hold(lease: int, *, used: int = 0, wanted: int = 100, reserved: int = 0) -> quotas.Part:
    return quotas.hold(lease, used=used, wanted=wanted, reserved=reserved)


def test_one_process_asks_for_all_of_them():
    assert quotas.claim_reading() is True
    assert quotas.claim_reading() is False
    assert quotas.claim_reading(at_once=True) is False  # two seconds are fresh enough for anything
    Quota.objects.update(asked_at=timezone.now() - timedelta(seconds=31))
    assert quotas.claim_reading() is True


def test_a_period_that_ended_is_asked_for_at_once():
    read(told(hourly=0, minutes=0))
    Quota.objects.update(asked_at=timezone.now() - timedelta(seconds=5), read_at=timezone.now() - timedelta(seconds=5))
    Quota.objects.filter(period="hourly").update(reset_at=timezone.now() - timedelta(seconds=1))
    assert quotas.claim_reading() is True


def test_until_when_is_reckoned_by_the_relays_clock_not_ours():
    read(told(hourly=0, at=datetime(2031, 1, 1, tzinfo=UTC), minutes=20))
    assert Quota.objects.get(period="hourly").reset_at - timezone.now() == pytest.approx(
        timedelta(minutes=20), abs=timedelta(seconds=10)
    )


def test_without_limits_nothing_is_counted():
    read(told())
    assert quotas.are_limited() is False
    assert quotas.forecast(new_bulk_send()) == quotas.Forecast(None, [])


def test_two_workers_never_hold_more_than_is_left():
    read(told(hourly=150))
    bulk_send = new_bulk_send()
    one, other = worker(bulk_send), worker(bulk_send)
    assert hold(one).calls == 100
    assert hold(other).calls == 50
    # What was used is gone, and what is held can still be used.
    assert hold(one, used=60).calls == 40
    assert hold(other, used=50).calls == 0
    assert Quota.objects.get(period="hourly").remaining == 40


def test_what_another_holds_is_waited_for_and_pauses_nobody():
    read(told(hourly=100))
    bulk_send = new_bulk_send()
    one, other = worker(bulk_send), worker(bulk_send)
    hold(one)
    assert hold(other) == quotas.Part(0)
    Lease.objects.filter(pk=one).update(released_at=timezone.now())
    assert hold(other).calls == 100


def test_the_quota_that_is_used_up_last_says_until_when():
    lease = worker(new_bulk_send())
    read(told(hourly=0, daily=0))
    part = hold(lease)
    assert (part.calls, part.period, part.stale) == (0, "daily", False)
    assert part.resume_at - timezone.now() == pytest.approx(timedelta(hours=12), abs=timedelta(seconds=10))


def test_the_tightest_quota_counts():
    read(told(hourly=500, daily=7))
    assert hold(worker(new_bulk_send())).calls == 7


def test_what_was_read_before_a_worker_began_ends_nothing_for_it():
    read(told(hourly=0))
    assert hold(worker(new_bulk_send())).stale is True


def test_old_numbers_pause_nothing_before_the_relay_was_asked_again():
    read(told(hourly=0))
    Quota.objects.update(read_at=timezone.now() - timedelta(seconds=20))
    assert hold(worker(new_bulk_send())).stale is True


def test_what_an_earlier_bulk_send_needs_is_promised_to_no_other():
    read(told(hourly=100))
    first = new_bulk_send(70, processing_started_at=NOON)
    second = new_bulk_send(60, processing_started_at=NOON + timedelta(minutes=1))
    assert quotas.reserved_before(first.pk) == 0
    assert quotas.reserved_before(second.pk) == 70
    assert quotas.forecast(first).fits_now == 100
    assert quotas.forecast(second).fits_now == 30
    lease = worker(second)
    assert hold(lease, reserved=70).calls == 30
    part = hold(lease, used=30, reserved=70)
    assert (part.calls, part.reserved) == (0, True)
    assert part.resume_at - timezone.now() < timedelta(minutes=6)


@pytest.mark.parametrize(
    ("fields", "reserved"),
    [
        ({"status": "paused", "reason": reasons.QUOTA}, 70),
        ({"status": "paused", "reason": reasons.PERSON}, 0),
        ({"status": "error", "reason": reasons.MISCONFIGURED}, 0),
        ({"status": "settling"}, 0),
    ],
)
def test_only_who_would_send_now_or_waits_for_the_quota_has_it_reserved(fields, reserved):
    new_bulk_send(70, processing_started_at=NOON, **fields)
    second = new_bulk_send(5, processing_started_at=NOON + timedelta(minutes=1))
    assert quotas.reserved_before(second.pk) == reserved
