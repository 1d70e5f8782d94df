"""What the database refuses of what people keep."""

import pytest
from django.core.exceptions import ValidationError

from relay.addresses import check_address
from relay.models import (
    Attachment,
    Sender,
    Suppression,
)
from tests.relay.writing import refused

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("address", ["Ana@example.com", "ana@EXAMPLE.com"])
def test_a_suppression_is_kept_in_lower_case(address):
    written = Suppression(email=address, reason="Lo pidió")
    refused(written.save, because="suppression_email_lower_case")
    refused(Suppression.objects.bulk_create, [written], because="suppression_email_lower_case")
    written.full_clean()
    written.save()
    assert Suppression.objects.get().email == "ana@example.com"


def test_a_suppression_stands_once():
    Suppression.objects.create(email="ana@example.com", reason="Lo pidió")
    again = Suppression(email="ANA@example.com", reason="Otra vez")
    with pytest.raises(ValidationError, match=r"(?i)ya existe|already exists"):
        again.full_clean()
    refused(again.save, because=r"(?i)unique")


def test_a_sender_stands_once():
    sender = Sender.objects.create(email="cobranzas@example.com", name="Cobranzas")
    assert str(sender) == "Cobranzas <cobranzas@example.com>"
    refused(Sender(email="cobranzas@example.com").save, because=r"(?i)unique")


def test_a_content_is_kept_once_under_a_name():
    stored = {"content_type": "application/pdf", "size": 3, "sha256": "a" * 64}
    Attachment.objects.create(filename="estado.pdf", **stored)
    Attachment.objects.create(filename="otro.pdf", **stored)
    refused(Attachment(filename="estado.pdf", **stored).save, because=r"(?i)unique")


def test_a_suppression_is_kept_in_the_form_in_which_recipients_are():
    suppression = Suppression(email="ana@Ñandú.example.com", reason="Lo pidió")
    suppression.full_clean()
    assert suppression.email == check_address("ana@ñandú.example.com")
