"""What a person may decide about a bulk send: when it is offered, what the confirmation says, what it does."""

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from relay import ledger
from relay.admin.unfolded import Text
from relay.models import BulkSend, WrongState

Status = BulkSend.Status


@dataclass(frozen=True, slots=True)
class Decision:
    name: str  # of the method of BulkSendAdmin and of the address
    button: Text
    question: Text  # on the confirmation page; may say %(left)s, the number of messages that have not left
    done: Text  # afterwards, to the person and in the history
    offered_in: frozenset[str]
    carry_out: Callable[[BulkSend], None]
    icon: str
    for_good: bool = False

    def is_offered(self, bulk_send: BulkSend) -> bool:
        if self.name in {"start", "start_valid"} and bulk_send.total == bulk_send.excluded_at_creation:
            return False  # nothing to send
        return bulk_send.status in self.offered_in


START = Decision(
    name="start",
    button=_("Send now"),
    question=_("Messages to send: %(left)s. They leave as soon as a sending process takes them."),
    done=_("Allowed to be sent."),
    offered_in=frozenset({Status.PENDING}),
    carry_out=lambda bulk_send: bulk_send.start(),
    icon="send",
)
START_VALID = Decision(
    name="start_valid",
    button=_("Send only the valid ones"),
    question=_(
        "Messages to send: %(left)s. They leave as soon as a sending process takes them; the rejected rows get nothing."
    ),
    done=_("Allowed to be sent without the rejected rows."),
    offered_in=frozenset({Status.DRAFT}),
    carry_out=lambda bulk_send: bulk_send.start(accept_rejects=True),
    icon="send",
)
PAUSE = Decision(
    name="pause",
    button=_("Pause"),
    question=_("No new message leaves until somebody resumes it. What is on its way right now still arrives."),
    done=_("Paused."),
    offered_in=frozenset({Status.SENDING}),
    carry_out=lambda bulk_send: bulk_send.pause(),
    icon="pause",
)
RESUME = Decision(
    name="resume",
    button=_("Resume"),
    question=_("Messages still to send: %(left)s. It goes on where it stopped; nobody receives anything twice."),
    done=_("Resumed."),
    offered_in=frozenset({Status.PAUSED, Status.ERROR}),
    carry_out=lambda bulk_send: bulk_send.resume(),
    icon="play_arrow",
)
CANCEL = Decision(
    name="cancel",
    button=_("Cancel for good"),
    question=_(
        "Messages that will never leave: %(left)s. What is on its way right now still arrives. This cannot be undone."
    ),
    done=_("Cancelled."),
    offered_in=frozenset(set(Status) - {Status.DONE, Status.CANCELLED}),
    carry_out=ledger.cancel,
    icon="block",
    for_good=True,
)
DECISIONS = {decision.name: decision for decision in (START, START_VALID, PAUSE, RESUME, CANCEL)}


@dataclass(frozen=True, slots=True)
class Started:
    """What the list action did with one bulk send."""

    started: bool
    sentence: str
    failed: bool = False


def start_from_list(bulk_send: BulkSend) -> Started:
    """Lets a pending bulk send begin. It only queues: the page never waits for the relay."""
    told = {"id": bulk_send.pk, "name": bulk_send.name}
    if bulk_send.status == Status.SENDING:
        return Started(False, _("Bulk send %(id)d «%(name)s» is already being sent.") % told)
    try:
        bulk_send.start()
    except WrongState as problem:
        return Started(False, str(problem), failed=True)
    return Started(True, _("Bulk send %(id)d «%(name)s» is queued: its messages begin to leave shortly.") % told)
