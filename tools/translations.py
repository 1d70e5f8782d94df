"""The Spanish catalogue: `update` finds what is to be translated, `check` refuses what is not, `compile` makes the .mo.

    python tools/translations.py update | check | compile

It needs Babel (a development requirement) and no gettext tools. The catalogue holds our own texts and, in a section of
their own, those of django-unfold that Django does not translate already: Unfold ships no translations.
"""

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import django.conf
import django.contrib.admin
import django.contrib.auth
import unfold
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
PO = ROOT / "locale/es/LC_MESSAGES/django.po"
MO = PO.with_suffix(".mo")
OURS = ("config", "relay", "reports")  # those that exist
UNFOLD = Path(unfold.__file__).parent
# Of Unfold only what its pages use; its contrib packages are not installed.
UNFOLD_PARTS = ("*.py", "mixins/*.py", "templatetags/*.py", "templates/**/*.html")
DJANGO = [Path(package.__file__ or "").parent for package in (django.conf, django.contrib.admin, django.contrib.auth)]

SECTION_OURS = "django-doppler-relay"
SECTION_UNFOLD = "django-unfold"
HEADER = """# Spanish texts of the console and its commands. Kept by tools/translations.py: no line numbers, no dates.
msgid ""
msgstr ""
"Language: es\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
"""
KEYWORDS: dict[str, tuple[int | tuple[int, str], ...] | None] = {
    "_": None,
    "_now": None,
    "gettext": None,
    "gettext_lazy": None,
    "_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
PLACEHOLDER = re.compile(r"%(?:\((\w+)\))?[-#0 +]*\d*(?:\.\d+)?([sdifgrx])|\{(\w*)\}")

type Key = tuple[str | None, str | tuple[str, str]]  # context; msgid, or singular and plural


# --- what is to be translated -------------------------------------------------------------------------------


def texts_in(paths: Iterable[Path]) -> Iterator[Key]:
    """Every text marked for translation, in the order of the files."""
    for path in sorted(paths):
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            # Its output is made for xgettext; for Python's tokenizer the lines must not be indented.
            source = "\n".join(line.strip() for line in templatize(source, origin=str(path)).splitlines())
        for _line, text, _comments, context in extract("python", io.BytesIO(source.encode()), KEYWORDS):
            singular = text[0] if isinstance(text, tuple) else text
            if singular:
                yield context, (text[0], text[1]) if isinstance(text, tuple) else text


def our_texts() -> list[Key]:
    folders = [ROOT / name for name in OURS if (ROOT / name).is_dir()]
    return _once(
        texts_in(
            path
            for folder in folders
            for pattern in ("**/*.py", "**/templates/**/*.html")
            for path in folder.glob(pattern)
            if "migrations" not in path.parts
        )
    )


def unfold_texts(ours: list[Key]) -> list[Key]:
    """Unfold's texts that neither Django's Spanish nor our own section has."""
    known = {_first(key) for key in ours} | django_spanish()
    files = [path for part in UNFOLD_PARTS for path in UNFOLD.glob(part)]
    return [key for key in _once(texts_in(files)) if _first(key) not in known]


def django_spanish() -> set[tuple[str | None, str]]:
    found: set[tuple[str | None, str]] = set()
    for folder in DJANGO:
        with (folder / "locale/es/LC_MESSAGES/django.mo").open("rb") as file:
            found |= {_key(message) for message in read_mo(file) if message.id}
    return found


def _first(key: Key) -> tuple[str | None, str]:
    """What gettext looks a text up by: its context and singular."""
    return key[0], key[1] if isinstance(key[1], str) else key[1][0]


def _key(message: Message) -> tuple[str | None, str]:
    return message.context, message.id if isinstance(message.id, str) else message.id[0]


def _once(keys: Iterable[Key]) -> list[Key]:
    return list({_first(key): key for key in keys}.values())


# --- the catalogue ------------------------------------------------------------------------------------------


def read() -> Catalog:
    if not PO.exists():
        return Catalog(locale="es")
    with PO.open("rb") as file:
        return read_po(file, locale="es")


def wanted() -> dict[tuple[str | None, str], tuple[Key, str]]:
    """Every text the catalogue must have, with the section it stands in."""
    ours = our_texts()
    return {_first(key): (key, SECTION_OURS) for key in ours} | {
        _first(key): (key, SECTION_UNFOLD) for key in unfold_texts(ours)
    }


def update() -> None:
    """Adds what is new with an empty translation, keeps what is there, and leaves out what nothing uses any more."""
    old = read()
    new = Catalog(locale="es", fuzzy=False)
    for (context, singular), (key, section) in wanted().items():
        before = old.get(singular, context)
        plural = isinstance(key[1], tuple)
        kept = before.string if before is not None and isinstance(before.string, (tuple, list)) == plural else None
        new.add(
            key[1],
            kept or (("", "") if plural else ""),
            context=context,
            flags=_flags(key[1], before),
            auto_comments=[section],
        )
    for message in old:
        if message.id and new.get(_key(message)[1], message.context) is None:
            print(f"no longer used, left out: {message.id!r} = {message.string!r}")
    body = io.BytesIO()
    write_po(body, new, width=120, no_location=True, omit_header=True)
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_text(HEADER + "\n" + body.getvalue().decode().strip("\n") + "\n", encoding="utf-8")
    compile_catalogue()


def _flags(text: str | tuple[str, str], before: Message | None) -> set[str]:
    singular = text[0] if isinstance(text, tuple) else text
    flags = {"python-format"} if any(match[1] for match in PLACEHOLDER.findall(singular)) else set()
    return flags | ({"fuzzy"} if before is not None and before.fuzzy else set())


class DatelessCatalog(Catalog):
    """Babel puts today's date and its own version into the header: the same .po must always give the same .mo."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        return [
            ("Language", "es"),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Transfer-Encoding", "8bit"),
            ("Plural-Forms", "nplurals=2; plural=(n != 1);"),
        ]


def compiled() -> bytes:
    catalog = DatelessCatalog(locale="es", fuzzy=False)
    for message in read():
        if message.id:
            catalog.add(message.id, message.string, context=message.context, flags=message.flags)
    body = io.BytesIO()
    write_mo(body, catalog)
    return body.getvalue()


def compile_catalogue() -> None:
    MO.write_bytes(compiled())


# --- the check ----------------------------------------------------------------------------------------------


def problems() -> list[str]:
    """What is wrong with the catalogue, one line each; empty when nothing is."""
    catalog = read()
    needed = wanted()
    present = {_key(message): message for message in catalog if message.id}
    found = [f"missing: {key[1]!r}" for key in needed if key not in present]
    found += [f"obsolete: {key[1]!r}" for key in present if key not in needed]
    found += [f"obsolete: {message.id!r}" for message in catalog.obsolete.values()]
    for key, message in present.items():
        found += [f"{problem}: {key[1]!r}" for problem in _problems_of(message)]
    if not MO.exists() or MO.read_bytes() != compiled():
        found.append(f"{MO.name} does not match {PO.name}: python tools/translations.py compile")
    return found


def _problems_of(message: Message) -> Iterator[str]:
    sources = [message.id] if isinstance(message.id, str) else list(message.id)
    translations = message.string if isinstance(message.string, (tuple, list)) else [message.string]
    strings = [string for string in translations if string]
    if len(strings) < len(translations):
        yield "not translated"
        return
    if message.fuzzy:
        yield "fuzzy"
    if any(placeholders(string) != placeholders(sources[-1]) for string in strings):
        yield "placeholders differ"
    if any(string[:1].isspace() != sources[0][:1].isspace() for string in strings):
        yield "blanks at the beginning differ"


def placeholders(text: str) -> list[str]:
    """The names (or kinds) that are filled in, sorted."""
    return sorted(
        f"%({name}){kind}" if kind else f"{{{braces}}}"
        for name, kind, braces in PLACEHOLDER.findall(text.replace("%%", ""))
    )


def check() -> int:
    found = problems()
    for problem in found:
        print(problem)
    return 1 if found else 0


COMMANDS: dict[str, Callable[[], int | None]] = {"update": update, "check": check, "compile": compile_catalogue}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit("usage: python tools/translations.py " + " | ".join(COMMANDS))
    sys.exit(COMMANDS[sys.argv[1]]() or 0)
