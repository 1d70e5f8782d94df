"""The jobs of background engines. Each is only a trigger: what there is to do stands in the ledger."""

import time
from datetime import timedelta

import structlog
from django.tasks import task
from django.utils import timezone

from relay import checking, ledger, preparing, sending, stages, tallies, verdicts
from relay.books import Books
from relay.calling import Course
from relay.lost_workers import take_over_expired
from relay.models import BulkSend, Preparation
from relay.scheduling import RESTS_AFTER_SETTLEMENT, TURN_SECONDS
from relay.settlement import settle_due
from task_engines import stopping
from task_engines.engine import engine
from task_engines.stopping import stop_event

log = structlog.get_logger(__name__)

# While a bulk send waits for rows that came back, a worker looks through all of it so often: what should be found by
# then and was not, waits no longer.
LOOK_AGAIN_SECONDS = 30.0
# A job that is due so little later than the one asked for will do: two processes never reckon the same hour.
LEEWAY_SECONDS = 5.0

# What this process keeps of a bulk send from one turn to the next.
_courses: dict[int, Course] = {}


@task(queue_name="sending")
async def send(bulk_send_id: int) -> None:
    """Sends from one bulk send for the time of a turn, then queues behind the others if something is left."""
    with stop_event() as stop:
        try:
            course = _courses.setdefault(bulk_send_id, Course())
            tally = await sending.drain(bulk_send_id, stop=stop, for_seconds=TURN_SECONDS, course=course)
        except (sending.RelayOutOfReach, ledger.LeaseLost) as problem:
            log.warning("turn_ended", bulk_send=bulk_send_id, reason=type(problem).__name__)
            return  # the next tick asks for another
        if stop.is_set():
            return
        if not tally.more and tally.waits is None:
            _courses.pop(bulk_send_id, None)
        async with Books() as books:
            if tally.more:
                await books(request_sending, bulk_send_id)
            elif tally.waits is not None:
                await books(request_sending, bulk_send_id, in_seconds=tally.waits)


@task(queue_name="settlement")
async def settle() -> None:
    """Makes the looks that are due. What is due meanwhile waits: reading the relay's log costs the relay, too."""
    began = time.monotonic()
    with stop_event() as stop:
        settled = await settle_due(stop)
    rest = (time.monotonic() - began) * RESTS_AFTER_SETTLEMENT
    async with Books() as books:
        if await books(verdicts.looks_are_ahead):
            await books(_request_settlement, in_seconds=rest)
    if settled.problem:
        log.warning("settlement_ended", reason="the relay's log could not be read")


@task(queue_name="imports")
def check(preparation_id: int) -> None:
    """What came of it stands in the preparation."""
    checking.check(preparation_id, stopping.is_requested)


@task(queue_name="imports")
def delete_discarded() -> None:
    preparing.delete_discarded()


def ask_to_check(preparation_id: int) -> None:
    """A worker shall check it; once, however often it is asked. Queued with the caller's transaction."""
    if not engine().waits(check, preparation_id):
        check.enqueue(preparation_id)


def ask_to_delete_discarded() -> None:
    if not engine().waits(delete_discarded):
        delete_discarded.enqueue()


def request_sending(bulk_send_id: int, *, in_seconds: float = 0.0) -> None:
    """A worker shall send from it by then; once, however often it is asked for. Queued with the caller's transaction.

    A job that is due later does not count: it may wait for the one row that comes back in an hour, others are due now.
    """
    in_seconds = max(0.0, in_seconds)
    if engine().waits(send, bulk_send_id, within=in_seconds + min(in_seconds, LEEWAY_SECONDS)):
        return
    job = send.using(run_after=timezone.now() + timedelta(seconds=in_seconds)) if in_seconds else send
    job.enqueue(bulk_send_id)


def tick() -> None:
    """What the timer's command does every few minutes, without the sending: for that it asks the workers.

    Every open bulk send has a job waiting, besides those that run: so each idle worker, on whatever host, joins in.
    """
    take_over_expired()
    stages.start_due()
    stages.lift_pauses()
    for bulk_send_id in BulkSend.objects.open_to_workers().values_list("pk", flat=True):
        _see_that_it_goes_on(bulk_send_id)
    if verdicts.looks_are_due(None):
        _request_settlement()
    for preparation_id in Preparation.objects.to_check().values_list("pk", flat=True):
        ask_to_check(preparation_id)
    if Preparation.objects.filter(discarded_at__isnull=False).exists():
        ask_to_delete_discarded()
    tallies.compact()


def _see_that_it_goes_on(bulk_send_id: int) -> None:
    """A job now, unless one waits already and all that is known to be left comes back later: ticks are many."""
    due_in = stages.next_due_in(bulk_send_id)
    rests = due_in is not None and due_in > 0 and engine().waits(send, bulk_send_id)
    request_sending(bulk_send_id, in_seconds=min(due_in or 0.0, LOOK_AGAIN_SECONDS) if rests else 0.0)


def _request_settlement(*, in_seconds: float = 0.0) -> None:
    # Whenever the one that waits is due: it waits no longer than the relay's log is to be left alone.
    if not engine().waits(settle):
        settle.using(run_after=timezone.now() + timedelta(seconds=in_seconds)).enqueue()
