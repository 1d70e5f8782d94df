"""django-tasks-db, with what it lacks: async tasks in the main thread, and jobs of killed workers found again."""

import asyncio
import signal
import threading
from collections.abc import Sequence
from datetime import timedelta
from inspect import iscoroutinefunction
from types import FrameType
from typing import Any

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.tasks import Task, TaskResultStatus
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.json import normalize_json
from django_tasks_db.backend import DatabaseBackend
from django_tasks_db.management.commands.db_worker import Worker
from django_tasks_db.models import DBTaskResult, get_date_max

from task_engines import stopping
from task_engines.models import EmbeddedWorker

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 5.0
# Longer than the longest import holds SQLite's write lock: a worker that waits for it is not dead.
LOST_AFTER_SECONDS = 30.0
LOOK_SECONDS = 0.5
KEPT_DAYS = 7
# A job whose worker died so often is not begun once more: it may be what kills them.
MOST_RUNS = 5


class MainThreadTask(Task[..., Any]):
    """An async task runs its loop in the thread of the worker, which is the main one: it may handle signals."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if iscoroutinefunction(self.func):
                return asyncio.run(self.func(*args, **kwargs))
            return self.func(*args, **kwargs)
        except Exception as error:
            # Its kind only: texts of exceptions, and arguments, may hold what belongs in no log.
            log.error("job_failed", task=self.module_path, error=type(error).__name__)
            raise


class EmbeddedBackend(DatabaseBackend):
    task_class = MainThreadTask

    def waits(self, task: Task[..., Any], *args: Any, within: float | None = None) -> bool:
        found = DBTaskResult.objects.filter(status=TaskResultStatus.READY, task_path=task.module_path)
        if within is not None:
            # The end of time is how the library says «at once». By its clock: this host's, not the database's.
            until = timezone.now() + timedelta(seconds=within)
            found = found.filter(Q(run_after=get_date_max()) | Q(run_after__lte=until))
        return found.filter(args_kwargs=normalize_json({"args": args, "kwargs": {}})).exists()

    def requeue_lost(self) -> int:
        EmbeddedWorker.objects.filter(heartbeat_at__lt=Now() - timedelta(seconds=LOST_AFTER_SECONDS)).delete()
        alive = set(EmbeddedWorker.objects.values_list("id", flat=True))
        lost = [job for job in DBTaskResult.objects.running() if not alive.intersection(job.worker_ids[-1:])]
        for job in lost:
            # Only as it was seen: another host may have queued it, and a third begun it.
            seen = DBTaskResult.objects.filter(pk=job.pk, status=TaskResultStatus.RUNNING, worker_ids=job.worker_ids)
            if len(job.worker_ids) < MOST_RUNS:
                seen.update(status=TaskResultStatus.READY, started_at=None)
            else:
                seen.update(status=TaskResultStatus.FAILED, finished_at=Now())
        return len(lost)

    def prune(self) -> None:
        finished = DBTaskResult.objects.finished()
        finished.filter(finished_at__lt=Now() - timedelta(days=KEPT_DAYS)).delete()

    def run_worker(self, queues: Sequence[str]) -> None:
        worker = _Worker(self.alias, queues)
        with _Heartbeat(worker.worker_id):
            worker.configure_signals()
            worker.run()


class _Worker(Worker):
    def __init__(self, backend_name: str, queues: Sequence[str]) -> None:
        super().__init__(
            queue_names=list(queues),
            interval=LOOK_SECONDS,
            batch=False,
            backend_name=backend_name,
            startup_delay=False,
            max_tasks=None,
            worker_id=get_random_string(32),
            excluded_queue_names=[],
        )

    def configure_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # Not the library's way out: it leaves in the middle of claiming a job, which then runs nowhere.
        self.running = False
        stopping.request()


class _Heartbeat:
    """Says that a worker is alive, from a thread of its own: its main thread runs the job."""

    def __init__(self, worker_id: str) -> None:
        self._id = worker_id
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._say()
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
        EmbeddedWorker.objects.filter(pk=self._id).delete()

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT_SECONDS):
            try:
                self._say()
            except DatabaseError as error:
                log.warning("no_heartbeat", error=type(error).__name__)
                connection.close()
        connection.close()

    def _say(self) -> None:
        with transaction.atomic():
            EmbeddedWorker.objects.update_or_create(pk=self._id, defaults={"heartbeat_at": Now()})
