"""On the page of a recipient: what became of its message after the relay accepted it, if a loaded report knows."""

from datetime import timedelta

from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _

from relay.admin import words
from relay.admin.recipients import Section, more_about
from relay.models import Attempt, Recipient
from reports.admin.words import STATUS_COLOURS, day, days, status
from reports.models import Delivery, LoadRequest

# Reports have no ids of ours: a delivery is that of a message when address, sender and subject agree and its time is
# about that of the call. Between several the nearest is meant.
ABOUT = timedelta(minutes=30)
LOOKED_AT = 50  # to one person in an hour; more is no bulk mail


def delivery_section(recipient: Recipient) -> Section | None:
    """Nothing of what was never accepted."""
    if recipient.state != Recipient.State.ACCEPTED or recipient.accepted_at is None:
        return None
    found = delivery_of(recipient)
    loads = _loads_that_cover(recipient)
    context = _known(found, loads) if found else {"absent": _why_not(recipient, loads)}
    return Section(_("What the reports know"), render_to_string("reports/admin/recipient.html", context))


def delivery_of(recipient: Recipient) -> Delivery | None:
    """By the index of recipients and time. Of `default`: the console knows no other."""
    if recipient.accepted_at is None:
        return None
    called = Attempt.objects.filter(recipient=recipient).order_by("-pk").first()
    span = (recipient.accepted_at - ABOUT, recipient.accepted_at + ABOUT)
    near = Delivery.objects.filter(recipient=recipient.email.lower(), sent_at__range=span).order_by("-sent_at")
    alike = [delivery for delivery in near[:LOOKED_AT] if called is None or _agrees(delivery, called)]
    accepted_at = recipient.accepted_at
    return min(alike, key=lambda delivery: abs(delivery.sent_at - accepted_at), default=None)


def _agrees(delivery: Delivery, called: Attempt) -> bool:
    """What we do not know of the message (the template's own sender, its subject) speaks against none."""
    same_sender = not called.from_email or delivery.sender.lower() == called.from_email.lower()
    same_subject = not called.subject or _spaced_once(delivery.subject) == _spaced_once(called.subject)
    return same_sender and same_subject


def _spaced_once(text: str) -> str:
    return " ".join(text.split())


def _loads_that_cover(recipient: Recipient) -> list[LoadRequest]:
    """Of its moment, the latest first."""
    done = LoadRequest.objects.filter(alias="default", state=LoadRequest.State.DONE)
    covers = done.filter(report__starts_at__lte=recipient.accepted_at, report__ends_at__gt=recipient.accepted_at)
    return list(covers.select_related("report").order_by("-loaded_at")[:LOOKED_AT])


def _known(found: Delivery, loads: list[LoadRequest]) -> dict[str, object]:
    told_by = [load for load in loads if load.report.made_at == found.as_of] or loads
    return {
        "status": status(found),
        "colour": STATUS_COLOURS.get(found.status, "default"),
        "sent": words.moment(found.sent_at),
        "opens": words.number(found.opens),
        "clicks": words.number(found.clicks),
        "as_of": words.moment(found.as_of),
        "source": _source(told_by[0]) if told_by else "",
    }


def _source(load: LoadRequest) -> str:
    told = {
        "type": load.report.get_type_display(),
        "id": load.report_id,
        "days": days(load.report),
        "when": words.moment(load.loaded_at),
    }
    return _("Report %(id)d, «%(type)s» of %(days)s, loaded on %(when)s.") % told


def _why_not(recipient: Recipient, loads: list[LoadRequest]) -> str:
    when = day(timezone.localtime(recipient.accepted_at).date())
    if loads:
        return _(
            "The reports of %(day)s that are loaded do not have this message. A later report may: the relay adds "
            "deliveries for some time."
        ) % {"day": when}
    return _(
        "No report that covers %(day)s has been loaded into «default»: nothing is known of delivery, opens and clicks. "
        "Request the report of that day and load it."
    ) % {"day": when}


more_about.append(delivery_section)
