"""The mail of a recipient is what leaves: the same subject, the same content."""

from typing import Any

import pytest

from relay.composing import Composer
from relay.models import Attachment, BulkSend, Recipient
from relay.previewing import mail_of
from relay_client import Message
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


def only_row(variables: dict[str, str], **fields: Any) -> Recipient:
    bulk_send = new_bulk_send(
        **{
            "status": "draft",
            "columns": ["nombre", "monto"],
            "template_subject": "Hola {{nombre}}",
            "template_html": "<p>{{nombre}} debe {{monto}}</p>",
        }
        | fields
    )
    return Recipient.objects.create(
        bulk_send=bulk_send, row=2, email="ana@example.com", variables=variables, state="pending"
    )


def test_it_is_the_message_that_leaves() -> None:
    row = only_row(
        {"nombre": "Pérez & Hijos", "monto": "10"}, subject="Aviso, {{nombre}}", from_email="cobros@example.com"
    )
    left = Composer(row.bulk_send).compose(row.email, row.variables).message
    assert isinstance(left, Message)
    mail = mail_of(row)
    assert (mail.subject, mail.html, mail.to) == (left.subject, left.html, left.recipients[0].email)
    assert (mail.from_, mail.missing) == ("cobros@example.com", ())


def test_a_template_that_the_relay_renders_is_shown_as_the_bulk_send_keeps_it() -> None:
    mail = mail_of(only_row({"nombre": "Ana", "monto": "10"}, from_email="a@example.com", from_name="Cobros"))
    assert (mail.subject, mail.html) == ("Hola Ana", "<p>Ana debe 10</p>")
    assert mail.from_ == "Cobros <a@example.com>"


def test_what_has_no_value_is_named_and_can_be_marked() -> None:
    row = only_row({"nombre": "Ana", "monto": " "})
    assert (mail_of(row).html, mail_of(row).missing) == ("<p>Ana debe </p>", ("monto",))
    assert mail_of(row, mark_missing=True).html == "<p>Ana debe ⟦monto⟧</p>"


def test_a_dotted_variable_is_marked_in_its_group() -> None:
    row = only_row({"cliente.ciudad": "Quito"}, template_html="{{cliente.nombre}}, {{cliente.ciudad}}", columns=[])
    assert mail_of(row, mark_missing=True).html == "⟦cliente.nombre⟧, Quito"


def test_a_row_that_lacks_cells_is_shown_with_what_it_has() -> None:
    row = only_row({"nombre": "Ana"}, variable_map={"saldo": "monto"}, template_html="{{nombre}} {{saldo}}")
    assert mail_of(row).html == "Ana "
    assert mail_of(row).missing == ("saldo",)


def test_the_address_is_a_variable_when_the_template_names_its_column() -> None:
    assert mail_of(only_row({}, template_html="{{correo}}")).html == "ana@example.com"
    assert mail_of(only_row({}, template_html="{{a}}", variable_map={"a": "correo"})).html == "ana@example.com"


def test_attachments_are_listed_and_weigh() -> None:
    row = only_row({"nombre": "Ana", "monto": "1"})
    attachment = Attachment.objects.create(
        file="files/a.pdf", filename="a.pdf", content_type="application/pdf", size=300, sha256="0" * 64
    )
    BulkSend.objects.get().attachments.add(attachment)
    mail = mail_of(row)
    assert [one.filename for one in mail.attachments] == ["a.pdf"]
    assert mail.size == len(mail.html) + 400
