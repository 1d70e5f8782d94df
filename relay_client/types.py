"""What goes to the relay and what comes back.

Whatever may hold an address, a subject, a body, a variable or a file is left out of `repr`, so that a log line or an
error report showing one of these objects shows nothing of a person. All moments are aware and in UTC.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# Made once: json.dumps() with arguments builds a new encoder on every call.
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def to_json(value: object) -> bytes:
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:  # half a surrogate pair, from a damaged file: JSON can say it, UTF-8 cannot
        return _encode_ascii(value).encode()


@dataclass(frozen=True, slots=True)
class Address:
    email: str = field(repr=False)
    name: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Recipient:
    email: str = field(repr=False)
    name: str = field(default="", repr=False)
    type: str = "to"
    """`to`, `cc` or `bcc`."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """`base64_content` is standard base64. Use one object for all the messages that carry the file: it is
    turned into JSON once."""

    filename: str = field(repr=False)
    content_type: str
    base64_content: str = field(repr=False)
    _json: bytes | None = field(default=None, init=False, repr=False, compare=False)

    def as_json(self) -> bytes:
        if self._json is None:
            # The MIME type travels as `type`: two of the vendor's senders and its samples do so (relay API notes §2.2).
            fields = {
                "filename": self.filename,
                "base64_content": self.base64_content,
                "type": self.content_type,
            }
            fragment = to_json(fields)
            object.__setattr__(self, "_json", fragment)
            return fragment
        return self._json


@dataclass(frozen=True, slots=True)
class Message:
    from_email: str = field(repr=False)
    from_name: str = field(repr=False)
    recipients: Sequence[Recipient] = field(repr=False)
    subject: str = field(repr=False)
    html: str | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    reply_to: Address | None = field(default=None, repr=False)
    attachments: Sequence[Attachment] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class TemplateMessage:
    """One `model` for all recipients of the call (relay API notes §2.4); the sender is the template's unless given."""

    recipients: Sequence[Recipient] = field(repr=False)
    model: Mapping[str, Any] = field(repr=False)
    from_email: str | None = field(default=None, repr=False)
    from_name: str | None = field(default=None, repr=False)
    reply_to: Address | None = field(default=None, repr=False)
    attachments: Sequence[Attachment] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Queued by the relay, not yet delivered."""

    message_id: str
    deliveries: tuple[str, ...]
    """One link per recipient, for `RelayClient.get_delivery`."""


@dataclass(frozen=True, slots=True)
class Link:
    rel: str
    href: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Template:
    id: str
    name: str
    from_email: str = field(repr=False)
    from_name: str = field(repr=False)
    subject: str = field(repr=False)
    body_type: str
    """`rawHtml`, `mseditor` or `empty`."""
    body: str | None = field(repr=False)
    """Not every answer carries it: see `RelayClient.get_template_body`."""
    thumbnail: str | None = field(repr=False)
    created_at: datetime | None
    last_updated: datetime | None
    links: tuple[Link, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TemplateBody:
    html: str = field(repr=False)
    mseditor: bool
    """Made with the visual editor: overwriting it with HTML alone may lose the visual version."""


@dataclass(frozen=True, slots=True)
class TemplateDraft:
    name: str
    from_email: str = field(repr=False)
    from_name: str = field(default="", repr=False)
    subject: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    sender: str = field(repr=False)
    recipient: str = field(repr=False)
    subject: str = field(repr=False)
    date: datetime | None
    status: str
    """Lower case: `queued`, `sent`, `rejected`, `retrying`, `invalid`, `dropped`."""
    bounce_type: str | None
    opens: int
    clicks: int
    href: str
    """Its own link, "" when the relay gave none."""


@dataclass(frozen=True, slots=True)
class Limit:
    limit: int
    remaining: int
    reset: datetime | None


@dataclass(frozen=True, slots=True)
class Limits:
    monthly: Limit | None
    daily: Limit | None
    hourly: Limit | None
    unlimited: bool
    told_at: datetime | None = None
    """The relay's own clock when it said so: `reset` counts from there, whatever our clock shows."""


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """In progress until `processed`; with `file_url` ready; processed without one: there were no rows."""

    id: str
    name: str
    start: datetime | None
    end: datetime | None
    processed: bool
    file_url: str | None = field(repr=False)
    """Opens without credentials, so it is a secret of a kind itself. Never send the key there."""
