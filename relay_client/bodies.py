"""Types → the JSON that leaves. Only fields that the vendor's own code sends (relay API notes §9), nothing else."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from .types import Address, Attachment, Message, Recipient, TemplateDraft, TemplateMessage, to_json

_PIECE = 64 * 1024

type Fields = dict[str, Any]


def message_fields(message: Message) -> Fields:
    fields: Fields = {"from_email": message.from_email}
    if message.from_name:
        fields["from_name"] = message.from_name
    fields["recipients"] = [_recipient(recipient) for recipient in message.recipients]
    if message.reply_to is not None:
        fields["reply_to"] = _address(message.reply_to)
    fields["subject"] = message.subject
    if message.html is not None:
        fields["html"] = message.html
    if message.text is not None:
        fields["text"] = message.text
    return fields


def template_message_fields(message: TemplateMessage) -> Fields:
    """`from_email` and `from_name` are null when unset: so does the vendor's code (relay API notes §2.4)."""
    fields: Fields = {
        "from_email": message.from_email,
        "from_name": message.from_name,
        "recipients": [_recipient(recipient) for recipient in message.recipients],
    }
    if message.reply_to is not None:
        fields["reply_to"] = _address(message.reply_to)
    fields["model"] = dict(message.model)
    return fields


def template_fields(draft: TemplateDraft) -> Fields:
    return {
        "name": draft.name,
        "from_email": draft.from_email,
        "from_name": draft.from_name,
        "subject": draft.subject,
    }


def with_attachments(fields: Fields, attachments: Sequence[Attachment]) -> list[bytes]:
    """The pieces of the body. The attachments' JSON is shared between all messages that carry them: joined, every
    call in flight would hold a copy of its own."""
    pieces = [to_json(fields)[:-1], b',"attachments":[']
    for attachment in attachments:
        pieces += [attachment.as_json(), b","]
    pieces[-1] = b"]}"
    return pieces


async def streamed(pieces: Sequence[bytes]) -> AsyncIterator[memoryview]:
    """In views of 64 KB: the HTTP library waits for the socket between them, so that not even TLS, which copies
    what it encrypts, holds more than that of a large file."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), _PIECE):
            yield view[start : start + _PIECE]


def _recipient(recipient: Recipient) -> Fields:
    fields = {"type": recipient.type, "email": recipient.email}
    if recipient.name:
        fields["name"] = recipient.name
    return fields


def _address(address: Address) -> Fields:
    return {"email": address.email, "name": address.name} if address.name else {"email": address.email}
