"""Who came in, who was refused and who left goes on record, and every new password; never what was typed as one."""

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest
from django.utils.translation import gettext as _

from relay import activity
from relay.activity import What

LONGEST_NAME = 150  # of an account; what is typed into the field may be anything


def connect() -> None:
    user_logged_in.connect(_logged_in, dispatch_uid="relay.logins")
    user_login_failed.connect(_refused, dispatch_uid="relay.logins")
    user_logged_out.connect(_logged_out, dispatch_uid="relay.logins")


def _logged_in(sender: Any, request: HttpRequest, user: User, **_more: Any) -> None:
    activity.record(What.LOGIN, by=user, request=request)


def _refused(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_more: Any) -> None:
    typed = str(credentials.get("username", ""))[:LONGEST_NAME]
    activity.record(What.LOGIN_FAILED, by=typed, request=request)


def _logged_out(sender: Any, request: HttpRequest, user: User | None, **_more: Any) -> None:
    if user is not None:  # else there was nobody to log out
        activity.record(What.LOGOUT, by=user, request=request)


class RecordedPassword:
    """Of AUTH_PASSWORD_VALIDATORS: the one place that hears of every new password, by a page or by a command."""

    def validate(self, password: str, user: User | None = None) -> None:
        """Every password will do."""

    def password_changed(self, password: str, user: User | None = None) -> None:
        if user is not None:
            activity.record(What.PASSWORD, by=activity.whoever_acts(), about=user)

    def get_help_text(self) -> str:
        return _("That it was changed, when and by whom stays on record.")
