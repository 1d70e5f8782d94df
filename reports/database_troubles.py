"""What is wrong with a database, in words: its own message may quote a row, so it is never shown."""

from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils.translation import gettext_lazy as _

# By SQLSTATE, or as much of it as says enough.
_BY_STATE = {
    "08": _("the connection was lost"),
    "28": _("it refuses the user or the password"),
    "3D000": _("it does not exist"),
    "40": _("it broke off in favour of somebody else's work"),
    "42501": _("its user lacks a permission"),
    "42P01": _("its tables are missing: run manage.py migrate for it"),
    "42703": _("its tables are of another version: run manage.py migrate for it"),
    "53100": _("its disk is full"),
    "53": _("it has no room for more connections or memory"),
    "55P03": _("somebody else holds what is needed"),
    "57014": _("somebody stopped the work there"),
    "57": _("it is shutting down, starting, or was told to end the connection"),
}
_BY_SQLITE_NAME = {
    "SQLITE_FULL": _("its disk is full"),
    "SQLITE_BUSY": _("somebody else has been writing to it for too long"),
    "SQLITE_READONLY": _("it cannot be written to: check its permissions"),
    "SQLITE_IOERR": _("its disk fails"),
    "SQLITE_CORRUPT": _("it is damaged"),
}


def in_words(error: DatabaseError | InterfaceError) -> str:
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or ""
    name = getattr(cause, "sqlite_errorname", None) or ""
    for code, words in _BY_STATE.items():
        if state.startswith(code):
            return str(words)
    for code, words in _BY_SQLITE_NAME.items():
        if name.startswith(code):
            return str(words)
    if not state and not name and isinstance(error, InterfaceError | OperationalError):
        # psycopg gives no code where the server gave none: nobody answers, or not any more.
        return str(_("it cannot be reached, or the connection was lost"))
    return " ".join(filter(None, (type(error).__name__, state or name)))
