"""Why a report or a load came to nothing: the sentences behind the codes that the tables keep."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

# A report, while it is collected.
REFUSED = "refused"
MISCONFIGURED = "misconfigured"
TIMED_OUT = "timed_out"
FORGOTTEN = "forgotten"
NO_NUMBER = "no_number"
BAD_LINK = "bad_link"
NOT_FETCHED = "not_fetched"
TOO_LARGE = "too_large"
NOT_A_REPORT = "not_a_report"
CUT_OFF = "cut_off"
DISK = "disk"
# A load.
FILE_MISSING = "file_missing"
FILE_CHANGED = "file_changed"
TOO_MANY_REJECTS = "too_many_rejects"
DATABASE = "database"
NOT_WRITTEN = "not_written"
FILE_UNREADABLE = "file_unreadable"

_SENTENCES = {
    REFUSED: _("The relay refused the request (%(detail)s). Check the period and ask for the report again."),
    MISCONFIGURED: _("The relay refused the key or the account (%(detail)s). Mend the settings, then press «Retry»."),
    TIMED_OUT: _(
        "The relay had not made the report after %(minutes)d minutes. Press «Retry»: the same request goes on."
    ),
    FORGOTTEN: _("The relay no longer knows this request. Press «Retry»: it is asked for anew."),
    NO_NUMBER: _(
        "The relay took the request but gave no number by which to ask for its file."
        " Press «Retry»: it is asked for anew."
    ),
    BAD_LINK: _(
        "The relay's link to the file points to %(host)s, which is not allowed."
        " If the relay has moved its files, add the host to DOPPLER_REPORTS_FILE_HOSTS, then press «Retry»."
    ),
    NOT_FETCHED: _("The file could not be fetched (%(detail)s). Press «Retry»: it is fetched again."),
    TOO_LARGE: _(
        "The file is larger than %(megabytes)d MB (REPORTS_MAX_FILE_MB). Raise the limit or ask for fewer days."
    ),
    NOT_A_REPORT: _("What the relay gave is not a report: %(detail)s Press «Retry»: it is fetched again."),
    CUT_OFF: _("The file ends in the middle of row %(line)d: it is not complete. Press «Retry»: it is fetched again."),
    DISK: _("The file could not be written (%(detail)s). Make room or check the permissions, then press «Retry»."),
    FILE_MISSING: _("The file of the report is no longer on the disk. Ask for the report again."),
    FILE_CHANGED: _("The file of the report is no longer what was fetched (its SHA-256 differs). Ask for it again."),
    TOO_MANY_REJECTS: _(
        "%(rejected)d of %(rows)d rows cannot be read, more than REPORTS_MAX_REJECT_SHARE allows: nothing was loaded."
        " %(file)s says which and why."
    ),
    FILE_UNREADABLE: _("The file of the report cannot be read (%(detail)s). Nothing was loaded; load it again later."),
    NOT_WRITTEN: _(
        "There is no writing to the disk (%(detail)s). Make room or check the permissions, then load the report again:"
        " nothing of it was loaded."
    ),
    DATABASE: _("The database «%(alias)s» cannot be used (%(detail)s). Nothing was loaded; load it again later."),
}


def sentence(code: str, params: Mapping[str, Any]) -> str:
    """For a person, in the active language. Empty for an empty code."""
    return str(_SENTENCES[code]) % params if code else ""
