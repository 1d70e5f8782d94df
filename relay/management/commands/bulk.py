"""manage.py bulk: create, start, watch, pause, resume, cancel, retry, settle, audit; its rate and its window."""

import asyncio
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from relay import activity, auditing, decisions, reasons, sending, settlement, tallies
from relay.creating import Order, Refused, create_bulk_send, named_window
from relay.decisions import Actor
from relay.management.base import ExplainedCommand, SendingBar, Unfinished, run_until_signal
from relay.models import BulkSend, Recipient
from relay.standing import standing, write_results
from relay.typed_numbers import read_first_slice, read_rate

# What a person reads of `audit`, in this order.
COMPARED = {
    "both": _lazy("accepted, and in the relay's log"),
    "only_ours": _lazy("accepted, and not in the relay's log"),
    "only_theirs": _lazy("in the relay's log like one of these messages, and owned by none: sent twice?"),
    "different": _lazy("in both, with another address, sender or subject"),
    "unknown_found": _lazy("unknown, and probably in the relay's log: see bulk settle"),
}
# What a person reads of `status`, in this order.
NUMBERS = {
    "total": _lazy("rows"),
    "pending": _lazy("pending"),
    "sending": _lazy("in flight"),
    "accepted": _lazy("accepted"),
    "refused": _lazy("refused"),
    "unknown": _lazy("unknown"),
    "excluded": _lazy("excluded"),
}


class Command(ExplainedCommand):
    help = "Creates, starts, watches and stops bulk sends."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        self._add_create(actions.add_parser("create", help="check a file against a template and store it"))
        start = self._add(actions.add_parser("start", help="allow it to be sent"), self._start)
        start.add_argument("--drain", action="store_true", help="send here until nothing is left to do now")
        start.add_argument("--accept-rejects", action="store_true", help="send only the valid rows of a draft")
        self._add(actions.add_parser("status", help="where it stands"), lambda bulk_send, options: standing(bulk_send))
        self._add(actions.add_parser("pause", help="no new message leaves"), self._pause)
        self._add(actions.add_parser("resume", help="go on after a pause or an error"), self._resume)
        self._add(actions.add_parser("cancel", help="send nothing more, for good"), self._cancel)
        window = self._add(actions.add_parser("window", help="when it may leave"), self._window)
        window.add_argument("window", metavar="NAME", help="a sending window, or «none»: that of its sender, if any")
        self._add_retry(actions.add_parser("retry", help="send again what the relay refused with certain codes"))
        rate = self._add(actions.add_parser("rate", help="change how fast it goes, also while it is sent"), self._rate)
        rate.add_argument("rate", metavar="N|none", help="messages per second; none: as fast as the account allows")
        results = self._add(actions.add_parser("results", help="the ledger as CSV"), self._results)
        results.add_argument("--output", type=Path, required=True, metavar="FILE")
        self._add(actions.add_parser("audit", help="compare its ledger with the relay's log"), self._audit)
        self._add_settle(actions.add_parser("settle", help="ask the relay's log what became of its unknown recipients"))

    def _add(
        self, parser: ArgumentParser, action: Callable[[BulkSend, dict[str, Any]], dict[str, Any]]
    ) -> ArgumentParser:
        super().add_arguments(parser)
        parser.add_argument("id", type=int, metavar="ID")
        parser.set_defaults(run=lambda options: action(_bulk_send(options["id"]), options))
        return parser

    def _add_retry(self, parser: ArgumentParser) -> None:
        self._add(parser, self._retry)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--code", action="append", default=[], metavar="CODE", help="the relay's, such as 400.1")
        which.add_argument("--all", action="store_true", help="all that were refused, whatever the code")

    def _add_settle(self, parser: ArgumentParser) -> None:
        self._add(parser, self._settle)
        parser.add_argument(
            "--row", type=int, metavar="N", help="a person's decision on this row, with --verdict, --note"
        )
        parser.add_argument("--verdict", choices=["accepted", "not-sent"])
        parser.add_argument("--note", default="", metavar="TEXT", help="how that person knows; kept with the decision")

    def _add_create(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(run=_create)
        parser.add_argument("--template", required=True, metavar="ID")
        parser.add_argument("--recipients", required=True, type=Path, metavar="FILE")
        parser.add_argument("--name", default="")
        parser.add_argument("--subject", default="", help="instead of the template's; may hold variables")
        parser.add_argument("--sender", default="", metavar="EMAIL")
        parser.add_argument("--reply-to", default="", metavar="EMAIL")
        parser.add_argument("--email-column", metavar="NAME")
        parser.add_argument("--attach", action="append", default=[], type=Path, metavar="FILE")
        parser.add_argument("--map", action="append", default=[], type=_pair, metavar="VAR=COLUMN")
        parser.add_argument("--schedule-at", type=_moment, metavar="ISO")
        parser.add_argument("--window", default="", metavar="NAME", help="nothing leaves outside this sending window")
        parser.add_argument("--rate", metavar="N", help="at most so many messages per second")
        parser.add_argument(
            "--first-slice",
            metavar="N[:SHARE]",
            help="so many leave first; the rest follows unless more than this share is refused (0.1)",
        )
        parser.add_argument("--accept-rejects", action="store_true", help="send the valid rows although others are not")
        parser.add_argument("--allow-repeats", action="store_true", help="an address may receive several messages")
        parser.add_argument("--allow-empty", action="store_true", help="variables of the template may be empty")

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        run: Callable[[dict[str, Any]], dict[str, Any]] = options["run"]
        return run(options)

    def describe(self, result: dict[str, Any]) -> list[str]:
        if "excluded_by_reason" in result:
            return _describe_creation(result)
        if "status" in result:
            return _describe_standing(result)
        if "only_ours" in result:
            return _describe_audit(result)
        if "still_unknown" in result:
            return _describe_settlement(result)
        return [_("%(rows)d rows written.") % result]

    def _start(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        # Already allowed (by a click, or by its hour): with --drain this process joins in.
        if bulk_send.status != BulkSend.Status.SENDING:
            decisions.start(bulk_send, _actor(), accept_rejects=options["accept_rejects"])
        if options["drain"] and bulk_send.status == BulkSend.Status.SENDING:
            return _drain(bulk_send)
        return standing(bulk_send)

    def _pause(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        decisions.pause(bulk_send, _actor())
        return standing(bulk_send)

    def _resume(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        decisions.resume(bulk_send, _actor())
        return standing(bulk_send)

    def _cancel(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        decisions.cancel(bulk_send, _actor())
        return standing(bulk_send)

    def _retry(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        codes = list(tallies.codes_of(bulk_send.pk)) if options["all"] else options["code"]
        retried = decisions.retry(bulk_send, _actor(), codes)
        return standing(bulk_send) | {"retried": retried}

    def _rate(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        decisions.change_rate(bulk_send, _actor(), read_rate(options["rate"]))
        return standing(bulk_send)

    def _window(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        decisions.change_window(bulk_send, _actor(), named_window(options["window"]))
        return standing(bulk_send)

    def _settle(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        if (options["row"] is None) != (options["verdict"] is None):
            raise Refused(_("A decision needs both --row and --verdict."))
        if options["row"] is not None:
            return _decide(bulk_send, options)
        settled = asdict(run_until_signal(partial(settlement.settle_due, bulk_send_id=bulk_send.pk)))
        if problem := settled.pop("problem"):
            raise Unfinished(problem, settled)
        return settled

    def _audit(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        return asdict(run_until_signal(partial(auditing.audit, bulk_send.pk)))

    def _results(self, bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
        return {"rows": write_results(bulk_send, options["output"])}


def _decide(bulk_send: BulkSend, options: dict[str, Any]) -> dict[str, Any]:
    recipient = bulk_send.recipients.filter(row=options["row"]).first()
    if recipient is None:
        raise Refused(_("Bulk send %(id)d has no row %(row)d.") % {"id": bulk_send.pk, "row": options["row"]})
    settlement.decide(
        recipient, sent=options["verdict"] == "accepted", note=options["note"], by=None, actor=_actor().name
    )
    recipient.refresh_from_db()
    still_unknown = bulk_send.recipients.filter(state=Recipient.State.UNKNOWN).count()
    return {
        "checked": 1,
        "accepted": int(recipient.state == Recipient.State.ACCEPTED),
        "returned": int(recipient.state == Recipient.State.PENDING),
        "excluded": int(recipient.state == Recipient.State.EXCLUDED),
        "still_unknown": still_unknown,
    }


def _actor() -> Actor:
    return Actor(activity.operator_name())


def _bulk_send(bulk_send_id: int) -> BulkSend:
    bulk_send = BulkSend.objects.filter(pk=bulk_send_id).first()
    if bulk_send is None:
        raise Refused(_("There is no bulk send %(id)d.") % {"id": bulk_send_id})
    return bulk_send


def _create(options: dict[str, Any]) -> dict[str, Any]:
    if len(dict(options["map"])) < len(options["map"]):
        raise Refused(_("--map names a variable twice."))
    slice_, share = read_first_slice(options["first_slice"]) if options["first_slice"] is not None else (0, None)
    bulk_send = create_bulk_send(
        Order(
            template_id=options["template"],
            recipients=options["recipients"],
            name=options["name"],
            subject=options["subject"],
            sender=options["sender"],
            reply_to=options["reply_to"],
            email_column=options["email_column"],
            attachments=tuple(options["attach"]),
            variable_map=dict(options["map"]),
            scheduled_at=options["schedule_at"],
            window=options["window"],
            accept_rejects=options["accept_rejects"],
            allow_repeats=options["allow_repeats"],
            allow_empty=options["allow_empty"],
            max_rate=read_rate(options["rate"]) if options["rate"] is not None else None,
            first_slice=slice_,
            first_slice_max_refused=share,
        )
    )
    findings = bulk_send.findings
    return {
        "id": bulk_send.pk,
        "name": bulk_send.name,
        "status": bulk_send.status,
        "total": bulk_send.total,
        "valid": findings["valid"],
        "excluded": findings["excluded"],
        "excluded_by_reason": findings["by_reason"],
        "examples": findings["examples"],
        "slips": findings["slips"],
        "slip_examples": findings["slip_examples"],
        "rejects_file": bulk_send.rejects_file.path if bulk_send.rejects_file else None,
        "scheduled_at": bulk_send.scheduled_at.isoformat() if bulk_send.scheduled_at else None,
    }


def _drain(bulk_send: BulkSend) -> dict[str, Any]:
    """Sends here. A bulk send that ends in `error` is told with its reason and exit 1."""
    with SendingBar(bulk_send.total - bulk_send.excluded_at_creation, bulk_send.name) as bar:
        run_until_signal(partial(_drained, bulk_send.pk, bar))
    bulk_send.refresh_from_db()
    result = standing(bulk_send)
    if bulk_send.status == BulkSend.Status.ERROR:
        raise Unfinished(bulk_send.reason_text, result)
    return result


async def _drained(bulk_send_id: int, bar: SendingBar, stop: asyncio.Event) -> None:
    await sending.drain(bulk_send_id, stop=stop, progress=bar)


def _pair(text: str) -> tuple[str, str]:
    variable, equals, column = text.partition("=")
    if not (variable.strip() and equals and column.strip()):
        raise ArgumentTypeError(f"{text!r} is not VARIABLE=COLUMN")
    return variable.strip(), column.strip()


def _moment(text: str) -> datetime:
    """An ISO moment; without an offset it is meant in TIME_ZONE."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is not a moment such as 2026-03-01T09:00 or 2026-03-01T09:00-05:00"
        ) from error
    try:
        return (moment if moment.tzinfo else timezone.make_aware(moment)).astimezone(UTC)
    except OverflowError as error:
        raise ArgumentTypeError(f"{text!r} is too far away") from error


def _describe_creation(result: dict[str, Any]) -> list[str]:
    lines = [
        _("Bulk send %(id)d «%(name)s»: %(total)d rows, %(valid)d valid, %(excluded)d excluded.") % result,
    ]
    for reason, count in result["excluded_by_reason"].items():
        lines.append(f"  {reasons.name(reason)}: {count}")
        lines += [
            _("    row %(row)d: %(text)s")
            % {"row": example["row"], "text": reasons.sentence(reason, {"detail": example["detail"]})}
            for example in result["examples"][reason]
        ]
    if result["slips"]:
        lines.append(_("%(slips)d addresses look misspelt (they are sent all the same):") % result)
        lines += [_("    row %(row)d: did they mean %(detail)s?") % example for example in result["slip_examples"]]
    if result["rejects_file"]:
        lines.append(_("The excluded rows, each with its reason: %(rejects_file)s") % result)
    lines.append(_next_step(result))
    return lines


def _next_step(result: dict[str, Any]) -> str:
    if result["status"] == BulkSend.Status.DRAFT and result["valid"]:
        return (
            _(
                "Draft: correct the file and create it again, or send only the valid rows: "
                "bulk start %(id)d --accept-rejects"
            )
            % result
        )
    if result["status"] == BulkSend.Status.DRAFT:
        return _("Draft: there is no valid row to send.")
    if result["scheduled_at"]:
        return _("Scheduled: it leaves at %(scheduled_at)s.") % result
    return _("Ready: bulk start %(id)d") % result


def _describe_standing(result: dict[str, Any]) -> list[str]:
    status = BulkSend.Status(result["status"]).label
    lines = [f"{result['id']} «{result['name']}»: {status}" + (f" — {result['reason']}" if result["reason"] else "")]
    if result["resume_at"]:
        lines.append(_("Goes on at %(resume_at)s.") % result)
    if result["window"]:
        lines.append(_("Sending window: %(window)s") % result)
    lines.append(", ".join(f"{result[key]} {name}" for key, name in NUMBERS.items()))
    if "retried" in result:
        lines.append(_("%(retried)d refused recipients are sent again.") % result)
    if result["eta_seconds"] is not None:
        lines.append(_("%(rate_per_second)s per second, about %(eta_seconds)d seconds left.") % result)
    return lines


def _describe_settlement(result: dict[str, Any]) -> list[str]:
    lines = [
        _(
            "%(checked)d unknown recipients looked for: %(accepted)d had been accepted, %(returned)d never arrived and "
            "are sent again, %(excluded)d never arrived and stay unsent (cancelled)."
        )
        % result
    ]
    if result["still_unknown"]:
        lines.append(_("%(still_unknown)d are still unknown.") % result)
    return lines


def _describe_audit(result: dict[str, Any]) -> list[str]:
    lines = []
    for what, meaning in COMPARED.items():
        lines.append(f"{result[what]} {meaning}")
        rows = result["examples"].get(what)
        if rows:
            lines.append(_("    rows: %(rows)s") % {"rows": ", ".join(map(str, rows))})
    return lines
