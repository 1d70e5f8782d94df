"""A report's file → the deliveries of a database: `load`, all of it or nothing, and once.

    check the file → take the lock → ReportLoad → read, type, merge → rejects → counts, totals
                                                                                             one transaction there
    → LoadRequest is DONE                                                                    a commit in `default`

The row of `ReportLoad`, unique for a report and a database, is written in the transaction that loads; so whatever is
killed in between, it alone says whether the report is loaded. Loads into one database go one after the other.
"""

import gc
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import batched
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, InterfaceError, connections, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from relay.beside import Beside
from relay.explained import Explained
from reports import daily_totals, database_troubles, problems
from reports.columns import NotAReport, Typed, Zones, read_layout, typed_rows
from reports.merging import Expected, Merged, merge
from reports.models import GeneratedReport, Installation, LoadRequest, ReportLoad
from reports.rejects import Rejects, rejects_of
from reports.routers import ANALYTICS

log = structlog.get_logger(__name__)

State = LoadRequest.State
PROGRESS_SECONDS = 1.0
BATCH = 1_000  # rows
READ_PIECE = 1 << 18


class LoadRefused(Explained):
    """This report cannot be loaded there; the text says why."""


class AlreadyLoaded(LoadRefused):
    """It is loaded there, now or since long ago."""

    def __init__(self, alias: str, loaded_at: datetime) -> None:
        super().__init__(
            _("The report has been loaded into «%(alias)s» already, on %(when)s.")
            % {"alias": alias, "when": f"{timezone.localtime(loaded_at):%Y-%m-%d %H:%M:%S}"}
        )


class LoadUnderWay(LoadRefused):
    """Another process is at it."""

    def __init__(self, alias: str) -> None:
        super().__init__(_("Another process is loading the report into «%(alias)s» right now.") % {"alias": alias})


class LoadFailed(Explained):
    """Nothing was loaded. `code` and `params` are for `reports.problems`; they stand in the LoadRequest."""

    def __init__(self, code: str, **params: object) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params

    def __str__(self) -> str:
        return problems.sentence(self.code, self.params)


@dataclass(frozen=True, slots=True)
class Counts:
    """`rows` = the rest together."""

    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0


type Progress = Callable[[int, int], None]  # rows read, rows of the report


def aliases() -> list[str]:
    """The databases that reports can be loaded into."""
    return [alias for alias in ("default", ANALYTICS) if alias in settings.DATABASES]


# --- Asking for it


def request_load(report: GeneratedReport, alias: str, *, by: User | None) -> LoadRequest:
    """The request to load `report` into `alias`: a new one, one that waits already, or one that failed, anew.

    Raises AlreadyLoaded, or LoadRefused when the report is not ready or there is no such database.
    """
    if alias not in aliases():
        raise LoadRefused(
            _("There is no database «%(alias)s» to load into; there is %(known)s.")
            % {"alias": alias, "known": ", ".join(aliases())}
        )
    if report.state != GeneratedReport.State.READY:
        raise LoadRefused(
            _("The report is not ready (%(state)s): there is nothing to load yet.")
            % {"state": report.get_state_display()}
        )
    request, created = LoadRequest.objects.get_or_create(report=report, alias=alias, defaults={"requested_by": by})
    if not created:
        _refuse_loaded(request)
        LoadRequest.objects.filter(pk=request.pk, state=State.FAILED).update(
            state=State.WAITING,
            problem="",
            problem_params={},
            requested_at=timezone.now(),
            requested_by=by,
            started_at=None,
            rows_read=0,
        )
        request.refresh_from_db()
    return request


def _refuse_loaded(request: LoadRequest) -> None:
    if request.state == State.DONE and request.loaded_at:
        raise AlreadyLoaded(request.alias, request.loaded_at)


# --- Doing it


def load(request: LoadRequest, *, progress: Progress | None = None) -> Counts:
    """Loads it here and now; whatever is raised, `request` says afterwards what is true.

    Raises AlreadyLoaded, LoadUnderWay (another process is at it) or LoadFailed (nothing was loaded, and why). A
    database that goes away in `default` itself leaves the request to a later `load_waiting`.
    """
    request.refresh_from_db()
    _refuse_loaded(request)
    try:
        _refuse_unknown(request.alias)
        _look_before(request)
        _begin(request)
        counts = _load(request, progress)
    except _Lost as lost:
        raise _found(request, lost.loaded) from None
    except (LoadFailed, DatabaseError, InterfaceError) as error:
        failure = error if isinstance(error, LoadFailed) else _database_failure(request.alias, error)
        loaded = None if isinstance(error, LoadFailed) else _loaded_after_all(request)
        if loaded is None:
            _failed(request, failure)
            raise failure from error
        counts = _counts(loaded)
    _done(request, ReportLoad.objects.using(request.alias).get(**_identity(request)))
    log.info("report_loaded", report=request.report_id, alias=request.alias, rows=counts.rows)
    return counts


def load_waiting(*, stop: Callable[[], bool]) -> list[LoadRequest]:
    """Loads what waits and what was cut short, one after the other, until `stop` says so. Returns what it ended."""
    ended: list[LoadRequest] = []
    waiting = LoadRequest.objects.filter(state__in=[State.WAITING, State.LOADING]).order_by("id")
    for request in list(waiting.select_related("report", "requested_by")):
        if stop():
            break
        try:
            load(request)
        except LoadUnderWay:
            continue
        except (AlreadyLoaded, LoadFailed) as problem:
            log.info("report_not_loaded", report=request.report_id, alias=request.alias, why=type(problem).__name__)
        request.refresh_from_db()
        ended.append(request)
    return ended


class _Lost(Exception):
    """Somebody has loaded it."""

    def __init__(self, loaded: ReportLoad | None) -> None:
        super().__init__()
        self.loaded = loaded


def _refuse_unknown(alias: str) -> None:
    if alias not in aliases():
        raise LoadFailed(problems.DATABASE, alias=alias, detail=_("it is not configured"))


def _look_before(request: LoadRequest) -> None:
    """Says at once what the transaction would find out, so that a loser touches nothing of the winner's."""
    if connections[request.alias].vendor == "postgresql":
        with transaction.atomic(using=request.alias):
            _lock(request)
    loaded = _loaded(request)
    if loaded:
        raise _Lost(loaded)


def _load(request: LoadRequest, progress: Progress | None) -> Counts:
    alias, report = request.alias, request.report
    with _Meter(request, progress) as meter, _rare_collections(), transaction.atomic(using=alias):
        if connections[alias].vendor == "postgresql":
            _lock(request)
            _wait_for_turn(alias)
        load_id = _claim(request)
        counts = _load_file(report, alias, meter)
        ReportLoad.objects.using(alias).filter(pk=load_id).update(**asdict(counts))
    return counts


@contextmanager
def _rare_collections() -> Iterator[None]:
    """A batch of rows is a few thousand objects that live for a moment: looking through them for cycles again and
    again costs a fifth of the reading (measured)."""
    threshold, *others = gc.get_threshold()
    gc.set_threshold(max(threshold, 50_000), *others)
    try:
        yield
    finally:
        gc.set_threshold(threshold, *others)


def _load_file(report: GeneratedReport, alias: str, meter: "_Meter") -> Counts:
    path = report.path
    if path is None:  # the relay said that there are no rows
        return Counts()
    try:
        with _opened(path) as raw:
            layout = read_layout(path)
            with rejects_of(path, layout) as rejects:
                rows = typed_rows(io.BufferedReader(raw, READ_PIECE), layout, _zones(), rejects.add)
                merged = merge(
                    connections[alias],
                    _batches(rows, rejects, meter),
                    Expected(
                        as_of=report.made_at or report.ready_at or report.requested_at,
                        starts_at=report.starts_at,
                        ends_at=report.ends_at,
                        rows=report.rows or 0,
                    ),
                )
                _refuse_changed(report, raw.digest())
                rejects.finish()
                counts = _checked(report, merged, rejects)
                daily_totals.recount(connections[alias], merged.days)
                return counts
    except NotAReport as problem:
        _refuse_changed(report, _digest(path))
        raise LoadFailed(problem.code, **problem.params) from problem
    except OSError as error:
        raise LoadFailed(problems.NOT_WRITTEN, detail=error.strerror or type(error).__name__) from error


def _batches(rows: Iterable[Typed], rejects: Rejects, meter: "_Meter") -> Iterator[tuple[Typed, ...]]:
    typed = 0
    for batch in batched(rows, BATCH):
        typed += len(batch)
        meter.show(typed + rejects.count)
        yield batch


def _checked(report: GeneratedReport, merged: Merged, rejects: Rejects) -> Counts:
    loaded = merged.inserted + merged.updated + merged.unchanged
    rows = loaded + rejects.count
    if rows and rejects.count / rows > settings.REPORTS_MAX_REJECT_SHARE:
        raise LoadFailed(
            problems.TOO_MANY_REJECTS,
            rejected=rejects.count,
            rows=rows,
            file=str(Path(report.file).with_name(rejects.target.name)),
        )
    return Counts(rows, merged.inserted, merged.updated, merged.unchanged, rejects.count)


def _zones() -> Zones:
    return Zones(ZoneInfo(settings.DOPPLER_REPORTS_CSV_TIMEZONE), ZoneInfo(settings.TIME_ZONE))


# --- The file


class _HashedFile(io.RawIOBase):
    """A file whose SHA-256 is computed while it is read: it is what it was, or nothing of it stays."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._file.readinto(buffer) or 0
        except OSError as error:
            raise _unreadable(error) from error
        self._hash.update(memoryview(buffer)[:count])
        return count

    def digest(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(path: Path) -> _HashedFile:
    try:
        return _HashedFile(path)
    except FileNotFoundError:
        raise LoadFailed(problems.FILE_MISSING) from None
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> LoadFailed:
    return LoadFailed(problems.FILE_UNREADABLE, detail=error.strerror or type(error).__name__)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_changed(report: GeneratedReport, digest: str) -> None:
    if digest != report.sha256:
        raise LoadFailed(problems.FILE_CHANGED)


# --- The lock


# Loads into one database take turns: what one merges, the next must see.
_TURN = 0x52657047_7475726E


def _lock(request: LoadRequest) -> None:
    """Until the end of the transaction. The uniqueness of ReportLoad would hold too, but only after a long wait."""
    name = "/".join(str(part) for part in _identity(request).values())
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)
    with connections[request.alias].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        if not cursor.fetchone()[0]:
            raise LoadUnderWay(request.alias)


def _wait_for_turn(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_TURN])


def _claim(request: LoadRequest) -> int:
    loaded = _loaded(request)
    if loaded:
        raise _Lost(loaded)
    report, by = request.report, request.requested_by
    try:
        return (
            ReportLoad.objects.using(request.alias)
            .create(
                **_identity(request),
                type=report.type,
                starts_at=report.starts_at,
                ends_at=report.ends_at,
                loaded_by=by.get_username()[:200] if by else "",
                **asdict(Counts()),
            )
            .pk
        )
    except IntegrityError:
        raise _Lost(None) from None


def _identity(request: LoadRequest) -> dict[str, Any]:
    return {
        "installation": Installation.objects.get().uuid,
        "report": request.report.uuid,
        "alias": request.alias,
    }


def _loaded(request: LoadRequest) -> ReportLoad | None:
    return ReportLoad.objects.using(request.alias).filter(**_identity(request)).first()


# --- What the request says


def _begin(request: LoadRequest) -> None:
    _request(request).exclude(state=State.DONE).update(
        state=State.LOADING, started_at=timezone.now(), rows_read=0, problem="", problem_params={}
    )


def _done(request: LoadRequest, loaded: ReportLoad) -> None:
    counts = _counts(loaded)
    _request(request).update(
        state=State.DONE,
        problem="",
        problem_params={},
        loaded_at=loaded.loaded_at,
        rows_read=counts.rows,
        **asdict(counts),
    )


def _failed(request: LoadRequest, failure: LoadFailed) -> None:
    log.warning("report_load_failed", report=request.report_id, alias=request.alias, why=failure.code)
    try:
        _request(request).exclude(state=State.DONE).update(
            state=State.FAILED, problem=failure.code, problem_params=failure.params
        )
    except (DatabaseError, InterfaceError) as error:
        # It stays LOADING: true enough, since a later run takes it up.
        log.warning("load_request_not_written", report=request.report_id, why=type(error).__name__)


def _found(request: LoadRequest, loaded: ReportLoad | None) -> AlreadyLoaded:
    loaded = loaded or _loaded(request)
    if loaded:
        _done(request, loaded)
    return AlreadyLoaded(request.alias, loaded.loaded_at if loaded else timezone.now())


def _loaded_after_all(request: LoadRequest) -> ReportLoad | None:
    """Whether the commit was made although its confirmation was lost."""
    if request.alias not in aliases():
        return None
    try:
        return _loaded(request)
    except (DatabaseError, InterfaceError) as error:
        log.warning("load_not_looked_up", report=request.report_id, why=type(error).__name__)
        return None


def _request(request: LoadRequest) -> QuerySet[LoadRequest]:
    return LoadRequest.objects.filter(pk=request.pk)


def _counts(loaded: ReportLoad) -> Counts:
    return Counts(loaded.rows, loaded.inserted, loaded.updated, loaded.unchanged, loaded.rejected)


def _database_failure(alias: str, error: DatabaseError | InterfaceError) -> LoadFailed:
    return LoadFailed(problems.DATABASE, alias=alias, detail=database_troubles.in_words(error))


class _Meter(Beside):
    """How far it is: told to `progress`, and written for everybody."""

    def __init__(self, request: LoadRequest, progress: Progress | None) -> None:
        # SQLite lets nobody else write while we do.
        possible = connections["default"].vendor != "sqlite" or request.alias != "default"
        super().__init__(self._write, every=PROGRESS_SECONDS, possible=possible)
        self._request_id = request.pk
        self._total = request.report.rows or 0
        self._progress = progress
        self._rows = 0

    def show(self, rows: int) -> None:
        self._rows = rows
        if self._progress:
            self._progress(rows, max(rows, self._total))

    def _write(self) -> bool:
        try:
            LoadRequest.objects.filter(pk=self._request_id, state=State.LOADING).update(rows_read=self._rows)
        except (DatabaseError, InterfaceError) as trouble:
            log.warning("progress_not_written", why=type(trouble).__name__)
            return False
        return True
