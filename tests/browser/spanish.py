"""Is a text English? Yes, if it is a text of ours, of Django or of Unfold that has another Spanish; or if it holds
words that are everywhere in English and nowhere in Spanish, which finds texts that nobody marked for translation."""

import re
from collections.abc import Iterable
from functools import cache

from babel.messages.mofile import read_mo

from tests.browser.hostile import FORMULAS, HOSTILE, SCRIPT
from tests.relay.test_admin_spanish import ENGLISH, NAMES
from tools import translations

PLACEHOLDER = re.compile(r"%\(\w+\)[sdfr]|%[sd]|\{\w*\}")

VARIABLE = re.compile(r"\{\{[^}]*\}\}")  # of templates


def english_in(texts: Iterable[str]) -> list[str]:
    left = []
    for text in texts:
        shown = " ".join(_without_names(text).split())
        if shown and (shown.casefold() in _english() or _formats().fullmatch(shown) or ENGLISH.search(shown)):
            left.append(text)
    return left


def _without_names(text: str) -> str:
    """Without what a person, a file or the relay wrote."""
    for written in (HOSTILE, SCRIPT, *FORMULAS[2:4], FORMULAS[0]):
        text = text.replace(written, "")
    return NAMES.sub("", VARIABLE.sub("", text))


@cache
def _pairs() -> frozenset[tuple[str, str]]:
    """English and Spanish texts, singular and plural, that differ."""
    found = set()
    files = [translations.MO, *(folder / "locale/es/LC_MESSAGES/django.mo" for folder in translations.DJANGO)]
    for path in files:
        with path.open("rb") as file:
            for message in read_mo(file):
                english = [message.id] if isinstance(message.id, str) else message.id
                spanish = [message.string] if isinstance(message.string, str) else message.string
                found |= {(one, other) for one, other in zip(english, spanish, strict=False) if one and other}
    return frozenset((one, other) for one, other in found if one.casefold() != other.casefold())


@cache
def _english() -> frozenset[str]:
    # «No», «Error», «total» are both.
    spanish = {" ".join(text.split()).casefold() for _english, text in _pairs()}
    return frozenset(" ".join(text.split()).casefold() for text, _spanish in _pairs()) - spanish - {""}


@cache
def _formats() -> re.Pattern[str]:
    """Texts with numbers and names in them, where enough is left to know them by."""
    known = []
    for text, _spanish in _pairs():
        fixed = PLACEHOLDER.split(" ".join(text.split()))
        if len(fixed) > 1 and re.search(r"[A-Za-z]{4}", max(fixed, key=len)):
            known.append(".+".join(map(re.escape, fixed)))
    return re.compile("|".join(known), re.IGNORECASE)
