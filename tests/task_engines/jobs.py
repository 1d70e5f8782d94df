"""Jobs for the engines to run, each leaving a line in a file."""

import asyncio
import os
import threading
import time
from pathlib import Path

from django.tasks import TaskContext, task

from task_engines.stopping import stop_event


def _write(file: str, text: str) -> None:
    with Path(file).open("a") as lines:
        lines.write(text + "\n")


@task(queue_name="sending")
def note(file: str, text: str) -> None:
    _write(file, text)


@task(queue_name="sending")
async def note_thread(file: str) -> None:
    await asyncio.sleep(0)
    _write(file, "main" if threading.current_thread() is threading.main_thread() else "other")


@task(queue_name="sending", takes_context=True)
def note_attempt(context: TaskContext, file: str) -> None:
    _write(file, f"attempt {context.attempt}")


@task(queue_name="sending")
def fail(file: str) -> None:
    _write(file, "failed")
    raise RuntimeError("about ana@example.com")


@task(queue_name="sending")
def take(file: str, seconds: float) -> None:
    _write(file, "begun")
    time.sleep(seconds)
    _write(file, "ended")


@task(queue_name="imports")
def import_for(file: str, seconds: float) -> None:
    _write(file, "import begun")
    time.sleep(seconds)


@task(queue_name="sending")
async def until_stopped(file: str) -> None:
    _write(file, "begun")
    with stop_event() as stop:
        await stop.wait()
    _write(file, "stopped")


@task(queue_name="sending")
def die_at_first(file: str) -> None:
    """The first run is killed in the middle, with all that its process has; a second one ends well."""
    first = not Path(file).exists()
    _write(file, f"run by {os.getpid()}")
    if first:
        time.sleep(600)
    _write(file, "ended")
