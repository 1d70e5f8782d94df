"""Recipients of one bulk send, by what an operator remembers of them: an address, a value of their row, a state.

No index knows a state or a value, and a bulk send may have a million rows. So a search reads the file piece by piece
in the order of its rows until a page is full or its time is over, and says how far it came; the next one goes on from
there. What an index does know, an address from its beginning or a row by its number, is found at once.
"""

import json
import re
import time
import unicodedata
from dataclasses import dataclass
from functools import cache

from django.db import connection
from django.db.models import BooleanField, Case, QuerySet, When
from django.db.models.expressions import RawSQL
from django.db.models.functions import Lower

from relay.dialects import is_postgresql
from relay.models import Recipient

PAGE = 50
# A search ends after so long, and then says how far it came.
SECONDS = 0.15
FIRST_PIECE, LARGEST_PIECE = 2_000, 100_000  # rows
PIECE_SECONDS = 0.05
# Of addresses that begin alike, in all bulk sends, so many are looked at.
ADDRESSES_LOOKED_AT = 2_000
LONGEST_ROW_NUMBER = 9  # digits; the column holds no more
LONGEST_TEXT = 200

_ACCENTS = re.compile("[\u0300-\u036f]")  # as letters of their own, once decomposed

# A choice beside the states: unknown, and the relay's log is asked no more.
FOR_A_PERSON = "for_a_person"


@dataclass(frozen=True, slots=True)
class Wanted:
    bulk_send_id: int
    text: str = ""
    state: str = ""  # a Recipient.State, or FOR_A_PERSON
    reason: str = ""

    @property
    def is_narrow(self) -> bool:
        return bool(self.text or self.state or self.reason)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of recipients in the order of the file, and between which rows they were looked for."""

    recipients: list[Recipient]
    looked_from: int  # rows above this one …
    looked_to: int  # … and up to this one
    more_before: bool
    more_after: bool


def last_row(bulk_send_id: int) -> int:
    return _rows_of(bulk_send_id).order_by("-row").values_list("row", flat=True).first() or 0


def find_at_once(wanted: Wanted) -> list[Recipient]:
    """By an index: the row of this number, and addresses that begin so."""
    if not wanted.text:
        return []
    found = {recipient.pk: recipient for recipient in [*_by_row(wanted), *_by_address(wanted)]}
    return sorted(found.values(), key=lambda recipient: recipient.row)


def find_after(wanted: Wanted, row: int, *, seconds: float = SECONDS) -> Found:
    """Of what lies after this row, the first page."""
    last = last_row(wanted.bulk_send_id)
    found: list[Recipient] = []
    at = row
    size = _PieceSize(seconds)
    while at < last and len(found) <= PAGE and size.goes_on():
        end = min(last, at + size.rows)
        found += _piece(wanted, at, end).order_by("row")[: PAGE + 1 - len(found)]
        at = end
        size.took()
    full = len(found) > PAGE
    to = found[PAGE - 1].row if full else at
    return Found(found[:PAGE], row, to, more_before=row > 0, more_after=full or at < last)


def find_before(wanted: Wanted, row: int, *, seconds: float = SECONDS) -> Found:
    """Of what lies before this row, the last page; still in the order of the file."""
    found: list[Recipient] = []
    at = min(row, last_row(wanted.bulk_send_id) + 1)
    end = at - 1
    size = _PieceSize(seconds)
    while at > 1 and len(found) <= PAGE and size.goes_on():
        begin = max(0, at - 1 - size.rows)
        found += _piece(wanted, begin, at - 1).order_by("-row")[: PAGE + 1 - len(found)]
        at = begin + 1
        size.took()
    full = len(found) > PAGE
    begin = found[PAGE - 1].row - 1 if full else at - 1
    more_after = end < last_row(wanted.bulk_send_id)
    return Found(found[:PAGE][::-1], begin, end, more_before=full or at > 1, more_after=more_after)


class _PieceSize:
    """How many rows to read at once, so that each piece takes about as long; and whether there is time for one more."""

    def __init__(self, seconds: float) -> None:
        self.rows = FIRST_PIECE
        self._began = self._last = time.monotonic()
        self._until = self._began + seconds
        self._pieces = 0

    def goes_on(self) -> bool:
        """One piece is always read: each search comes nearer to the end."""
        return self._pieces == 0 or self._last < self._until

    def took(self) -> None:
        now = time.monotonic()
        self._pieces += 1
        factor = PIECE_SECONDS / max(now - self._last, PIECE_SECONDS / 4)
        self.rows = round(min(LARGEST_PIECE, max(FIRST_PIECE, self.rows * factor)))
        self._last = now


def _rows_of(bulk_send_id: int) -> QuerySet[Recipient]:
    return Recipient.objects.filter(bulk_send_id=bulk_send_id)


def _piece(wanted: Wanted, after: int, to: int) -> QuerySet[Recipient]:
    rows = _with_facts(wanted, _rows_of(wanted.bulk_send_id).filter(row__gt=after, row__lte=to))
    return _with_text(rows, folded(wanted.text)) if wanted.text else rows


def _with_facts(wanted: Wanted, rows: QuerySet[Recipient]) -> QuerySet[Recipient]:
    if wanted.state == FOR_A_PERSON:
        rows = rows.filter(state=Recipient.State.UNKNOWN, look_at=None)
    elif wanted.state:
        rows = rows.filter(state=wanted.state)
    return rows.filter(reason=wanted.reason) if wanted.reason else rows


# --- what an index knows ------------------------------------------------------------------------------------


def _by_row(wanted: Wanted) -> QuerySet[Recipient]:
    if not wanted.text.isdecimal() or len(wanted.text) > LONGEST_ROW_NUMBER:
        return Recipient.objects.none()
    return _with_facts(wanted, _rows_of(wanted.bulk_send_id).filter(row=int(wanted.text)))


def _by_address(wanted: Wanted) -> QuerySet[Recipient]:
    alike = addresses_that_begin(Recipient.objects.all(), wanted.text).order_by(Lower("email"))
    near = alike.values_list("pk", flat=True)[:ADDRESSES_LOOKED_AT]
    # As a list: a planner that saw the two together might walk through the bulk send instead.
    return _with_facts(wanted, _rows_of(wanted.bulk_send_id).filter(pk__in=list(near)))[:PAGE]


def addresses_that_begin(recipients: QuerySet[Recipient], term: str) -> QuerySet[Recipient]:
    """LIKE alone cannot use a plain index (PostgreSQL outside the C collation, SQLite with ESCAPE); a range can."""
    prefix = term.lower()
    first, after = address_range(prefix)
    recipients = recipients.alias(address=Lower("email")).filter(address__gte=first)
    recipients = recipients.filter(address__lt=after) if after else recipients
    # PostgreSQL expects next to nothing of the two together, and would read all of the range to sort it; it does not
    # look into a CASE, and so walks along the index until a page is full.
    return recipients.filter(Case(When(address__startswith=prefix, then=True), default=False))


def address_range(prefix: str) -> tuple[str, str]:
    """The half-open range of the index in which all that begins with `prefix` lies; an empty end is open.

    The end follows on the last letter or digit, because collations agree on the order of those alone: what is
    behind it is left out, and LIKE picks from the somewhat longer range.
    """
    stem = prefix
    while stem and not (stem[-1].isascii() and stem[-1].isalnum() and stem[-1] != "z"):
        stem = stem[:-1]
    if not stem:
        return prefix, ""
    following = "a" if stem[-1] == "9" else chr(ord(stem[-1]) + 1)
    return prefix, stem[:-1] + following


# --- what only reading tells --------------------------------------------------------------------------------


def folded(text: str) -> str:
    """Without case and without accents: «MUÑOZ» and «munoz» are alike, as those who search write them."""
    text = text.lower()
    if text.isascii():
        return text
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text))


def values_with(recipient: Recipient, text: str) -> dict[str, str]:
    """Which of the variables hold the text."""
    term = folded(text)
    return {name: str(value) for name, value in recipient.variables.items() if term in folded(str(value))}


def _with_text(rows: QuerySet[Recipient], term: str) -> QuerySet[Recipient]:
    if is_postgresql():
        # First the whole at once, which is quick and true of most rows that hold it; quotes are escaped there.
        pattern, as_written = _pattern(term), json.dumps(term, ensure_ascii=False)[1:-1]
        value = "variables::text ~ %s AND EXISTS (SELECT 1 FROM jsonb_each_text(variables) WHERE value ~ %s)"
        return rows.filter(_sql(f"(email ~ %s OR ({value}))", [pattern, _pattern(as_written), pattern]))
    connection.ensure_connection()
    connection.connection.create_function("relay_holds", 3, _holds, deterministic=True)
    return rows.filter(_sql("relay_holds(email, variables, %s)", [term]))


def _sql(condition: str, parameters: list[str]) -> RawSQL:
    return RawSQL(condition, parameters, output_field=BooleanField())  # noqa: S611  (what people write is a parameter)


def _pattern(term: str) -> str:
    """A regular expression that holds where `folded` does. PostgreSQL has no function that takes accents away unless
    somebody installs one, and its `translate` takes ten times as long."""
    return "".join(f"[{_alike().get(letter, letter)}]" if letter.isalnum() else "\\" + letter for letter in term)


@cache
def _alike() -> dict[str, str]:
    """For each letter without accent all that are folded to it."""
    alike: dict[str, str] = {}
    for code in (*range(0x30, 0x7F), *range(0xC0, 0x250), *range(0x370, 0x530)):  # … Greek and Cyrillic
        letter = chr(code)
        alike[folded(letter)] = alike.get(folded(letter), "") + letter
    return alike


def _holds(email: str, variables: str, term: str) -> bool:
    """As SQLite calls it, for each row: all values at once, for folding is what takes time."""
    return term in folded("\n".join([email, *map(str, json.loads(variables).values())]))
