"""A bulk send that is being prepared: what people save of it, what it lacks, and how it is thrown away.

    change / take_file / attach …        each one transaction; whoever saved from an older page is told so
    problems → request_check             then a worker makes the draft (`relay.checking`)
    discard                              a draft of which nothing can have left is deleted (decision 0012)

Whoever changes what a checked draft was made from locks that draft first, and then its preparation: so nobody can
allow it to be sent meanwhile, and afterwards it is refused as stale (`BulkSend.start`).
"""

import hashlib
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import File
from django.db import transaction
from django.db.models import ProtectedError, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from relay import decisions, whole_sends
from relay.addresses import AddressProblem, check_address
from relay.creating import Refused, check_attachments_size, store_attachment
from relay.decisions import Actor
from relay.explained import Explained
from relay.first_look import look
from relay.headers import conflicting_names, plain_name
from relay.models import (
    Attachment,
    BulkSend,
    Decision,
    Lease,
    MailTemplate,
    Preparation,
    RememberedMapping,
    WrongState,
)
from relay.recipients import Corrections
from relay.rendering import TemplateProblem, compile_template

log = structlog.get_logger(__name__)

FILE_KINDS = (".csv", ".txt", ".xlsx")
LONGEST_NAME = 255  # of a file, in characters
MOST_ATTACHMENTS = 20

Checking = Preparation.Checking


class Outdated(Explained):
    """Somebody else, or the same person in another tab, saved meanwhile."""


def open_preparation(user: User | None) -> Preparation:
    return Preparation.objects.create(created_by=user)


# --- Saving


def change(preparation_id: int, *, version: int, **fields: Any) -> Preparation:
    """Saves these fields. What a check said before does not hold any more, unless nothing but the name changed.

    Raises Outdated when `version` is not the present one, WrongState when it is no draft any more.
    """
    with transaction.atomic():
        preparation = _locked(preparation_id, version)
        changed = {name for name, value in fields.items() if getattr(preparation, name) != value}
        for name in changed:
            setattr(preparation, name, fields[name])
        if "name" in changed and preparation.bulk_send is not None:
            preparation.bulk_send.name = name_of(preparation)
            preparation.bulk_send.save(update_fields=["name"])
        if changed:
            _save(preparation, still_checked=changed <= {"name"})
    return preparation


def correct(preparation_id: int, *, version: int, **fields: Any) -> Preparation:
    """`change`, and the file is looked at again with what a person corrected of it."""
    with transaction.atomic():
        preparation = change(preparation_id, version=version, **fields)
        before = (preparation.understood, preparation.variable_map)
        understand(preparation)
        if before != (preparation.understood, preparation.variable_map):
            Preparation.objects.filter(pk=preparation.pk).update(
                understood=preparation.understood, variable_map=preparation.variable_map
            )
    return preparation


def take_file(preparation_id: int, *, version: int, upload: File[bytes], name: str) -> Preparation:
    """Keeps the file below ATTACHMENTS_ROOT under a name of ours, and looks at its beginning. Corrections of the file
    before are forgotten. Raises Refused for one that is too large or of another kind."""
    name = Path(name.replace("\\", "/")).name[-LONGEST_NAME:]
    kind = _kind_of(name)
    check_upload_size(upload.size)
    with transaction.atomic():
        preparation = _locked(preparation_id, version)
        before = preparation.file.name
        preparation.file.save(f"{uuid.uuid4().hex}{kind}", upload, save=False)
        kept = Path(preparation.file.path)
        try:
            preparation.file_name, preparation.file_size = name, kept.stat().st_size
            with kept.open("rb") as content:
                preparation.file_sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            preparation.encoding = preparation.delimiter = preparation.address_column = ""
            understand(preparation)
            _save(preparation)
        except BaseException:
            kept.unlink(missing_ok=True)
            raise
        transaction.on_commit(lambda: _forget_file(preparation, before))
    return preparation


def _kind_of(name: str) -> str:
    kind = Path(name).suffix.lower()
    if kind not in FILE_KINDS:
        raise Refused(
            _("«%(name)s» is no list of recipients: choose a CSV, .txt or .xlsx file.") % {"name": name[:100]}
        )
    return kind


def check_upload_size(size: int) -> None:
    """Raises Refused when a file, or a request, has more than BULK_MAX_UPLOAD_MB."""
    if size > settings.BULK_MAX_UPLOAD_MB * 1024 * 1024:
        raise Refused(
            _("The file has %(size).1f MB; %(limit)d MB is the most that is accepted here. Divide the list.")
            % {"size": size / 1024 / 1024, "limit": settings.BULK_MAX_UPLOAD_MB}
        )


def understand(preparation: Preparation) -> None:
    """Looks at the file with the corrections as they are now, and matches variables to columns anew where needed."""
    if not preparation.file:
        return
    preparation.understood = look(
        Path(preparation.file.path),
        name=preparation.file_name,
        address_column=preparation.address_column,
        corrections=Corrections(preparation.encoding or None, preparation.delimiter or None),
    )
    preparation.variable_map = matched(preparation)


def attach(preparation_id: int, *, version: int, uploads: Sequence[tuple[str, File[bytes]]]) -> Preparation:
    """Adds files that go with every message. Raises Refused when they would be too many or too large together."""
    with transaction.atomic():
        preparation = _locked(preparation_id, version)
        before = preparation.attachments.aggregate(size=Sum("size"))["size"] or 0
        if preparation.attachments.count() + len(uploads) > MOST_ATTACHMENTS:
            raise Refused(
                _("%(limit)d attachments are the most that a message can have.") % {"limit": MOST_ATTACHMENTS}
            )
        check_attachments_size(before + sum(upload.size for _name, upload in uploads))
        preparation.attachments.add(*[_stored(name, upload) for name, upload in uploads])
        _save(preparation)
    return preparation


def _stored(name: str, upload: File[bytes]) -> Attachment:
    name = Path(name.replace("\\", "/")).name[-LONGEST_NAME:]
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix[:20]) as copy:
        for chunk in upload.chunks():
            copy.write(chunk)
        copy.flush()
        return store_attachment(Path(copy.name), name)


def detach(preparation_id: int, *, version: int, attachment_id: int) -> Preparation:
    with transaction.atomic():
        preparation = _locked(preparation_id, version)
        preparation.attachments.remove(attachment_id)
        _save(preparation)
    return preparation


def _locked(preparation_id: int, version: int | None) -> Preparation:
    """Its draft locked first, as decisions lock it. `version` None: whatever it is."""
    bulk_send_id = Preparation.objects.values_list("bulk_send_id", flat=True).get(pk=preparation_id)
    status = whole_sends.lock_status(bulk_send_id) if bulk_send_id else None
    preparation = Preparation.objects.select_for_update(of=("self",)).select_related("bulk_send").get(pk=preparation_id)
    if preparation.discarded_at is not None:
        raise WrongState(_("This draft has been discarded."))
    if status is not None and status != BulkSend.Status.DRAFT:
        raise WrongState(_("«%(name)s» is no draft any more: it has been confirmed.") % {"name": preparation})
    if preparation.bulk_send_id != bulk_send_id or (version is not None and preparation.version != version):
        raise Outdated(
            _(
                "Somebody saved this draft after you opened the page (perhaps you, in another tab), so nothing was "
                "saved now. Here is how it stands: enter your change again."
            )
        )
    return preparation


def _save(preparation: Preparation, *, still_checked: bool = False) -> None:
    if not still_checked:
        preparation.checking, preparation.problem, preparation.rows_read = Checking.IDLE, "", 0
        preparation.checker, preparation.checker_until = "", None
    preparation.version += 1
    preparation.save()


def _forget_file(preparation: Preparation, name: str | None) -> None:
    if name:
        preparation.file.storage.delete(name)


# --- Variables and columns


def needed_variables(preparation: Preparation) -> list[str]:
    """What the template, with the subject that will go, needs of every row; by our copy of the template.

    Raises TemplateProblem when it cannot be read.
    """
    template = MailTemplate.objects.filter(template_id=preparation.template_id).first()
    if template is None:
        return []
    return list(compile_template(preparation.subject or template.subject, template.html).needs)


def matched(preparation: Preparation) -> dict[str, str]:
    """Each variable that the template needs and the column it is taken from: as it was chosen, as it was for this
    template the last time, or as the names suggest. Variables without a column are left out."""
    try:
        needed = needed_variables(preparation)
    except TemplateProblem:
        return dict(preparation.variable_map)  # the check will say what is wrong with the template
    remembered = RememberedMapping.objects.filter(template_id=preparation.template_id).first()
    known = [preparation.variable_map, remembered.variable_map if remembered else {}]
    return match(needed, preparation.header, known)


def match(needed: Iterable[str], header: Sequence[str], known: Iterable[Mapping[str, str]] = ()) -> dict[str, str]:
    """`known` mappings come first, in their order, where their columns exist; then equal names; then names that are
    equal but for case, accents, blanks and underscores."""
    columns = set(header)
    by_plain_name: dict[str, str] = {}
    for column in header:
        by_plain_name.setdefault(plain_name(column), column)
    found: dict[str, str] = {}
    for variable in needed:
        chosen = next((mapping[variable] for mapping in known if mapping.get(variable) in columns), "")
        found[variable] = chosen or (variable if variable in columns else by_plain_name.get(plain_name(variable), ""))
    return {variable: column for variable, column in found.items() if column}


def remember_mapping(preparation: Preparation) -> None:
    RememberedMapping.objects.update_or_create(
        template_id=preparation.template_id, defaults={"variable_map": preparation.variable_map}
    )


# --- The check


def problems(preparation: Preparation) -> list[str]:
    """Why it cannot be checked yet: sentences for a person, in the order of the steps."""
    found = []
    if not preparation.template_id:
        found.append(_("Choose a template."))
    if preparation.sender is not None and not preparation.sender.active:
        found.append(
            _("The sender «%(email)s» is not active any more: choose another.") % {"email": preparation.sender}
        )
    if preparation.subject and not _has_sender(preparation):
        found.append(_("A subject of its own needs a sender: choose one."))
    if preparation.reply_to and isinstance(check_address(preparation.reply_to), AddressProblem):
        found.append(_("«Reply to» is not an address."))
    if not preparation.file:
        return [*found, _("Upload the file of recipients.")]
    if preparation.file_problem:
        return [*found, preparation.file_problem]
    return found + (_mapping_problems(preparation) if preparation.template_id else [])


def _has_sender(preparation: Preparation) -> bool:
    if preparation.sender is not None or settings.DOPPLER_RELAY_FROM_EMAIL:
        return True
    template = MailTemplate.objects.filter(template_id=preparation.template_id).values_list("from_email", flat=True)
    return bool(template.first())


def _mapping_problems(preparation: Preparation) -> list[str]:
    try:
        needed = needed_variables(preparation)
    except TemplateProblem as problem:
        return [_("The template cannot be read: %(problem)s") % {"problem": problem}]
    available = {*preparation.header, *preparation.variable_map}
    if lacking := [name for name in needed if name not in available]:
        return [_("Choose the column of: %(variables)s.") % {"variables": ", ".join(lacking)}]
    if clash := conflicting_names([*preparation.header, *chosen_columns(preparation)]):
        told = {"outer": clash[0], "inner": clash[1]}
        return [_("«%(outer)s» and «%(inner)s» exclude each other: rename the column in the file.") % told]
    return []


def chosen_columns(preparation: Preparation) -> dict[str, str]:
    """For `Order.variable_map`: only what is not taken from the column of its own name anyway."""
    return {variable: column for variable, column in preparation.variable_map.items() if variable != column}


def name_of(preparation: Preparation) -> str:
    return (preparation.name or preparation.file_name)[:200]


def request_check(preparation_id: int, *, version: int) -> Preparation:
    """A worker, or the timer, shall check it. Raises Refused when something is missing still."""
    with transaction.atomic():
        preparation = _locked(preparation_id, version)
        if preparation.is_moving or preparation.is_checked:
            return preparation
        if found := problems(preparation):
            raise Refused(" ".join(found))
        preparation.checking, preparation.problem, preparation.rows_read = Checking.WAITING, "", 0
        preparation.times_begun = 0
        preparation.save()
    return preparation


def stop_check(preparation_id: int) -> Preparation:
    """Whoever checks it notices, and stores nothing."""
    with transaction.atomic():
        preparation = _locked(preparation_id, None)
        if preparation.is_moving:
            _save(preparation)
    return preparation


# --- Discarding


def discard(bulk_send: BulkSend) -> None:
    """Deletes a draft of which nothing can ever have left: its recipients, its file of rejected rows, itself.

    Raises WrongState for any other: what has begun is the ledger, of which nothing is deleted (decisions 0003, 0012).
    """
    with transaction.atomic():
        locked = BulkSend.objects.select_for_update().filter(pk=bulk_send.pk).first()
        if locked is None:
            return  # somebody did
        _check_nothing_left(locked)
        Preparation.objects.filter(bulk_send=locked, checking=Checking.CHECKED).update(checking=Checking.IDLE)
        Preparation.objects.filter(bulk_send=locked).update(bulk_send=None)
        rejects = locked.rejects_file.name
        rows = whole_sends.delete_recipients(locked.pk)
        # Changes of its pace or window: nothing was sent at either.
        Decision.objects.filter(bulk_send=locked).delete()
        try:
            locked.delete()
        except ProtectedError:
            raise _no_draft(bulk_send) from None
        transaction.on_commit(lambda: _delete_rejects(locked, rejects))
    log.info("draft_discarded", bulk_send=bulk_send.pk, rows=rows)


def _check_nothing_left(bulk_send: BulkSend) -> None:
    begun = (
        bulk_send.status != BulkSend.Status.DRAFT
        or bulk_send.processing_started_at is not None
        or Lease.objects.filter(bulk_send=bulk_send).exists()
        or bulk_send.decisions.exclude(what=Decision.What.CHANGE).exists()
        or whole_sends.has_attempts(bulk_send.pk)
    )
    if begun:
        raise _no_draft(bulk_send)


def _no_draft(bulk_send: BulkSend) -> WrongState:
    return WrongState(
        _("Bulk send %(id)d is «%(status)s»: only a draft of which nothing has left can be discarded.")
        % {"id": bulk_send.pk, "status": bulk_send.get_status_display()}
    )


def _delete_rejects(bulk_send: BulkSend, name: str | None) -> None:
    if name:
        bulk_send.rejects_file.storage.delete(name)


def give_up(bulk_send: BulkSend) -> None:
    """For a draft that nobody wants any more. One that is to stay on record (somebody decided about it) is cancelled,
    and no longer belongs to its preparation."""
    try:
        discard(bulk_send)
    except WrongState:
        with transaction.atomic():
            if whole_sends.lock_status(bulk_send.pk) == BulkSend.Status.DRAFT:
                decisions.cancel(bulk_send, Actor(_("a new check of its draft, or who discarded that")))
            Preparation.objects.filter(bulk_send=bulk_send).update(bulk_send=None)


def discard_preparation(preparation_id: int) -> Preparation:
    """Nobody sees it any more, and its draft cannot be started; a worker deletes what is left of both."""
    with transaction.atomic():
        preparation = _locked(preparation_id, None)
        preparation.discarded_at = timezone.now()
        _save(preparation)
    return preparation


def discard_draft(bulk_send: BulkSend) -> None:
    """The same for a draft that may have been made by a command. Raises WrongState as `discard` does."""
    with transaction.atomic():
        locked = BulkSend.objects.select_for_update().filter(pk=bulk_send.pk).first()
        if locked is None:
            return
        _check_nothing_left(locked)
        gone = {"discarded_at": timezone.now(), "checking": Checking.IDLE, "checker": "", "checker_until": None}
        Preparation.objects.update_or_create(bulk_send=locked, defaults=gone, create_defaults={**gone, "name": ""})


def delete_discarded(*, with_at_most: int | None = None) -> int:
    """Deletes what was discarded; returns how many. `with_at_most`: only those with so many rows or fewer."""
    deleted = 0
    for preparation in Preparation.objects.filter(discarded_at__isnull=False).select_related("bulk_send"):
        rows = preparation.bulk_send.total if preparation.bulk_send else 0
        if with_at_most is not None and rows > with_at_most:
            continue
        if preparation.bulk_send is not None:
            give_up(preparation.bulk_send)
        _forget_file(preparation, preparation.file.name)
        deleted += Preparation.objects.filter(pk=preparation.pk).delete()[0] > 0
    return deleted
