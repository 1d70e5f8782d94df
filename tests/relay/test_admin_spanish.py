"""No English is left on any page: texts of ours, of Django and of Unfold are all Spanish."""

import re
from collections.abc import Iterator
from datetime import time
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import translation

from relay import decisions
from relay.decisions import Actor
from relay.models import Attachment, Sender, SendingWindow, Suppression
from tests.relay.admin_rows import State, Status, bulk_send, draft, in_every_state, recipient

pytestmark = pytest.mark.django_db

# Words that are everywhere in English and nowhere in Spanish, and those of buttons and headings.
ENGLISH = re.compile(
    r"\b(the|and|of|with|is|are|to|from|your|by|for|not|this|that|have|was|were|you|or|be|it|"
    r"search|filters?|select|selected|save|delete|deleted|close|show|add|added|change|changed|view|cancel|submit|run|"
    r"history|home|log|out|in|welcome|back|type|results?|found|none|yes|today|now|date|time|user|users|name|"
    r"password|username|recent|actions?|previous|next|reset|all|any|clear|apply|record|row|page|light|dark|system|"
    r"pending|sending|accepted|refused|unknown|excluded|draft|paused|settling|done|cancelled|"
    r"bulk|send|sends|sender|senders|recipients?|suppressions?|attachments?|attempts?|reason|state|status|created)\b",
    re.IGNORECASE,
)
SHOWN_ATTRIBUTES = {"title", "placeholder", "aria-label", "alt"}
# Names: of icons (the font draws them), and what a person or the relay wrote.
NOT_LANGUAGE = {"script", "style"}
NAMES = re.compile(r"Doppler Relay|DOPPLER_RELAY_\w+|\S+@\S+|[\w-]+\.csv|aviso-de-pago|UTF-8|HTTP|SHA-256|time-out")


class ShownTexts(HTMLParser):
    """The texts a person sees or hears."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("type") in {"submit", "button"}:
            self.found.append(given.get("value") or "")
        self.found += [value for name, value in attrs if name in SHOWN_ATTRIBUTES and value]
        if tag in NOT_LANGUAGE or "material-symbols-outlined" in (given.get("class") or ""):
            self._hidden.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and self._hidden[-1] == tag:
            self._hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.found.append(data.strip())


def english_in(html: str) -> list[str]:
    parser = ShownTexts()
    parser.feed(html)
    return [text for text in parser.found if ENGLISH.search(NAMES.sub("", text))]


def pages(client: Client) -> Iterator[tuple[str, str]]:
    lucia = User.objects.create_superuser("lucia", "lucia@example.com", "clave-de-prueba", first_name="Lucía")
    group = Group.objects.create(name="Operación")
    yield "/admin/login/", client.get("/admin/login/").content.decode()
    wrong = client.post("/admin/login/", {"username": "lucia", "password": "otra"})
    yield "a refused login", wrong.content.decode()
    client.force_login(lucia)

    sender = Sender.objects.create(email="cobranzas@example.com")
    window = SendingWindow.objects.create(name="Oficina", opens=time(8), closes=time(20))
    suppression = Suppression.objects.create(email="ana@example.com", reason="Lo pidió", created_by=lucia)
    attachment = Attachment.objects.create(filename="Estado.pdf", content_type="x/pdf", size=9, sha256="0" * 64)
    by_status = {status: draft() if status == Status.DRAFT else bulk_send(status) for status in Status.values}
    # Names of their own: the rows' default ones quote the codes of states.
    for sent in by_status.values():
        sent.name = "Cuotas"
        sent.save()
    decisions.change_rate(by_status[Status.PAUSED], Actor("lucia", lucia), 5)
    decisions.change_window(by_status[Status.PAUSED], Actor("lucia", lucia), window)
    rows = in_every_state(by_status[Status.SENDING])
    rows.append(recipient(by_status[Status.PAUSED], 2, State.PENDING))

    urls = ["/admin/", "/admin/password_change/", "/admin/relay/"]
    for model, pks in {
        "relay/bulksend": [sent.pk for sent in by_status.values()],
        "relay/recipient": [row.pk for row in rows],
        "relay/sender": [sender.pk],
        "relay/sendingwindow": [window.pk],
        "relay/suppression": [suppression.pk],
        "relay/attachment": [attachment.pk],
        "auth/user": [lucia.pk],
        "auth/group": [group.pk],
    }.items():
        urls += [f"/admin/{model}/", f"/admin/{model}/?q=cuotas"]
        if model != "auth/group":
            urls += [f"/admin/{model}/?q=nada-que-exista"]
        for pk in pks:
            urls += [f"/admin/{model}/{pk}/change/", f"/admin/{model}/{pk}/history/"]
        if model not in {"relay/bulksend", "relay/recipient", "relay/attachment"}:
            urls += [f"/admin/{model}/add/", f"/admin/{model}/{pks[0]}/delete/"]
    for name, status in {
        "start": Status.PENDING,
        "start-valid": Status.DRAFT,
        "pause": Status.SENDING,
        "resume": Status.ERROR,
        "cancel": Status.SETTLING,
        "retry": Status.SENDING,
        "change-pace": Status.SENDING,
    }.items():
        urls.append(f"/admin/relay/bulksend/{by_status[status].pk}/{name}/")
    (unknown,) = (row for row in rows if row.state == State.UNKNOWN)
    urls += [f"/admin/relay/recipient/{unknown.pk}/{answer}/" for answer in ("was-sent", "was-not-sent")]
    urls += [
        f"/admin/auth/user/{lucia.pk}/password/",
        "/admin/relay/bulksend/?status__exact=done",
        f"/admin/relay/recipient/?bulk_send={by_status[Status.SENDING].pk}&state=unknown&reason=no_answer",
        "/admin/search/?s=envios",
    ]
    for url in urls:
        answer = client.get(url)
        assert answer.status_code == 200, url
        yield url, answer.content.decode()
    for model in ("sender", "suppression"):
        yield f"a refused {model}", client.post(f"/admin/relay/{model}/add/", {"email": "sin arroba"}).content.decode()
    chosen = {"action": "process_selected", "_selected_action": [sent.pk for sent in by_status.values()], "index": 0}
    yield "after the action", client.post("/admin/relay/bulksend/", chosen, follow=True).content.decode()
    yield "no action chosen", client.post("/admin/relay/bulksend/", {"index": 0}, follow=True).content.decode()
    yield "logged out", client.post("/admin/logout/").content.decode()


def test_no_english_is_left_on_any_page(client: Client) -> None:
    left = {url: found for url, html in pages(client) if (found := english_in(html))}
    assert left == {}


def test_the_test_would_notice() -> None:
    assert english_in('<a title="Type to search">x</a><script>the</script><b>Filters</b><i>Listo</i>') == [
        "Type to search",
        "Filters",
    ]


def test_an_english_browser_gets_the_labels_of_the_guide_too(client: Client) -> None:
    client.force_login(User.objects.create_superuser("lucia"))
    bulk_send()
    shown = client.get("/admin/relay/bulksend/", headers={"accept-language": "en"}).content.decode()
    assert "Procesar envío masivo seleccionado" in shown


def test_english_is_there_for_contributors(client: Client) -> None:
    client.force_login(User.objects.create_superuser("lucia"))
    with translation.override("en"):
        assert "Bulk sends" in client.get("/admin/relay/bulksend/").content.decode()
