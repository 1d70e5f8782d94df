"""Changing the relay's templates: create, save, delete.

The relay saves in two steps, metadata and then body (relay API notes §3.1), and knows neither locks nor versions. So:

* before a save the relay's template is read and compared with what the person had before them (`seen`);
* between the steps the copy says `half`, so that even a process that dies there leaves the truth behind;
* a change without a usable answer is settled by reading back. Both steps state a result, so that repeating them does
  no harm; only a creation is never repeated by itself.

Whoever changes the template at the relay between our reading and our writing is overwritten: the relay offers nothing
against it, and these are milliseconds.
"""

import structlog
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from relay.explained import Explained
from relay.mail_templates import (
    Conversation,
    Gone,
    Reading,
    Version,
    contents,
    fetch,
    keep,
    mark_gone,
    reason_of,
    same_text,
    version_of,
    wanted_version,
)
from relay.models import BulkSend, MailTemplate
from relay_client import RelayClient, RelayError, RelayMisconfigured, RelayNotFound, RelayUnknown

Saved = MailTemplate.Saved
Status = BulkSend.Status
IN_USE = (Status.DRAFT, Status.PENDING, Status.SENDING, Status.PAUSED, Status.SETTLING, Status.ERROR)
MOST_NAMED = 5

log = structlog.get_logger(__name__)


class NotSaved(Explained):
    """Nothing of it is stored at the relay (or nothing more than before); the text says why."""


class BrokenOff(Explained):
    """A save that is not whole, or not known to be. `template` is the copy, which keeps what was wanted; None when the
    relay does not show what it was told to create."""

    def __init__(self, text: str, template: MailTemplate | None = None) -> None:
        super().__init__(text)
        self.template = template


class HalfSaved(BrokenOff):
    """Name, sender and subject are stored at the relay, the content is not."""


class NotKnown(BrokenOff):
    """No usable answer, and the relay cannot be asked either."""


class Protected(Explained):
    """This template may not be changed or deleted in this way now; the text says why."""


class ChangedMeanwhile(Explained):
    """The relay's template is no longer what the person had before them. `current` is what it has now."""

    def __init__(self, current: Version) -> None:
        super().__init__(
            _("Somebody changed this template at the relay meanwhile. Nothing was saved: compare both versions below.")
        )
        self.current = current


# --- create -------------------------------------------------------------------------------------------------


def create(version: Version) -> MailTemplate:
    """Raises NotSaved, NotKnown (perhaps created, not found yet) or HalfSaved (created, without its content)."""
    with Conversation() as relay:
        template_id = _create(relay, version)
        template = MailTemplate.objects.create(
            template_id=template_id,
            **contents(version) | {"html": ""},
            saved=Saved.HALF,
            wanted=version.as_json(),
            fetched_at=timezone.now(),
        )
        return _put_body(relay, template, version)


def _create(relay: Conversation, version: Version) -> str:
    try:
        before = {template_id for template_id, _version in relay.ask(_listed(relay.client))}
        return relay.ask(relay.client.create_template(version.draft))
    except RelayUnknown as error:
        log.warning("template_creation_unanswered", status=error.status)
    except (RelayError, RelayMisconfigured) as error:
        raise NotSaved(_nothing_saved(error)) from error
    return _find_created(relay, version, before)


def _find_created(relay: Conversation, version: Version, before: set[str]) -> str:
    """The one template that is new and is called and sent as this one. Creating it once more could make two."""
    try:
        listed = relay.ask(_listed(relay.client))
    except (RelayError, RelayMisconfigured):
        listed = []
    found = [template_id for template_id, draft in listed if template_id not in before and draft == version.draft]
    if len(found) != 1:
        raise NotKnown(
            _(
                "The relay gave no usable answer, and its list does not show the new template (yet). Refresh the list "
                "in a minute: create it again only if it is not there. Your text is still below."
            )
        )
    return found[0]


async def _listed(client: RelayClient) -> list[tuple[str, object]]:
    return [
        (template.id, Version(template.name, template.subject, template.from_email, template.from_name, "").draft)
        async for template in client.templates()
    ]


# --- save ---------------------------------------------------------------------------------------------------


def save(template: MailTemplate, version: Version, *, seen: str) -> MailTemplate:
    """Makes the relay's template this version. `seen` is the digest of the version that the person had before them.

    Raises ChangedMeanwhile, Protected, NotSaved, HalfSaved, NotKnown or Gone.
    """
    with Conversation() as relay:
        opened, broken_off = version_of(template), wanted_version(template)
        template = _current(relay, template)
        current = version_of(template)
        if current.digest != seen and not (
            broken_off and seen == opened.digest and _mixed(current, opened, broken_off)
        ):
            raise ChangedMeanwhile(current)
        rewrites_body = not same_text(current.html, version.html)
        if template.made_visually and rewrites_body:
            raise Protected(
                _("This template was made with the visual editor: its content is changed there, or it would be lost.")
            )
        if current.draft != version.draft:
            template = _put_metadata(relay, template, version, body_follows=rewrites_body)
        if rewrites_body:
            return _put_body(relay, template, version)
        return _confirmed(relay, template, version)


def finish(template: MailTemplate) -> MailTemplate:
    """Tries again what broke off. Raises as `save` does."""
    wanted = wanted_version(template)
    if wanted is None:
        return template
    return save(template, wanted, seen=version_of(template).digest)


def discard(template: MailTemplate) -> MailTemplate:
    """What broke off is given up: what the relay has is right. Raises Gone or RelayOutOfReach."""
    template = fetch(template.template_id)
    return _mark(template, Saved.WHOLE)


def _mixed(current: Version, opened: Version, wanted: Version) -> bool:
    """Of a save that broke off nobody knows which steps arrived: each part is the former or the wanted one."""
    html_known = any(same_text(current.html, one.html) for one in (opened, wanted))
    return html_known and current.draft in (opened.draft, wanted.draft)


def _current(relay: Conversation, template: MailTemplate) -> MailTemplate:
    try:
        return keep(relay.read(template.template_id))
    except RelayNotFound as error:
        raise _gone(template) from error
    except (RelayError, RelayMisconfigured) as error:
        raise NotSaved(_nothing_saved(error)) from error


def _put_metadata(relay: Conversation, template: MailTemplate, version: Version, *, body_follows: bool) -> MailTemplate:
    try:
        relay.ask(relay.client.update_template(template.template_id, version.draft))
    except RelayUnknown as error:
        log.warning("template_save_unanswered", template=template.pk, step="metadata", status=error.status)
        if _read_back(relay, template, version).version.draft != version.draft:
            raise NotSaved(_("Nothing was saved: the relay still has the former version. Try again.")) from error
    except RelayNotFound as error:
        raise _gone(template) from error
    except (RelayError, RelayMisconfigured) as error:
        raise NotSaved(_nothing_saved(error)) from error
    if not body_follows:
        return template
    former = template.html
    for name, value in (contents(version) | {"html": former}).items():
        setattr(template, name, value)
    return _mark(template, Saved.HALF, version)


def _put_body(relay: Conversation, template: MailTemplate, version: Version) -> MailTemplate:
    """The second step. Where it fails, what the first one did stays, and the copy says so already."""
    try:
        relay.ask(relay.client.put_template_body(template.template_id, version.html))
    except RelayUnknown as error:
        log.warning("template_save_unanswered", template=template.pk, step="body", status=error.status)
        if not same_text(_read_back(relay, template, version).version.html, version.html):
            raise _body_missing(template, reason_of(error)) from error
    except RelayNotFound as error:
        raise _gone(template) from error
    except (RelayError, RelayMisconfigured) as error:
        raise _body_missing(template, reason_of(error)) from error
    return _confirmed(relay, template, version)


def _body_missing(template: MailTemplate, reason: str) -> Explained:
    if template.saved == Saved.WHOLE:  # the first step had nothing to write
        return NotSaved(_("Nothing was saved: the relay still has the former content. %(reason)s") % {"reason": reason})
    told = {"reason": reason}
    if template.html:
        return HalfSaved(
            _(
                "Half saved: the relay has the new name, sender and subject, but still the former content. %(reason)s "
                "Your text is kept here: press «Finish saving»."
            )
            % told,
            template,
        )
    return HalfSaved(
        _(
            "Half saved: the relay has the name, sender and subject, but no content yet. %(reason)s "
            "Your text is kept here: press «Finish saving»."
        )
        % told,
        template,
    )


def _read_back(relay: Conversation, template: MailTemplate, version: Version) -> Reading:
    """What the relay has, after a change without an answer. Raises NotKnown when it does not say, and keeps it."""
    try:
        return relay.read(template.template_id)
    except RelayNotFound as error:
        raise _gone(template) from error
    except (RelayError, RelayMisconfigured) as error:
        _mark(template, Saved.UNKNOWN, version)
        raise NotKnown(
            _(
                "It is not known what of this is saved: the relay was told, gave no usable answer, and cannot be asked "
                "now. Your text is kept here: press «Finish saving» when it answers again."
            ),
            template,
        ) from error


def _confirmed(relay: Conversation, template: MailTemplate, version: Version) -> MailTemplate:
    """Both steps are done. The copy becomes what the relay shows now; should it not say, it is what it was told."""
    try:
        template = keep(relay.read(template.template_id))
    except (RelayError, RelayMisconfigured):
        for name, value in contents(version).items():
            setattr(template, name, value)
        template.changed_at, template.fetched_at = None, timezone.now()  # so that the next refresh reads it
    return _mark(template, Saved.WHOLE)


def _mark(template: MailTemplate, saved: str, wanted: Version | None = None) -> MailTemplate:
    template.saved, template.wanted = saved, wanted.as_json() if wanted else None
    template.save()
    return template


def _gone(template: MailTemplate) -> Gone:
    mark_gone(template.template_id)
    return Gone(_("The relay has no such template any more: it was deleted there. Your text is still below."))


def _nothing_saved(error: RelayError | RelayMisconfigured) -> str:
    return _("Nothing was saved. %(reason)s") % {"reason": reason_of(error)}


# --- delete -------------------------------------------------------------------------------------------------


def users_of(template_id: str) -> QuerySet[BulkSend]:
    """The bulk sends that still need it, without their contents."""
    return BulkSend.objects.filter(status__in=IN_USE, template_id=template_id).defer("template_html")


def check_deletable(template: MailTemplate) -> None:
    """Raises Protected, naming the bulk sends that use it."""
    names = list(users_of(template.template_id).order_by("-pk").values_list("name", flat=True)[: MOST_NAMED + 1])
    if names:
        shown = ", ".join(f"«{name}»" for name in names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")
        raise Protected(
            _("It cannot be deleted: these bulk sends use it and have not ended: %(names)s.") % {"names": shown}
        )


def delete(template: MailTemplate) -> None:
    """Deletes it at the relay; the copy stays, marked as gone. Raises Protected, NotSaved or NotKnown."""
    check_deletable(template)
    with Conversation() as relay:
        try:
            relay.ask(relay.client.delete_template(template.template_id))
        except RelayNotFound:
            log.info("template_was_gone_already", template=template.pk)
        except RelayUnknown as error:
            log.warning("template_deletion_unanswered", template=template.pk, status=error.status)
            _settle_deletion(relay, template)
        except (RelayError, RelayMisconfigured) as error:
            raise NotSaved(_("It was not deleted. %(reason)s") % {"reason": reason_of(error)}) from error
    mark_gone(template.template_id)


def _settle_deletion(relay: Conversation, template: MailTemplate) -> None:
    try:
        keep(relay.read(template.template_id))
    except RelayNotFound:
        return
    except (RelayError, RelayMisconfigured) as error:
        raise NotKnown(
            _("It is not known whether it was deleted: the relay gave no usable answer. Refresh the list in a minute.")
        ) from error
    raise NotSaved(_("It was not deleted: the relay still has it. Try again."))
