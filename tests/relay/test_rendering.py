"""Mustache templates: what they need, what a row lacks, what comes out."""

import time

import pystache
import pytest
from django.conf import settings
from django.utils import translation
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pystache.context import KeyNotFoundError
from pystache.parser import (
    _ChangeNode,
    _CommentNode,
    _EscapeNode,
    _InvertedNode,
    _LiteralNode,
    _PartialNode,
    _SectionNode,
)

from relay import rendering
from relay.rendering import TemplateProblem, build_model, compile_template


@pytest.fixture(autouse=True)
def _settings_for_sentences():
    if not settings.configured:
        settings.configure(USE_I18N=False)


def body(html: str):
    return compile_template("", html)


def problem_of(subject: str = "", html: str = "") -> TemplateProblem:
    with pytest.raises(TemplateProblem) as caught:
        compile_template(subject, html)
    return caught.value


# --- What a template needs


def test_variables_are_found_in_every_spelling_subject_first_and_once():
    template = compile_template(
        "{{saldo}} de {{ nombre }}", "{{nombre}} {{{url}}} {{&logo}} {{ & pie }} {{user.name}} {{x}}"
    )
    assert template.needs == ("saldo", "nombre", "url", "logo", "pie", "user.name", "x")
    assert template.variables == template.needs
    assert template.flat
    assert template.conditional == template.conditions == template.partials == ()


def test_a_variable_only_in_a_section_is_conditional_and_the_section_is_a_condition():
    template = body("{{a}} {{#vip}}{{a}} {{code}} {{^late}}{{code}} {{due}}{{/late}}{{/vip}}")
    assert template.needs == ("a",)
    assert template.conditional == ("code", "due")
    assert template.conditions == ("vip", "late")
    assert template.variables == ("a", "code", "due")
    assert not template.flat


def test_a_section_without_variables_leaves_the_template_flat():
    template = body("{{a}} {{#vip}}gracias{{/vip}}")
    assert template.flat
    assert template.conditions == ("vip",)


def test_comments_partials_and_other_delimiters_are_understood():
    template = body("{{! {{nothing }}{{> pie}}{{=<% %>=}}<%a%> {{literal}} <%={{ }}=%>{{b}}")
    assert template.needs == ("a", "b")
    assert template.partials == ("pie",)
    assert template.render_html({"a": "1", "b": "2", "literal": "no"}) == "1 {{literal}} 2"


def test_names_may_have_blanks_accents_and_one_letter():
    assert body("{{ primer nombre }} {{año}} {{x}}").needs == ("primer nombre", "año", "x")


def test_a_dot_is_the_value_of_its_section_and_needs_nothing():
    template = body("{{#plan}}Su plan: {{.}}{{/plan}}")
    assert template.variables == ()
    assert template.missing({"plan": "Oro"}) == template.missing({"plan": ""}) == ()
    assert template.render_html({"plan": "Oro"}) == "Su plan: Oro"


# --- What a row lacks


@pytest.mark.parametrize("value", [None, "", " ", "\t\u00a0\n"])
def test_absent_and_blank_values_are_missing(value):
    model = {} if value is None else {"nombre": value}
    assert body("{{nombre}}").missing(model) == ("nombre",)


def test_zero_and_other_texts_are_values():
    assert body("{{a}}{{b}}{{c}}").missing({"a": "0", "b": "no", "c": 0}) == ()


def test_the_subject_needs_its_variables_too():
    assert compile_template("{{saldo}}", "{{nombre}}").missing({"nombre": "Ana"}) == ("saldo",)


@pytest.mark.parametrize(
    ("model", "missing"),
    [
        ({"vip": "sí", "code": "7"}, ()),
        ({"vip": "sí", "code": " "}, ("code",)),
        ({"vip": "sí"}, ("code",)),
        ({"vip": "", "why": "x"}, ()),
        ({"vip": "  ", "why": "x"}, ()),
        ({"vip": "  "}, ("why",)),
        ({}, ("why",)),
        ({"vip": "0"}, ("code",)),
    ],
)
def test_inside_a_section_a_variable_is_needed_only_when_the_section_shows(model, missing):
    assert body("{{#vip}}{{code}}{{/vip}}{{^vip}}{{why}}{{/vip}}").missing(model) == missing


def test_conditions_are_never_needs():
    assert body("{{#vip}}gracias{{/vip}}{{^late}}a tiempo{{/late}}").missing({}) == ()


def test_dotted_columns_are_objects_and_sections_over_them_look_inside_first():
    template = body("{{user.name}} {{#user}}{{name}} {{city}} {{total}}{{/user}}")
    model = build_model({"user.name": "Ana", "city": "Quito", "total": ""})
    assert template.missing(model) == ("total",)
    assert template.missing({}) == ("user.name",)
    assert template.missing({"user": "Ana"}) == ("user.name", "name", "city", "total")


def test_every_item_of_a_list_is_asked_and_a_name_said_once():
    template = body("{{#items}}{{price}}{{/items}}")
    assert template.missing({"items": [{"price": "1"}, {"price": ""}, {}]}) == ("price",)
    assert template.missing({"items": [{"price": "1"}]}) == template.missing({"items": []}) == ()


def test_an_object_where_a_text_should_stand_is_missing():
    assert body("{{user}}").missing({"user": {"name": "Ana"}}) == ("user",)


# --- The signature


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Hola {{a}} {{b}}", "<b>{{{ b }}}</b>{{a}}{{a}}"),
        ("{{a}}{{#s}}texto{{/s}}", "{{a}}"),
        ("{{#s}}{{a}}{{b}}{{/s}}", "{{#s}}{{b}}{{/s}} {{#s}}x{{/s}}{{! nada }}".replace("{{b}}", "{{b}}{{a}}")),
        ("{{=<% %>=}}<%a%>", "{{a}}"),
    ],
)
def test_templates_that_need_the_same_have_one_signature(first, second):
    assert body(first).needs_signature == body(second).needs_signature


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{{a}}", "{{b}}"),
        ("{{a}}", "{{#s}}{{a}}{{/s}}"),
        ("{{#s}}{{a}}{{/s}}", "{{^s}}{{a}}{{/s}}"),
        ("{{#s}}{{a}}{{/s}}", "{{#t}}{{a}}{{/t}}"),
        ("{{#s}}{{#t}}{{a}}{{/t}}{{/s}}", "{{#t}}{{#s}}{{a}}{{/s}}{{/t}}"),
    ],
)
def test_templates_that_need_something_else_have_another_signature(first, second):
    assert body(first).needs_signature != body(second).needs_signature


def test_the_signature_can_be_stored():
    assert compile_template("{{b}}", "{{a}}").needs_signature == body("{{a}}{{b}}").needs_signature
    assert len(body("{{a}}").needs_signature) == 64


# --- Mistakes


@pytest.mark.parametrize(
    ("html", "code", "line", "column"),
    [
        ("hola {{nombre", "unclosed_tag", 1, 6),
        ("hola\n  {{nombre} y", "unclosed_tag", 2, 3),
        ("{{nombre {{otro}}", "bad_tag", 1, 1),
        ("x {{}} {{a}}", "bad_tag", 1, 3),
        ("{{ }}", "bad_tag", 1, 1),
        ("{{{a}}", "bad_tag", 1, 1),
        ("{{{a} }", "unclosed_tag", 1, 1),
        ("{{#}}{{/}}", "bad_tag", 1, 1),
        ("{{na\nme}}", "bad_tag", 1, 1),
        ("a\nb {{#vip}} c", "unclosed_section", 2, 3),
        ("{{#a}}{{#b}}{{/b}}", "unclosed_section", 1, 1),
        ("{{/vip}}", "unopened_section", 1, 1),
        ("{{#a}}x{{/b}}", "wrong_section", 1, 8),
        ("{{#a}}{{#b}}{{/a}}{{/b}}", "wrong_section", 1, 13),
        ("{{=<% %>}}", "bad_delimiters", 1, 1),
        ("{{=<%=}}", "bad_delimiters", 1, 1),
        ("{{= =}}", "bad_delimiters", 1, 1),
        ("{{=a b c=}}", "bad_delimiters", 1, 1),
        ("{{=<% %>=}} <%a", "unclosed_tag", 1, 13),
        ("{{.}}", "dot_outside", 1, 1),
        ("{{#a}}" * 51 + "{{/a}}" * 51, "too_deep", 1, 301),
        ("{{#a}}" * 100_000, "too_deep", 1, 301),
    ],
)
def test_a_mistake_is_refused_with_its_place(html, code, line, column):
    problem = problem_of(html=html)
    assert (problem.code, problem.params["line"], problem.params["column"]) == (code, line, column)
    assert problem.params["part"] == "html"
    with translation.override("en"):
        assert f"line {line}, column {column}" in problem.sentence
        assert str(problem) == problem.sentence


def test_a_mistake_in_the_subject_says_so():
    assert problem_of(subject="Hola {{nombre").params["part"] == "subject"


def test_braces_of_style_sheets_are_no_tags():
    html = "<style>@media print { p { color: red }}</style>{{a}}"
    assert body(html).needs == ("a",)
    assert body(html).render_html({"a": "1"}) == html.replace("{{a}}", "1")


def test_a_template_over_two_megabytes_is_refused_and_one_below_is_read_quickly():
    assert problem_of(html="x" * 2_000_001).code == "too_large"
    started = time.perf_counter()
    assert body("<td>{{a}}</td>\n    " * 100_000).needs == ("a",)
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("html", [" " * 1_900_000, ("\n" * 90_000 + "x") * 20, "{{" + " " * 1_000_000 + "a}}"])
def test_blanks_that_would_keep_pystache_busy_for_hours_are_refused(html):
    assert problem_of(html=html).code == "too_many_blanks"


@pytest.mark.parametrize(
    "html", ["{{" * 900_000, "{{{" * 600_000, "{{{a}}" * 300_000, "{{a" * 600_000, "{{!" * 600_000]
)
def test_hostile_braces_are_refused_at_once(html):
    started = time.perf_counter()
    assert problem_of(html=html).code in ("unclosed_tag", "bad_tag")
    assert time.perf_counter() - started < 2


def test_the_deepest_template_allowed_is_analysed_and_rendered():
    template = body("{{#a}}" * 50 + "{{b}}" + "{{/a}}" * 50)
    assert template.missing({"a": "x"}) == ("b",)
    assert template.render_html({"a": "x", "b": "y"}) == "y"
    assert len(template.needs_signature) == 64


def test_every_code_has_a_sentence_that_takes_its_parameters():
    everything = dict.fromkeys(["part", "tag", "name", "open"], "x") | {"line": 1, "column": 2}
    for code in rendering._SENTENCES:
        with translation.override("en"):
            assert "%" not in TemplateProblem(code, **everything).sentence


# --- Rendering


def test_the_body_is_escaped_and_the_subject_is_not():
    template = compile_template("{{n}} y {{{n}}}", "{{n}} y {{{n}}} y {{&n}}")
    assert template.preview({"n": "Pérez & Hijos <'\">"}) == (
        "Pérez & Hijos <'\"> y Pérez & Hijos <'\">",
        "Pérez &amp; Hijos &lt;&#x27;&quot;&gt; y Pérez & Hijos <'\"> y Pérez & Hijos <'\">",
    )


def test_a_subject_is_one_line_whatever_its_values():
    template = compile_template("Hola {{n}}:\n{{#s}}{{n}}{{/s}}", "")
    assert template.render_subject({"n": "Ana\r\nBcc: x", "s": "1"}) == "Hola Ana Bcc: x: Ana Bcc: x"
    assert compile_template("Hola {{n}}", "").render_subject({"n": "a\rb\nc\u2028d\x85e"}) == "Hola a b c d e"


def test_percent_signs_in_subject_and_values_are_text():
    assert compile_template("100% de {{n}} %s %(n)s", "").render_subject({"n": "5%"}) == "100% de 5% %s %(n)s"


def test_missing_variables_render_as_nothing():
    assert compile_template("a{{x}}b{{y.z}}c", "a{{x}}b").preview({"y": "text"}) == ("abc", "ab")


def test_partials_render_as_nothing_and_never_read_a_file(tmp_path, monkeypatch):
    (tmp_path / "secreto.mustache").write_text("SECRETO")
    monkeypatch.chdir(tmp_path)
    assert compile_template("a{{> secreto}}b", "a{{> secreto}}b").preview({}) == ("ab", "ab")


def test_values_are_not_templates():
    assert compile_template("{{a}}", "{{{a}}}").preview({"a": "{{b}}", "b": "no"}) == ("{{b}}", "{{b}}")


def test_a_model_may_be_any_mapping():
    from types import MappingProxyType

    assert compile_template("{{a}}", "{{a}}").preview(MappingProxyType({"a": "1"})) == ("1", "1")


def test_plain_subjects_render_at_hundreds_of_thousands_a_second():
    template = compile_template("Hola {{nombre}}, su saldo es {{saldo}}", "")
    model = {"nombre": "Ana", "saldo": "12,50"}
    started = time.perf_counter()
    for _ in range(100_000):
        template.render_subject(model)
    assert time.perf_counter() - started < 1  # ~0.06 s on the machine it was written on


# --- Models


def test_a_dotted_column_becomes_a_nested_object():
    assert build_model({"user.name": "Ana", "user.home.city": "Quito", "x": " 1 "}) == {
        "user": {"name": "Ana", "home": {"city": "Quito"}},
        "x": " 1 ",
    }


def test_a_blank_value_becomes_empty_so_that_it_opens_no_section():
    model = build_model({"vip": " \u00a0", "code": "7"})
    assert model == {"vip": "", "code": "7"}
    assert body("{{#vip}}{{code}}{{/vip}}").render_html(model) == ""


def test_a_mapping_adds_variables_with_the_value_of_a_column():
    assert build_model({"NOMBRE": "Ana"}, {"user.name": "NOMBRE", "n": "NOMBRE"}) == {
        "NOMBRE": "Ana",
        "user": {"name": "Ana"},
        "n": "Ana",
    }


def test_a_mapping_to_a_column_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        build_model({"a": "1"}, {"b": "c"})


@pytest.mark.parametrize("names", [["user", "user.name"], ["user.name", "user"], ["a.b.c", "a.b"], ["a.b", "a.b.c"]])
def test_a_name_that_is_a_text_and_an_object_is_an_error(names):
    with pytest.raises(ValueError, match="text"):
        build_model(dict.fromkeys(names, "x"))


# --- Agreement with pystache

NAMES = ["a", "b", "c", "u.x", "u.y", "long name"]
names = st.sampled_from(NAMES)
texts = st.text("ab {}%<&\n\t\r é", max_size=6).map(lambda text: text.replace("{{", "{ {"))
variable_tags = st.builds(
    "".join,
    st.one_of(
        st.tuples(st.just("{{"), names, st.just("}}")),
        st.tuples(st.just("{{ "), names, st.just(" }}")),
        st.tuples(st.just("{{{"), names, st.just("}}}")),
        st.tuples(st.just("{{&"), names, st.just("}}")),
    ),
)


def _section(parts):
    sign, name, inner = parts
    return "{{" + sign + name + "}}" + inner + "{{/" + name + "}}"


def _joined(pieces):
    return "".join(pieces)


templates = st.recursive(
    st.lists(st.one_of(texts, variable_tags, st.just("{{! nota }}")), max_size=4).map(_joined),
    lambda inner: st.lists(
        st.one_of(
            inner, st.tuples(st.sampled_from("#^"), st.sampled_from(["a", "b", "u", "u.x"]), inner).map(_section)
        ),
        max_size=4,
    ).map(_joined),
    max_leaves=8,
)
plain_subjects = st.lists(st.one_of(texts, variable_tags), max_size=6).map(_joined)
values = st.sampled_from(["Ana", "Pérez & Hijos", "<b>", "0", "x\ny", "{{a}}", "%s", "", " "])
models = st.dictionaries(names, values).map(build_model)


def usable(html: str):
    try:
        return body(html)
    except TemplateProblem:
        assume(False)


@given(plain_subjects, models)
@hypothesis_settings(max_examples=1_500, deadline=None)
def test_the_fast_subject_is_what_pystache_gives(subject, model):
    try:
        template = compile_template(subject, "")
    except TemplateProblem:
        assume(False)
    assert rendering._fast_subject(subject) is not None
    renderer = pystache.Renderer(missing_tags="ignore", partials={}, escape=lambda text: text)
    expected = renderer.render(subject, model)
    assert template._subject_renderer(model) == expected
    assert template.render_subject(model) == " ".join(expected.splitlines())


@given(templates, models)
@hypothesis_settings(max_examples=1_500, deadline=None)
def test_what_is_missing_is_what_a_strict_pystache_stumbles_over(html, model):
    template = usable(html)
    # Where both are defined: strict pystache also demands conditions, and takes an empty value for a value.
    for name in template.conditions:
        assume(_has(model, name))
    pruned = _without_empty(model, keep=template.conditions)
    missing = template.missing(pruned)
    stumbled_over = _strict_problem(html, pruned)
    if stumbled_over is None:
        assert [name for name in missing if not _has(pruned, name)] == []
    else:
        assert stumbled_over in missing


def _strict_problem(html, model):
    try:
        pystache.Renderer(missing_tags="strict", partials={}).render(html, model)
    except KeyNotFoundError as error:
        return error.key
    return None


def _has(model, name):
    for part in name.split("."):
        if not isinstance(model, dict) or part not in model:
            return False
        model = model[part]
    return True


def _without_empty(model, keep, prefix=""):
    pruned = {}
    for key, value in model.items():
        name = prefix + key
        if isinstance(value, dict):
            pruned[key] = _without_empty(value, keep, name + ".")
        elif value or name in keep:
            pruned[key] = value
    return pruned


@given(templates)
@hypothesis_settings(max_examples=1_500, deadline=None)
def test_the_scanner_sees_the_tree_that_pystache_sees(html):
    template = usable(html)
    assert _ours(template._nodes) == _theirs(pystache.parse(html, raise_on_mismatch=True))


@given(st.text("{}#/^&=!> a\n.", max_size=14))
@hypothesis_settings(max_examples=3_000, deadline=None)
def test_whatever_the_scanner_lets_through_is_read_alike_by_pystache(html):
    template = usable(html)
    assert _ours(template._nodes) == _theirs(pystache.parse(html, raise_on_mismatch=True))
    template.render_html({"a": "1"})


def _ours(nodes):
    return [node.name if node.children is None else (node.name, node.inverted, _ours(node.children)) for node in nodes]


def _theirs(parsed):
    seen = []
    for node in parsed._parse_tree:
        if isinstance(node, _EscapeNode | _LiteralNode):
            seen.append(node.key)
        elif isinstance(node, _SectionNode):
            seen.append((node.key, False, _theirs(node.parsed)))
        elif isinstance(node, _InvertedNode):
            seen.append((node.key, True, _theirs(node.parsed_section)))
        else:
            assert isinstance(node, str | _ChangeNode | _CommentNode | _PartialNode)
    return seen


@given(templates, templates, st.lists(models, max_size=4))
@hypothesis_settings(max_examples=500, deadline=None)
def test_equal_signatures_mean_equal_needs_for_every_row(first, second, rows):
    one, other = usable(first), usable(second)
    assume(one.needs_signature == other.needs_signature)
    for model in rows:
        assert set(one.missing(model)) == set(other.missing(model))


@given(templates, models)
@hypothesis_settings(max_examples=500, deadline=None)
def test_a_flat_template_misses_exactly_its_blank_needs(html, model):
    template = usable(html)
    if template.flat:
        shown = {
            name: pystache.Renderer(missing_tags="ignore").render("{{{" + name + "}}}", model)
            for name in template.needs
        }
        assert template.missing(model) == tuple(name for name in template.needs if not shown[name].strip())
