"""Why a recipient or a bulk send is in its state: stable codes, and the sentence a person reads for each."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from relay.addresses import AddressProblem

# Of a bulk send.
PERSON = "person"
QUOTA = "quota"
MISCONFIGURED = "misconfigured"
TEMPLATE_MISSING = "template_missing"
TEMPLATE_CHANGED = "template_changed"
TEMPLATE_UNREADABLE = "template_unreadable"
ATTACHMENT_MISSING = "attachment_missing"
WINDOW = "window"
WINDOW_NEVER = "window_never"
STOP_LOSS = "stop_loss"
FIRST_SLICE = "first_slice"
MISSED = "missed"
APPROVAL = "approval"

# Of a recipient that is never sent.
INVALID_ADDRESS = "invalid_address"
DUPLICATE = "duplicate"
SUPPRESSED = "suppressed"
MISSING_VARIABLE = "missing_variable"
RAGGED_ROW = "ragged_row"
NUL_BYTE = "nul_byte"
CANCELLED = "cancelled"

# Of an attempt, and of the recipient it left refused, unknown or pending.
REFUSED = "refused"
NO_ANSWER = "no_answer"
SERVER_ERROR = "server_error"
WORKER_LOST = "worker_lost"
NOT_CONNECTED = "not_connected"
THROTTLED = "throttled"

# Of a settlement: what the relay's log said of an unknown attempt.
FOUND = "found"
FOUND_ALL = "found_all"
ABSENT = "absent"
NOT_YET = "not_yet"
TWO_ALIKE = "two_alike"
UNEXPLAINED = "unexplained"
UNDER_WAY = "under_way"
TEST_SEND = "test_send"
LOG_INCOMPLETE = "log_incomplete"
BY_PERSON = "by_person"

# The relay's words for the period of a quota (relay API notes §6.1).
_PERIODS = {"hourly": _("per hour"), "daily": _("per day"), "monthly": _("per month")}
_ADDRESS_PROBLEMS = {problem.code for problem in AddressProblem}

SENTENCES = {
    PERSON: _("Paused by a person."),
    QUOTA: _("The relay's sending quota is used up (%(period)s)."),
    MISCONFIGURED: _(
        "The relay refuses the key or the account (%(code)s): check DOPPLER_RELAY_API_KEY and "
        "DOPPLER_RELAY_ACCOUNT_ID, then resume."
    ),
    TEMPLATE_MISSING: _("The relay no longer knows the template (%(code)s): restore it, then resume."),
    TEMPLATE_CHANGED: _(
        "The template needs other variables than when the rows were checked: "
        "restore it and resume, or cancel and create the bulk send again."
    ),
    TEMPLATE_UNREADABLE: _("The relay refuses to show the template (%(code)s): mend it in the relay, then resume."),
    ATTACHMENT_MISSING: _("An attachment is no longer in ATTACHMENTS_ROOT: put it back, then resume."),
    WINDOW: _("Outside its sending window «%(window)s»."),
    WINDOW_NEVER: _(
        "Its sending window «%(window)s» does not open on any day of the next two years: "
        "correct it and resume, or give the bulk send another one."
    ),
    STOP_LOSS: _(
        "Of the last %(outcomes)s messages %(refused)s were refused and %(unknown)s are unknown: "
        "find out why, then resume or cancel."
    ),
    FIRST_SLICE: _(
        "Of the first slice of %(outcomes)s messages %(refused)s were refused and %(unknown)s are unknown: "
        "find out why, then resume or cancel."
    ),
    MISSED: _("It should have begun at %(scheduled_at)s and could not: resume it, or cancel it."),
    APPROVAL: _("It waits for the approval of a second person: once it is approved, resume it."),
    INVALID_ADDRESS: _("Invalid address: %(detail)s"),
    DUPLICATE: _("Repeats row %(detail)s."),
    SUPPRESSED: _("The address is suppressed: %(detail)s"),
    MISSING_VARIABLE: _("The template needs a value for: %(detail)s"),
    RAGGED_ROW: _("The row has %(detail)s cells."),
    NUL_BYTE: _("The row contains NUL characters: the file is damaged there."),
    CANCELLED: _("The bulk send was cancelled before this message left."),
    REFUSED: _("The relay refused it (%(detail)s)."),
    NO_ANSWER: _("The call left and no usable answer came back."),
    SERVER_ERROR: _("The relay answered with an error of its own (%(detail)s): it may have accepted the message."),
    WORKER_LOST: _("The sending process died during the call."),
    NOT_CONNECTED: _("The relay could not be reached; the message did not leave."),
    THROTTLED: _("The relay asked to wait."),
    FOUND: _("The relay's log has this message, %(seconds)s s from the attempt: it was accepted."),
    FOUND_ALL: _(
        "The relay's log has %(entries)s messages like this one for %(attempts)s attempts: all of them were accepted."
    ),
    ABSENT: _("Asked %(looks)s times, the last time %(minutes)s minutes later, the relay's log has no such message."),
    NOT_YET: _("The relay's log does not have it so far; it is asked again."),
    TWO_ALIKE: _(
        "%(attempts)s attempts for this person with this subject at about the same time, "
        "and the relay's log has %(entries)s: which of them cannot be told."
    ),
    UNEXPLAINED: _(
        "The relay's log has a message for this person near that time that nothing of ours explains: "
        "it may be this one under another subject, sender or time."
    ),
    UNDER_WAY: _("Another message for this person is on its way just now: what the log shows may be that one."),
    TEST_SEND: _(
        "A test was sent to this same address at about that time, and the relay's log has a message that may be the "
        "test: which of them it is cannot be told."
    ),
    LOG_INCOMPLETE: _("The relay's log does not show messages that it accepted for certain: it proves nothing now."),
    BY_PERSON: _("Decided by a person."),
}

# Short names of the reasons a recipient can have, for filters, tables and counts.
NAMES = {
    INVALID_ADDRESS: _("Invalid address"),
    DUPLICATE: _("Repeated address"),
    SUPPRESSED: _("Suppressed address"),
    MISSING_VARIABLE: _("Variable without a value"),
    RAGGED_ROW: _("Row with too few or too many cells"),
    NUL_BYTE: _("Damaged row"),
    CANCELLED: _("Bulk send cancelled"),
    REFUSED: _("Refused by the relay"),
    NO_ANSWER: _("No usable answer"),
    SERVER_ERROR: _("Error of the relay"),
    WORKER_LOST: _("Sending process lost"),
    NOT_CONNECTED: _("Relay out of reach"),
    THROTTLED: _("Relay asked to wait"),
}


def name(code: str) -> str:
    return str(NAMES.get(code, code))


def sentence(code: str, params: Mapping[str, Any]) -> str:
    """The sentence for a person; a code without one (from a newer version) is shown as it is."""
    text = SENTENCES.get(code)
    if text is None:
        return code
    params = defaultdict(str, params)
    if code == INVALID_ADDRESS and params["detail"] in _ADDRESS_PROBLEMS:
        params["detail"] = AddressProblem(params["detail"]).sentence
    params["period"] = _PERIODS.get(params["period"], params["period"])
    return str(text) % params
