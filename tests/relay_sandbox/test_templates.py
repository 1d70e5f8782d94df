"""Templates over HTTP, and how they render (relay API notes §3)."""

from pathlib import Path

import pytest

from relay_sandbox.rendering import render_html, subject_renderer
from tests.relay_sandbox.harness import Relay

TEMPLATES = "/accounts/sandbox/templates"
NEW = {"name": "Nueva", "from_email": "avisos@example.com", "from_name": "Avisos", "subject": "Hola {{nombre}}"}


def test_a_new_store_has_the_samples_under_ids_that_never_change(relay: Relay) -> None:
    items = relay.get(TEMPLATES).json["items"]
    samples = {item["id"]: (item["name"], item["bodyType"], "body" in item) for item in items}
    assert samples["6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1001"] == ("Aviso de pago", "rawHtml", True)
    assert samples["6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1002"] == ("Boletín mensual", "rawHtml", True)
    assert samples["6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1003"] == ("Bienvenida", "mseditor", False)
    assert samples["6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1004"] == ("Borrador sin contenido", "empty", False)


def test_one_sample_shows_its_body_only_through_its_link(relay: Relay) -> None:
    assert "{{cedula}}" in relay.get(f"{TEMPLATES}/{relay.payment}").json["body"]
    newsletter = relay.get(f"{TEMPLATES}/{relay.newsletter}").json
    assert "body" not in newsletter
    [href] = [one["href"] for one in newsletter["_links"] if "/docs/rels/get-template-body" in one["rel"].split()]
    assert "{{#promo}}" in relay.get(href).json["html"]


def test_bodies_of_the_editor_and_of_nothing(relay: Relay) -> None:
    assert set(relay.get(f"{TEMPLATES}/{relay.welcome}/body").json["mseditor"]) == {
        "attributes",
        "settings",
        "children",
    }
    assert relay.get(f"{TEMPLATES}/{relay.draft}/body").json["html"] == ""


def test_a_template_is_saved_in_two_steps_changed_and_deleted(relay: Relay) -> None:
    created = relay.call("POST", TEMPLATES, {**NEW, "body": "<p>ignored</p>"})
    href = created.headers["location"]
    assert created.status == 201
    assert href.endswith(created.json["createdResourceId"])
    assert relay.get(href).json["bodyType"] == "empty"

    assert relay.call("PUT", f"{href}/body", {"html": "<b>{{nombre}}</b>"}).status == 200
    template = relay.get(href).json
    assert (template["bodyType"], template["body"]) == ("rawHtml", "<b>{{nombre}}</b>")

    changed = {"id": template["id"], "name": "Otra", "from_email": "avisos@example.com"}
    assert relay.call("PUT", href, changed).status == 200
    template = relay.get(href).json
    assert (template["name"], template["subject"], template["body"]) == ("Otra", None, "<b>{{nombre}}</b>")

    assert relay.call("DELETE", href).status == 200
    assert relay.get(href).code == "404.1"
    assert relay.send_template(template["id"], {}).code == "404.1"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"from_email": "x"}, "from_email"),
        ({"from_email": None}, "from_email"),
        ({"subject": 3}, "subject"),
        ({"subject": "x" * 257}, "subject"),
        ({"from_name": "x" * 101}, "from_name"),
    ],
)
def test_a_template_needs_name_and_sender(relay: Relay, changes: dict[str, object], key: str) -> None:
    answer = relay.call("POST", TEMPLATES, {**NEW, **changes})
    assert answer.code == "400.1"
    assert [error["key"] for error in answer.json["errors"]] == [key]


def test_an_update_for_another_id_or_a_body_without_html_is_refused(relay: Relay) -> None:
    assert relay.call("PUT", f"{TEMPLATES}/{relay.draft}", {**NEW, "id": relay.payment}).code == "400.1"
    assert relay.call("PUT", f"{TEMPLATES}/{relay.draft}/body", {"mseditor": {}}).code == "400.1"


def test_a_mail_shows_the_body_its_template_had_when_it_was_accepted(relay: Relay) -> None:
    href = relay.call("POST", TEMPLATES, NEW).headers["location"]
    template_id = href.rsplit("/", 1)[1]
    relay.call("PUT", f"{href}/body", {"html": "antes, {{nombre}}"})
    relay.send_template(template_id, {"nombre": "Ana"})
    relay.call("PUT", f"{href}/body", {"html": "después, {{nombre}}"})
    relay.send_template(template_id, {"nombre": "Ana"})
    bodies = [relay.get(f"/inbox/{item['id']}/html").body.decode() for item in relay.messages()]
    assert bodies == ["antes, Ana", "después, Ana"]


def test_each_step_of_a_save_can_fail_before_or_after_it_is_done(relay: Relay) -> None:
    relay.faults(templates={"create": "500_after", "update": ["ok", "400"], "body": ["500_before", "500_after"]})
    assert relay.call("POST", TEMPLATES, {**NEW, "name": "Con fallas"}).status == 500
    [href] = [item["_links"][0]["href"] for item in relay.get(TEMPLATES).json["items"] if item["name"] == "Con fallas"]
    assert relay.call("PUT", href, NEW).status == 200
    assert relay.call("PUT", href, {**NEW, "name": "Otra"}).code == "400.1"
    assert relay.call("PUT", f"{href}/body", {"html": "<b>"}).status == 500
    assert relay.get(f"{href}/body").json["html"] == ""
    assert relay.call("PUT", f"{href}/body", {"html": "<b>"}).status == 500
    assert relay.get(href).json["body"] == "<b>"
    assert relay.get(href).json["name"] == "Nueva"

    relay.faults(templates={"get": "404", "delete": "429", "list": "502_html", "get_body": "html"})
    assert relay.get(href).code == "404.1"
    assert relay.get(TEMPLATES).status == 502
    assert relay.get(f"{href}/body").headers["content-type"].startswith("text/html")
    assert relay.call("DELETE", href).status == 429
    relay.faults()
    assert relay.call("DELETE", href).status == 200


# -- rendering ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{nombre}}|{{ nombre }}|{{nadie}}|{{user.name}}|{{user.nadie.x}}", "Ana|Ana||Luis|"),
        ("{{nulo}}|{{si}}|{{monto}}|{{cuenta}}", "|true|120.5|7"),
        ("{{#promo}}[{{t}}]{{/promo}}{{^nada}}vacío{{/nada}}", "[a][b]vacío"),
        ("{{html}} {{{html}}}", "&lt;b&gt; <b>"),
    ],
)
def test_what_is_missing_renders_as_nothing(template: str, expected: str) -> None:
    model = {
        "nombre": "Ana",
        "user": {"name": "Luis"},
        "nulo": None,
        "si": True,
        "monto": 120.5,
        "cuenta": 7,
        "promo": [{"t": "a"}, {"t": "b"}],
        "html": "<b>",
    }
    assert render_html(template, model) == expected


@pytest.mark.parametrize(
    "subject", ["Hola", "", "{{a}}", "x {{ a }} y {{b.c}}{{nadie}}", "{{b}} {{l}} {{f}}", "{{a-b}} {{a}}{{a}}"]
)
def test_the_quick_way_for_plain_subjects_gives_what_mustache_gives(subject: str) -> None:
    model = {"a": "Ana", "b": {"c": 3}, "l": [1], "f": False, "a-b": "guion"}
    slow = subject_renderer(subject + "{{! not plain }}")
    assert subject_renderer(subject)(model) == slow(model)


def test_a_subject_is_no_html_and_may_have_sections() -> None:
    assert subject_renderer("{{a}} {{#b}}& {{b}}{{/b}}")({"a": "<1>", "b": "Cía"}) == "<1> & Cía"


def test_partials_never_read_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.mustache").write_text("SECRET")
    monkeypatch.chdir(tmp_path)
    assert render_html("a{{> secret}}{{> /etc/passwd}}b", {}) == "ab"
    assert subject_renderer("a{{> secret}}b")({}) == "ab"


def test_a_broken_template_is_shown_as_it_is() -> None:
    assert render_html("{{#a}}x{{/b}}", {"a": 1}) == "{{#a}}x{{/b}}"
