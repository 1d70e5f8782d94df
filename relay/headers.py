"""The names of the columns, and which of them is the address."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from relay.file_problems import MAX_COLUMNS, FileProblem, column_letter


def read_header(number: int, cells: Sequence[str], email_column: str | None) -> tuple[tuple[str, ...], int]:
    """The names without the blanks around them, and the index of the address column. Raises FileProblem."""
    if len(cells) > MAX_COLUMNS:
        raise FileProblem("too_many_columns", columns=len(cells))
    header = tuple(cell.strip(_AROUND) for cell in cells)
    _check_names(header, number)
    return header, _address_column(header, number, email_column)


def _check_names(header: Sequence[str], row: int) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(header):
        here = column_letter(index)
        if not name:
            raise FileProblem("empty_header", column=here)
        if "\0" in name:
            raise FileProblem("nul_in_header", column=here)
        if name in seen:
            raise _about_names("repeated_header", row, header, seen[name], index)
        seen[name] = index
    if clash := conflicting_names(header):
        outer, inner = (header.index(name) for name in clash)
        raise _about_names("nested_header", row, header, outer, inner)


def conflicting_names(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that cannot stand in one model: `user` is a text, `user.name` makes it an object."""
    known = set(names)
    for name in names:
        parts = name.split(".")
        for length in range(1, len(parts)):
            outer = ".".join(parts[:length])
            if outer in known:
                return outer, name
    return None


def _about_names(code: str, row: int, header: Sequence[str], first: int, second: int) -> FileProblem:
    """A problem of two columns. Without a header row, what stands there is somebody's address: do not repeat it."""
    if any("@" in name for name in header):
        return FileProblem("no_header", row=row)
    names = {"name": _short(header[first]), "other": _short(header[second]), "inner": _short(header[second])}
    return FileProblem(code, row=row, first=column_letter(first), second=column_letter(second), **names)


def _address_column(header: Sequence[str], row: int, wanted: str | None) -> int:
    found = address_columns(header, wanted)
    if len(found) == 1:
        return found[0]
    if found:
        raise _about_names("two_address_columns", row, header, found[0], found[1])
    if any("@" in name for name in header):
        raise FileProblem("no_header", row=row)
    names = ", ".join(f"«{_short(name)}»" for name in header[:20]) + ("…" if len(header) > 20 else "")
    if wanted is None:
        raise FileProblem("no_address_column", names=names, row=row)
    raise FileProblem("unknown_email_column", names=names, wanted=_short(wanted), row=row)


def address_columns(header: Sequence[str], wanted: str | None) -> list[int]:
    """Every column that the name `wanted`, or without one a usual name, could mean."""
    if wanted is None:
        return [index for index, name in enumerate(header) if plain_name(name) in _ADDRESS_NAMES]
    exact = [index for index, name in enumerate(header) if name.strip(_AROUND) == wanted.strip(_AROUND)]
    return exact or [index for index, name in enumerate(header) if plain_name(name) == plain_name(wanted)]


# `correo_electronico` and `email_address` as `plain_name` leaves them; case, accents, blanks, _ and - do not count.
_ADDRESS_NAMES = frozenset({"email", "mail", "emailaddress", "correo", "correoelectronico"})
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_AROUND = _INVISIBLE + "".join(character for character in map(chr, range(0x3001)) if character.isspace())
# No tab: it is a delimiter, and `email<tab>_` is two names that were read under the wrong one.
_IGNORED = re.compile(rf"(?:[^\S\t]|[_\-\u2010\u2011{_INVISIBLE}])+")


def plain_name(name: str) -> str:
    """What of a name counts when names are compared."""
    letters = unicodedata.normalize("NFKD", name[:200]).casefold()
    return _IGNORED.sub("", "".join(letter for letter in letters if not unicodedata.combining(letter)))


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
