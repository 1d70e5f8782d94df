"""Mustache: which variables a template needs, which of them a row lacks, and how a message will look.

The relay's templates are Mustache, and a variable without a value renders as nothing, silently. So a template is read
here once, and every row is asked before anything leaves what it `missing`es.

Tags are found by a scanner of our own, which is linear in the size of the template and knows the line and column of
every mistake; rendering is pystache's. The two agree on every template that the scanner lets through (a property
test). A renderer here never reads a file: partials are nothing, and models are plain dictionaries, lists and text.
"""

import hashlib
import html as html_module
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import pystache
from django.utils.translation import gettext_lazy as _
from pystache.parsed import ParsedTemplate

MAX_SIZE = 2_000_000  # characters
MAX_DEPTH = 50  # sections within sections; pystache recurses
MAX_BLANKS = 300_000_000  # sum of the squares of their runs: pystache takes that many steps over them

Model = dict[str, Any]

_SENTENCES = {
    "too_large": _("%(part)s: the template is larger than 2 MB."),
    "too_many_blanks": _("%(part)s, line %(line)d, column %(column)d: too many blanks in a row: delete them."),
    "too_deep": _("%(part)s, line %(line)d, column %(column)d: more than 50 sections within each other."),
    "unclosed_tag": _("%(part)s, line %(line)d, column %(column)d: the tag opened there is not closed."),
    "bad_tag": _("%(part)s, line %(line)d, column %(column)d: «%(tag)s» is not a valid tag."),
    "bad_delimiters": _("%(part)s, line %(line)d, column %(column)d: «%(tag)s» does not set two delimiters."),
    "unclosed_section": _("%(part)s, line %(line)d, column %(column)d: the section «%(name)s» is not closed."),
    "unopened_section": _("%(part)s, line %(line)d, column %(column)d: «%(name)s» is closed there but not open."),
    "wrong_section": _(
        "%(part)s, line %(line)d, column %(column)d: «%(name)s» is closed there, but the section open is «%(open)s»."
    ),
    "dot_outside": _(
        "%(part)s, line %(line)d, column %(column)d: «.» is the value of a section, and there is none around it."
    ),
}


class TemplateProblem(Exception):
    """The template cannot be used. `part` is `subject` or `html`; `line` and `column` count from 1."""

    def __init__(self, code: str, **params: object) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params

    @property
    def sentence(self) -> str:
        """For a person, in the active language: what is wrong, and where."""
        return str(_SENTENCES[self.code]) % self.params

    def __str__(self) -> str:
        return self.sentence


# --- Scanning


class _Tag(NamedTuple):
    kind: str  # "" and "&" are variables; "#" "^" "/" sections; ">" a partial; "!" a comment; "=" sets delimiters
    name: str
    at: int
    end: int


class _Node(NamedTuple):
    """A variable (`children` is None) or a section."""

    name: str
    inverted: bool = False
    children: "list[_Node] | None" = None


def _tags(text: str, part: str) -> Iterator[_Tag]:
    """Every tag in order, or the problem of the first that pystache would misread or take for text."""
    opening, closing = "{{", "}}"
    at = text.find(opening)
    while at >= 0:
        start = at + len(opening)
        end = text.find(closing, start)
        if end < 0:
            raise _problem("unclosed_tag", text, part, at)
        inner, after = text[start:end].strip(), end + len(closing)
        if inner.startswith("{") and not inner.endswith("}") and text.startswith("}" + closing, end):
            inner, after = inner + "}", after + 1
        tag = _tag(inner, at, after, opening, text, part)
        if tag.kind == "=":
            opening, closing = tag.name.split()
        yield tag
        at = text.find(opening, after)


def _tag(inner: str, at: int, end: int, opening: str, text: str, part: str) -> _Tag:
    kind = inner[:1]
    if kind == "!" and inner != "!":  # pystache takes an empty comment for a variable
        return _Tag("!", "", at, end)
    if kind == "=":
        return _Tag("=", _delimiters(inner, at, text, part), at, end)
    if kind == "{" and inner.endswith("}"):
        kind, name = "&", inner[1:-1].strip()
    elif kind in "#^/&>" and kind:
        name = inner[1:].strip()
    else:
        kind, name = "", inner
    if not name or name == "!" or opening in name or re.search(r"[{}\r\n]", name):
        raise _problem("bad_tag", text, part, at, tag=_short(inner))
    return _Tag(kind, name, at, end)


def _delimiters(inner: str, at: int, text: str, part: str) -> str:
    signs = inner[1:-1].split() if len(inner) > 2 and inner.endswith("=") else []
    if len(signs) != 2 or "=" in "".join(signs):
        raise _problem("bad_delimiters", text, part, at, tag=_short(inner))
    return " ".join(signs)


def _tree(text: str, part: str, partials: list[str]) -> list[_Node]:
    """The variables and sections of a template as a tree; the names of its partials are added to `partials`."""
    _check_size(text, part)
    root: list[_Node] = []
    open_sections: list[tuple[_Tag, list[_Node]]] = []
    here = root
    for tag in _tags(text, part):
        if tag.kind in ("#", "^"):
            if len(open_sections) == MAX_DEPTH:
                raise _problem("too_deep", text, part, tag.at)
            open_sections.append((tag, here))
            inside: list[_Node] = []
            here.append(_Node(tag.name, tag.kind == "^", inside))
            here = inside
        elif tag.kind == "/":
            here = _closed(tag, open_sections, text, part)
        elif tag.kind == ">":
            partials.append(tag.name)
        elif tag.kind in ("", "&"):
            if tag.name == "." and not open_sections:
                raise _problem("dot_outside", text, part, tag.at)
            here.append(_Node(tag.name))
    if open_sections:
        tag = open_sections[-1][0]
        raise _problem("unclosed_section", text, part, tag.at, name=_short(tag.name))
    return root


def _closed(tag: _Tag, open_sections: list[tuple[_Tag, list[_Node]]], text: str, part: str) -> list[_Node]:
    if not open_sections:
        raise _problem("unopened_section", text, part, tag.at, name=_short(tag.name))
    opened, outside = open_sections.pop()
    if opened.name != tag.name:
        raise _problem("wrong_section", text, part, tag.at, name=_short(tag.name), open=_short(opened.name))
    return outside


def _check_size(text: str, part: str) -> None:
    if len(text) > MAX_SIZE:
        raise TemplateProblem("too_large", part=part)
    runs = [(run.end() - run.start(), run.start()) for run in re.finditer(r"\s+", text)]
    if sum(length * length for length, _start in runs) > MAX_BLANKS:
        raise _problem("too_many_blanks", text, part, max(runs)[1])


def _problem(code: str, text: str, part: str, at: int, **params: object) -> TemplateProblem:
    line_start = text.rfind("\n", 0, at) + 1
    return TemplateProblem(code, part=part, line=text.count("\n", 0, at) + 1, column=at - line_start + 1, **params)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


# --- The compiled template


@dataclass(frozen=True)
class CompiledTemplate:
    """A subject and an HTML body, read once. All names are in order of appearance, the subject first."""

    subject: str
    html: str
    needs: tuple[str, ...]
    """Variables outside sections: every row needs a value for each."""
    conditional: tuple[str, ...]
    """Variables only inside sections: needed when their section is true for the row."""
    conditions: tuple[str, ...]
    """Names that open sections. Conditions, not needs: blank is an answer too."""
    variables: tuple[str, ...]
    """All of them."""
    partials: tuple[str, ...]
    """`{{> x}}`: the relay gives them no meaning that we know of, and here they render as nothing."""
    flat: bool
    """No variable stands in a section: `needs` alone says what a row lacks."""
    needs_signature: str
    """Equal for two templates only if they need exactly the same of every row. Stable, so it can be stored."""
    _nodes: Sequence[_Node] = field(repr=False, compare=False)
    _subject_renderer: Callable[[Model], str] = field(repr=False, compare=False)

    def missing(self, model: Mapping[str, Any]) -> tuple[str, ...]:
        """The needed variables for which this row has no value, or only blanks."""
        found: dict[str, None] = {}
        _note_missing(self._nodes, [_plain_dict(model)], found)
        return tuple(found)

    def render_subject(self, model: Mapping[str, Any]) -> str:
        """The subject as one line of plain text.

        Not HTML-escaped, whatever the braces: a subject is no HTML, and `Pérez & Hijos` would arrive in the inbox as
        `Pérez &amp; Hijos`. What the relay itself does is not known; see relay-api, open question 12.
        """
        return " ".join(self._subject_renderer(_plain_dict(model)).splitlines())

    def render_html(self, model: Mapping[str, Any]) -> str:
        """The body, with `{{x}}` HTML-escaped and `{{{x}}}` as it comes. A missing variable is nothing."""
        return str(_HTML.render(self._parsed_html, _plain_dict(model)))

    def preview(self, model: Mapping[str, Any]) -> tuple[str, str]:
        """Subject and body."""
        return self.render_subject(model), self.render_html(model)

    @cached_property
    def _parsed_html(self) -> ParsedTemplate:
        return pystache.parse(self.html, raise_on_mismatch=True)


def compile_template(subject: str, html: str) -> CompiledTemplate:
    """Read a template, or raise TemplateProblem with the place of the first mistake."""
    partials: list[str] = []
    nodes = _tree(subject, "subject", partials) + _tree(html, "html", partials)
    needs = _names(node for node in nodes if node.children is None)
    every = list(_walk(nodes))
    variables = _names(node for node, _depth in every if node.children is None)
    inside = _names(node for node, depth in every if node.children is None and depth)
    return CompiledTemplate(
        subject=subject,
        html=html,
        needs=needs,
        conditional=tuple(name for name in inside if name not in needs),
        conditions=_names(node for node, _depth in every if node.children is not None),
        variables=tuple(dict.fromkeys(variables)),
        partials=tuple(dict.fromkeys(partials)),
        flat=not inside,
        needs_signature=_signature(nodes),
        _nodes=nodes,
        _subject_renderer=_fast_subject(subject) or _slow_subject(subject),
    )


def _walk(nodes: Iterable[_Node], depth: int = 0) -> Iterator[tuple[_Node, int]]:
    for node in nodes:
        yield node, depth
        yield from _walk(node.children or (), depth + 1)


def _names(nodes: Iterable[_Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.name for node in nodes if node.name != "."))


def _signature(nodes: Iterable[_Node]) -> str:
    return _digest(_shape(nodes))


def _shape(nodes: Iterable[_Node]) -> list[str]:
    """What the nodes need, whatever their order and repetition. A section that needs nothing leaves no trace."""
    shapes = set()
    for node in nodes:
        if node.children is None:
            if node.name != ".":
                shapes.add(json.dumps(node.name))
        elif inner := _shape(node.children):
            shapes.add(json.dumps([node.name, node.inverted, _digest(inner)]))
    return sorted(shapes)


def _digest(shape: list[str]) -> str:
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()


# --- What a row lacks


def _note_missing(nodes: Iterable[_Node], stack: list[Any], found: dict[str, None]) -> None:
    for node in nodes:
        value = stack[-1] if node.name == "." else _looked_up(stack, node.name)
        if node.children is None:
            if node.name != "." and not _is_text(value):
                found[node.name] = None
        elif node.inverted:
            if not _is_true(value):
                _note_missing(node.children, stack, found)
        elif _is_true(value):
            for item in value if isinstance(value, list | tuple) else (value,):
                _note_missing(node.children, [*stack, item], found)


def _looked_up(stack: Sequence[Any], name: str) -> Any:
    """Mustache's look-up: the first part in the innermost object that has it, the others only in what that gave."""
    first, *others = name.split(".")
    value = next((item[first] for item in reversed(stack) if isinstance(item, dict) and first in item), None)
    for part in others:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _is_text(value: Any) -> bool:
    """Whether the value shows as something: an object or a list in the place of a text is none."""
    return bool(value.strip()) if isinstance(value, str) else value is not None and not isinstance(value, dict | list)


def _is_true(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


# --- Rendering


def _unescaped(text: str) -> str:
    return text


_HTML = pystache.Renderer(missing_tags="ignore", partials={}, escape=html_module.escape)
_TEXT = pystache.Renderer(missing_tags="ignore", partials={}, escape=_unescaped)


def _slow_subject(subject: str) -> Callable[[Model], str]:
    parsed = pystache.parse(subject, raise_on_mismatch=True)
    return lambda model: str(_TEXT.render(parsed, model))


def _fast_subject(subject: str) -> Callable[[Model], str] | None:
    """The subject as one formatting operation, far faster than pystache; None if it has more than variables."""
    tags = list(_tags(subject, "subject"))
    if any(tag.kind not in ("", "&") or tag.name == "." for tag in tags):
        return None
    starts = [0, *(tag.end for tag in tags)]
    ends = [*(tag.at for tag in tags), len(subject)]
    form = "%s".join(subject[start:end].replace("%", "%%") for start, end in zip(starts, ends, strict=True))
    names = [tag.name for tag in tags]
    if any("." in name for name in names):
        return lambda model: form % tuple([_shown(model, name) for name in names])
    return lambda model: form % tuple([model.get(name, "") for name in names])


def _shown(model: Model, name: str) -> Any:
    value: Any = model
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    return value


def _plain_dict(model: Mapping[str, Any]) -> Model:
    return model if type(model) is dict else dict(model)


def build_model(variables: Mapping[str, str], mapping: Mapping[str, str] | None = None) -> Model:
    """What a template sees of a row: `user.name` becomes {"user": {"name": …}}; a value of only blanks becomes empty.

    (Blank counts as empty everywhere; to Mustache a text of one blank is true, and would open `{{#x}}`.)
    `mapping` {variable: column} adds each variable with the column's value; a variable may be dotted too. Raises
    KeyError for a column that is not there, ValueError for a name that is a text and an object at once.
    """
    model: Model = {}
    for name, value in variables.items():
        _put(model, name, value)
    for name, column in (mapping or {}).items():
        _put(model, name, variables[column])
    return model


def _put(model: Model, name: str, value: str) -> None:
    here, last = model, name
    if "." in name:
        *outer, last = name.split(".")
        for part in outer:
            here = here.setdefault(part, {})
            if not isinstance(here, dict):
                raise ValueError(f"{name!r} is inside a variable that is a text")
    if isinstance(here.get(last), dict):
        raise ValueError(f"{name!r} is a text and holds other variables")
    here[last] = "" if value.isspace() else value


def mark(model: Model, names: Iterable[str]) -> None:
    """Gives these variables, which have no value, their name between ⟦ and ⟧ as one, for who looks at the message."""
    for name in names:
        here: Any = model
        *outer, last = name.split(".")
        for part in outer:
            here = here.setdefault(part, {}) if isinstance(here, dict) else None
        if isinstance(here, dict) and not isinstance(here.get(last), dict | list):
            here[last] = f"⟦{name}⟧"
