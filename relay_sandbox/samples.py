"""The templates of a new store. Their ids never change: guides and tests name them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAILS = Path(__file__).parent / "mails"


@dataclass(frozen=True, slots=True)
class Sample:
    id: str
    name: str
    from_email: str
    from_name: str
    subject: str
    body_type: str
    html: str | None
    mseditor: dict[str, Any] | None = None
    hides_body: bool = False
    """GET of the template lacks `body`: clients have to follow the get-template-body link."""


def _mail(name: str) -> str:
    return (_MAILS / f"{name}.html").read_text("utf-8")


SAMPLES = (
    Sample(
        "6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1001",
        "Aviso de pago",
        "cobranzas@example.com",
        "Cobranzas Andina",
        "{{nombre}}, su cuota de ${{monto}} vence el {{vence}}",
        "rawHtml",
        _mail("aviso_de_pago"),
    ),
    Sample(
        "6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1002",
        "Boletín mensual",
        "boletin@example.com",
        "Cooperativa Andina",
        "{{user.name}}, las novedades de {{mes}}",
        "rawHtml",
        _mail("boletin_mensual"),
        hides_body=True,
    ),
    Sample(
        "6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1003",
        "Bienvenida",
        "hola@example.com",
        "Cooperativa Andina",
        "Le damos la bienvenida, {{nombre}}",
        "mseditor",
        _mail("bienvenida"),
        {
            "attributes": {"width": 600},
            "settings": {"backgroundColor": "#eef2f1"},
            "children": [
                {"component": "text", "content": "Hola, {{nombre}}"},
                {"component": "text", "content": "Su número de socio es {{socio}}."},
            ],
        },
    ),
    Sample(
        "6b0f1f60-3c0a-5d0e-9a51-5a9e0c7d1004",
        "Borrador sin contenido",
        "avisos@example.com",
        "Avisos",
        "Aviso para {{nombre}}",
        "empty",
        None,
    ),
)
