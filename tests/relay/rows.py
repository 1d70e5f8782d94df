"""A bulk send and its rows, for every test that needs some in the ledger."""

from typing import Any

from relay.models import BulkSend, Recipient


def new_bulk_send(rows: int = 0, **fields: Any) -> BulkSend:
    """With so many pending recipients, persona2@example.com in row 2 and so on; `total` counts them."""
    bulk_send = BulkSend.objects.create(
        **{
            "name": "Cobranza de marzo",
            "status": "sending",
            "template_id": "aviso",
            "template_html": "<p>Hola {{nombre}}</p>",
            "file_name": "lista.csv",
            "address_column": "correo",
            "total": rows,
        }
        | fields
    )
    add_recipients(bulk_send, *range(2, rows + 2))
    return bulk_send


def add_recipients(bulk_send: BulkSend, *rows: int) -> list[Recipient]:
    return Recipient.objects.bulk_create(
        Recipient(
            bulk_send=bulk_send,
            row=row,
            email=f"persona{row}@example.com",
            variables={"nombre": f"Persona {row}"},
            state="pending",
        )
        for row in rows
    )
