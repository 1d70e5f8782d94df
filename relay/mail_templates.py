"""The copy of the relay's templates: read from the relay, kept in `MailTemplate`. `relay.template_saving` changes them.

Lists, previews and differences are made from the copy. Messages are not: a bulk send reads the live template when it
is created and again before it sends (decision 0002). So a copy that is old misleads nobody but its reader, who sees
since when it holds.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.db import transaction
from django.db.models import Min
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from relay.account import open_relay
from relay.explained import Explained
from relay.models import MailTemplate
from relay.rendering import TemplateProblem, compile_template
from relay_client import (
    RelayClient,
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayUnavailable,
    Template,
    TemplateBody,
    TemplateDraft,
)

# A person waits for the page: no call of theirs may take longer, and no refresh goes on for longer.
CALL_SECONDS = 15.0
REFRESH_SECONDS = 20.0
_AT_ONCE = 5  # bodies that are read at the same time
_CHUNK = 50
# Two changes within the precision of the relay's clock look like one, and its clock may differ from ours.
_TOO_CLOSE = timedelta(minutes=2)


class RelayOutOfReach(Explained):
    """The relay gave no usable answer to a question; the copy is as it was."""


class Gone(Explained):
    """The relay has no such template (any more)."""


@dataclass(frozen=True, slots=True)
class Version:
    """What people write of a template."""

    name: str
    subject: str
    from_email: str = field(repr=False)
    from_name: str = field(repr=False)
    html: str = field(repr=False)

    @property
    def draft(self) -> TemplateDraft:
        """The part that the first step of a save writes."""
        return TemplateDraft(self.name, self.from_email, self.from_name, self.subject)

    @property
    def digest(self) -> str:
        """Equal for equal versions only: a form carries it to say what it was opened with."""
        return hashlib.sha256(json.dumps(self.as_json()).encode()).hexdigest()

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def version_of(template: MailTemplate) -> Version:
    """What the relay had when it was last read."""
    return Version(template.name, template.subject, template.from_email, template.from_name, template.html)


def wanted_version(template: MailTemplate) -> Version | None:
    """What somebody was saving when the save broke off; None when nothing is open."""
    return Version(**template.wanted) if template.wanted else None


def same_text(one: str, other: str) -> bool:
    """Line breaks and blanks around it are the relay's and the browser's to choose."""
    return "\n".join(one.splitlines()).strip() == "\n".join(other.splitlines()).strip()


@dataclass(frozen=True, slots=True)
class Reading:
    """A template as the relay has it now."""

    template_id: str
    version: Version
    made_visually: bool
    changed_at: datetime | None

    @classmethod
    def of(cls, template: Template, body: TemplateBody) -> Self:
        version = Version(template.name, template.subject, template.from_email, template.from_name, body.html)
        return cls(template.id, version, body.mseditor or template.body_type == "mseditor", template.last_updated)


class Conversation:
    """The relay asked from synchronous code: several calls, and the database in between, never a call inside a
    transaction."""

    def __enter__(self) -> Self:
        client = open_relay(
            max_connections=_AT_ONCE, timeout_seconds=min(float(settings.RELAY_TIMEOUT_SECONDS), CALL_SECONDS)
        )
        self._runner = asyncio.Runner()
        self.client = self._runner.run(client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self.client.__aexit__(kind, error, trace))
        finally:
            self._runner.close()

    def ask[T](self, call: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(call)

    def read(self, template_id: str) -> Reading:
        return self.ask(_read(self.client, template_id))


async def _read(client: RelayClient, template_id: str) -> Reading:
    template = await client.get_template(template_id)
    return Reading.of(template, await _body(client, template))


async def _body(client: RelayClient, template: Template) -> TemplateBody:
    if template.body_type == "empty":
        return TemplateBody("", mseditor=False)
    if template.body_type == "rawHtml" and template.body is not None:
        return TemplateBody(template.body, mseditor=False)
    return await client.get_template_body(template)


# --- one template -------------------------------------------------------------------------------------------


def fetch(template_id: str) -> MailTemplate:
    """Reads one anew. Raises Gone, and then the copy says so too, or RelayOutOfReach."""
    with Conversation() as relay, explained():
        try:
            reading = relay.read(template_id)
        except RelayNotFound as error:
            mark_gone(template_id)
            raise Gone(_("The relay has no such template any more: it was deleted there.")) from error
    return keep(reading)


def mark_gone(template_id: str) -> None:
    """What was still being saved of it stays: whoever wrote it may create it again."""
    MailTemplate.objects.there().filter(template_id=template_id).update(gone_at=timezone.now())


def keep(reading: Reading) -> MailTemplate:
    """The reading, made now, becomes the copy."""
    keep_all([reading], read_at=timezone.now())
    return MailTemplate.objects.get(template_id=reading.template_id)


def keep_all(readings: Iterable[Reading], *, read_at: datetime) -> None:
    """Each becomes the copy, unless the copy is younger. A save that had broken off is over when the relay turns out
    to hold all of it."""
    fields = {reading.template_id: _fields(reading, read_at) for reading in readings}
    with transaction.atomic():
        copies = MailTemplate.objects.select_for_update(no_key=True).filter(template_id__in=fields)
        there = {template.template_id: template for template in copies}
        new = [MailTemplate(template_id=one, **fields[one]) for one in fields if one not in there]
        MailTemplate.objects.bulk_create(new, ignore_conflicts=True)  # another refresh may have been faster
        for template_id, template in there.items():
            if template.fetched_at <= read_at:
                _overwrite(template, fields[template_id])


def _overwrite(template: MailTemplate, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        setattr(template, name, value)
    wanted, there = wanted_version(template), version_of(template)
    if wanted and wanted.draft == there.draft and same_text(wanted.html, there.html):
        template.saved, template.wanted = MailTemplate.Saved.WHOLE, None
    template.save()


def _fields(reading: Reading, read_at: datetime) -> dict[str, Any]:
    return {
        **contents(reading.version),
        "made_visually": reading.made_visually,
        "changed_at": reading.changed_at,
        "fetched_at": read_at,
        "gone_at": None,
    }


def contents(version: Version) -> dict[str, Any]:
    """A version as fields of the copy, with what is found in it."""
    try:
        compiled = compile_template(version.subject, version.html)
        found: dict[str, Any] = {"variables": list(compiled.variables), "has_mistake": False}
    except TemplateProblem:
        found = {"variables": [], "has_mistake": True}
    return {
        "name": version.name[:200],
        "subject": version.subject,
        "from_email": version.from_email[:256],
        "from_name": version.from_name[:200],
        "html": version.html,
        **found,
    }


# --- all of them --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh found. Not `complete`: time was up, and the next one goes on where this one stood."""

    new: int = 0
    changed: int = 0
    gone: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class _Known:
    pk: int
    changed_at: datetime | None
    fetched_at: datetime
    settled: bool  # at the relay, and no save of it broke off


def refresh(*, max_age: timedelta | None = None) -> Refreshed:
    """Makes the copy what the relay has. Contents are read of those that are new, changed, or of which the relay does
    not say when they were changed. With `max_age`, a copy that is no older stays without a call.

    Raises RelayOutOfReach (or another Explained), and then nobody is taken for gone.
    """
    began = timezone.now()
    if max_age is not None and _age(began) <= max_age:
        return Refreshed()
    known = {
        template_id: _Known(pk, changed_at, fetched_at, gone_at is None and saved == MailTemplate.Saved.WHOLE)
        for template_id, pk, changed_at, fetched_at, gone_at, saved in MailTemplate.objects.values_list(
            "template_id", "pk", "changed_at", "fetched_at", "gone_at", "saved"
        )
    }
    with Conversation() as relay, explained():
        return _refresh(relay, known, began)


def _age(now: datetime) -> timedelta:
    oldest: datetime | None = MailTemplate.objects.there().aggregate(oldest=Min("fetched_at"))["oldest"]
    return timedelta.max if oldest is None else now - oldest


def _refresh(relay: Conversation, known: dict[str, _Known], began: datetime) -> Refreshed:
    new = changed = 0
    seen: set[str] = set()
    deadline = time.monotonic() + REFRESH_SECONDS
    listed = relay.client.templates()
    while chunk := relay.ask(_next(listed, _CHUNK)):
        if time.monotonic() > deadline:
            return Refreshed(new, changed, complete=False)
        fresh = {template.id: template for template in chunk if template.id not in seen}
        chunk = [template for template in fresh.values() if template.id not in (".", "..")]
        seen |= {template.id for template in chunk}
        unchanged = [template.id for template in chunk if _is_unchanged(template, known.get(template.id))]
        MailTemplate.objects.filter(template_id__in=unchanged, fetched_at__lt=began).update(fetched_at=began)
        stale = [template for template in chunk if template.id not in unchanged]
        readings = relay.ask(_readings(relay.client, stale))
        keep_all(readings, read_at=began)
        new += sum(reading.template_id not in known for reading in readings)
        changed += sum(reading.template_id in known for reading in readings)
    missing = sorted(set(known) - seen)
    return Refreshed(new, changed, _settle_missing(relay, missing))


def _is_unchanged(template: Template, known: _Known | None) -> bool:
    if known is None or not known.settled or template.last_updated is None:
        return False
    return template.last_updated == known.changed_at and template.last_updated < known.fetched_at - _TOO_CLOSE


async def _next(listed: AsyncIterator[Template], count: int) -> list[Template]:
    chunk: list[Template] = []
    async for template in listed:
        chunk.append(template)
        if len(chunk) == count:
            break
    return chunk


async def _readings(client: RelayClient, templates: list[Template]) -> list[Reading]:
    """With their bodies; the client has few connections, that is the bound. One that vanishes meanwhile is left out."""

    async def reading(template: Template) -> Reading | None:
        try:
            return Reading.of(template, await _body(client, template))
        except RelayNotFound:
            return None

    found = await asyncio.gather(*map(reading, templates))
    return [one for one in found if one is not None]


def _settle_missing(relay: Conversation, template_ids: list[str]) -> int:
    """A list whose pages shift while they are read may miss one: each is asked for by its name before it is gone."""
    there = MailTemplate.objects.there().filter(template_id__in=template_ids).values_list("template_id", flat=True)
    gone = 0
    for template_id in there:
        try:
            keep(relay.read(template_id))
        except RelayNotFound:
            mark_gone(template_id)
            gone += 1
    return gone


# --- errors -------------------------------------------------------------------------------------------------


@contextmanager
def explained() -> Iterator[None]:
    """Turns what the client raises for questions into sentences for people."""
    try:
        yield
    except (RelayError, RelayMisconfigured) as error:
        raise RelayOutOfReach(reason_of(error)) from error


_FIELDS = {
    "name": _lazy("name"),
    "subject": _lazy("subject"),
    "from_email": _lazy("from"),
    "from_name": _lazy("from name"),
    "html": _lazy("content"),
}


def reason_of(error: RelayError | RelayMisconfigured) -> str:
    """One sentence: why the relay did not do what it was asked. Never in its own words: they may quote anything."""
    code = error.code or str(error.status or "")
    if isinstance(error, RelayMisconfigured):
        return _(
            "The relay refuses the key or the account (%(code)s): check DOPPLER_RELAY_API_KEY and "
            "DOPPLER_RELAY_ACCOUNT_ID."
        ) % {"code": code}
    if isinstance(error, RelayUnavailable) and error.throttled:
        return _("The relay asks to wait a moment (%(code)s): try again in a minute.") % {"code": code}
    named = [str(_FIELDS[key]) for key, _detail in getattr(error, "errors", ()) if key in _FIELDS]
    if named:
        return _("The relay refuses it (%(code)s), because of: %(fields)s.") % {
            "code": code,
            "fields": ", ".join(named),
        }
    if error.status and 400 <= error.status < 500:
        return _("The relay refuses it (%(code)s).") % {"code": code}
    if error.status:
        return _("The relay answered with an error (%(code)s): try again later.") % {"code": code}
    return _("The relay does not answer: check the network and DOPPLER_RELAY_BASE_URL, and try again later.")
