"""The mail of a recipient, as it leaves or has left: rendered from the template that its bulk send keeps."""

from dataclasses import dataclass, field

from relay.composing import Composer
from relay.models import BulkSend, Recipient


@dataclass(frozen=True, slots=True)
class AttachedFile:
    id: int
    filename: str
    content_type: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Mail:
    subject: str = field(repr=False)
    from_: str = field(repr=False)  # "": the template's own sender, which the relay knows
    to: str = field(repr=False)
    reply_to: str = field(repr=False)
    html: str = field(repr=False)
    missing: tuple[str, ...]  # variables that it needs and that have no value for this recipient
    attachments: tuple[AttachedFile, ...]

    @property
    def size(self) -> int:
        """About how many bytes travel: attachments grow by a third on their way."""
        return len(self.html.encode()) + sum((attached.size + 2) // 3 * 4 for attached in self.attachments)


class Previewer:
    """Shows the mails of one bulk send, whose template is read once."""

    def __init__(self, bulk_send: BulkSend) -> None:
        """Raises `relay.rendering.TemplateProblem` when the template cannot be read."""
        self._bulk_send = bulk_send
        self._composer = Composer(bulk_send)
        self._attachments = attached_files(bulk_send)
        self.columns = self._composer.columns

    def mail_of(self, recipient: Recipient, *, mark_missing: bool = False) -> Mail:
        shown = self._composer.show(recipient.email, recipient.variables, mark_missing=mark_missing)
        return Mail(
            subject=shown.subject,
            from_=sender_of(self._bulk_send),
            to=recipient.email,
            reply_to=self._bulk_send.reply_to,
            html=shown.html,
            missing=shown.missing,
            attachments=self._attachments,
        )


def mail_of(recipient: Recipient, *, mark_missing: bool = False) -> Mail:
    """With `mark_missing` a variable without a value shows its name between ⟦ and ⟧. Raises TemplateProblem."""
    return Previewer(recipient.bulk_send).mail_of(recipient, mark_missing=mark_missing)


def sender_of(bulk_send: BulkSend) -> str:
    if not bulk_send.from_email:
        return ""
    return f"{bulk_send.from_name} <{bulk_send.from_email}>" if bulk_send.from_name else bulk_send.from_email


def attached_files(bulk_send: BulkSend) -> tuple[AttachedFile, ...]:
    return tuple(
        AttachedFile(stored.pk, stored.filename, stored.content_type, stored.size)
        for stored in bulk_send.attachments.order_by("filename")
    )
