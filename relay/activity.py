"""The record of who did what. Whatever a person or a command of the operator does ends here, also what only reads.

`record` is called in the transaction of the act, so that neither is there without the other. Nothing of recipients
goes in: no address, no variable, no content. What is recorded of admin forms: `relay.admin.unfolded.ModelAdmin`.
"""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Model
from django.http import HttpRequest

from relay.models import Activity

What = Activity.What

# Things whose name is nobody's data. Of all others (a recipient, a suppression) only kind and number are kept.
NAMED = frozenset(
    {"attachment", "bulksend", "generatedreport", "group", "mailtemplate", "sender", "sendingwindow", "user"}
)

_request: ContextVar[HttpRequest | None] = ContextVar("request under way", default=None)


def record(
    what: What,
    *,
    by: "User | AnonymousUser | str",
    about: Model | None = None,
    request: HttpRequest | None = None,
    **details: Any,
) -> Activity:
    """`by` is an account, or the name of what acts for the operator of the system («command: root»).

    `details` become JSON: codes, counts and names of our own things. Without a `request` the client's address is that
    of the request under way, if there is one.
    """
    request = request or _request.get()
    return Activity.objects.create(
        what=What(what),
        by=(by if isinstance(by, str) else by.get_username())[:200],
        by_id=None if isinstance(by, str) else by.pk,
        about_kind=about._meta.model_name or "" if about is not None else "",
        about_id="" if about is None or about.pk is None else str(about.pk)[:100],
        about_label=_label(about),
        address="" if request is None else address_of(request),
        details=details,
    )


def address_of(request: HttpRequest) -> str:
    """As the web server saw it. Headers that any client may write are not believed."""
    return str(request.META.get("REMOTE_ADDR", ""))[:45]


@contextmanager
def on_behalf_of(request: HttpRequest) -> Iterator[None]:
    """What is recorded within, however deep, came from this client."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


def whoever_acts() -> User | str:
    """Who is logged in to the request under way, else the operator of the system."""
    request = _request.get()
    return request.user if request is not None and isinstance(request.user, User) else operator_name()


def operator_name() -> str:
    """Whoever runs a command on the server, by the name that he has there."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        name = str(os.getuid())
    return f"command: {name}"


def _label(about: Model | None) -> str:
    return str(about)[:200] if about is not None and about._meta.model_name in NAMED else ""
