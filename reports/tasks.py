"""The jobs of background engines. Each is only a trigger: what there is to do stands in the tables."""

import time
from datetime import timedelta

import structlog
from django.tasks import task
from django.utils import timezone

from relay.account import NotConfigured
from relay.books import Books
from relay.explained import Explained
from reports import collector_lease, loading, patience
from reports.collecting import collect_pending
from reports.models import LoadRequest
from reports.requesting import request_due
from task_engines.engine import engine
from task_engines.stopping import stop_event

log = structlog.get_logger(__name__)

# How often a worker looks whether reports have become due by themselves, and for loads that were cut short.
DUE_SECONDS = 60.0
# Jobs that come back by themselves do so no sooner.
SHORTEST_WAIT = 1.0

_next_look_for_due = 0.0


@task(queue_name="reports")
async def collect() -> None:
    """Does what can be done now; what has to be waited for gets another job, so that loads need not wait for it."""
    with stop_event() as stop:
        async with Books() as books:
            await books(request_due)
            try:
                collected = await collect_pending(stop=stop, sleeps=False)
            except NotConfigured as problem:
                log.warning("reports_not_collected", reason=type(problem).__name__)
                await books(ask_to_collect, in_seconds=patience.AWAY_SECONDS)
                return
            if collected.waits is not None and not stop.is_set():
                await books(ask_to_collect, in_seconds=max(collected.waits, SHORTEST_WAIT))


@task(queue_name="reports")
def load(load_request_id: int) -> None:
    """What became of it stands in the request."""
    # One whose worker was killed is LOADING; what failed is loaded again when somebody asks for it.
    unfinished = LoadRequest.objects.filter(state__in=[LoadRequest.State.WAITING, LoadRequest.State.LOADING])
    request = unfinished.filter(pk=load_request_id).first()
    if request is None:
        return
    try:
        loading.load(request)
    except Explained as problem:
        log.warning("report_not_loaded", load_request=load_request_id, reason=type(problem).__name__)


def ask_to_collect(*, in_seconds: float = 0.0) -> None:
    """A worker shall collect what is pending by then; once, however often it is asked. Queued with the caller's
    transaction. A job that is due later does not count: somebody may have pressed «Process pending now».
    """
    if engine().waits(collect, within=in_seconds):
        return
    job = collect.using(run_after=timezone.now() + timedelta(seconds=in_seconds)) if in_seconds else collect
    job.enqueue()


def ask_to_load(load_request_id: int) -> None:
    """A worker shall make this load; once, however often it is asked. Queued with the caller's transaction."""
    if not engine().waits(load, load_request_id):
        load.enqueue(load_request_id)


def tick() -> None:
    """What a worker sees to every few seconds: reports that are due or unfinished, and loads, have a job waiting."""
    global _next_look_for_due
    if time.monotonic() >= _next_look_for_due:
        _next_look_for_due = time.monotonic() + DUE_SECONDS
        request_due()
        _ask_to_load_all(LoadRequest.State.LOADING)  # whose process may have been killed; else it is told so
    if collector_lease.can_be_taken() and not engine().waits(collect):
        ask_to_collect()
    _ask_to_load_all(LoadRequest.State.WAITING)


def _ask_to_load_all(state: str) -> None:
    for load_request_id in LoadRequest.objects.filter(state=state).values_list("pk", flat=True):
        ask_to_load(load_request_id)
