"""The file of a report, from the relay's link to a whole and readable file that only needs its name."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog
from django.conf import settings

from relay_client import (
    FileBroken,
    FileError,
    FileLinkRefused,
    FileRefused,
    FileTooLarge,
    FileUnavailable,
    fetch_file,
)
from reports import patience, problems
from reports.columns import NotAReport, count_rows, read_layout
from reports.endings import Failed, LeftForLater
from reports.models import GeneratedReport
from reports.report_files import PartialFile

log = structlog.get_logger(__name__)

MEGABYTE = 1024 * 1024


async def fetch(report: GeneratedReport, link: str, file: PartialFile, now: Callable[[], datetime]) -> int:
    """Fetches into `file` and checks that it is a whole report; returns the number of its rows.

    Raises Failed when only a person can help, LeftForLater when another attempt may: as long as the patience lasts
    for a file that breaks off, and for an outage beyond that.
    """
    try:
        await fetch_file(
            link,
            file.write,
            allowed_hosts=settings.DOPPLER_REPORTS_FILE_HOSTS,
            relay_base_url=settings.DOPPLER_RELAY_BASE_URL,
            max_bytes=settings.REPORTS_MAX_FILE_MB * MEGABYTE,
            timeout_seconds=settings.DOPPLER_REPORTS_TIMEOUT,
        )
        await asyncio.to_thread(file.complete)
        return await asyncio.to_thread(_rows_in, file)
    except FileError as error:
        log.warning("file_not_fetched", report=report.pk, kind=type(error).__name__, host=error.host)
        raise _consequence(report, error, now()) from None
    except NotAReport as problem:
        # Texts as they are in the language of now: the table keeps no lazy ones.
        params = {name: value if isinstance(value, int) else str(value) for name, value in problem.params.items()}
        raise Failed(problem.code, params) from None
    except OSError as error:
        raise disk_problem(error) from error


def disk_problem(error: OSError) -> Failed:
    return Failed(problems.DISK, {"detail": error.strerror or type(error).__name__})


def _rows_in(file: PartialFile) -> int:
    return count_rows(file.path, read_layout(file.path))


def _consequence(report: GeneratedReport, error: FileError, now: datetime) -> Exception:
    detail = {"detail": f"{error.host}: {error.what}"}
    waited = (now - (report.polling_since or now)).total_seconds()
    match error:
        case FileLinkRefused():
            return Failed(problems.BAD_LINK, {"host": error.host})
        case FileTooLarge():
            return Failed(problems.TOO_LARGE, {"megabytes": settings.REPORTS_MAX_FILE_MB})
        case FileUnavailable() if not patience.outage_is_over(waited):
            return LeftForLater(patience.AWAY_SECONDS)
        case FileBroken() if not patience.is_over(waited):
            return LeftForLater(patience.AWAY_SECONDS)
        case FileBroken() | FileRefused() | FileUnavailable():
            return Failed(problems.NOT_FETCHED, detail)
    raise AssertionError(type(error).__name__)
