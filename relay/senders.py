"""Who may write from which sender. A sender with groups is for their members alone, whatever else they may do."""

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from relay.explained import Explained
from relay.models import Sender


class SenderNotAllowed(Explained):
    """This person may not write from this address; the text says who may."""


def senders_for(user: User) -> QuerySet[Sender]:
    """The active senders that this person may write from; a superuser from all."""
    return Sender.objects.filter(_open_to(user), active=True).distinct()


def check_sender(user: User | None, email: str) -> None:
    """Raises SenderNotAllowed. Commands of the system's operator (no user) may write from all of them.

    An address that is no sender (the installation's own, or that of a template) is limited to nobody.
    """
    if user is None:
        return
    limited = Sender.objects.filter(email__iexact=email, groups__isnull=False)
    if limited.exists() and not limited.filter(_open_to(user)).exists():
        raise SenderNotAllowed(
            _("You may not send from «%(email)s»: only members of %(groups)s may. Ask an administrator.")
            % {"email": email, "groups": ", ".join(limited.values_list("groups__name", flat=True).distinct())}
        )


def _open_to(user: User) -> Q:
    return Q() if user.is_superuser else Q(groups=None) | Q(groups__in=user.groups.all())
