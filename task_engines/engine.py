"""What our engines can do beyond `django.tasks`: be asked, recover, forget, run."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from django.tasks import Task, task_backends


class Engine(Protocol):
    def waits(self, task: Task[..., Any], *args: Any, within: float | None = None) -> bool:
        """Whether this very job is queued and not begun: whenever it is due, or due in so many seconds or sooner."""

    def requeue_lost(self) -> int:
        """Queues again what killed workers had begun; returns how many jobs."""

    def prune(self) -> None:
        """Forgets jobs that ended days ago."""

    def run_worker(self, queues: Sequence[str]) -> None:
        """Runs jobs of these queues until SIGTERM; the job that runs then is ended, not cut off."""


def engine() -> Engine:
    """The one that TASKS_ENGINE chose."""
    return cast(Engine, task_backends["default"])
