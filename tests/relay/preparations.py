"""Preparations with a template and a file, for every test that needs one."""

from typing import Any

from django.core.files.base import ContentFile
from django.utils import timezone

from relay import preparing
from relay.models import MailTemplate, Preparation

PEOPLE = (
    "correo;nombre;monto;vence\nana@example.com;Ana;10;mañana\nsin-arroba;Beto;20;hoy\ncarla@example.com;Carla;30;hoy\n"
)


def kept_template(template_id: str = "aviso", **fields: Any) -> MailTemplate:
    """A copy of the relay's template."""
    said = {
        "name": "Aviso de pago",
        "subject": "{{nombre}}, su cuota vence el {{vence}}",
        "from_email": "avisos@example.com",
        "html": "<p>Hola {{nombre}}, debe {{monto}}</p>",
        "variables": ["nombre", "vence", "monto"],
        "fetched_at": timezone.now(),
    }
    return MailTemplate.objects.create(template_id=template_id, **said | fields)


def prepared(content: str | bytes = PEOPLE, file_name: str = "lista.csv", **fields: Any) -> Preparation:
    """Ready to be checked against the copy of a template."""
    template = MailTemplate.objects.first() or kept_template()
    made = preparing.open_preparation(fields.pop("created_by", None))
    made = preparing.change(made.pk, version=made.version, template_id=template.template_id, **fields)
    return given(made, content, file_name)


def given(made: Preparation, content: str | bytes, name: str = "lista.csv") -> Preparation:
    raw = content.encode() if isinstance(content, str) else content
    return preparing.take_file(made.pk, version=made.version, upload=ContentFile(raw), name=name)
