"""manage.py report: request, watch, retry and load reports."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from relay import activity
from relay.activity import What
from relay.explained import Explained
from relay.management.base import CountingBar, ExplainedCommand
from reports import collecting, loading
from reports.models import GeneratedReport, LoadRequest
from reports.requesting import request_report


class NoSuchReport(Explained):
    """There is no report of this number."""


class Command(ExplainedCommand):
    help = "Requests reports, tells where they stand, and loads them into a database."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        request = actions.add_parser("request", help="request a report of local days, both included")
        super().add_arguments(request)
        request.set_defaults(run=_request)
        request.add_argument("--type", required=True, choices=GeneratedReport.Type.values)
        request.add_argument("--from", required=True, type=_day, metavar="DATE", dest="first")
        request.add_argument("--to", required=True, type=_day, metavar="DATE", dest="last")
        self._add(actions.add_parser("status", help="where it stands"), lambda report, options: _standing(report))
        self._add(actions.add_parser("retry", help="go on with one that ended in an error"), _retry)
        load = self._add(actions.add_parser("load", help="load it into a database, here and now"), _load)
        load.add_argument("--database", required=True, metavar="ALIAS", help="default, or analytics where there is one")

    def _add(
        self, parser: ArgumentParser, action: Callable[[GeneratedReport, dict[str, Any]], dict[str, Any]]
    ) -> ArgumentParser:
        super().add_arguments(parser)
        parser.add_argument("id", type=int, metavar="ID")
        parser.set_defaults(run=lambda options: action(_report(options["id"]), options))
        return parser

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        run: Callable[[dict[str, Any]], dict[str, Any]] = options["run"]
        return run(options)

    def describe(self, result: dict[str, Any]) -> list[str]:
        if "inserted" in result:
            return [
                _(
                    "%(rows)d rows: %(inserted)d inserted, %(updated)d updated, %(unchanged)d unchanged, "
                    "%(rejected)d rejected."
                )
                % result
            ]
        if "type" in result:
            return _describe_standing(result)
        return [_("Report %(id)d: %(state)s") % {**result, "state": GeneratedReport.State(result["state"]).label}]


def _request(options: dict[str, Any]) -> dict[str, Any]:
    with transaction.atomic():
        report = request_report(options["type"], options["first"], options["last"])
        activity.record(What.REPORT_REQUESTED, by=activity.operator_name(), about=report)
    return {"id": report.pk, "state": report.state}


def _retry(report: GeneratedReport, options: dict[str, Any]) -> dict[str, Any]:
    collecting.retry(report)
    activity.record(What.REPORT_RETRIED, by=activity.operator_name(), about=report)
    return {"id": report.pk, "state": report.state}


def _load(report: GeneratedReport, options: dict[str, Any]) -> dict[str, Any]:
    request = loading.request_load(report, options["database"], by=None)
    activity.record(What.LOAD_REQUESTED, by=activity.operator_name(), about=report, database=request.alias)
    with CountingBar(str(report), _("rows")) as bar:
        return asdict(loading.load(request, progress=bar.show))


def _report(report_id: int) -> GeneratedReport:
    report = GeneratedReport.objects.filter(pk=report_id).first()
    if report is None:
        raise NoSuchReport(_("There is no report %(id)d.") % {"id": report_id})
    return report


def _standing(report: GeneratedReport) -> dict[str, Any]:
    requests = list(report.load_requests.all())
    done = [request for request in requests if request.state == LoadRequest.State.DONE]
    return {
        "id": report.pk,
        "state": report.state,
        "type": report.type,
        "from": report.first_day.isoformat(),
        "to": report.last_day.isoformat(),
        "rows": report.rows,
        "file": str(report.path) if report.path else None,
        "size": report.size,
        "sha256": report.sha256 or None,
        "error": report.error or None,
        "loads": [_load_of(request) for request in done],
        "unfinished_loads": [
            {"alias": request.alias, "state": request.state, "error": request.error or None}
            for request in requests
            if request not in done
        ],
    }


def _load_of(request: LoadRequest) -> dict[str, Any]:
    counts = {name: getattr(request, name) for name in ("rows", "inserted", "updated", "unchanged", "rejected")}
    loaded_at = request.loaded_at.isoformat() if request.loaded_at else None
    return {"alias": request.alias, **counts, "loaded_at": loaded_at}


def _describe_standing(result: dict[str, Any]) -> list[str]:
    kind, state = GeneratedReport.Type(result["type"]).label, GeneratedReport.State(result["state"]).label
    lines = [f"{result['id']} {kind} {result['from']} – {result['to']}: {state}"]
    if result["error"]:
        lines.append(result["error"])
    if result["rows"] is not None:
        lines.append(_("%(rows)d rows") % result + (f": {result['file']}" if result["file"] else ""))
    lines += [_("Loaded in: %(alias)s (%(loaded_at)s)") % load for load in result["loads"]]
    lines += [
        f"{load['alias']}: {LoadRequest.State(load['state']).label} {load['error'] or ''}".rstrip()
        for load in result["unfinished_loads"]
    ]
    return lines


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a day such as 2026-03-01") from error
