"""The Spanish catalogue is complete and compiled; its check notices what is wrong."""

from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import write_po

from tools import translations


def test_the_catalogue_is_complete_and_compiled() -> None:
    assert translations.problems() == [], "python tools/translations.py update, then translate"


def test_an_update_of_a_complete_catalogue_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, compiled = translations.PO.read_bytes(), translations.MO.read_bytes()
    monkeypatch.setattr(translations, "PO", tmp_path / "django.po")
    monkeypatch.setattr(translations, "MO", tmp_path / "django.mo")
    translations.PO.write_bytes(before)
    translations.update()
    assert translations.PO.read_bytes() == before
    assert translations.MO.read_bytes() == compiled


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A small catalogue of its own, wanted to hold three texts."""
    monkeypatch.setattr(translations, "PO", tmp_path / "django.po")
    monkeypatch.setattr(translations, "MO", tmp_path / "django.mo")
    texts: list[translations.Key] = [(None, "Row %(row)d"), (None, "Draft"), (None, ("%(n)s row", "%(n)s rows"))]
    monkeypatch.setattr(translations, "our_texts", lambda: texts)
    monkeypatch.setattr(translations, "unfold_texts", lambda ours: [])
    made = Catalog(locale="es", fuzzy=False)
    made.add("Row %(row)d", "Fila %(row)d")
    made.add("Draft", "Borrador")
    made.add(("%(n)s row", "%(n)s rows"), ("%(n)s fila", "%(n)s filas"))
    return made


def problems(catalogue: Catalog) -> list[str]:
    with translations.PO.open("wb") as file:
        write_po(file, catalogue)
    translations.compile_catalogue()
    return translations.problems()


def test_a_good_catalogue_has_no_problems(catalogue: Catalog) -> None:
    assert problems(catalogue) == []


def test_what_is_missing_obsolete_fuzzy_or_empty_is_told(catalogue: Catalog) -> None:
    catalogue.delete("Row %(row)d")
    catalogue.add("Gone", "Ido")
    catalogue.add("Draft", "", flags=["fuzzy"])
    catalogue["Draft"].string = ""
    assert problems(catalogue) == ["missing: 'Row %(row)d'", "obsolete: 'Gone'", "not translated: 'Draft'"]
    catalogue["Draft"].string = "Borrador"
    assert "fuzzy: 'Draft'" in problems(catalogue)


@pytest.mark.parametrize("spanish", ["Fila", "Fila %(fila)d", "Fila %(row)s", "Fila %(row)d %(row)d"])
def test_placeholders_must_be_the_same(catalogue: Catalog, spanish: str) -> None:
    catalogue["Row %(row)d"].string = spanish
    assert problems(catalogue) == ["placeholders differ: 'Row %(row)d'"]


def test_placeholders_must_be_the_same_in_each_plural(catalogue: Catalog) -> None:
    catalogue["%(n)s row"].string = ("una fila", "%(n)s filas")
    assert problems(catalogue) == ["placeholders differ: '%(n)s row'"]


def test_a_stale_compilation_is_told(catalogue: Catalog) -> None:
    assert problems(catalogue) == []
    translations.MO.write_bytes(b"old")
    assert translations.problems() == ["django.mo does not match django.po: python tools/translations.py compile"]


def test_an_update_keeps_translations_and_drops_what_nothing_uses(
    catalogue: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue.delete("Row %(row)d")
    catalogue.add("Gone", "Ido")
    problems(catalogue)
    translations.update()
    after = translations.read()
    assert after["Draft"].string == "Borrador"
    assert after["%(n)s row"].string == ("%(n)s fila", "%(n)s filas")
    assert after["Row %(row)d"].string == ""
    assert after.get("Gone") is None
    assert "'Gone' = 'Ido'" in capsys.readouterr().out
