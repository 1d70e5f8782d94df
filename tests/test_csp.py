"""The policy of every answer, and the places of Unfold's templates that the loader changes for it."""

import re
from pathlib import Path

import pytest
import unfold
from django.template.loader import get_template
from django.test import Client

from config.csp import CHANGES, with_nonces

TEMPLATES = [path.read_text(encoding="utf-8") for path in (Path(unfold.__file__).parent / "templates").rglob("*.html")]


def policy(answer: object) -> dict[str, str]:
    header = answer.headers["Content-Security-Policy"]  # type: ignore[attr-defined]
    return {name: rest for name, _blank, rest in (part.strip().partition(" ") for part in header.split(";"))}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/relay/bulksend/", "/admin/auth/user/add/", "/admin/password_change/"]
)
def test_a_page_runs_only_what_carries_its_nonce(lucia: Client, path: str) -> None:
    answer = lucia.get(path)
    told = policy(answer)
    nonce = re.search(r"'nonce-([^']+)'", told["script-src"])
    assert nonce is not None
    assert told["script-src"] == f"'nonce-{nonce[1]}' 'unsafe-eval'"
    assert told["style-src"] == f"'self' 'nonce-{nonce[1]}'"
    assert told["default-src"] == told["frame-ancestors"] == "'none'"
    assert told["frame-src"] == told["connect-src"] == told["form-action"] == told["base-uri"] == "'self'"
    html = answer.content.decode()
    tags = re.findall(r"<(?:script|style)\b[^>]*>", html)
    assert len(tags) > 8
    assert [tag for tag in tags if f'nonce="{nonce[1]}"' not in tag and "application/json" not in tag] == []
    assert re.findall(r"<[^>]+\s(?:style|on\w+)=[^>]*>", html) == []


@pytest.mark.django_db
def test_each_answer_has_a_nonce_of_its_own(lucia: Client) -> None:
    assert policy(lucia.get("/admin/"))["script-src"] != policy(lucia.get("/admin/"))["script-src"]


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/admin/jsi18n/"])
def test_what_is_no_page_may_do_nothing(lucia: Client, path: str) -> None:
    answer = lucia.get(path)
    assert policy(answer)["default-src"] == policy(answer)["form-action"] == "'none'"
    assert "script-src" not in policy(answer)


@pytest.mark.parametrize("place", CHANGES)
def test_each_change_still_finds_its_place(place: str) -> None:
    assert sum(place in template for template in TEMPLATES) == 1


def test_no_template_writes_a_style_by_text_or_an_event_handler_where_we_show_it() -> None:
    """Those that do are of parts of Unfold that the console does not use; a new one is to be looked at."""
    known = {
        "display_header",
        "progress",
        "unauthenticated",
        "clearable_file_input_small",
        "change_list_filter_horizontal",
    }
    found = set()
    for path in (Path(unfold.__file__).parent / "templates").rglob("*.html"):
        template = with_nonces(path.read_text(encoding="utf-8"))
        if re.search(r"""\s(?:style|on\w+)=["']|bind:style="[^{]""", template):
            found.add(path.stem)
    assert found == known


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('<script src="x">', '<script {% csp_nonce_attr %} src="x">'),
        ("<style>", "<style {% csp_nonce_attr %}>"),
        ("<script {% csp_nonce_attr %}>", "<script {% csp_nonce_attr %}>"),
        ("{{ media }}", "{% csp_nonce_attr media %}"),
        ("{{ form.media }}", "{% csp_nonce_attr form.media %}"),
        ("{{ media.css }}-{{ media.js }}", "-{% csp_nonce_attr media %}"),
        ("{{ media_type }}", "{{ media_type }}"),
    ],
)
def test_templates_are_read_with_nonces(written: str, read: str) -> None:
    assert with_nonces(written) == read


def test_templates_of_the_console_come_through_the_loader() -> None:
    assert "csp_nonce_attr" in get_template("unfold/layouts/skeleton.html").template.source  # type: ignore[attr-defined]
