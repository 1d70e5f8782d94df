"""Saving a template takes two calls, and each may fail on its own: what the relay has is always told, never guessed."""

from dataclasses import replace
from typing import Any

import pytest

from relay.mail_templates import Gone, Version, fetch, version_of
from relay.models import MailTemplate
from relay.template_saving import (
    ChangedMeanwhile,
    HalfSaved,
    NotKnown,
    NotSaved,
    Protected,
    create,
    delete,
    discard,
    finish,
    save,
)
from tests.relay.rows import new_bulk_send
from tests.relay.templates_at_relay import TemplatesAtRelay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]
NEW = Version("Nueva", "Hola {{nombre}}", "avisos@example.com", "Avisos", "<p>Hola {{nombre}}</p>")


@pytest.fixture
def template(at_relay: TemplatesAtRelay) -> MailTemplate:
    return fetch(at_relay.make())


def edited(template: MailTemplate, **changes: str) -> Version:
    return replace(version_of(template), **changes)


def save_as_seen(template: MailTemplate, version: Version) -> MailTemplate:
    return save(template, version, seen=version_of(template).digest)


def stored(template: MailTemplate) -> MailTemplate:
    return MailTemplate.objects.get(pk=template.pk)


BOTH = {"name": "Otro nombre", "html": "<p>otro texto</p>"}


# --- all is well --------------------------------------------------------------------------------------------


def test_what_is_created_is_at_the_relay_and_in_the_copy(at_relay: TemplatesAtRelay) -> None:
    made = create(NEW)
    assert at_relay.has(made.template_id) == NEW
    assert (version_of(stored(made)), made.saved, made.variables) == (NEW, "whole", ["nombre"])
    assert made.changed_at is not None


def test_what_is_saved_is_at_the_relay_and_in_the_copy(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    saved = save_as_seen(template, edited(template, **BOTH))
    assert at_relay.has(template.template_id) == version_of(stored(saved)) == edited(template, **BOTH)
    assert saved.saved == "whole"


@pytest.mark.parametrize(("changes", "unused"), [({"name": "Otro"}, "body"), ({"html": "<p>otro</p>"}, "update")])
def test_only_the_step_that_is_needed_is_taken(
    at_relay: TemplatesAtRelay, template: MailTemplate, changes: dict[str, str], unused: str
) -> None:
    at_relay.sandbox.faults(templates={unused: "400"})
    save_as_seen(template, edited(template, **changes))
    assert at_relay.has(template.template_id) == edited(template, **changes)


# --- one step fails -----------------------------------------------------------------------------------------

REFUSALS = ["400", "401", "429", "500_before", "502_html_before", "stall_before"]


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refused_first_step_has_saved_nothing(at_relay: TemplatesAtRelay, template: MailTemplate, fault: str) -> None:
    before = at_relay.has(template.template_id)
    at_relay.sandbox.faults(templates={"update": fault})
    with pytest.raises(NotSaved, match="Nothing was saved"):
        save_as_seen(template, edited(template, **BOTH))
    at_relay.sandbox.faults()
    assert at_relay.has(template.template_id) == before
    assert (stored(template).saved, stored(template).wanted) == ("whole", None)


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_second_step_that_fails_is_half_saved_and_can_be_finished(
    at_relay: TemplatesAtRelay, template: MailTemplate, fault: str
) -> None:
    wanted = edited(template, **BOTH)
    at_relay.sandbox.faults(templates={"body": fault})
    with pytest.raises(HalfSaved, match="still the former content"):
        save_as_seen(template, wanted)
    at_relay.sandbox.faults()
    half = stored(template)
    assert (half.saved, half.wanted) == ("half", wanted.as_json())
    assert version_of(half) == at_relay.has(template.template_id) == replace(wanted, html=template.html)

    assert finish(half).saved == "whole"
    assert at_relay.has(template.template_id) == version_of(stored(template)) == wanted


def test_a_second_step_that_fails_alone_has_saved_nothing(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    at_relay.sandbox.faults(templates={"body": "400"})
    with pytest.raises(NotSaved, match="still has the former content"):
        save_as_seen(template, edited(template, html="<p>otro</p>"))
    assert stored(template).saved == "whole"


def test_a_creation_without_its_content_is_half_saved(at_relay: TemplatesAtRelay) -> None:
    at_relay.sandbox.faults(templates={"body": "500_before"})
    with pytest.raises(HalfSaved, match="no content yet"):
        create(NEW)
    half = MailTemplate.objects.get()
    assert (half.saved, half.html, half.name) == ("half", "", "Nueva")
    at_relay.sandbox.faults()
    finish(half)
    assert at_relay.has(half.template_id) == NEW
    assert at_relay.names() == ["Nueva"]


def test_what_broke_off_can_be_given_up(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    at_relay.sandbox.faults(templates={"body": "400"})
    with pytest.raises(HalfSaved):
        save_as_seen(template, edited(template, **BOTH))
    discard(stored(template))
    assert (stored(template).saved, stored(template).wanted) == ("whole", None)
    assert version_of(stored(template)) == at_relay.has(template.template_id)


# --- no usable answer ---------------------------------------------------------------------------------------

DONE_UNANSWERED = ["500_after", "502_html_after", "stall_after"]


@pytest.mark.parametrize("fault", DONE_UNANSWERED)
@pytest.mark.parametrize("step", ["update", "body"])
def test_a_step_that_was_done_without_an_answer_is_found_to_be_done(
    at_relay: TemplatesAtRelay, template: MailTemplate, step: str, fault: str
) -> None:
    at_relay.sandbox.faults(templates={step: fault})
    save_as_seen(template, edited(template, **BOTH))
    assert at_relay.has(template.template_id) == version_of(stored(template)) == edited(template, **BOTH)
    assert stored(template).saved == "whole"


@pytest.mark.parametrize("fault", [*DONE_UNANSWERED, "no_id_after", "truncated_after", "reset_after"])
def test_a_creation_without_an_answer_is_found_and_not_repeated(at_relay: TemplatesAtRelay, fault: str) -> None:
    at_relay.make("Nueva", subject=NEW.subject)  # another one with the same name was there before
    at_relay.sandbox.faults(templates={"create": fault})
    made = create(NEW)
    assert at_relay.has(made.template_id) == NEW
    assert at_relay.names() == ["Nueva", "Nueva"]


def test_a_creation_that_cannot_be_found_is_not_known(at_relay: TemplatesAtRelay) -> None:
    at_relay.sandbox.faults(templates={"create": "500_before"})
    with pytest.raises(NotKnown, match="Refresh the list"):
        create(NEW)
    assert not MailTemplate.objects.exists()
    assert at_relay.names() == []


@pytest.mark.parametrize("step", ["update", "body"])
@pytest.mark.parametrize("fault", ["500_after", "500_before"])
def test_a_step_that_cannot_be_looked_up_is_not_known_and_can_be_finished(
    at_relay: TemplatesAtRelay, template: MailTemplate, step: str, fault: str
) -> None:
    wanted = edited(template, **BOTH)
    at_relay.sandbox.faults(templates={step: fault, "get": ["ok", *["500"] * 3]})
    with pytest.raises(NotKnown, match="not known"):
        save_as_seen(template, wanted)
    assert (stored(template).saved, stored(template).wanted) == ("unknown", wanted.as_json())
    at_relay.sandbox.faults()
    finish(stored(template))
    assert at_relay.has(template.template_id) == version_of(stored(template)) == wanted
    assert stored(template).saved == "whole"


def test_reading_it_again_settles_what_was_not_known(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    at_relay.sandbox.faults(templates={"body": "500_after", "get": ["ok", *["500"] * 3]})
    with pytest.raises(NotKnown):
        save_as_seen(template, edited(template, **BOTH))
    at_relay.sandbox.faults()
    assert fetch(template.template_id).saved == "whole"


# --- changed, gone, protected -------------------------------------------------------------------------------


def test_a_change_of_somebody_else_is_not_overwritten(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    at_relay.write(template.template_id, "<p>de otra persona</p>")
    mine = edited(template, html="<p>mía</p>")
    with pytest.raises(ChangedMeanwhile) as told:
        save_as_seen(template, mine)
    assert told.value.current.html == "<p>de otra persona</p>"
    assert at_relay.has(template.template_id).html == "<p>de otra persona</p>"
    save(stored(template), mine, seen=told.value.current.digest)  # having seen it
    assert at_relay.has(template.template_id).html == "<p>mía</p>"


def test_finishing_does_not_overwrite_somebody_else_either(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    at_relay.sandbox.faults(templates={"body": "400"})
    with pytest.raises(HalfSaved):
        save_as_seen(template, edited(template, **BOTH))
    at_relay.sandbox.faults()
    at_relay.write(template.template_id, "<p>de otra persona</p>")
    with pytest.raises(ChangedMeanwhile):
        finish(stored(template))
    assert stored(template).wanted is not None


def test_a_template_that_is_gone_is_marked(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    at_relay.delete(template.template_id)
    with pytest.raises(Gone):
        save_as_seen(template, edited(template, **BOTH))
    assert stored(template).gone_at is not None


def test_an_unreachable_relay_has_saved_nothing(template: MailTemplate, settings: Any) -> None:
    settings.DOPPLER_RELAY_BASE_URL = "http://127.0.0.1:9/"
    with pytest.raises(NotSaved):
        save_as_seen(template, edited(template, **BOTH))
    with pytest.raises(NotSaved):
        create(NEW)


def test_the_content_of_the_visual_editor_is_never_written(at_relay: TemplatesAtRelay) -> None:
    template = fetch(at_relay.make(visual=True))
    with pytest.raises(Protected, match="visual editor"):
        save_as_seen(template, edited(template, html="<p>otro</p>"))
    save_as_seen(template, edited(template, name="Otro nombre"))
    assert at_relay.has(template.template_id) == edited(template, name="Otro nombre")
    assert fetch(template.template_id).made_visually


def test_line_breaks_alone_are_no_change(at_relay: TemplatesAtRelay) -> None:
    template = fetch(at_relay.make(html="<p>uno</p>\r\n<p>dos</p>\r\n"))
    at_relay.sandbox.faults(templates={"body": "400"})
    save_as_seen(template, edited(template, name="Otro", html="<p>uno</p>\n<p>dos</p>"))
    assert at_relay.has(template.template_id).html == template.html


# --- delete -------------------------------------------------------------------------------------------------


def test_a_deleted_template_is_gone(at_relay: TemplatesAtRelay, template: MailTemplate) -> None:
    delete(template)
    assert at_relay.names() == []
    assert stored(template).gone_at is not None


@pytest.mark.parametrize("status", ["draft", "pending", "sending", "settling"])
def test_what_a_bulk_send_uses_is_not_deleted(at_relay: TemplatesAtRelay, template: MailTemplate, status: str) -> None:
    new_bulk_send(name="Cuotas de marzo", status=status, template_id=template.template_id)
    with pytest.raises(Protected, match="«Cuotas de marzo»"):
        delete(template)
    assert at_relay.names() == ["Aviso"]


def test_a_deletion_without_an_answer_is_looked_up(at_relay: TemplatesAtRelay) -> None:
    done, undone = fetch(at_relay.make("Una")), fetch(at_relay.make("Dos"))
    at_relay.sandbox.faults(templates={"delete": ["500_after", "500_before", "500_before", "400"]})
    delete(done)
    assert stored(done).gone_at is not None
    with pytest.raises(NotSaved, match="not deleted"):
        delete(undone)
    at_relay.sandbox.faults(templates={"delete": "500_before", "get": "500"})
    with pytest.raises(NotKnown):
        delete(undone)
    at_relay.sandbox.faults()
    at_relay.delete(undone.template_id)
    delete(undone)  # gone already: as wanted
    assert stored(undone).gone_at is not None
