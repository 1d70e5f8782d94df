"""The pages of templates: who may do what, what is told when a save goes wrong, and that no mail runs anything."""

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay.admin.template_forms import LARGEST_HTML
from relay.admin.template_frames import POLICY
from relay.mail_templates import Version, fetch, refresh, version_of
from relay.models import BulkSend, MailTemplate, Recipient
from tests.console import page
from tests.relay.admin_rows import user
from tests.relay.rows import new_bulk_send
from tests.relay.templates_at_relay import TemplatesAtRelay

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]
LIST = "/admin/relay/mailtemplate/"
ADD = f"{LIST}add/"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
WRITTEN = {
    "name": "Nueva",
    "subject": "Hola {{nombre}}",
    "from_email": "avisos@example.com",
    "from_name": "Avisos",
    "html": "<p>Hola {{nombre}}</p>",
}
NEW = Version(**WRITTEN)


def address(template: MailTemplate, what: str = "change") -> str:
    return f"{LIST}{template.pk}/{what}/"


def said(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


def kept(**fields: Any) -> MailTemplate:
    """A copy, of which the relay need not know."""
    usual = {**WRITTEN, "name": "Aviso", "template_id": "t1", "fetched_at": timezone.now()}
    return MailTemplate.objects.create(**usual | fields)


def opened(client: Client, template: MailTemplate) -> dict[str, str]:
    """What the form of the page holds, as a browser would send it back."""
    form = client.get(address(template)).context["form"]
    return {name: form[name].value() or "" for name in form.fields}


@pytest.fixture
def writer(client: Client) -> Client:
    rights = ("view_mailtemplate", "add_mailtemplate", "change_mailtemplate", "delete_mailtemplate")
    client.force_login(user("redactora", *rights))
    return client


@pytest.fixture
def onlooker(client: Client) -> Client:
    client.force_login(user("auditora", "view_mailtemplate"))
    return client


# --- the list -----------------------------------------------------------------------------------------------


def test_an_empty_list_says_what_to_do_and_a_refresh_fills_it(writer: Client, at_relay: TemplatesAtRelay) -> None:
    at_relay.make("Cobranza")
    assert "press «Refresh from the relay»" in page(writer, LIST)
    answer = writer.post(f"{LIST}refresh/", follow=True)
    assert "New: 1." in answer.content.decode()
    assert "Cobranza" in answer.content.decode()


def test_an_unreachable_relay_is_told_on_the_page(writer: Client, at_relay: TemplatesAtRelay, settings: Any) -> None:
    settings.DOPPLER_RELAY_BASE_URL = "http://127.0.0.1:9/"
    assert "does not answer" in said(writer.post(f"{LIST}refresh/"))[0]


def test_the_list_is_searched_by_name_and_subject_and_hides_what_is_gone(writer: Client) -> None:
    kept(name="Cobranza", template_id="a")
    kept(name="Boletín", subject="Novedades de marzo", template_id="b")
    kept(name="Vieja", template_id="c", gone_at=timezone.now())
    assert "Vieja" not in page(writer, LIST)
    assert "Vieja" in page(writer, f"{LIST}?where=gone")
    found = page(writer, f"{LIST}?q=marzo")
    assert "Boletín" in found
    assert "Cobranza" not in found


def test_two_thousand_templates_are_listed_without_their_contents(writer: Client) -> None:
    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            page(writer, LIST)
        return [query["sql"] for query in captured.captured_queries]

    rows = [
        MailTemplate(**{**WRITTEN, "name": f"Plantilla {n}", "template_id": str(n)}, fetched_at=timezone.now())
        for n in range(2000)
    ]
    MailTemplate.objects.bulk_create(rows[:30])
    few = len(queries())
    MailTemplate.objects.bulk_create(rows[30:])
    many = queries()
    assert len(many) == few
    assert not any('"relay_mailtemplate"."html"' in sql for sql in many)


def test_many_templates_of_the_relay_are_copied(at_relay: TemplatesAtRelay, settings: Any) -> None:
    settings.DOPPLER_RELAY_ACCOUNT_ID, settings.DOPPLER_RELAY_API_KEY = "otra", "otra-key"
    settings.RELAY_TIMEOUT_SECONDS = 15
    at_relay.fill("otra", "otra-key", 300)
    while not refresh().complete:
        pass
    assert MailTemplate.objects.count() == 300
    MailTemplate.objects.update(fetched_at=timezone.now() + timedelta(minutes=3))  # long after they were changed
    assert refresh().complete


# --- create, edit, delete -----------------------------------------------------------------------------------


def test_a_template_is_created_edited_and_deleted(writer: Client, at_relay: TemplatesAtRelay) -> None:
    page(writer, ADD)
    answer = writer.post(ADD, WRITTEN)
    template = MailTemplate.objects.get()
    assert answer.headers["Location"] == address(template)
    assert at_relay.has(template.template_id) == NEW

    changed = opened(writer, template) | {"name": "Otra", "html": "<p>{{nombre}} {{monto}}</p>"}
    assert said(writer.post(address(template), changed)) == ["The template was saved at the relay."]
    assert at_relay.has(template.template_id).html == "<p>{{nombre}} {{monto}}</p>"

    assert "for good" in page(writer, address(template, "delete"))
    assert writer.post(address(template, "delete")).status_code == 302
    assert at_relay.names() == []
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")] == [
        "Created at the relay.",
        "Saved at the relay.",
        "Deleted at the relay.",
    ]


def test_every_mistake_stands_beside_its_field_and_nothing_is_called(
    writer: Client, at_relay: TemplatesAtRelay
) -> None:
    answer = writer.post(
        ADD, {"name": "x" * 101, "subject": "{{sin cerrar", "from_email": "nadie", "html": "<p>\n{{#a}}</p>"}
    )
    errors = answer.context["form"].errors
    assert set(errors) == {"name", "subject", "from_email", "html"}
    assert "line 2" in errors["html"][0]
    assert at_relay.names() == []


def test_a_content_that_is_too_large_is_refused_with_a_sentence(writer: Client) -> None:
    answer = writer.post(ADD, WRITTEN | {"html": "ñ" * (LARGEST_HTML // 2 + 1)})
    assert "2 MB is the most" in answer.context["form"].errors["html"][0]


def test_a_half_saved_template_says_what_is_where_and_can_be_finished(
    writer: Client, at_relay: TemplatesAtRelay
) -> None:
    template = fetch(at_relay.make())
    at_relay.sandbox.faults(templates={"body": "500_before"})
    answer = writer.post(address(template), opened(writer, template) | {"name": "Otra", "html": "<p>nuevo texto</p>"})
    assert said(answer)[0].startswith("Half saved: the relay has the new name")
    shown = page(writer, address(template))
    assert "still the former content" in shown
    assert "&lt;p&gt;nuevo texto&lt;/p&gt;" in shown
    assert "Half saved" in page(writer, LIST)
    at_relay.sandbox.faults()
    writer.post(address(template, "finish"))
    assert at_relay.has(template.template_id).html == "<p>nuevo texto</p>"
    assert "Half saved" not in page(writer, address(template))


def test_a_half_created_template_leads_to_its_own_page_and_is_not_created_twice(
    writer: Client, at_relay: TemplatesAtRelay
) -> None:
    at_relay.sandbox.faults(templates={"body": "400"})
    answer = writer.post(ADD, WRITTEN)
    template = MailTemplate.objects.get()
    assert answer.headers["Location"] == address(template)
    at_relay.sandbox.faults()
    writer.post(address(template), opened(writer, template))
    assert at_relay.names() == ["Nueva"]
    assert at_relay.has(template.template_id) == NEW


def test_what_was_not_saved_can_be_given_up(writer: Client, at_relay: TemplatesAtRelay) -> None:
    template = fetch(at_relay.make())
    at_relay.sandbox.faults(templates={"body": "400"})
    writer.post(address(template), opened(writer, template) | {"name": "Otra", "html": "<p>nuevo texto</p>"})
    at_relay.sandbox.faults()
    writer.post(address(template, "discard"))
    assert "nuevo texto" not in page(writer, address(template))
    assert MailTemplate.objects.get().saved == "whole"


def test_a_template_changed_meanwhile_shows_both_and_keeps_what_was_written(
    writer: Client, at_relay: TemplatesAtRelay
) -> None:
    template = fetch(at_relay.make(html="<p>antes</p>"))
    mine = opened(writer, template) | {"html": "<p>mi texto</p>"}
    at_relay.write(template.template_id, "<p>de otra persona</p>")
    answer = writer.post(address(template), mine)
    shown = answer.content.decode()
    assert "changed this template at the relay meanwhile" in shown
    assert re.search(r"mail-templates-removed.*?&lt;p&gt;de otra persona&lt;/p&gt;", shown, re.DOTALL)
    assert answer.context["form"]["html"].value() == "<p>mi texto</p>"
    assert at_relay.has(template.template_id).html == "<p>de otra persona</p>"

    again = mine | {"seen": answer.context["form"]["seen"].value()}
    assert writer.post(address(template), again).status_code == 302
    assert at_relay.has(template.template_id).html == "<p>mi texto</p>"


def test_a_template_that_is_gone_keeps_the_text_and_can_be_created_again(
    writer: Client, at_relay: TemplatesAtRelay
) -> None:
    template = fetch(at_relay.make())
    at_relay.delete(template.template_id)
    answer = writer.post(address(template), opened(writer, template) | {"html": "<p>mi texto</p>"})
    shown = answer.content.decode()
    assert "it was deleted there" in shown
    assert f'action="{ADD}"' in shown
    assert "mi texto" in shown


def test_a_text_that_was_half_saved_outlives_its_template(writer: Client, at_relay: TemplatesAtRelay) -> None:
    template = fetch(at_relay.make())
    at_relay.sandbox.faults(templates={"body": "400"})
    writer.post(address(template), opened(writer, template) | {"name": "Otra", "html": "<p>mi texto</p>"})
    at_relay.sandbox.faults()
    at_relay.delete(template.template_id)
    assert "deleted there" in said(writer.post(address(template, "finish")))[-1]
    again = opened(writer, template)
    assert again["html"] == "<p>mi texto</p>"
    writer.post(ADD, again)
    assert at_relay.names() == ["Otra"]


def test_one_template_is_read_again(onlooker: Client, at_relay: TemplatesAtRelay) -> None:
    template = fetch(at_relay.make())
    at_relay.write(template.template_id, "<p>de otra persona</p>")
    assert said(onlooker.post(address(template, "fetch"))) == ["This is what the relay has now."]
    assert "de otra persona" in page(onlooker, address(template))
    at_relay.delete(template.template_id)
    assert "deleted there" in said(onlooker.post(address(template, "fetch")))[-1]


def test_an_unreachable_relay_keeps_the_text(writer: Client, at_relay: TemplatesAtRelay, settings: Any) -> None:
    template = fetch(at_relay.make())
    settings.DOPPLER_RELAY_BASE_URL = "http://127.0.0.1:9/"
    answer = writer.post(address(template), opened(writer, template) | {"html": "<p>mi texto</p>"})
    assert "Nothing was saved. The relay does not answer" in answer.content.decode()
    assert answer.context["form"]["html"].value() == "<p>mi texto</p>"
    assert "Nothing was saved" in writer.post(ADD, WRITTEN).content.decode()
    assert "It was not deleted." in said(writer.post(address(template, "delete")))[0]


def test_a_template_of_the_visual_editor_has_no_field_for_its_content(
    writer: Client, at_relay: TemplatesAtRelay
) -> None:
    template = fetch(at_relay.make(visual=True))
    assert "visual editor" in page(writer, address(template))
    form = opened(writer, template)
    assert "html" not in form
    writer.post(address(template), form | {"name": "Otro nombre", "html": "<p>ajeno</p>"})
    assert at_relay.has(template.template_id).name == "Otro nombre"
    assert at_relay.has(template.template_id).html == template.html


def test_a_template_in_use_is_named_and_not_deleted(writer: Client, at_relay: TemplatesAtRelay) -> None:
    template = fetch(at_relay.make())
    new_bulk_send(name="Cuotas de marzo", status="pending", template_id=template.template_id)
    assert "Cuotas de marzo" in page(writer, address(template))
    for answer in (writer.get(address(template, "delete")), writer.post(address(template, "delete"))):
        assert "«Cuotas de marzo»" in said(answer)[-1]
    assert at_relay.names() == ["Aviso"]


# --- previews -----------------------------------------------------------------------------------------------


def assert_inert(answer: HttpResponse) -> None:
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert "sandbox;" in POLICY
    assert "default-src 'none'" in POLICY
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"].startswith("private, no-store")


def test_a_preview_shows_samples_and_runs_nothing(onlooker: Client) -> None:
    template = kept(html=f"<p>Hola {{{{nombre}}}}</p>{HOSTILE}")
    answer = onlooker.get(address(template, "preview"))
    assert answer.content.decode() == f"<p>Hola ‹nombre›</p>{HOSTILE}"
    assert_inert(answer)  # type: ignore[arg-type]
    frames = re.findall(r"<iframe[^>]*>", page(onlooker, address(template)) + page(onlooker, LIST))
    assert len(frames) == 2
    assert all(re.search(r"<iframe sandbox (?!=)", frame) for frame in frames)


def test_no_other_page_may_be_framed(writer: Client) -> None:
    template = kept()
    for url in (LIST, ADD, address(template)):
        assert "frame-ancestors 'none'" in writer.get(url).headers["Content-Security-Policy"]


def test_what_is_being_written_is_rendered_with_the_values_typed(writer: Client) -> None:
    posted = {"subject": "", "html": "<p>{{nombre}} {{monto}} {{vacio}}{{^vacio}}nada{{/vacio}}</p>"}
    posted |= {"value:nombre": "<b>Ana</b>", "value:vacio": ""}
    answer = writer.post(f"{LIST}try/", posted)
    assert answer.content.decode() == "<p>&lt;b&gt;Ana&lt;/b&gt; ‹monto› nada</p>"
    assert_inert(answer)  # type: ignore[arg-type]


def test_a_mistake_is_shown_in_the_frame_and_told_to_the_script(writer: Client) -> None:
    posted = {"subject": "{{a", "html": "<p>\n{{#abierta}}</p>"}
    answer = writer.post(f"{LIST}try/", posted)
    assert "column 1" in answer.content.decode()
    assert_inert(answer)  # type: ignore[arg-type]
    found = json.loads(writer.post(f"{LIST}check/", posted).content)
    assert [problem["part"] for problem in found["problems"]] == ["subject", "html"]
    assert "line 2" in found["problems"][1]["text"]


def test_the_script_is_told_the_subject_and_the_variables(writer: Client) -> None:
    posted = {"subject": "Hola {{user.name}}", "html": "{{#user}}{{monto}}{{/user}}{{> pie}}", "value:user.name": "Ana"}
    found = json.loads(writer.post(f"{LIST}check/", posted).content)
    assert found["subject"] == "Hola Ana"
    assert [name["name"] for name in found["names"]] == ["user.name", "monto"]
    assert "pie" in found["partials"]


def test_a_change_that_would_stop_bulk_sends_is_told_while_it_is_written(writer: Client) -> None:
    template = kept(subject="", html="<p>Hola {{nombre}}</p>")
    new_bulk_send(name="Espera", status="pending", template_id="t1")
    new_bulk_send(name="Con asunto propio", status="pending", template_id="t1", subject="Hola")
    new_bulk_send(name="Pausado, con otra", status="sending", template_id="t1", template_html="{{monto}}")

    def stops(html: str) -> str:
        posted = {"subject": "", "html": html, "stored": template.pk}
        return str(json.loads(writer.post(f"{LIST}check/", posted).content)["stops"])

    assert "«Espera»" not in stops("<p>Buenos días, {{nombre}}</p>")
    assert "«Espera»" in stops("<p>{{nombre}} {{nuevo}}</p>")
    assert "«Con asunto propio»" not in stops("<p>{{nombre}} {{nuevo}}</p>")
    assert "«Pausado, con otra»" in stops("<p>{{nombre}}</p>")


def _with_rows() -> BulkSend:
    sent = new_bulk_send(template_id="t1", address_column="correo", variable_map={"nombre": "NOMBRE"})
    for row, name in ((2, "Ana"), (3, "Luis & Cía")):
        variables = {"NOMBRE": name}
        Recipient.objects.create(
            bulk_send=sent, row=row, email=f"{row}@example.com", variables=variables, state="pending"
        )
    return sent


def test_a_real_row_is_shown_to_who_may_see_recipients(client: Client) -> None:
    client.force_login(user("redactora", "view_mailtemplate", "view_recipient"))
    template, sent = kept(html="{{nombre}} {{correo}} {{falta}}"), _with_rows()
    assert f'<option value="{sent.pk}">{sent.name}' in page(client, address(template))
    first = client.get(address(template, "preview"), {"bulk_send": sent.pk})
    assert first.content.decode() == "Ana 2@example.com "
    posted = {"subject": "", "html": template.html, "bulk_send": sent.pk, "row": 3}
    assert client.post(f"{LIST}try/", posted).content.decode() == "Luis &amp; Cía 3@example.com "
    assert "falta" in json.loads(client.post(f"{LIST}check/", posted).content)["missing"]
    for row in (99, "tres", "9" * 30):
        wrong = client.post(f"{LIST}check/", posted | {"row": row})
        assert len(json.loads(wrong.content)["problems"]) == 1


def test_a_real_row_is_refused_to_who_may_not(writer: Client) -> None:
    template, sent = kept(), _with_rows()
    assert 'name="bulk_send"' not in page(writer, address(template))
    assert writer.get(address(template, "preview"), {"bulk_send": sent.pk}).status_code == 403
    assert writer.post(f"{LIST}try/", WRITTEN | {"bulk_send": sent.pk}).status_code == 403
    assert writer.post(f"{LIST}check/", WRITTEN | {"bulk_send": sent.pk}).status_code == 403


# --- difference ---------------------------------------------------------------------------------------------


def test_the_difference_to_the_last_bulk_send_is_shown_as_text(writer: Client) -> None:
    template = kept(html=f"<p>uno</p>\n<p>dos</p>\n{HOSTILE}")
    began = timezone.now()
    sent = {"template_id": "t1", "template_subject": template.subject, "processing_started_at": began}
    new_bulk_send(name="Anterior", template_html="<p>otra</p>", **sent)
    new_bulk_send(name="Último", template_html="<p>uno</p>\n<p>2</p>", **sent)
    new_bulk_send(name="Sin empezar", template_html="<p>x</p>", template_id="t1", status="pending")
    shown = page(writer, address(template, "difference"))
    assert "Último" in shown
    assert "&lt;p&gt;2&lt;/p&gt;" in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert HOSTILE not in shown
    assert "Difference from the last bulk send" in page(writer, address(template))


def test_without_a_bulk_send_there_is_no_difference(writer: Client) -> None:
    template = kept()
    assert writer.get(address(template, "difference")).status_code == 404
    assert "Difference from the last" not in page(writer, address(template))


# --- strangers' text, and rights ----------------------------------------------------------------------------


def test_hostile_text_stays_text(writer: Client) -> None:
    fields = {"name": HOSTILE, "subject": HOSTILE, "from_name": HOSTILE, "from_email": HOSTILE, "html": HOSTILE}
    template = kept(**fields, variables=[HOSTILE])
    new_bulk_send(name=HOSTILE, status="pending", template_id="t1")
    for url in (LIST, address(template), f"{LIST}?q={HOSTILE}"):
        shown = page(writer, url)
        assert "<script>alert" not in shown, url
        assert "<img src=x" not in shown, url
        assert unescape(HOSTILE) in unescape(shown)
    refused = writer.post(address(template), opened(writer, template) | {"html": HOSTILE + "{{#a}}"})
    assert "<script>alert" not in refused.content.decode()
    assert HOSTILE not in writer.get(address(template, "delete"), follow=True).content.decode()


def test_who_may_look_looks_and_changes_nothing(onlooker: Client, at_relay: TemplatesAtRelay) -> None:
    template = fetch(at_relay.make(html=HOSTILE))
    shown = page(onlooker, address(template))
    assert "<script>alert" not in shown
    assert "Save at the relay" not in shown
    assert "Create template" not in page(onlooker, LIST)
    assert onlooker.post(f"{LIST}refresh/").status_code == 302
    for what in ("change", "delete", "finish", "discard"):
        assert onlooker.post(address(template, what), WRITTEN).status_code == 403, what
    assert onlooker.get(ADD).status_code == 403
    assert onlooker.post(ADD, WRITTEN).status_code == 403
    assert at_relay.has(template.template_id) == version_of(template)


def test_who_may_not_look_sees_nothing(client: Client) -> None:
    template = kept()
    client.force_login(user("otra", "view_bulksend"))
    looks = [LIST, ADD, *(address(template, what) for what in ("change", "preview", "difference", "delete"))]
    for url in looks:
        assert client.get(url).status_code == 403, url
    assert client.post(address(template, "fetch")).status_code == 403
    for what in ("try", "check", "refresh"):
        assert client.post(f"{LIST}{what}/", WRITTEN).status_code == 403, what
    assert LIST not in page(client, "/admin/")


def test_a_link_changes_nothing(writer: Client) -> None:
    template = kept(saved="half", wanted=WRITTEN)
    for url in (f"{LIST}refresh/", address(template, "finish"), address(template, "discard")):
        assert writer.get(url).status_code == 405, url


def test_changes_need_the_token_of_the_page(at_relay: TemplatesAtRelay) -> None:
    strict = Client(enforce_csrf_checks=True)
    rights = ("view_mailtemplate", "add_mailtemplate", "change_mailtemplate")
    strict.force_login(user("redactora", *rights))
    template = fetch(at_relay.make())
    for url in (f"{LIST}refresh/", ADD, address(template), f"{LIST}try/", f"{LIST}check/"):
        assert strict.post(url, WRITTEN).status_code == 403, url
