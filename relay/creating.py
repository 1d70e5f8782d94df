"""Creating a bulk send: everything is checked before anything is stored, and nothing is sent."""

import asyncio
import hashlib
import mimetypes
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files import File
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from relay import activity, importing, senders
from relay.account import open_relay
from relay.addresses import AddressProblem, check_address
from relay.explained import Explained
from relay.headers import conflicting_names
from relay.models import Attachment, BulkSend, Recipient, Sender, SendingWindow
from relay.recipients import AS_UNDERSTOOD, Corrections, RecipientsFile, open_recipients
from relay.rendering import CompiledTemplate, TemplateProblem, compile_template
from relay_client import RelayError, RelayMisconfigured, RelayNotFound

# All attachments of one message together. The relay states no limit; inboxes commonly refuse more than this.
ATTACHMENTS_LIMIT = 10 * 1024 * 1024


class Refused(Explained):
    """What was asked for cannot be done; the text says why and what to do, in the active language."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks for."""

    template_id: str
    recipients: Path
    file_name: str = ""  # as the person knows it; empty: the name of `recipients`
    name: str = ""
    subject: str = ""
    sender: str = ""
    reply_to: str = ""
    email_column: str | None = None
    corrections: Corrections = AS_UNDERSTOOD  # of what was understood from the file
    attachments: tuple[Path, ...] = ()
    variable_map: Mapping[str, str] = field(default_factory=dict)
    scheduled_at: datetime | None = None
    accept_rejects: bool = False
    allow_repeats: bool = False
    allow_empty: bool = False
    window: str = ""  # its name; empty: that of the sender, if it has one
    max_rate: float | None = None
    first_slice: int = 0
    first_slice_max_refused: float | None = None  # None: the usual share
    draft: bool = False  # it stays `draft`, even if all rows are valid, until a person allows it
    created_by: User | None = None


@dataclass(frozen=True, slots=True)
class RelayTemplate:
    """A template as the relay has it now."""

    name: str
    subject: str
    html: str
    from_email: str
    from_name: str


def create_bulk_send(
    order: Order, *, progress: importing.Progress | None = None, then: Callable[[BulkSend], None] | None = None
) -> BulkSend:
    """Checks the order and the file against the template, and stores the bulk send with one row per recipient.

    It is `draft` when rows were rejected that the order does not accept, or when the order says so, else `pending`.
    Raises Refused or FileProblem, and then stored nothing. `progress` is told how many rows were read; `then` ends
    the transaction that stores it. Whatever those two raise takes everything back.
    """
    if order.template_id.strip() in {"", ".", ".."}:
        raise Refused(_("«%(id)s» is no id of a template.") % {"id": order.template_id})
    check_schedule(order.scheduled_at)
    reply_to = _checked_reply_to(order.reply_to)
    _check_attachments(order.attachments)
    sender = _allowed_sender(order.sender)
    window = named_window(order.window) if order.window else None
    file = open_recipients(
        order.recipients,
        email_column=order.email_column,
        name=order.file_name or None,
        corrections=order.corrections,
    )
    template = fetch_template(order.template_id)
    compiled = _compiled(order, template)
    _check_columns(order, file, compiled)
    from_email, from_name = _from(sender, template)
    senders.check_sender(order.created_by, from_email)
    if order.subject and not from_email:
        raise Refused(_("A subject of its own needs a sender: give --sender, or set DOPPLER_RELAY_FROM_EMAIL."))
    bulk_send = BulkSend(
        name=(order.name or file.name)[:200],
        template_id=order.template_id,
        template_name=template.name[:200],
        template_subject=template.subject,
        template_html=template.html,
        subject=order.subject,
        from_email=from_email,
        from_name=from_name,
        reply_to=reply_to,
        file_name=file.name,
        file_sha256=_sha256(order.recipients),
        file_encoding=file.encoding,
        file_delimiter=file.delimiter or "",
        address_column=file.header[file.address_column],
        columns=list(file.columns),
        variable_map=dict(order.variable_map),
        allow_repeats=order.allow_repeats,
        allow_empty=order.allow_empty,
        accept_rejects=order.accept_rejects,
        max_rate=order.max_rate,
        first_slice=order.first_slice,
        total=0,
        window=window,
        scheduled_at=order.scheduled_at,
        scheduled_by=order.created_by if order.scheduled_at else None,
        created_by=order.created_by,
    )
    if order.first_slice_max_refused is not None:
        bulk_send.first_slice_max_refused = order.first_slice_max_refused
    _store(bulk_send, file, compiled, order, progress=progress, then=then)
    return bulk_send


def fetch_template(template_id: str) -> RelayTemplate:
    """The template as the relay has it now. Raises Refused when it cannot be had or has no content."""

    async def fetch() -> RelayTemplate:
        async with open_relay(max_connections=1) as relay:
            template = await relay.get_template(template_id)
            body = await relay.get_template_body(template)
        return RelayTemplate(template.name, template.subject, body.html, template.from_email, template.from_name)

    try:
        template = asyncio.run(fetch())
    except RelayNotFound as error:
        raise Refused(
            _(
                "The relay has no template «%(id)s» in account «%(account)s»: check the template's id and "
                "DOPPLER_RELAY_ACCOUNT_ID."
            )
            % {"id": template_id, "account": settings.DOPPLER_RELAY_ACCOUNT_ID}
        ) from error
    except RelayMisconfigured as error:
        raise Refused(
            _(
                "The relay refuses the key or the account (%(code)s): check DOPPLER_RELAY_API_KEY and "
                "DOPPLER_RELAY_ACCOUNT_ID."
            )
            % {"code": error.code or error.status}
        ) from error
    except RelayError as error:
        answer = f"HTTP {error.status}" if error.status else _("no usable answer")
        raise Refused(
            _(
                "The template could not be read from the relay at %(url)s (%(answer)s): check DOPPLER_RELAY_BASE_URL "
                "and the network, and try again."
            )
            % {"url": settings.DOPPLER_RELAY_BASE_URL, "answer": answer}
        ) from error
    if not template.html.strip():
        raise Refused(_("Template «%(id)s» has no content: write it in the relay first.") % {"id": template_id})
    return template


def check_schedule(scheduled_at: datetime | None) -> None:
    if scheduled_at is not None and scheduled_at <= timezone.now():
        raise Refused(
            _("The hour %(when)s has already passed: give one that is to come.")
            % {"when": timezone.localtime(scheduled_at).strftime("%Y-%m-%d %H:%M %Z")}
        )


def _checked_reply_to(reply_to: str) -> str:
    address = check_address(reply_to) if reply_to else ""
    if isinstance(address, AddressProblem):
        raise Refused(_("--reply-to is not an address: %(problem)s") % {"problem": address.sentence})
    return address


def _allowed_sender(email: str) -> Sender | None:
    if not email:
        return None
    sender = Sender.objects.filter(email__iexact=email, active=True).first()
    if sender is None:
        raise Refused(
            _("«%(email)s» is not an active sender: add it with «sender add», or choose one of «sender list».")
            % {"email": email}
        )
    return sender


def named_window(name: str) -> SendingWindow | None:
    """`none` is no window. Raises Refused when there is none of that name."""
    if name.lower() == "none":
        return None
    window = SendingWindow.objects.filter(name=name).first()
    if window is None:
        raise Refused(
            _("There is no sending window «%(name)s»: add it with «window add», or choose one of «window list».")
            % {"name": name}
        )
    return window


def _from(sender: Sender | None, template: RelayTemplate) -> tuple[str, str]:
    if sender is not None:
        return sender.email, sender.name
    if settings.DOPPLER_RELAY_FROM_EMAIL:
        return settings.DOPPLER_RELAY_FROM_EMAIL, settings.DOPPLER_RELAY_FROM_NAME[:100]
    return template.from_email, template.from_name[:100]


def _compiled(order: Order, template: RelayTemplate) -> CompiledTemplate:
    try:
        return compile_template(order.subject or template.subject, template.html)
    except TemplateProblem as problem:
        raise Refused(
            _("The template «%(name)s» cannot be read: %(problem)s")
            % {"name": template.name or order.template_id, "problem": problem}
        ) from problem


def _check_columns(order: Order, file: RecipientsFile, template: CompiledTemplate) -> None:
    unknown = sorted(set(order.variable_map.values()) - set(file.header))
    if unknown:
        raise Refused(
            _("--map names columns that %(file)s does not have: %(columns)s. It has: %(header)s.")
            % {"file": file.name, "columns": ", ".join(unknown), "header": ", ".join(file.header)}
        )
    if clash := conflicting_names([*file.header, *order.variable_map]):
        raise Refused(
            _(
                "--map and the columns of %(file)s name both «%(outer)s» and «%(inner)s», which exclude each other: "
                "give the variable another name."
            )
            % {"file": file.name, "outer": clash[0], "inner": clash[1]}
        )
    available = set(file.header) | set(order.variable_map)
    lacking = [name for name in template.needs if name not in available]
    if lacking:
        raise Refused(
            _(
                "The template needs variables for which %(file)s has no column: %(variables)s. Add the column, or name "
                "one with --map VARIABLE=COLUMN. It has: %(header)s."
            )
            % {"file": file.name, "variables": ", ".join(lacking), "header": ", ".join(file.header)}
        )


def _check_attachments(paths: Iterable[Path]) -> None:
    paths = list(paths)
    for path in paths:
        if not path.is_file():
            raise Refused(_("The attachment %(path)s is not a file that can be read.") % {"path": path})
    check_attachments_size(sum(path.stat().st_size for path in paths))


def check_attachments_size(total: int) -> None:
    """Raises Refused when inboxes would not accept so many bytes."""
    if total > ATTACHMENTS_LIMIT:
        raise Refused(
            _("The attachments have %(size).1f MB together; %(limit)d MB is the most that inboxes accept.")
            % {"size": total / 1024 / 1024, "limit": ATTACHMENTS_LIMIT // 1024 // 1024}
        )


def store_attachment(path: Path, filename: str = "") -> Attachment:
    """Keeps a copy under the hash of its content; the same file under the same name is kept once."""
    filename = filename or path.name
    sha256 = _sha256(path)
    with path.open("rb") as content, transaction.atomic():
        attachment, created = Attachment.objects.get_or_create(
            sha256=sha256,
            filename=filename,
            defaults={"content_type": _content_type(filename), "size": path.stat().st_size},
        )
        if created:
            _keep(attachment, f"{sha256[:2]}/{sha256}{path.suffix}", content)
    return attachment


def _keep(attachment: Attachment, name: str, content: IO[bytes]) -> None:
    """A file of that hash which an earlier, interrupted creation left behind is the same file."""
    storage, kept = attachment.file.storage, f"{Attachment.file.field.upload_to}/{name}"
    if storage.exists(kept) and storage.size(kept) == attachment.size:
        attachment.file.name = kept
        attachment.save(update_fields=["file"])
    else:
        attachment.file.save(name, File(content))


def _content_type(filename: str) -> str:
    if filename.lower().endswith(".zip"):
        return "application/x-zip-compressed"  # as the relay's own clients name it
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


def _store(
    bulk_send: BulkSend,
    file: RecipientsFile,
    template: CompiledTemplate,
    order: Order,
    *,
    progress: importing.Progress | None,
    then: Callable[[BulkSend], None] | None,
) -> None:
    rejects: Path | None = None
    try:
        with transaction.atomic():
            bulk_send.save()
            bulk_send.attachments.set([store_attachment(path) for path in order.attachments])
            findings = importing.import_recipients(bulk_send, file, template, progress)
            if findings.excluded:
                rejects = _write_rejects(bulk_send, file)
            _settle_status(bulk_send, findings, draft=order.draft)
            if then is not None:
                then(bulk_send)
            by = bulk_send.created_by or activity.operator_name()
            activity.record(activity.What.ADDED, by=by, about=bulk_send, rows=findings.total, valid=findings.valid)
    except BaseException:
        if rejects is not None:
            rejects.unlink(missing_ok=True)
        raise


def _write_rejects(bulk_send: BulkSend, file: RecipientsFile) -> Path:
    bulk_send.rejects_file.name = f"rejects/bulk-send-{bulk_send.pk}-rejects.csv"
    path = Path(bulk_send.rejects_file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    importing.write_rejected_rows(bulk_send, file, path)
    return path


def _settle_status(bulk_send: BulkSend, findings: importing.Findings, *, draft: bool) -> None:
    ready = not draft and findings.valid and (bulk_send.accept_rejects or not findings.excluded)
    bulk_send.total = findings.total
    bulk_send.findings = findings.as_json()
    bulk_send.status = BulkSend.Status.PENDING if ready else BulkSend.Status.DRAFT
    bulk_send.slice_ends_at_row = slice_end(bulk_send)
    bulk_send.save()


def slice_end(bulk_send: BulkSend) -> int | None:
    """The row of the last recipient of the first slice; None when there is no slice, or nobody after it."""
    if not bulk_send.first_slice:
        return None
    valid = bulk_send.recipients.filter(state=Recipient.State.PENDING).order_by("row").values_list("row", flat=True)
    last_and_next = list(valid[bulk_send.first_slice - 1 : bulk_send.first_slice + 1])
    return last_and_next[0] if len(last_and_next) == 2 else None


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
