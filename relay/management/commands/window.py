"""manage.py window add | list | remove: when messages may leave."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import time
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from relay import activity
from relay.activity import What
from relay.creating import Refused
from relay.management.base import ExplainedCommand
from relay.models import BulkSend, SendingWindow

NAMED_AT_MOST = 10


class Command(ExplainedCommand):
    help = "Keeps the sending windows: outside of them nothing leaves."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="add a window, or replace the hours of the one of this name")
        add.add_argument("name", metavar="NAME")
        add.add_argument("--weekdays", required=True, metavar="DIGITS", help="1 is Monday, 7 is Sunday: 12345")
        add.add_argument("--opens", required=True, type=_time, metavar="HH:MM")
        add.add_argument(
            "--closes", required=True, type=_time, metavar="HH:MM", help="at or before --opens: on the following day"
        )
        add.add_argument("--zone", default="", metavar="ZONE", help="such as America/Bogota; without it TIME_ZONE")
        add.add_argument("--no-holidays", action="store_true", help="open on holidays too (RELAY_HOLIDAYS_COUNTRY)")
        add.set_defaults(run=_add)
        listing = actions.add_parser("list", help="all windows")
        listing.set_defaults(run=_list)
        remove = actions.add_parser("remove", help="forget one that nobody uses")
        remove.add_argument("name", metavar="NAME")
        remove.set_defaults(run=_remove)
        for subparser in (add, listing, remove):
            super().add_arguments(subparser)

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = options["run"](options)
        return result

    def describe(self, result: dict[str, Any]) -> list[str]:
        if "removed" in result:
            return [_("Removed: %(removed)s") % result]
        return [_described(window) for window in result.get("windows", [result])]


def _add(options: dict[str, Any]) -> dict[str, Any]:
    window = SendingWindow.objects.filter(name=options["name"]).first() or SendingWindow(name=options["name"])
    window.weekdays = options["weekdays"]
    window.opens, window.closes = options["opens"], options["closes"]
    window.time_zone = options["zone"]
    window.rests_on_holidays = not options["no_holidays"]
    try:
        window.full_clean()
    except ValidationError as problem:
        raise Refused(_sentences(problem)) from problem
    what = What.ADDED if window.pk is None else What.CHANGED
    with transaction.atomic():
        window.save()
        activity.record(what, by=activity.operator_name(), about=window)
    BulkSend.objects.look_at_windows_again()
    return _as_json(window)


def _sentences(problem: ValidationError) -> str:
    names = {field.name: field.verbose_name for field in SendingWindow._meta.fields}
    return " ".join(f"{names.get(field, field)}: {' '.join(said)}" for field, said in problem.message_dict.items())


def _list(options: dict[str, Any]) -> dict[str, Any]:
    return {"windows": [_as_json(window) for window in SendingWindow.objects.all()]}


def _remove(options: dict[str, Any]) -> dict[str, Any]:
    window = SendingWindow.objects.filter(name=options["name"]).first()
    if window is None:
        raise Refused(_("There is no sending window «%(name)s» (see «window list»).") % options)
    if users := _users(window):
        raise Refused(
            _(
                "The sending window «%(name)s» is in use: %(users)s. Give each of them another one first, "
                "with «sender add EMAIL --window» or «bulk window ID»."
            )
            % {"name": window.name, "users": ", ".join(users)}
        )
    with transaction.atomic():
        activity.record(What.DELETED, by=activity.operator_name(), about=window)
        window.delete()
    return {"removed": window.name}


def _users(window: SendingWindow) -> list[str]:
    """Who has it, the first few by name."""
    users = [_("sender %(email)s") % {"email": sender.email} for sender in window.sender_set.all()[:NAMED_AT_MOST]]
    ids = window.bulksend_set.order_by("pk").values_list("pk", flat=True)
    users += [_("bulk send %(id)d") % {"id": pk} for pk in ids[:NAMED_AT_MOST]]
    more = window.sender_set.count() + window.bulksend_set.count() - len(users)
    return [*users, _("%(count)d more") % {"count": more}] if more else users


def _as_json(window: SendingWindow) -> dict[str, Any]:
    return {
        "name": window.name,
        "weekdays": window.weekdays,
        "opens": window.opens.isoformat("minutes"),
        "closes": window.closes.isoformat("minutes"),
        "time_zone": window.time_zone,
        "rests_on_holidays": window.rests_on_holidays,
    }


def _described(window: dict[str, Any]) -> str:
    hours = f"{window['opens']}–{window['closes']}"
    parts = [window["name"], window["weekdays"], hours, window["time_zone"]]
    if not window["rests_on_holidays"]:
        parts.append(f"({_('open on holidays')})")
    return "  ".join(part for part in parts if part)


def _time(text: str) -> time:
    try:
        moment = time.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a time such as 08:00") from error
    if moment != moment.replace(second=0, microsecond=0, tzinfo=None):
        raise ArgumentTypeError(f"{text!r} is not a time such as 08:00")
    return moment
