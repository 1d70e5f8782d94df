"""Mustache as the relay speaks it: what is missing renders as nothing, partials are never looked up."""

import importlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from relay_sandbox.answers import Json

# pystache has neither annotations nor stubs; loaded this way no configuration of a type checker is needed
_pystache: Any = importlib.import_module("pystache")
_PLAIN_TAG = re.compile(r"\{\{\s*([A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)\s*\}\}")

type SubjectRenderer = Callable[[Json], str]


def _text(value: object) -> str:
    """JSON values as text: null is nothing, and true is not Python's True."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _renderer(escape: Callable[[str], str] | None) -> Any:
    # `partials={}` matters: without it `{{> name}}` makes pystache look for files of this machine
    renderer = _pystache.Renderer(partials={}, missing_tags="ignore", escape=escape)
    renderer.str_coerce = _text
    return renderer


_html_renderer = _renderer(None)
_subject_renderer = _renderer(str)  # a subject is no HTML: nothing to escape


@lru_cache(maxsize=64)
def _parse(template: str) -> Any:
    return _pystache.parse(template)


def _render(renderer: Any, template: str, model: Json) -> str:
    try:
        return str(renderer.render(_parse(template), model))
    except Exception:
        # Unbalanced sections, endless nesting: what the relay does then is unknown. The sandbox shows the source.
        return template


def render_html(template: str, model: Json) -> str:
    return _render(_html_renderer, template, model)


def subject_renderer(template: str) -> SubjectRenderer:
    """A function for one subject. Subjects of plain variables do not need pystache (27,000 per second at best)."""
    pieces = _PLAIN_TAG.split(template)
    if any("{{" in literal or "}}" in literal for literal in pieces[::2]):
        return lambda model: _render(_subject_renderer, template, model)
    literals = pieces[::2]
    paths = [name.split(".") for name in pieces[1::2]]
    if not paths:
        return lambda model: template

    def render(model: Json) -> str:
        parts = [literals[0]]
        for path, literal in zip(paths, literals[1:], strict=True):
            parts += (_text(_look_up(model, path)), literal)
        return "".join(parts)

    return render


def _look_up(model: Json, path: list[str]) -> object:
    value: object = model
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value
