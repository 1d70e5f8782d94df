"""procrastinate behind `django.tasks`: jobs in PostgreSQL, queued within the caller's transaction, run on many hosts.

All jobs are one task of procrastinate's, which is handed the path of ours. Nothing is retried by the engine: what a job
left undone is known elsewhere. Return values and tracebacks are not kept; a job that failed is in the log.
"""

import asyncio
import signal
from collections.abc import Sequence
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any

import structlog
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.db.models import Max, Min, Q
from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import TaskResultDoesNotExist
from django.utils import timezone
from django.utils.json import normalize_json
from django.utils.module_loading import import_string
from procrastinate import App, JobContext
from procrastinate.contrib.django import app as django_app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob
from procrastinate.jobs import Status
from procrastinate.manager import JobManager
from procrastinate.tasks import configure_task

from task_engines import stopping

JOB = "task_engines.run"
HEARTBEAT_SECONDS = 5.0
LOST_AFTER_SECONDS = 20.0
LOOK_SECONDS = 1.0  # besides being notified
KEPT_HOURS = 7 * 24
# A job whose worker died so often is not begun once more: it may be what kills them.
MOST_RUNS = 5

log = structlog.get_logger(__name__)

_STATUSES = {
    "todo": TaskResultStatus.READY,
    "doing": TaskResultStatus.RUNNING,
    "succeeded": TaskResultStatus.SUCCESSFUL,
}


def register(app: App) -> None:
    """PROCRASTINATE_ON_APP_READY."""

    @app.task(name=JOB, pass_context=True)
    async def run(context: JobContext, *, path: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        task = import_string(path)
        if not isinstance(task, Task):
            raise TypeError(f"{path} is no task")
        given = [await sync_to_async(_as_context)(context), *args] if task.takes_context else args
        try:
            # An async one runs in the loop of the worker: the main thread.
            await (task.func if iscoroutinefunction(task.func) else task.acall)(*given, **kwargs)
        except Exception as error:
            # Its kind only: texts of exceptions, and arguments, may hold what belongs in no log.
            log.error("job_failed", task=path, error=type(error).__name__)
            raise


def _as_context(context: JobContext) -> TaskContext[..., Any]:
    return TaskContext(task_result=_result(ProcrastinateJob.objects.get(pk=context.job.id)))


class ProcrastinateBackend(BaseTaskBackend):
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:  # a TaskResult; the stubs cannot say of which task
        self.validate_task(task)
        job = configure_task(
            name=JOB, job_manager=_jobs(), queue=task.queue_name, priority=task.priority, schedule_at=task.run_after
        )
        job_id = job.defer(path=task.module_path, args=normalize_json(args), kwargs=normalize_json(kwargs))
        return self.get_result(str(job_id))

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        try:
            return _result(ProcrastinateJob.objects.get(pk=int(result_id)), self.alias)
        except (ProcrastinateJob.DoesNotExist, ValueError) as error:
            raise TaskResultDoesNotExist(result_id) from error

    def waits(self, task: Task[..., Any], *args: Any, within: float | None = None) -> bool:
        wanted = normalize_json({"path": task.module_path, "args": args, "kwargs": {}})
        found = ProcrastinateJob.objects.filter(status="todo", task_name=JOB, args=wanted)
        if within is not None:
            # By this host's clock, like the hours that jobs are given.
            until = timezone.now() + timedelta(seconds=within)
            found = found.filter(Q(scheduled_at=None) | Q(scheduled_at__lte=until))
        return found.exists()

    def requeue_lost(self) -> int:
        jobs = _jobs()
        with transaction.atomic(), connection.cursor() as cursor:
            # One host at a time: the slower of two would take a job away from its new worker.
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtext('task_engines.requeue_lost'))")
            if not cursor.fetchone()[0]:
                return 0
            lost = list(async_to_sync(jobs.get_stalled_jobs)(seconds_since_heartbeat=LOST_AFTER_SECONDS))
            for job in lost:
                if job.attempts + 1 < MOST_RUNS or job.id is None:
                    async_to_sync(jobs.retry_job)(job)
                else:
                    async_to_sync(jobs.finish_job_by_id_async)(job.id, Status.FAILED, delete_job=False)
            return len(lost)

    def prune(self) -> None:
        async_to_sync(_jobs().delete_old_jobs)(KEPT_HOURS, include_failed=True, include_cancelled=True)

    def run_worker(self, queues: Sequence[str]) -> None:
        asyncio.run(_run_worker(list(queues)))


def _jobs() -> JobManager:
    """On Django's own connection, hence within its transaction: what is rolled back was never queued."""
    return JobManager(DjangoConnector())


async def _run_worker(queues: list[str]) -> None:
    with django_app.replace_connector(DjangoConnector().get_worker_connector()) as app:
        await app.open_async()
        worker = app._worker(
            queues=queues,
            concurrency=1,
            fetch_job_polling_interval=LOOK_SECONDS,
            update_heartbeat_interval=HEARTBEAT_SECONDS,
            stalled_worker_timeout=LOST_AFTER_SECONDS,
            install_signal_handlers=False,
        )

        loop, draining = asyncio.get_running_loop(), set()

        def stop() -> None:
            worker.stop()  # type: ignore[no-untyped-call]
            stopping.request()
            # procrastinate stops its heartbeat first and then waits for the job: others would take it for lost.
            draining.add(loop.create_task(_go_on_beating(app, worker.worker_id)))

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            await worker.run()  # type: ignore[no-untyped-call]
        finally:
            for task in draining:
                task.cancel()
            await asyncio.gather(*draining, return_exceptions=True)
            await app.close_async()


async def _go_on_beating(app: App, worker_id: int | None) -> None:
    while worker_id is not None:
        await app.job_manager.update_heartbeat(worker_id)
        await asyncio.sleep(HEARTBEAT_SECONDS)


def _result(job: ProcrastinateJob, alias: str = "default") -> TaskResult[..., Any]:
    events = ProcrastinateEvent.objects.filter(job=job)
    times = events.aggregate(
        enqueued=Min("at", filter=Q(type="deferred")),
        started=Min("at", filter=Q(type="started")),
        attempted=Max("at", filter=Q(type="started")),
        finished=Max("at", filter=Q(type__in=["succeeded", "failed", "aborted", "cancelled"])),
    )
    return TaskResult(
        task=import_string(job.args["path"]),
        id=str(job.pk),
        status=_STATUSES.get(job.status, TaskResultStatus.FAILED),
        enqueued_at=times["enqueued"],
        started_at=times["started"],
        last_attempted_at=times["attempted"],
        finished_at=times["finished"],
        args=job.args["args"],
        kwargs=job.args["kwargs"],
        backend=alias,
        errors=[],
        worker_ids=["?"] * events.filter(type="started").count(),  # procrastinate keeps none of who ran it
    )
