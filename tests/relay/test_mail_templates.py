"""The copy of the relay's templates follows what the relay has, and says so when it cannot."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from relay import mail_templates
from relay.account import NotConfigured
from relay.mail_templates import Gone, Refreshed, RelayOutOfReach, refresh
from relay.models import MailTemplate
from tests.relay.templates_at_relay import TemplatesAtRelay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


def copy(template_id: str) -> MailTemplate:
    return MailTemplate.objects.get(template_id=template_id)


def age(template_id: str, days: int = 1) -> None:
    """As if the copy and its template were from before: what is younger than two minutes is read again."""
    before = timezone.now() - timedelta(days=days)
    MailTemplate.objects.filter(template_id=template_id).update(fetched_at=before)


def test_a_refresh_copies_what_the_relay_has(at_relay: TemplatesAtRelay) -> None:
    plain = at_relay.make("Aviso", "<p>{{nombre}} debe {{monto}}</p>", subject="{{nombre}}, su cuota")
    visual = at_relay.make("Bienvenida", "<p>{{socio}}</p>", visual=True)
    assert refresh() == Refreshed(new=2)
    copied = copy(plain)
    assert (copied.name, copied.from_email, copied.variables) == ("Aviso", "avisos@example.com", ["nombre", "monto"])
    assert mail_templates.version_of(copied) == at_relay.has(plain)
    assert not copied.made_visually
    assert (copy(visual).html, copy(visual).made_visually) == ("<p>{{socio}}</p>", True)


def test_unchanged_templates_cost_no_call_of_their_own(at_relay: TemplatesAtRelay) -> None:
    at_relay.sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": -3600})  # made an hour ago
    template_id = at_relay.make(visual=True)
    at_relay.sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 0})
    refresh()
    age(template_id, days=0)
    at_relay.sandbox.faults(templates={"get_body": "500"})
    assert refresh() == Refreshed()


def test_a_change_at_the_relay_is_copied(at_relay: TemplatesAtRelay) -> None:
    template_id = at_relay.make()
    refresh()
    at_relay.write(template_id, "<p>otra {{cosa}}</p>")
    assert refresh() == Refreshed(changed=1)
    assert (copy(template_id).html, copy(template_id).variables) == ("<p>otra {{cosa}}</p>", ["cosa"])


def test_what_the_relay_no_longer_has_is_marked_and_comes_back_if_it_does(at_relay: TemplatesAtRelay) -> None:
    gone, stays = at_relay.make("Vieja"), at_relay.make("Nueva")
    refresh()
    at_relay.delete(gone)
    assert refresh().gone == 1
    assert copy(gone).gone_at is not None
    assert copy(stays).gone_at is None
    assert refresh().gone == 0


def test_an_unreachable_relay_is_one_sentence_and_the_copy_stays(at_relay: TemplatesAtRelay, settings: Any) -> None:
    template_id = at_relay.make()
    refresh()
    settings.DOPPLER_RELAY_BASE_URL = "http://127.0.0.1:9/"
    with pytest.raises(RelayOutOfReach, match="does not answer"):
        refresh()
    assert copy(template_id).gone_at is None


def test_a_refused_key_says_which_settings_to_look_at(at_relay: TemplatesAtRelay, settings: Any) -> None:
    settings.DOPPLER_RELAY_API_KEY = "otra"
    with pytest.raises(RelayOutOfReach, match="DOPPLER_RELAY_API_KEY") as refused:
        refresh()
    assert "401.1" in str(refused.value)
    settings.DOPPLER_RELAY_API_KEY = ""
    with pytest.raises(NotConfigured):
        refresh()


def test_a_list_that_breaks_off_takes_nobody_for_gone(at_relay: TemplatesAtRelay) -> None:
    template_ids = [at_relay.make(f"Plantilla {number:02}") for number in range(60)]
    refresh()
    at_relay.sandbox.faults(templates={"list": ["ok", "500", "500", "500"]})
    with pytest.raises(RelayOutOfReach):
        refresh()
    assert MailTemplate.objects.there().count() == len(template_ids)


def test_a_young_copy_is_left_alone(at_relay: TemplatesAtRelay) -> None:
    template_id = at_relay.make()
    refresh()
    at_relay.write(template_id, "<p>otra</p>")
    assert refresh(max_age=timedelta(minutes=5)) == Refreshed()
    age(template_id)
    assert refresh(max_age=timedelta(minutes=5)) == Refreshed(changed=1)


def test_time_that_is_up_is_told_and_the_next_refresh_goes_on(at_relay: TemplatesAtRelay, monkeypatch: Any) -> None:
    for number in range(3):
        at_relay.make(f"Plantilla {number}")
    monkeypatch.setattr(mail_templates, "REFRESH_SECONDS", 0)
    assert not refresh().complete
    monkeypatch.undo()
    assert refresh() == Refreshed(new=3)


def test_one_is_read_anew(at_relay: TemplatesAtRelay) -> None:
    template_id = at_relay.make()
    assert mail_templates.fetch(template_id).name == "Aviso"
    at_relay.delete(template_id)
    with pytest.raises(Gone):
        mail_templates.fetch(template_id)
    assert copy(template_id).gone_at is not None


def test_a_template_with_a_mistake_is_copied_and_marked(at_relay: TemplatesAtRelay) -> None:
    template_id = at_relay.make(html="<p>{{#abierta}}</p>")
    refresh()
    assert copy(template_id).has_mistake


def test_an_older_reading_does_not_replace_a_younger_one(at_relay: TemplatesAtRelay) -> None:
    template_id = at_relay.make()
    began = timezone.now()
    mail_templates.fetch(template_id)
    old = mail_templates.Version("Vieja", "", "a@example.com", "", "<p>vieja</p>")
    mail_templates.keep_all([mail_templates.Reading(template_id, old, False, None)], read_at=began)
    assert copy(template_id).name == "Aviso"
