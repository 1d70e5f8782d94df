"""How a template looks with values: samples, typed ones, or those of a recipient. Nothing here is sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from relay import rendering, template_saving
from relay.explained import Explained
from relay.models import BulkSend, Recipient
from relay.rendering import CompiledTemplate, TemplateProblem

RECENT = 20
MOST_COMPARED = 5  # while somebody writes


class NoSuchRow(Explained):
    """The bulk send has no such row, or none at all."""


@dataclass(frozen=True, slots=True)
class Rendered:
    subject: str
    html: str
    missing: tuple[str, ...]
    """Variables that have no value here: each of them is nothing in the mail."""


def names_of(template: CompiledTemplate) -> list[str]:
    """What a person may give values to. `user` is left out where there is `user.name`: it is made of that."""
    names = dict.fromkeys([*template.variables, *template.conditions])
    return [name for name in names if not any(other.startswith(f"{name}.") for other in names)]


def sample(name: str) -> str:
    """The name itself, in marks that no mail uses: it shows where the value will stand."""
    return f"‹{name}›"


def with_values(template: CompiledTemplate, values: Mapping[str, str]) -> Rendered:
    """`values` holds what was typed; a variable that is not in it gets its sample, one that is blank stays blank."""
    return _rendered(template, {name: values.get(name, sample(name)) for name in names_of(template)})


def with_recipient(template: CompiledTemplate, recipient: Recipient) -> Rendered:
    """As the message to this recipient would look. The bulk send knows which column fills which variable."""
    sent = recipient.bulk_send
    variables = {sent.address_column: recipient.email, **recipient.variables}
    mapping = {name: column for name, column in sent.variable_map.items() if column in variables}
    return _rendered(template, variables, mapping)


def _rendered(
    template: CompiledTemplate, values: Mapping[str, str], mapping: Mapping[str, str] | None = None
) -> Rendered:
    try:
        model: dict[str, Any] = rendering.build_model(values, mapping)
    except ValueError as error:
        raise NoSuchRow(_("These values do not fit the template: two names exclude each other.")) from error
    subject, html = template.preview(model)
    return Rendered(subject, html, template.missing(model))


def recent_bulk_sends(template_id: str = "") -> list[BulkSend]:
    """The latest, those of this template first; without contents."""
    recent = BulkSend.objects.order_by("-pk").only("name", "template_id", "created_at")[:RECENT]
    return sorted(recent, key=lambda sent: sent.template_id != template_id)


def row_of(bulk_send_id: int, row: int | None) -> Recipient:
    """That row of the file, or its first. Raises NoSuchRow."""
    recipients = Recipient.objects.filter(bulk_send_id=bulk_send_id).select_related("bulk_send")
    recipients = recipients.defer("bulk_send__template_html").order_by("row")
    found = recipients.first() if row is None else recipients.filter(row=row).first()
    if found is None:
        raise NoSuchRow(_("This bulk send has no such row: the first row of data is usually 2."))
    return found


def last_sent(template_id: str) -> BulkSend | None:
    """The latest bulk send with this template of which messages could leave. It keeps what they were made from; the
    content is read when it is asked for."""
    sent = BulkSend.objects.filter(template_id=template_id, processing_started_at__isnull=False)
    return sent.defer("template_html").order_by("-pk").first()


def stopped_by(template_id: str, written: CompiledTemplate) -> list[str]:
    """Names of the bulk sends that have not ended and would stop if the relay had this template: it needs something
    else of their rows (decision 0002). Those with a subject of their own are made from what they keep."""
    waiting = template_saving.users_of(template_id).filter(subject="").order_by("-pk").defer(None)
    names = []
    for sent in waiting[:MOST_COMPARED]:
        checked = rendering.compile_template(sent.template_subject, sent.template_html)
        if checked.needs_signature != written.needs_signature:
            names.append(sent.name)
    return names


def mistakes(subject: str, html: str) -> Iterable[TemplateProblem]:
    """Of each part the first, with its place."""
    for part in ((subject, ""), ("", html)):
        try:
            rendering.compile_template(*part)
        except TemplateProblem as problem:
            yield problem
