"""What the start page shows of bulk sends: which need a person, how many messages left, what moves, what is next."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, Max, QuerySet, Sum
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from relay import quotas, reasons, tallies
from relay.admin import dashboard, drawing, words
from relay.admin.dashboard import MOST_NAMED, Asked, Beginning, Figure, Need, Section, Table, Viewer, may, page_or_none
from relay.admin.drawing import Chart, Series
from relay.finding import FOR_A_PERSON
from relay.models import BulkSend, Lease, Quota, Recipient, Sender

State = Recipient.State
Status = BulkSend.Status

RIGHTS = ("relay.view_bulksend", "relay.change_bulksend")
TO_PREPARE = ("relay.add_bulksend",)
MOST_SHOWN = 8
LIST = "admin:relay_bulksend_changelist"


def _light() -> QuerySet[BulkSend]:
    """Without what only the page of one needs: a template can be 2 MB."""
    return BulkSend.objects.defer("template_html", "template_subject", "columns", "variable_map")


def _zone() -> ZoneInfo:
    return ZoneInfo(settings.TIME_ZONE)


# --- What needs a person


def _needs(viewer: Viewer) -> Iterator[Need]:
    yield from _errors()
    yield from _stopped()
    yield from _overdue()
    yield from _unknown(viewer)
    yield from _drafts()


def _named(found: list[BulkSend], status: str) -> Iterator[BulkSend | Need]:
    """The first ones; then, of one more than that, where the rest is."""
    yield from found[:MOST_NAMED]
    if len(found) > MOST_NAMED:
        label = Status(status).label
        yield Need(_("There are more bulk sends in the state «%(status)s».") % {"status": label}, _list_of(status))


def _errors() -> Iterator[Need]:
    found = _light().filter(status=Status.ERROR).order_by("-pk")[: MOST_NAMED + 1]
    for one in _named(list(found), Status.ERROR):
        yield one if isinstance(one, Need) else Need(_about(one), _page(one), urgent=True)


def _stopped() -> Iterator[Need]:
    """Paused by a machine that does not know when it goes on."""
    stopped = _light().filter(status=Status.PAUSED, resume_at=None).exclude(reason=reasons.PERSON).order_by("-pk")
    for one in _named(list(stopped[: MOST_NAMED + 1]), Status.PAUSED):
        yield one if isinstance(one, Need) else Need(_about(one), _page(one), urgent=True)


def _overdue() -> Iterator[Need]:
    missed = _light().filter(pk__in=BulkSend.objects.missed().values("pk")).order_by("scheduled_at")
    for one in _named(list(missed[: MOST_NAMED + 1]), Status.PENDING):
        if isinstance(one, Need):
            yield one
            continue
        told = {"name": one.name, "when": words.moment(one.scheduled_at)}
        text = _("«%(name)s» should have begun at %(when)s: no sending process is running.") % told
        yield Need(text, _page(one), urgent=True)


def _unknown(viewer: Viewer) -> Iterator[Need]:
    """Recipients of which the relay's log will tell nothing more."""
    not_done = BulkSend.objects.exclude(status=Status.DONE).order_by("-pk").values_list("pk", flat=True)
    waiting = tallies.for_a_person(not_done)
    names = dict(BulkSend.objects.filter(pk__in=waiting).values_list("pk", "name"))
    shown = sorted(waiting.items(), reverse=True)
    for pk, count in shown[:MOST_NAMED]:
        text = ngettext(
            "%(count)s recipient of «%(name)s» is unknown, and the relay's log says no more: a person decides.",
            "%(count)s recipients of «%(name)s» are unknown, and the relay's log says no more: a person decides.",
            count,
        ) % {"count": words.number(count), "name": names.get(pk, pk)}
        yield Need(text, _unknown_of(viewer, pk))
    left = sum(count for _pk, count in shown[MOST_NAMED:])
    if left:
        text = ngettext(
            "%(count)s unknown recipient of older bulk sends waits for a person too.",
            "%(count)s unknown recipients of older bulk sends wait for a person too.",
            left,
        ) % {"count": words.number(left)}
        yield Need(text, reverse(LIST))


def _unknown_of(viewer: Viewer, pk: int) -> str:
    if may(viewer, "relay.view_recipient"):
        return f"{reverse('admin:relay_recipient_changelist')}?bulk_send={pk}&state={FOR_A_PERSON}"
    return reverse("admin:relay_bulksend_change", args=[pk])


def _drafts() -> Iterator[Need]:
    """Whose rejected rows nobody has decided about."""
    drafts = _light().filter(status=Status.DRAFT, accept_rejects=False).order_by("-pk")[: 2 * MOST_NAMED]
    for one in _named([draft for draft in drafts if draft.excluded_at_creation], Status.DRAFT):
        if isinstance(one, Need):
            yield one
            continue
        count = one.excluded_at_creation
        text = ngettext(
            "The draft «%(name)s» has %(count)s rejected row: send only the valid ones, or correct the file.",
            "The draft «%(name)s» has %(count)s rejected rows: send only the valid ones, or correct the file.",
            count,
        ) % {"name": one.name, "count": words.number(count)}
        yield Need(text, page_or_none("admin:relay_bulksend_review", one.pk) or _page(one))


def _about(bulk_send: BulkSend) -> str:
    return f"«{bulk_send.name}»: {bulk_send.reason_text}"


def _page(bulk_send: BulkSend) -> str:
    return reverse("admin:relay_bulksend_change", args=[bulk_send.pk])


def _list_of(status: str) -> str:
    return f"{reverse(LIST)}?status__exact={status}"


# --- How many left


def _figures(viewer: Viewer) -> list[Figure]:
    days = _days()
    today = days[-1]
    return [
        Figure(state, name, getattr(today, state), sum(getattr(day, state) for day in days)) for state, name in COUNTED
    ]


COUNTED = (
    (State.ACCEPTED.value, gettext_lazy("Sent messages")),
    (State.REFUSED.value, gettext_lazy("Refused messages")),
    (State.UNKNOWN.value, gettext_lazy("Unknown messages")),
)


def _days() -> list[tallies.Day]:
    days = dashboard.last_days()
    return tallies.per_day(days[0], days[-1], zone=_zone())


def _sent_per_day() -> Chart:
    days = _days()
    series = [Series(state, name, [getattr(day, state) for day in days]) for state, name in COUNTED]
    return Chart(_("Messages per day"), _("Day"), _("Messages"), dashboard.day_names(), series)


def _refused(viewer: Viewer) -> SafeString:
    rows = _refused_rows()
    if len(rows) == 1:
        return SafeString()
    shown = [(name, words.number(today), words.number(lately)) for name, today, lately in rows[1:]]
    return _rendered("refused", {"rows": shown, "csv_url": dashboard.csv_address("refused"), "days": dashboard.DAYS})


def _refused_rows() -> list[tuple[Any, Any, Any]]:
    """By the relay's code; the table and its file."""
    days = dashboard.last_days()
    lately = tallies.refused_reasons(days[0], days[-1], zone=_zone())
    today = tallies.refused_reasons(days[-1], days[-1], zone=_zone())
    header = (_("Reason"), _("Today"), _("Last %(days)s days") % {"days": dashboard.DAYS})
    return [header, *((_refusal(code), today.get(code, 0), count) for code, count in lately.items())]


def _refusal(code: str) -> str:
    return reasons.sentence(reasons.REFUSED, {"detail": code or "—"})


# --- What moves, and what is next


@dataclass(frozen=True, slots=True)
class Line:
    """A bulk send as the page shows it."""

    name: str
    url: str
    status: str
    colour: str
    total: int
    through: int = 0  # of which it is known that they need no more doing
    told: tuple[str, ...] = ()

    @property
    def percent(self) -> int:
        return self.through * 100 // self.total if self.total else 0


def _under_way(viewer: Viewer) -> SafeString:
    moving = [Status.SENDING, Status.SETTLING, Status.PAUSED]
    found = list(_light().filter(status__in=moving).order_by("-processing_started_at", "-pk")[: MOST_SHOWN + 1])
    shown = found[:MOST_SHOWN]
    counts = tallies.counts_of([bulk_send.pk for bulk_send in shown])
    rates = _rates([bulk_send.pk for bulk_send in shown])
    lines = [_line(bulk_send, counts[bulk_send.pk], rates.get(bulk_send.pk, 0.0)) for bulk_send in shown]
    return _rendered("under_way", {"lines": lines, "more": reverse(LIST) if len(found) > MOST_SHOWN else ""})


def _rates(bulk_send_ids: list[int]) -> dict[int, float]:
    alive = Lease.objects.filter(bulk_send__in=bulk_send_ids, released_at=None, expires_at__gt=Now())
    return dict(alive.order_by().values_list("bulk_send").annotate(rate=Sum("calls_per_second")))


def _line(bulk_send: BulkSend, counts: dict[str, int], rate: float) -> Line:
    through = counts[State.ACCEPTED] + counts[State.REFUSED] + counts[State.EXCLUDED]
    return Line(
        name=bulk_send.name,
        url=_page(bulk_send),
        status=bulk_send.get_status_display(),
        colour=words.STATUS_COLOURS.get(bulk_send.status, "default"),
        total=bulk_send.total,
        through=through,
        told=tuple(_how_far(bulk_send, counts, rate)),
    )


def _how_far(bulk_send: BulkSend, counts: dict[str, int], rate: float) -> Iterator[str]:
    told = {"count": words.number(counts[State.ACCEPTED]), "total": words.number(bulk_send.total)}
    yield _("%(count)s accepted of %(total)s rows") % told
    for state in (State.REFUSED, State.UNKNOWN):
        if counts[state]:
            yield f"{words.number(counts[state])} {words.COUNT_NAMES[state]}"
    if round(rate) and bulk_send.status == Status.SENDING:
        yield _("%(rate)s per second") % {"rate": words.number(round(rate))}
    if bulk_send.status == Status.PAUSED:
        yield bulk_send.reason_text
        if bulk_send.resume_at:
            yield _("It goes on by itself at %(when)s.") % {"when": words.moment(bulk_send.resume_at)}


def _next(viewer: Viewer) -> SafeString:
    by_hour = F("scheduled_at").asc(nulls_last=True)
    waiting = list(_light().filter(status=Status.PENDING).order_by(by_hour, "pk")[: MOST_SHOWN + 1])
    lines = [
        Line(
            name=bulk_send.name,
            url=_page(bulk_send),
            status=bulk_send.get_status_display(),
            colour=words.STATUS_COLOURS[Status.PENDING],
            total=bulk_send.total,
            told=(_when(bulk_send), _recipients(bulk_send.total - bulk_send.excluded_at_creation)),
        )
        for bulk_send in waiting[:MOST_SHOWN]
    ]
    return _rendered("next", {"lines": lines, "more": _list_of(Status.PENDING) if len(waiting) > MOST_SHOWN else ""})


def _when(bulk_send: BulkSend) -> str:
    return words.moment(bulk_send.scheduled_at) or _("waits for somebody to start it")


def _recipients(count: int) -> str:
    return ngettext("%(count)s recipient", "%(count)s recipients", count) % {"count": words.number(count)}


def _anything_moves(viewer: Viewer) -> bool:
    return BulkSend.objects.filter(status__in=[Status.SENDING, Status.SETTLING]).exists()


# --- Quotas


@dataclass(frozen=True, slots=True)
class QuotaBar:
    name: str
    limit: int
    used: int
    text: str
    renewed: str


def _quotas(viewer: Viewer) -> SafeString:
    """From what the relay last said: no page asks it."""
    bars = [_bar(told) for told in quotas.known()]
    read_at = Quota.objects.aggregate(read_at=Max("read_at"))["read_at"]
    return _rendered("quotas", {"bars": bars, "read_at": words.moment(read_at)})


def _bar(told: dict[str, Any]) -> QuotaBar:
    limit, remaining = told["limit"], told["remaining"]
    used = max(0, limit - remaining)
    text = _("%(used)s of %(limit)s used, %(remaining)s left") % {
        "used": words.number(used),
        "limit": words.number(limit),
        "remaining": words.number(remaining),
    }
    renewed = told["reset_at"] and words.moment(datetime.fromisoformat(told["reset_at"]))
    return QuotaBar(str(Quota.Period(told["period"]).label), limit, used, text, renewed or "")


# --- The first steps of an installation


def _sender_step(viewer: Viewer) -> SafeString:
    return _step(
        done=Sender.objects.exists(),
        text=_("Add a sender: an address of yours that the relay may write as."),
        url=page_or_none("admin:relay_sender_add") if may(viewer, "relay.add_sender") else None,
        link=_("Add a sender"),
    )


def _account_step(viewer: Viewer) -> SafeString:
    is_set = bool(settings.DOPPLER_RELAY_API_KEY and settings.DOPPLER_RELAY_ACCOUNT_ID)
    text = (
        _("Check the relay's account: key and account are set; whether the relay takes them, its templates show.")
        if is_set
        else _("Check the relay's account: DOPPLER_RELAY_API_KEY and DOPPLER_RELAY_ACCOUNT_ID are not set yet.")
    )
    may_see = is_set and may(viewer, "relay.view_mailtemplate", "relay.change_mailtemplate")
    templates = page_or_none("admin:relay_mailtemplate_changelist") if may_see else None
    return _step(done=Quota.objects.exclude(read_at=None).exists(), text=text, url=templates, link=_("See templates"))


def _bulk_send_step(viewer: Viewer) -> SafeString:
    text = _("Prepare the first bulk send: a template, a file of recipients, a look at what will leave.")
    return _step(done=False, text=text, url=_where_to_prepare(viewer), link=_("New bulk send"))


def _where_to_prepare(viewer: Viewer) -> str | None:
    return page_or_none("admin:relay_preparation_add") if may(viewer, *TO_PREPARE) else None


def _beginnings(viewer: Viewer) -> Iterator[Beginning]:
    url = _where_to_prepare(viewer)
    if url:
        yield Beginning(_("New bulk send"), url, "add")


def _step(*, done: bool, text: str, url: str | None, link: str) -> SafeString:
    context = {"done": done, "text": text, "url": url, "link": link}
    return render_to_string("relay/admin/dashboard_step.html", context)


def _rendered(name: str, context: dict[str, Any]) -> SafeString:
    return render_to_string(f"relay/admin/dashboard_{name}.html", context)


# --- What of it is shown to whom, in this order

dashboard.beginnings.append(Asked(TO_PREPARE, _beginnings))
dashboard.needs.append(Asked(RIGHTS, _needs))
dashboard.figures.append(Asked(RIGHTS, _figures))
dashboard.moving.append(Asked(RIGHTS, _anything_moves))
dashboard.first_steps += [
    Asked(("relay.add_sender", "relay.view_sender", *RIGHTS), _sender_step),
    Asked(RIGHTS, _account_step),
    Asked((*TO_PREPARE, *RIGHTS), _bulk_send_step),
]
dashboard.sections += [
    Section("under-way", RIGHTS, _under_way, order=10),
    Section("next", RIGHTS, _next, order=20),
    Section("quotas", RIGHTS, _quotas, order=30),
    Section("refused", RIGHTS, _refused, order=80, live=False),
]
dashboard.tables["refused"] = Table(RIGHTS, _refused_rows)
dashboard.add_chart(
    "sent",
    RIGHTS,
    _sent_per_day,
    drawing.bars,
    order=50,
    note=gettext_lazy("Nothing has been sent in these days."),
)
