"""Checking a preparation: its rows are validated and stored as a draft bulk send. Never in the web request.

    take → read the template anew → the draft of an earlier check goes
         → create_bulk_send(…, then=this preparation is checked)

One process at a time checks a preparation: it claims the row for RELAY_LEASE_SECONDS by the database's clock and gives
a sign three times within that. One that was killed gives none, so that another takes the check up again. Both may work
for a moment; the transaction that stores the draft ends by asking whether it is still the one, so only one is stored.
"""

import os
import socket
import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from relay import mail_templates, preparing
from relay.beside import Beside
from relay.creating import Order, Refused, create_bulk_send
from relay.explained import Explained
from relay.models import BulkSend, Preparation
from relay.recipients import Corrections

log = structlog.get_logger(__name__)

Checking = Preparation.Checking
SIGNS_PER_LEASE = 3
# A process may be killed by chance; one that is each time runs out of something.
MOST_BEGUN = 3
# How far it is, for whoever watches.
PROGRESS_SECONDS = 1.0


class _Lost(Exception):
    """Somebody changed the preparation, or another process checks it now: nothing is stored."""


class _Stopped(Exception):
    """This process is to end: another goes on."""


def check_waiting(stopped: Callable[[], bool] = lambda: False) -> int:
    """Checks all that is to be checked, one after the other; returns how many."""
    done = 0
    for preparation_id in Preparation.objects.to_check().values_list("pk", flat=True):
        if stopped():
            break
        done += check(preparation_id, stopped)
    return done


def check(preparation_id: int, stopped: Callable[[], bool] = lambda: False) -> bool:
    """False: it needs no check, or another process makes it. What came of it stands in the preparation."""
    token = f"{socket.gethostname()[:100]}:{os.getpid()}:{uuid.uuid4().hex}"
    if not Preparation.objects.to_check().filter(pk=preparation_id).exists():
        return False  # without a write lock on SQLite
    taken = Preparation.objects.to_check().filter(pk=preparation_id).order_by()
    begun = {"checking": Checking.RUNNING, "times_begun": F("times_begun") + 1, "rows_read": 0, "problem": ""}
    if not taken.update(checker=token, checker_until=_until(), **begun):
        return False
    with _Sign(preparation_id, token, stopped) as sign:
        try:
            _check(preparation_id, token, sign)
        except _Lost:
            log.info("check_lost", preparation=preparation_id)
        except _Stopped:
            # Its process ends as it should: that is no failed beginning.
            _ours(preparation_id, token).update(checking=Checking.WAITING, checker_until=None, times_begun=0)
        except Explained as problem:
            _fail(preparation_id, token, str(problem))
        except (DatabaseError, InterfaceError):
            raise  # it stays `running`: once its time is over, it is checked again
        except Exception as error:
            log.exception("check_failed", preparation=preparation_id, error=type(error).__name__)
            told = {"error": type(error).__name__}
            _fail(preparation_id, token, _("The check could not be made (%(error)s): see the log.") % told)
    return True


def _check(preparation_id: int, token: str, sign: "_Sign") -> None:
    preparation = Preparation.objects.select_related("bulk_send", "sender", "created_by").get(pk=preparation_id)
    if preparation.checker != token:
        raise _Lost
    if preparation.times_begun > MOST_BEGUN:
        raise Refused(
            _(
                "The check was begun %(count)d times, and its process ended each time before it had: perhaps there is "
                "not enough memory for this file. Divide it, or ask whoever keeps the server."
            )
            % {"count": MOST_BEGUN}
        )
    # The template as it is now: what it needs besides is asked for on the page, in the page's words.
    mail_templates.fetch(preparation.template_id)
    if missing := preparing.problems(preparation):
        raise Refused(" ".join(missing))
    if preparation.bulk_send is not None:
        preparing.give_up(preparation.bulk_send)
    create_bulk_send(_order(preparation), progress=sign.show, then=partial(_checked, preparation))


def _order(preparation: Preparation) -> Order:
    return Order(
        template_id=preparation.template_id,
        recipients=Path(preparation.file.path),
        file_name=preparation.file_name,
        name=preparing.name_of(preparation),
        subject=preparation.subject,
        sender=preparation.sender.email if preparation.sender else "",
        reply_to=preparation.reply_to,
        email_column=preparation.address_column or None,
        corrections=Corrections(preparation.encoding or None, preparation.delimiter or None),
        variable_map=preparing.chosen_columns(preparation),
        allow_repeats=preparation.allow_repeats,
        allow_empty=preparation.allow_empty,
        draft=True,
        created_by=preparation.created_by,
    )


def _checked(preparation: Preparation, bulk_send: BulkSend) -> None:
    """Ends the transaction that stores the draft."""
    bulk_send.attachments.set(preparation.attachments.all())
    preparing.remember_mapping(preparation)
    ours = _ours(preparation.pk, preparation.checker).filter(version=preparation.version)
    if not ours.update(
        checking=Checking.CHECKED, checker_until=None, bulk_send=bulk_send, rows_read=bulk_send.total, problem=""
    ):
        raise _Lost


def _fail(preparation_id: int, token: str, sentence: str) -> None:
    _ours(preparation_id, token).update(checking=Checking.FAILED, checker_until=None, problem=sentence)


def _ours(preparation_id: int, token: str) -> QuerySet[Preparation]:
    return Preparation.objects.filter(pk=preparation_id, checking=Checking.RUNNING, checker=token)


def _until() -> Any:
    return Now() + timedelta(seconds=settings.RELAY_LEASE_SECONDS)


class _Sign(Beside):
    """Says that it goes on, and how far it is.

    On SQLite it waits while the rows are stored: nobody else can write then either, so nobody can take the check over.
    """

    def __init__(self, preparation_id: int, token: str, stopped: Callable[[], bool]) -> None:
        super().__init__(self._give, every=min(PROGRESS_SECONDS, settings.RELAY_LEASE_SECONDS / SIGNS_PER_LEASE))
        self._preparation_id = preparation_id
        self._token = token
        self._stopped = stopped
        self._rows = 0
        self._lost = False

    def show(self, rows: int) -> None:
        self._rows = rows
        if self._lost:
            raise _Lost
        if self._stopped():
            raise _Stopped

    def _give(self) -> bool:
        try:
            ours = _ours(self._preparation_id, self._token)
            self._lost = not ours.update(checker_until=_until(), rows_read=self._rows)
        except (DatabaseError, InterfaceError) as trouble:
            log.warning("check_gives_no_sign", preparation=self._preparation_id, why=type(trouble).__name__)
            connections.close_all()
        return not self._lost
