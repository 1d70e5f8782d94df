"""From a recipient to the message that leaves: which relay call, which fields, which subject goes on record."""

import base64
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from itertools import accumulate

from relay import rendering
from relay.models import BulkSend
from relay_client import Accepted, Address, Attachment, Message, Recipient, RelayClient, TemplateMessage


@dataclass(frozen=True, slots=True)
class Shown:
    """What a message says, whoever renders it; `missing` are the variables that it needs and this row lacks."""

    subject: str = field(repr=False)
    html: str = field(repr=False)
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Composed:
    """One message, ready to leave; `template_id` is empty when it was rendered here."""

    message: Message | TemplateMessage
    template_id: str
    from_email: str = field(repr=False)
    subject: str = field(repr=False)

    async def send(self, client: RelayClient) -> Accepted:
        if isinstance(self.message, TemplateMessage):
            return await client.send_template_message(self.template_id, self.message)
        return await client.send_message(self.message)


class Composer:
    """Composes the messages of one bulk send. With a subject of its own they are rendered here, because the
    relay's template call has no proven `subject` field; without one the relay renders its template."""

    def __init__(self, bulk_send: BulkSend) -> None:
        self._bulk_send = bulk_send
        self._rendered_here = bool(bulk_send.subject)
        self._template = rendering.compile_template(
            bulk_send.subject or bulk_send.template_subject, bulk_send.template_html
        )
        # The file's address is a variable too when the template names its column.
        named = {*self._template.variables, *self._template.conditions, *bulk_send.variable_map.values()}
        self._address_variable = _named_as(bulk_send.address_column, named)
        self._reply_to = Address(bulk_send.reply_to) if bulk_send.reply_to else None
        self._attachments: tuple[Attachment, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the file, whose values show in the mail."""
        named = dict.fromkeys(self._bulk_send.variable_map.get(name, name) for name in self._template.variables)
        return tuple(column for column in named if column in self._bulk_send.columns)

    def read_attachments(self) -> None:
        """From disk, encoded once. To be done before the first `compose`, which runs in the event loop."""
        self._attachments = _attachments(self._bulk_send)

    def compose(self, email: str, variables: Mapping[str, str], *, to: str = "") -> Composed:
        """`to` is somebody else who gets the message of this recipient: a test of it."""
        model = self._model(email, variables)
        subject = self._template.render_subject(model)
        recipients = (Recipient(to or email),)
        bulk_send = self._bulk_send
        message: Message | TemplateMessage
        if self._rendered_here:
            message = Message(
                from_email=bulk_send.from_email,
                from_name=bulk_send.from_name,
                recipients=recipients,
                subject=subject,
                html=self._template.render_html(model),
                reply_to=self._reply_to,
                attachments=self._attachments,
            )
        else:
            message = TemplateMessage(
                recipients=recipients,
                model=model,
                from_email=bulk_send.from_email or None,
                from_name=bulk_send.from_name or None,
                reply_to=self._reply_to,
                attachments=self._attachments,
            )
        return Composed(
            message=message,
            template_id="" if self._rendered_here else bulk_send.template_id,
            from_email=bulk_send.from_email,
            subject=subject,
        )

    def show(self, email: str, variables: Mapping[str, str], *, mark_missing: bool = False) -> Shown:
        """What `compose` makes leave, to be looked at. With `mark_missing` a variable without a value shows its name.

        A row that was excluded may lack cells: their variables are empty here.
        """
        columns = {*self._bulk_send.columns, *self._bulk_send.variable_map.values()} - {self._bulk_send.address_column}
        model = self._model(email, dict.fromkeys(columns, "") | dict(variables))
        missing = self._template.missing(model)
        if mark_missing:
            rendering.mark(model, missing)
        subject, html = self._template.preview(model)
        return Shown(subject, html, missing)

    def describe(self, email: str, variables: Mapping[str, str]) -> tuple[str, str]:
        """From address and rendered subject: what a settlement looks for in the relay's log."""
        return self._bulk_send.from_email, self._template.render_subject(self._model(email, variables))

    def _model(self, email: str, variables: Mapping[str, str]) -> dict[str, object]:
        if self._address_variable is not None:
            variables = {**variables, self._address_variable: email}
        return rendering.build_model(variables, self._bulk_send.variable_map)


def _named_as(column: str, names: Set[str]) -> str | None:
    """The column if the template names it, or names a group that it is in (`{{#user}}` for `user.email`)."""
    groups = accumulate(column.split("."), "{}.{}".format)
    return column if not names.isdisjoint(groups) else None


def _attachments(bulk_send: BulkSend) -> tuple[Attachment, ...]:
    attachments = []
    for stored in bulk_send.attachments.order_by("filename"):
        with stored.file.open("rb") as file:
            content = base64.b64encode(file.read()).decode("ascii")
        attachments.append(Attachment(stored.filename, stored.content_type, content))
    return tuple(attachments)
