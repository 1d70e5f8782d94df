"""Who collects a report: one process at a time, by a lease on its row, in the time of the database's clock.

A process holds all its reports under one token and renews them together. Every write names the token, so that whoever
lost a report writes nothing of it any more. A report without `collector_until` is free; its `collector` is then the
last that had it.
"""

import os
import socket
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from relay.lease_clock import LeaseClock, read_clocks, ticks
from reports.models import GeneratedReport

_FREE = Q(collector_until=None) | Q(collector_until__lte=Now())
UNFINISHED = (GeneratedReport.State.PENDING, GeneratedReport.State.PROCESSING)


class ReportLost(Exception):
    """Another process collects this report now, or somebody deleted it: leave it alone."""


@dataclass(slots=True, kw_only=True)
class CollectorLease(LeaseClock):
    """The lease of one run, on all the reports that it holds."""

    token: str
    held: set[int] = field(default_factory=set)


def open_lease() -> CollectorLease:
    """Without any report yet."""
    token = f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex}"
    clock_database, clock_ticks = read_clocks()
    return CollectorLease(token=token, clock_database=clock_database, clock_ticks=clock_ticks, deadline=0.0)


def take(lease: CollectorLease, *, besides: Collection[int] = (), limit: int) -> list[GeneratedReport]:
    """Reports that are to be collected and that nobody holds, oldest first; they are ours from now on."""
    asked = ticks()
    free = unfinished().filter(_FREE | Q(collector=lease.token))
    free = free.exclude(pk__in=besides).exclude(pk__in=lease.held).order_by("pk")
    if limit < 1 or not free.exists():  # without a write lock on SQLite: there is nothing to take, mostly
        return []
    with transaction.atomic():
        ids = list(free.select_for_update(skip_locked=True).values_list("pk", flat=True)[:limit])
        GeneratedReport.objects.filter(pk__in=ids).update(collector=lease.token, collector_until=_until())
    if not lease.held:
        lease.deadline = asked + settings.RELAY_LEASE_SECONDS
    lease.held.update(ids)
    return list(GeneratedReport.objects.filter(pk__in=ids).order_by("pk"))


def renew(lease: CollectorLease) -> set[int]:
    """Returns the reports that were lost meanwhile. What they have under way must be stopped before anything leaves."""
    asked = ticks()
    ours = GeneratedReport.objects.filter(pk__in=lease.held, collector=lease.token)
    ours.update(collector_until=_until())
    lost = lease.held - set(ours.values_list("pk", flat=True))
    lease.held -= lost
    lease.deadline = asked + settings.RELAY_LEASE_SECONDS
    return lost


def write(lease: CollectorLease, report: GeneratedReport, **fields: Any) -> None:
    """Writes these fields, in the database and in `report`. Raises ReportLost, and then wrote nothing."""
    with transaction.atomic():  # a savepoint of its own where a test has a transaction around it
        written = GeneratedReport.objects.filter(pk=report.pk, collector=lease.token).update(**fields)
    if written != 1:
        raise ReportLost
    report.refresh_from_db(fields=list(fields))


def let_go(lease: CollectorLease, report: GeneratedReport, **fields: Any) -> None:
    """Writes these fields and gives the report back. Bears to be repeated."""
    write(lease, report, **fields, collector_until=None)
    lease.held.discard(report.pk)


def let_all_go(lease: CollectorLease) -> None:
    GeneratedReport.objects.filter(collector=lease.token, collector_until__isnull=False).update(collector_until=None)
    lease.held.clear()


def unfinished() -> QuerySet[GeneratedReport]:
    return GeneratedReport.objects.filter(state__in=UNFINISHED)


def can_be_taken() -> bool:
    """Whether there is a report that nobody collects."""
    return unfinished().filter(_FREE).exists()


def held_by_others(lease: CollectorLease | None = None) -> QuerySet[GeneratedReport]:
    """Unfinished reports that another process collects at this moment."""
    found = unfinished().filter(collector_until__gt=Now())
    return found.exclude(collector=lease.token) if lease else found


def _until() -> Any:
    return Now() + timedelta(seconds=settings.RELAY_LEASE_SECONDS)
