"""Why a recipients file is refused whole: the sentences, and the limits that they name."""

from pathlib import Path
from typing import BinaryIO

from django.utils.translation import gettext_lazy as _

from relay.explained import Explained

MAX_COLUMNS = 1_000
MAX_CELL = 1_000_000  # characters
MAX_LINE = 16_000_000  # bytes; without a bound, a file without line ends would be one line in memory

_SENTENCES = {
    "missing": _("%(file)s: the file does not exist."),
    "not_a_file": _("%(file)s: this is not a file."),
    "unreadable": _("%(file)s: the file cannot be read: check its permissions."),
    "empty": _("%(file)s: the file is empty."),
    "no_rows": _("%(file)s: below the header (row %(row)d) there is no recipient."),
    "binary": _(
        "%(file)s: this is not a CSV or .xlsx file, or it has a password."
        " Open it in a spreadsheet and save it as CSV UTF-8 or .xlsx."
    ),
    "bad_workbook": _("%(file)s: the workbook is damaged or has a password. Save it again as .xlsx or as CSV UTF-8."),
    "huge_workbook": _("%(file)s: the workbook is too large. Save it as CSV UTF-8."),
    "huge_sheet": _(
        "%(file)s: a sheet reaches to column %(column)s and row %(row)d, which is too much."
        " Delete what does not belong to the list there, or save the list as CSV UTF-8."
    ),
    "damaged_text": _(
        "%(file)s: row %(row)d, byte %(byte)d: the text (%(encoding)s) is damaged or cut off there."
        " Export the file again as CSV UTF-8."
    ),
    "unknown_encoding": _(
        "%(file)s: row %(row)d, byte %(byte)d: a character there is neither UTF-8 nor Windows-1252."
        " Export the file again as CSV UTF-8."
    ),
    "not_in_encoding": _(
        "%(file)s: row %(row)d, byte %(byte)d: what stands there is not %(encoding)s."
        " Choose another encoding, or export the file again as CSV UTF-8."
    ),
    "wrong_encoding": _("%(file)s: «%(encoding)s» is no encoding that can be read here."),
    "wrong_delimiter": _(
        "%(file)s: «%(delimiter)s» cannot separate columns: comma, semicolon, tab or vertical bar can."
    ),
    "long_line": _("%(file)s: row %(row)d is longer than 16 MB: this is not a list of recipients."),
    "large_cell": _("%(file)s: row %(row)d, column %(column)s: the cell is larger than 1 MB."),
    "open_quote": _(
        '%(file)s: row %(row)d, column %(column)s: a quote (") opens there and is not closed where the cell ends.'
        " Close or remove it, or the rows below it would be lost."
    ),
    "too_many_columns": _("%(file)s: the header has %(columns)d columns, more than 1,000: delete those not needed."),
    "nul_in_header": _("%(file)s: the name of column %(column)s has a NUL character: write it again."),
    "empty_header": _("%(file)s: the header has no name in column %(column)s: name or delete it."),
    "repeated_header": _(
        "%(file)s: the header has «%(name)s» in column %(first)s and in column %(second)s: rename one."
    ),
    "nested_header": _(
        "%(file)s: «%(name)s» (column %(first)s) and «%(inner)s» (column %(second)s) exclude each other: rename one."
    ),
    "no_header": _(
        "%(file)s: row %(row)d holds an address where the names of the columns should be: add a header row."
    ),
    "no_address_column": _(
        "%(file)s: no column is called email or correo; there is %(names)s."
        " Rename one, or choose it with --email-column."
    ),
    "two_address_columns": _(
        "%(file)s: «%(name)s» (column %(first)s) and «%(other)s» (column %(second)s) could both be the address:"
        " choose one with --email-column."
    ),
    "unknown_email_column": _("%(file)s: no column is called «%(wanted)s»; there is %(names)s."),
}


class FileProblem(Explained):
    """The file is refused whole. `code` and `params` are for programs; no cell's contents are in any of them."""

    def __init__(self, code: str, **params: object) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params

    @property
    def sentence(self) -> str:
        """For a person, in the active language: what is wrong, where, and what to do."""
        return str(_SENTENCES[self.code]) % {"file": "?", **self.params}

    def __str__(self) -> str:
        return self.sentence


def column_letter(index: int) -> str:
    """What a spreadsheet calls the column: 0 is A, 26 is AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def opened(path: Path) -> BinaryIO:
    """The file, to read its bytes."""
    try:
        if path.exists() and not path.is_file():  # a folder, or a pipe that would block
            raise FileProblem("not_a_file")
        return path.open("rb")
    except FileNotFoundError:
        raise FileProblem("missing") from None
    except OSError:
        raise FileProblem("unreadable") from None
