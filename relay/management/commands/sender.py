"""manage.py sender add | list | disable: the addresses allowed as From."""

from argparse import ArgumentParser
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from relay import activity
from relay.activity import What
from relay.addresses import AddressProblem, check_address
from relay.creating import Refused, named_window
from relay.management.base import ExplainedCommand
from relay.models import BulkSend, Sender


class Command(ExplainedCommand):
    help = "Keeps the list of addresses allowed as From."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add = actions.add_parser("add", help="allow an address, or allow it again")
        add.add_argument("email")
        add.add_argument("--name")
        add.add_argument(
            "--window",
            metavar="NAME",
            help="for every bulk send from it that has none of its own; «none» takes it away",
        )
        add.set_defaults(run=_add)
        listing = actions.add_parser("list", help="all senders")
        listing.set_defaults(run=_list)
        disable = actions.add_parser("disable", help="allow it no more; what was sent keeps its name")
        disable.add_argument("email")
        disable.set_defaults(run=_disable)
        for subparser in (add, listing, disable):
            super().add_arguments(subparser)

    def run(self, options: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = options["run"](options)
        return result

    def describe(self, result: dict[str, Any]) -> list[str]:
        senders = result.get("senders", [result])
        return [_described(sender) for sender in senders]


def _add(options: dict[str, Any]) -> dict[str, Any]:
    email = check_address(options["email"])
    if isinstance(email, AddressProblem):
        raise Refused(_("This is not an address: %(problem)s") % {"problem": email.sentence})
    sender = Sender.objects.filter(email__iexact=email).first() or Sender(email=email)
    sender.active = True
    sender.name = sender.name if options["name"] is None else options["name"]
    if options["window"] is not None:
        sender.window = named_window(options["window"])
    added = sender.pk is None
    with transaction.atomic():
        sender.save()
        what = What.ADDED if added else What.CHANGED
        activity.record(what, by=activity.operator_name(), about=sender, active=True)
    if options["window"] is not None:
        BulkSend.objects.look_at_windows_again()
    return _as_json(sender)


def _list(options: dict[str, Any]) -> dict[str, Any]:
    return {"senders": [_as_json(sender) for sender in Sender.objects.select_related("window")]}


def _disable(options: dict[str, Any]) -> dict[str, Any]:
    sender = Sender.objects.filter(email__iexact=options["email"]).first()
    if sender is None:
        raise Refused(_("There is no sender «%(email)s» (see «sender list»).") % options)
    sender.active = False
    with transaction.atomic():
        sender.save(update_fields=["active"])
        activity.record(What.CHANGED, by=activity.operator_name(), about=sender, active=False)
    return _as_json(sender)


def _described(sender: dict[str, Any]) -> str:
    parts = [sender["email"], sender["name"]]
    if sender["window"]:
        parts.append(_("within «%(window)s»") % sender)
    if not sender["active"]:
        parts.append(f"({_('disabled')})")
    return "  ".join(parts)


def _as_json(sender: Sender) -> dict[str, Any]:
    return {
        "email": sender.email,
        "name": sender.name,
        "active": sender.active,
        "window": sender.window.name if sender.window else None,
    }
