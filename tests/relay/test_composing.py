"""Which call a message leaves by, and with which fields."""

import asyncio
import base64
import os
from pathlib import Path

import pytest

from relay import creating
from relay.composing import Composer
from relay.models import BulkSend
from relay_client import Accepted, Address, Message, Recipient, TemplateMessage
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db

ANA = "ana@example.com"


def bulk_send(**fields) -> BulkSend:
    texts = {"template_subject": "Hola {{nombre}}", "template_html": "<p>{{nombre}} debe {{{monto}}}</p>"}
    return new_bulk_send(**texts | fields)


def composed(variables: dict[str, str], **fields):
    return Composer(bulk_send(**fields)).compose(ANA, variables)


class OneCall:
    """The relay's client: keeps the one call made of it."""

    def __init__(self):
        self.calls = []

    async def send_message(self, message):
        self.calls.append(("messages", message))
        return Accepted("m-1", ())

    async def send_template_message(self, template_id, message):
        self.calls.append((template_id, message))
        return Accepted("m-2", ())


PEREZ = {"nombre": "Pérez & Hijos", "monto": "<b>10</b>"}


async def sent(message):
    client = OneCall()
    accepted = await message.send(client)
    return accepted.message_id, client.calls


# --- Without a subject of its own


def test_without_a_subject_of_its_own_the_relay_renders_its_template():
    message = composed(PEREZ)
    assert message.template_id == "aviso"
    assert message.message == TemplateMessage(recipients=(Recipient(ANA),), model=PEREZ)
    assert (message.from_email, message.subject) == ("", "Hola Pérez & Hijos")


def test_sender_and_reply_address_go_along_when_they_are_set():
    message = composed(PEREZ, from_email="cobros@example.com", from_name="Cobros", reply_to="dudas@example.com").message
    assert (message.from_email, message.from_name) == ("cobros@example.com", "Cobros")
    assert message.reply_to == Address("dudas@example.com")


def test_a_template_message_leaves_by_the_call_of_its_template():
    message = composed(PEREZ)
    assert asyncio.run(sent(message)) == ("m-2", [("aviso", message.message)])


# --- With one


def test_with_a_subject_of_its_own_the_mail_is_rendered_here():
    message = composed(PEREZ, subject="Aviso para {{nombre}}", from_email="cobros@example.com", from_name="Cobros")
    assert message.template_id == ""
    assert message.message == Message(
        from_email="cobros@example.com",
        from_name="Cobros",
        recipients=(Recipient(ANA),),
        subject="Aviso para Pérez & Hijos",
        html="<p>Pérez &amp; Hijos debe <b>10</b></p>",
    )
    assert (message.from_email, message.subject) == ("cobros@example.com", "Aviso para Pérez & Hijos")


def test_a_message_rendered_here_leaves_by_the_message_call():
    message = composed(PEREZ, subject="Aviso", from_email="cobros@example.com", reply_to="dudas@example.com")
    assert message.message.reply_to == Address("dudas@example.com")
    assert asyncio.run(sent(message)) == ("m-1", [("messages", message.message)])


@pytest.mark.parametrize("own", ["", "{{nombre}}"])
def test_a_subject_is_one_line_of_plain_text(own):
    message = composed(
        {"nombre": "Ana <A&B>\r\nBcc: otra@example.com", "monto": "1"}, template_subject="{{nombre}}", subject=own
    )
    assert message.subject == "Ana <A&B> Bcc: otra@example.com"


# --- What the template sees


def test_dotted_columns_become_objects():
    model = composed({"cliente.nombre": "Ana", "cliente.ciudad": "Quito", "monto": "1"}).message.model
    assert model == {"cliente": {"nombre": "Ana", "ciudad": "Quito"}, "monto": "1"}


def test_a_mapped_variable_has_the_text_of_its_column():
    message = composed({"NOMBRE": "Ana", "Saldo": "9"}, variable_map={"nombre": "NOMBRE", "cuenta.monto": "Saldo"})
    assert message.message.model == {"NOMBRE": "Ana", "Saldo": "9", "nombre": "Ana", "cuenta": {"monto": "9"}}
    assert message.subject == "Hola Ana"


def test_a_mapped_variable_wins_over_a_column_of_its_name():
    assert composed({"nombre": "ANA G", "apodo": "Ana"}, variable_map={"nombre": "apodo"}).subject == "Hola Ana"


def test_blanks_are_empty():
    assert composed({"nombre": " \t", "monto": "1"}).message.model == {"nombre": "", "monto": "1"}


@pytest.mark.parametrize(
    ("template", "extra"),
    [
        ({"template_html": "<p>{{correo}}</p>"}, {"correo": ANA}),
        ({"template_subject": "Para {{correo}}"}, {"correo": ANA}),
        ({"template_html": "{{#nombre}}{{correo}}{{/nombre}}"}, {"correo": ANA}),
        ({"variable_map": {"usuario": "correo"}}, {"correo": ANA, "usuario": ANA}),
        ({"template_html": "{{contacto.correo}}", "address_column": "contacto.correo"}, {"contacto": {"correo": ANA}}),
        ({}, {}),
        ({"template_html": "{{otro}}"}, {}),
    ],
    ids=["in the body", "in the subject", "in a section", "mapped", "dotted", "not named", "another is named"],
)
def test_the_address_is_a_variable_when_the_template_names_its_column(template, extra):
    assert composed({"nombre": "Ana"}, **template).message.model == {"nombre": "Ana"} | extra


@pytest.mark.parametrize(
    ("html", "column"),
    [("{{#correo}}Escribimos a su correo{{/correo}}", "correo"), ("{{#c}}{{correo}}{{/c}}", "c.correo")],
)
def test_the_address_is_a_variable_when_only_a_section_names_its_column(html, column):
    fields = {"template_html": html, "address_column": column, "subject": "Aviso", "from_email": "a@example.com"}
    assert composed({"nombre": "Ana"}, **fields).message.html in ("Escribimos a su correo", ANA)


def test_what_a_settlement_looks_for_is_what_left():
    composer = Composer(bulk_send(from_email="cobros@example.com", template_subject="{{nombre}}, {{correo}}"))
    message = composer.compose(ANA, {"nombre": "Ana & Cía."})
    assert composer.describe(ANA, {"nombre": "Ana & Cía."}) == (message.from_email, message.subject)
    assert message.subject == "Ana & Cía., ana@example.com"


def test_what_a_message_says_on_a_screen_shows_nobody():
    for own in ("", "Aviso {{nombre}}"):
        shown = repr(composed(PEREZ, subject=own, from_email="cobros@example.com", reply_to="dudas@example.com"))
        assert "@" not in shown
        assert "Pérez" not in shown


# --- Attachments


@pytest.fixture
def with_files(tmp_path: Path, settings):
    settings.MEDIA_ROOT = tmp_path / "attachments"

    def create(*names: str, **fields) -> BulkSend:
        stored = bulk_send(**fields)
        for name in names:
            path = tmp_path / name
            path.write_bytes(f"contenido de {name}".encode())
            stored.attachments.add(creating.store_attachment(path))
        return stored

    return create


@pytest.mark.parametrize("own", ["", "Aviso"])
def test_attachments_are_read_once_and_go_with_every_message(with_files, own):
    stored = with_files("b.pdf", "a.zip", subject=own, from_email="cobros@example.com")
    composer = Composer(stored)
    composer.read_attachments()
    first = composer.compose(ANA, PEREZ).message.attachments
    for attachment in stored.attachments.all():
        os.unlink(attachment.file.path)
    assert composer.compose("luis@example.com", PEREZ).message.attachments is first
    assert [(file.filename, file.content_type) for file in first] == [
        ("a.zip", "application/x-zip-compressed"),
        ("b.pdf", "application/pdf"),
    ]
    assert base64.b64decode(first[1].base64_content) == b"contenido de b.pdf"


def test_the_same_content_under_the_same_name_is_kept_once(with_files):
    one, other = with_files("a.pdf"), with_files("a.pdf")
    assert one.attachments.get() == other.attachments.get()


def test_a_missing_attachment_is_found_before_anything_is_composed(with_files):
    stored = with_files("a.pdf")
    os.unlink(stored.attachments.get().file.path)
    with pytest.raises(FileNotFoundError):
        Composer(stored).read_attachments()
