"""Logs: one line of JSON an event in production, readable text in development; to standard error.

What may be logged: ids, counts, states, codes, durations. Never an address, a variable, a body or a key.
"""

import logging
import sys

import stamina.instrumentation
import structlog


def logging_settings(*, level: str, json: bool) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # They tell arguments of jobs and the texts of their exceptions; `task_engines` says which job failed, and of what.
    for engine in ("procrastinate", "django.tasks"):
        logging.getLogger(engine).setLevel(logging.CRITICAL)
    logging.getLogger("django_tasks_db").setLevel(logging.WARNING)
    # It would announce each retried read with the arguments of the call, which may hold an address.
    stamina.instrumentation.set_on_retry_hooks([])
