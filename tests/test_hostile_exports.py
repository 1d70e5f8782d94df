"""No file that the console or a command writes for people holds a cell that their spreadsheet would compute."""

import ast
import csv
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from relay.models import BulkSend, Recipient
from relay.standing import neutralised, write_results
from tests.browser import world
from tests.browser.hostile import FORMULAS
from tests.browser.pages import shape
from tests.installation import ROOT

COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n")
# Byte for byte what came: a person corrects the first and uploads it again; the others are the relay's own file.
AS_THEY_CAME = {"relay/rejects.py", "reports/rejects.py"}
AS_THEY_CAME_HERE = re.compile(r"/rejects/$|/generatedreport/\d+/csv/$|/attachment/\d+/download/$")
LINK = re.compile(r'href="([^"#]+)')


def computed_in(text: str) -> list[str]:
    """Cells a spreadsheet would compute; a number, such as -1, is one."""
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    return [cell for cell in cells if cell.startswith(COMPUTED) and not re.fullmatch(r"-?\d+([.,]\d+)?", cell)]


@given(st.text())
def test_a_neutralised_cell_is_text_and_keeps_what_it_says(cell: str) -> None:
    told = neutralised(cell)
    assert not told.startswith(COMPUTED)
    assert told in {cell, "'" + cell}


def test_every_module_that_writes_csv_neutralises_it() -> None:
    writers = set()
    for path in (path for app in ("relay", "reports") for path in (ROOT / app).rglob("*.py")):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        if "writer" in names:
            writers.add(path)
    cautious = ("neutralised(", "in results(")  # which are so already
    careless = {str(path.relative_to(ROOT)) for path in writers if not any(it in path.read_text() for it in cautious)}
    assert careless == AS_THEY_CAME


@pytest.mark.django_db
def test_the_results_of_a_bulk_send_are_text(tmp_path: Path) -> None:
    from tests.relay.admin_rows import State, bulk_send, recipient

    sent = bulk_send("done", total=len(FORMULAS))
    for row, formula in enumerate(FORMULAS, 2):
        recipient(sent, row, State.EXCLUDED, f"{formula}@example.com")
    target = tmp_path / "resultados.csv"
    assert write_results(sent, target) == len(FORMULAS)
    assert computed_in(target.read_text(encoding="utf-8")) == []


@pytest.mark.django_db
def test_every_csv_that_the_console_links_to_is_text(lucia: Client, tmp_path: Path, settings: Any) -> None:
    settings.ATTACHMENTS_ROOT = tmp_path
    world.fill()
    for sent in BulkSend.objects.all():
        Recipient.objects.bulk_create(
            Recipient(
                bulk_send=sent,
                row=100 + number,
                email=f"{formula}@example.com",
                variables={formula: formula, "nombre": formula},
                state="excluded",
                reason="invalid_address",
                reason_detail=formula,
            )
            for number, formula in enumerate(FORMULAS)
        )
    found, computed = _files(lucia)
    assert computed == {}
    assert len(found) >= 1 or not _knows_exports()


def _files(client: Client) -> tuple[list[str], dict[str, list[str]]]:
    """Whatever CSV can be reached by links from the start page, and the cells in it that would be computed."""
    to_visit, seen, found, computed = ["/admin/"], set(), [], {}
    while to_visit:
        path = to_visit.pop(0)
        if shape(path) in seen or AS_THEY_CAME_HERE.search(urlsplit(path).path):
            continue
        seen.add(shape(path))
        answer = client.get(path)
        if answer.status_code != 200:
            continue
        text = (b"".join(answer) if answer.streaming else answer.content).decode("utf-8-sig", "replace")  # type: ignore[attr-defined, arg-type]
        if ".csv" in unquote(answer.headers.get("Content-Disposition", "")):
            found.append(path)
            if cells := computed_in(text):
                computed[path] = cells
        elif answer.headers["Content-Type"].startswith("text/html"):
            links = [link.replace("&amp;", "&") for link in LINK.findall(text)]
            here = urlsplit(path).path
            to_visit += [here + link if link.startswith("?") else link for link in links]
            to_visit = [link for link in to_visit if link.startswith("/admin/")]
    return found, computed


def _knows_exports() -> bool:
    """Whether any page of the console writes CSV for people."""
    views = [path for app in ("relay", "reports") for path in (ROOT / app / "admin").rglob("*.py")]
    return any("csv.writer" in path.read_text() for path in views)


def test_the_test_would_notice() -> None:
    assert computed_in('a,=1+1,-5,"-1,5"\n@x,\'=1\n') == ["=1+1", "@x"]
