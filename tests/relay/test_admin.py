"""The console's pages: they answer, they ask the database little, they show strangers' text as text."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay.admin.bulk_send_parts import share_with_outcome
from relay.admin.searching import CappedPaginator, find_recipients
from relay.admin.words import COUNT_NAMES, OUTCOME_COLOURS, STATE_COLOURS, STATUS_COLOURS, moment, number
from relay.finding import address_range
from relay.models import Attachment, Attempt, BulkSend, Quota, Recipient, Sender, SendingWindow, Suppression
from relay.reasons import NAMES, SENTENCES
from relay.reasons import WINDOW as WINDOW_CLOSED
from tests.console import page
from tests.relay.admin_rows import HOSTILE, State, Status, bulk_send, draft, in_every_state, recipient, user

pytestmark = pytest.mark.django_db
LIST = "/admin/relay/bulksend/"
RECIPIENTS = "/admin/relay/recipient/"


@pytest.fixture(autouse=True)
def stored_in(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


# --- bulk sends ---------------------------------------------------------------------------------------------


def test_the_list_shows_bulk_sends_in_every_status_with_their_counts(lucia: Client) -> None:
    for status in Status.values:
        in_every_state(bulk_send(status, total=6))
    shown = page(lucia, LIST)
    for status in Status:
        assert f"Cuotas {status}" in shown
        assert str(status.label) in shown
    assert shown.count('class="relay-count relay-unknown">1<') == len(Status)


def test_the_list_takes_one_query_for_all_counts(lucia: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            page(lucia, LIST)
        return len(captured)

    in_every_state(bulk_send())
    few = queries()
    for _ in range(49):
        recipient(bulk_send(), 2, State.PENDING)
    assert queries() == few
    assert few <= 9


def test_nothing_counts_the_rows_of_a_bulk_send(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING, total=6)
    in_every_state(sent)
    for url in (LIST, f"{LIST}progress/?id={sent.pk}", f"{LIST}{sent.pk}/change/", f"{LIST}{sent.pk}/retry/"):
        with CaptureQueriesContext(connection) as captured:
            page(lucia, url)
        assert not [query for query in captured if '"relay_recipient"' in query["sql"]], url


MOVING = {Status.SENDING, Status.SETTLING}


@pytest.mark.parametrize("status", Status.values)
def test_the_list_updates_itself_while_something_moves(lucia: Client, status: str) -> None:
    sent = bulk_send(status, total=6)
    shown = page(lucia, LIST)
    asked = "" if status in {Status.DONE, Status.CANCELLED} else f"id={sent.pk}"
    poll = f'data-poll="{LIST}progress/?{asked}"'
    assert poll in shown
    assert (f"{poll} hidden>" in shown) is (status not in MOVING)
    assert "relay/progress.js" in shown
    answer = page(lucia, f"{LIST}progress/?id={sent.pk}")
    assert answer.startswith("<div data-moving>" if status in MOVING else "<div>")


@pytest.mark.parametrize(("minutes", "moves"), [(1, True), (60, False)])
def test_the_list_looks_out_for_what_begins_soon(lucia: Client, minutes: int, moves: bool) -> None:
    hour = timezone.now() + timedelta(minutes=minutes)
    for sent in (bulk_send(Status.PENDING, scheduled_at=hour), bulk_send(Status.PAUSED, resume_at=hour)):
        assert page(lucia, f"{LIST}progress/?id={sent.pk}").startswith("<div data-moving>" if moves else "<div>")


def test_the_poll_of_the_list_gives_what_the_list_shows(lucia: Client) -> None:
    """Part by part and letter by letter, or the page would flicker."""
    sent = bulk_send(Status.PAUSED, total=6, name=HOSTILE, resume_at=timezone.now() + timedelta(hours=1))
    in_every_state(sent)
    shown = page(lucia, LIST)
    answer = page(lucia, f"{LIST}progress/?id={sent.pk}&id=nada&id={'9' * 30}").removeprefix("<div>").strip()
    parts = answer.removesuffix("</div>").split('<div id="bulk-send-')[1:]
    assert len(parts) == 8
    for part in parts:
        assert f'<div id="bulk-send-{part}' in shown
    assert HOSTILE not in answer


def test_the_poll_of_the_list_is_for_those_who_may_see_it(client: Client) -> None:
    client.force_login(user("nadie"))
    assert client.get(f"{LIST}progress/?id={bulk_send().pk}").status_code == 403


@pytest.mark.parametrize(
    ("status", "states", "share"),
    [
        (Status.SENDING, {State.ACCEPTED: 1, State.REFUSED: 1, State.UNKNOWN: 1, State.PENDING: 3}, 33),
        (Status.DONE, {State.ACCEPTED: 5, State.EXCLUDED: 1}, 100),
        (Status.CANCELLED, {State.ACCEPTED: 3, State.EXCLUDED: 3}, 50),
        (Status.SENDING, {State.ACCEPTED: 0, State.PENDING: 6}, 0),
    ],
)
def test_the_share_that_has_an_outcome(status: str, states: dict[str, int], share: int) -> None:
    counts = dict.fromkeys(State.values, 0) | states
    assert share_with_outcome(bulk_send(status, total=6), counts) == share
    rejected = bulk_send(status, total=8, findings={"excluded": 2})
    assert share_with_outcome(rejected, counts | {State.EXCLUDED: counts[State.EXCLUDED] + 2}) == share


def test_a_bulk_send_with_nothing_to_send_has_no_share() -> None:
    counts = dict.fromkeys(State.values, 0) | {State.EXCLUDED: 2}
    assert share_with_outcome(bulk_send(Status.DRAFT, findings={"excluded": 2}), counts) == 0


def test_the_list_can_be_filtered_by_status_and_searched(lucia: Client) -> None:
    bulk_send(Status.DONE, name="Cuotas de octubre")
    bulk_send(Status.PENDING, name="Cuotas de noviembre")
    filtered = page(lucia, LIST + "?status__exact=done")
    assert "Cuotas de octubre" in filtered
    assert "Cuotas de noviembre" not in filtered
    assert "Cuotas de noviembre" in page(lucia, LIST + "?q=noviembre")


@pytest.mark.parametrize("status", Status.values)
def test_the_page_of_a_bulk_send_answers_in_every_status(lucia: Client, status: str) -> None:
    sent = bulk_send(status)
    in_every_state(sent)
    assert f"Cuotas {status}" in page(lucia, f"{LIST}{sent.pk}/change/")


def test_the_page_shows_findings_with_examples_and_leads_to_the_recipients(lucia: Client) -> None:
    sent = draft()
    shown = page(lucia, f"{LIST}{sent.pk}/change/")
    assert "Dirección no válida: La dirección no tiene @." in shown
    assert "Fila 3" in shown
    assert "¿habrán querido decir gmail.com?" in shown
    assert f"{RECIPIENTS}?bulk_send={sent.pk}&amp;reason=invalid_address" in shown
    assert f"{RECIPIENTS}?bulk_send={sent.pk}&amp;state=unknown" in shown


def test_the_page_says_why_it_stopped(lucia: Client) -> None:
    sent = bulk_send(Status.ERROR)
    assert "La plantilla necesita otras variables" in page(lucia, f"{LIST}{sent.pk}/change/")


def test_the_page_says_how_much_the_quotas_let_go(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING, total=6)
    in_every_state(sent)  # one of each, so one to send
    address = f"{LIST}{sent.pk}/change/"
    assert "relay-lines" not in page(lucia, address)  # the relay named no limit
    renewed = timezone.now() + timedelta(minutes=20)
    Quota.objects.create(period="hourly", limit=1000, remaining=0, reset_at=renewed, read_at=timezone.now())
    Quota.objects.create(period="daily", limit=30000, remaining=12345, reset_at=None, read_at=timezone.now())
    shown = page(lucia, address)
    assert f"Cuota por hora: quedan 0 de {number(1000)}. Se renueva el {moment(renewed)}." in shown
    assert f"Cuota por día: quedan {number(12345)} de {number(30000)}." in shown
    assert "Mensajes por enviar: 1. En las cuotas caben ahora 0" in shown
    Quota.objects.update(remaining=500)
    assert "Todos los mensajes por enviar caben ahora" in page(lucia, address)


def test_the_page_says_outside_which_window_it_is_and_until_when(lucia: Client) -> None:
    window = SendingWindow.objects.create(**WINDOW)
    opens = datetime(2026, 12, 1, 13, tzinfo=UTC)
    told = {"reason": WINDOW_CLOSED, "reason_params": {"window": "Oficina"}, "resume_at": opens}
    sent = bulk_send(Status.PAUSED, window=window, **told)
    shown = page(lucia, f"{LIST}{sent.pk}/change/")
    assert "«Oficina»" in shown
    assert moment(opens) in shown
    assert "Oficina · " in shown


def test_the_page_shows_the_window_of_the_sender(lucia: Client) -> None:
    Sender.objects.create(email="avisos@example.com", window=SendingWindow.objects.create(**WINDOW))
    assert "Oficina (" in page(lucia, f"{LIST}{bulk_send(from_email='Avisos@example.com').pk}/change/")


def test_bulk_sends_cannot_be_added_changed_or_deleted_even_by_a_superuser(lucia: Client) -> None:
    sent = bulk_send()
    assert lucia.get(LIST + "add/").status_code == 403
    assert lucia.post(f"{LIST}{sent.pk}/change/", {"name": "Otro"}).status_code == 403
    assert lucia.post(f"{LIST}{sent.pk}/delete/", {"post": "yes"}).status_code == 403
    lucia.post(LIST, {"action": "delete_selected", "_selected_action": [sent.pk], "post": "yes"})
    assert BulkSend.objects.get().name == "Cuotas pending"


def test_an_unknown_bulk_send_leads_back_with_a_message(lucia: Client) -> None:
    assert lucia.get(f"{LIST}999/change/").status_code == 302
    assert lucia.get(f"{LIST}999/pause/").status_code == 404
    assert lucia.get(f"{LIST}999/rejects/").status_code == 404


# --- strangers' text ----------------------------------------------------------------------------------------


def test_hostile_names_variables_and_answers_are_shown_as_text(lucia: Client) -> None:
    findings = {
        "excluded": 0,
        "by_reason": {"missing_variable": 1},
        "examples": {"missing_variable": [{"row": 2, "detail": HOSTILE}]},
        "slips": 1,
        "slip_examples": [{"row": 2, "detail": HOSTILE}],
    }
    sent = bulk_send(
        name=HOSTILE,
        template_name=HOSTILE,
        template_subject=HOSTILE,
        from_name=HOSTILE,
        from_email="cobranzas@example.com",
        file_name=HOSTILE,
        address_column=HOSTILE,
        columns=[HOSTILE],
        variable_map={HOSTILE: HOSTILE},
        findings=findings,
    )
    attachment = Attachment.objects.create(filename=HOSTILE, content_type="text/html", size=1, sha256="0" * 64)
    sent.attachments.add(attachment)
    row = recipient(sent, 2, State.REFUSED, email=HOSTILE, variables={HOSTILE: HOSTILE})
    Suppression.objects.create(email="ana@example.com", reason=HOSTILE)
    lucia.post(LIST, {"action": "process_selected", "_selected_action": [sent.pk], "index": 0})  # leaves a message
    for url in (
        LIST,
        f"{LIST}{sent.pk}/change/",
        f"{LIST}{sent.pk}/pause/",
        f"{LIST}{sent.pk}/history/",
        f"{RECIPIENTS}?bulk_send={sent.pk}",
        f"{RECIPIENTS}{row.pk}/change/",
        "/admin/relay/attachment/",
        f"/admin/relay/attachment/{attachment.pk}/change/",
        "/admin/relay/suppression/",
        f"{RECIPIENTS}?q=%3Cscript%3Ealert(1)",
    ):
        shown = page(lucia, url)
        assert "<script>alert(1)" not in shown, url
        assert "&lt;script&gt;alert(1)" in shown, url


# --- recipients ---------------------------------------------------------------------------------------------


def test_the_list_of_recipients_shows_every_state_in_few_queries(lucia: Client) -> None:
    in_every_state(bulk_send())
    for _ in range(30):
        recipient(bulk_send(), 2, State.PENDING)
    with CaptureQueriesContext(connection) as captured:
        shown = page(lucia, RECIPIENTS)
    for state in State:
        assert str(state.label) in shown
    assert len(captured) <= 8
    assert not [query for query in captured if "template_html" in query["sql"]]


def test_recipients_are_filtered_by_bulk_send_state_and_reason(lucia: Client) -> None:
    ours, other = bulk_send(), bulk_send()
    in_every_state(ours)
    recipient(other, 9, State.EXCLUDED, email="otra@example.com")
    assert "otra@example.com" not in page(lucia, f"{RECIPIENTS}?bulk_send={ours.pk}")
    refused = page(lucia, f"{RECIPIENTS}?bulk_send={ours.pk}&state=refused")
    assert "El relay lo rechazó (400.1)." in refused
    assert refused.count("/change/") == 2  # its page, and one recipient
    assert "otra@example.com" in page(lucia, f"{RECIPIENTS}?bulk_send={other.pk}&reason=invalid_address")
    assert "otra@example.com" not in page(lucia, f"{RECIPIENTS}?bulk_send={ours.pk}&reason=invalid_address")
    # Of all bulk sends together no index finds a state.
    assert lucia.get(f"{RECIPIENTS}?state=excluded").headers["Location"] == RECIPIENTS
    assert "otra@example.com" in page(lucia, f"{RECIPIENTS}?bulk_send=nonsense")  # a stranger's link, no error


def test_a_recipient_shows_its_attempts_in_words_and_its_variables(lucia: Client) -> None:
    row = recipient(bulk_send(), 2, State.REFUSED)
    shown = page(lucia, f"{RECIPIENTS}{row.pk}/change/")
    assert "El relay lo rechazó (400.1)." in shown
    assert "HTTP 400" in shown
    assert "Ana" in shown


def test_recipients_and_attempts_cannot_be_edited(lucia: Client) -> None:
    row = recipient(bulk_send(), 2, State.ACCEPTED)
    assert lucia.post(f"{RECIPIENTS}{row.pk}/change/", {"state": "pending"}).status_code == 403
    assert lucia.post(f"{RECIPIENTS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert lucia.get(f"{RECIPIENTS}add/").status_code == 403
    assert lucia.get("/admin/relay/attempt/").status_code == 404
    assert lucia.get("/admin/relay/lease/").status_code == 404
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("ana.vera@example.com", {"Ana.Vera@example.com", "ana.vera@example.com.ec"}),
        ("ANA.V", {"Ana.Vera@example.com", "ana.vera@example.com.ec"}),
        ("ana", {"Ana.Vera@example.com", "ana.vera@example.com.ec", "anabel@example.com"}),
        ("ana%", set()),
        ("ana_v", set()),
        ("zoz", {"zoz@example.com"}),
        ("99", {"99@example.com"}),
        ("@", {"@sinnombre"}),
        ("  anabel@example.com ", {"anabel@example.com"}),
    ],
)
def test_an_address_is_found_by_how_it_begins(term: str, found: set[str]) -> None:
    sent = bulk_send()
    addresses = [
        "Ana.Vera@example.com",
        "ana.vera@example.com.ec",
        "anabel@example.com",
        "anb@example.com",
        "zoz@example.com",
        "99@example.com",
        "@sinnombre",
        "vera.ana@example.com",
    ]
    for row, address in enumerate(addresses, 200):
        recipient(sent, row, State.PENDING, email=address)
    everybody = Recipient.objects.all()
    if term.isdecimal():
        term += "@"  # digits alone are a row
    assert {row.email for row in find_recipients(everybody, term)} == found


def test_a_number_finds_the_row(lucia: Client) -> None:
    first, second = bulk_send(), bulk_send()
    recipient(first, 31, State.PENDING, email="ana@example.com")
    recipient(first, 32, State.PENDING, email="luis@example.com")
    recipient(second, 31, State.PENDING, email="eva@example.com")
    everywhere = page(lucia, f"{RECIPIENTS}?q=31")
    assert "ana@example.com" in everywhere
    assert "eva@example.com" in everywhere
    assert "luis@example.com" not in everywhere
    assert "eva@example.com" not in page(lucia, f"{RECIPIENTS}?q=31&bulk_send={first.pk}")
    assert "0 destinatarios" in page(lucia, f"{RECIPIENTS}?q=99999999999999999999")


@pytest.mark.parametrize(("term", "index"), [("ana.v", "recipient_email"), ("31", "recipient_once_per_row")])
def test_search_uses_an_index(term: str, index: str) -> None:
    recipient(bulk_send(), 31, State.PENDING, email="ana.vera@example.com")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # on three rows a scan is right; on millions it is not
    plan = find_recipients(Recipient.objects.all(), term).explain()
    # SQLite has its own names for the indexes of unique constraints.
    assert index in plan.replace("sqlite_autoindex_relay_recipient_1", "recipient_once_per_row")


def test_the_list_of_a_bulk_send_is_read_in_the_order_of_an_index(lucia: Client) -> None:
    sent = bulk_send()
    recipient(sent, 2, State.PENDING)
    with CaptureQueriesContext(connection) as captured:
        page(lucia, f"{RECIPIENTS}?bulk_send={sent.pk}")
    ordered = [query["sql"] for query in captured if "ORDER BY" in query["sql"] and "relay_recipient" in query["sql"]]
    # A unique constraint: nothing has to be added to make the order total.
    order = ordered[-1].partition("ORDER BY ")[2]
    assert order.startswith('"relay_recipient"."row" ASC LIMIT')
    assert f'"relay_recipient"."bulk_send_id" = {sent.pk}' in ordered[-1]


def test_the_count_stops(lucia: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = bulk_send()
    for row in range(2, 8):
        recipient(sent, row, State.PENDING)
    monkeypatch.setattr("relay.admin.searching.COUNTED_AT_MOST", 5)
    paginator = CappedPaginator(Recipient.objects.order_by("row"), 2)
    assert (paginator.count, paginator.capped, paginator.num_pages) == (5, True, 3)
    with CaptureQueriesContext(connection) as captured:
        shown = page(lucia, RECIPIENTS)
    assert "más de 5 destinatarios" in shown
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"] and "relay_recipient" in query["sql"]]
    assert counts
    assert all("LIMIT 6" in sql for sql in counts)


@pytest.mark.parametrize("text", ["".join(letters) for letters in itertools.product("a9z.ñ", repeat=3)])
def test_the_range_holds_all_that_begins_so(text: str) -> None:
    first, after = address_range(text)
    assert after[-1:].isalnum() or not after
    for longer in (text, text + "!", text + "a", text + "zz", text + "@example.com"):
        assert first <= longer
        assert not after or longer < after


# --- lists --------------------------------------------------------------------------------------------------


def test_a_sender_is_checked_and_kept_once(lucia: Client) -> None:
    url = "/admin/relay/sender/add/"
    assert lucia.post(url, {"email": "Cobranzas@EXAMPLE.com", "name": "Andina", "active": "on"}).status_code == 302
    assert Sender.objects.get().email == "Cobranzas@example.com"
    assert "Este remitente ya existe." in lucia.post(url, {"email": "cobranzas@example.com"}).content.decode()
    assert "dirección" in lucia.post(url, {"email": "cobránzas@example.com"}).content.decode()
    assert Sender.objects.count() == 1


WINDOW = {"name": "Oficina", "weekdays": "12345", "opens": "08:00", "closes": "20:00", "time_zone": "America/Bogota"}


def test_a_window_is_checked_before_it_is_kept(lucia: Client) -> None:
    url = "/admin/relay/sendingwindow/add/"
    for wrong in ({"weekdays": "12389"}, {"weekdays": "11"}, {"time_zone": "America/Macondo"}, {"name": "None"}):
        assert lucia.post(url, WINDOW | wrong).status_code == 200
    assert not SendingWindow.objects.exists()
    assert lucia.post(url, WINDOW).status_code == 302
    assert not SendingWindow.objects.get().rests_on_holidays
    shown = page(lucia, "/admin/relay/sendingwindow/")
    assert "08:00–20:00" in shown
    assert "America/Bogota" in shown


def test_a_sender_is_given_a_window_which_then_cannot_be_deleted(lucia: Client) -> None:
    window = SendingWindow.objects.create(**WINDOW)
    given = {"email": "avisos@example.com", "active": "on", "window": window.pk}
    assert lucia.post("/admin/relay/sender/add/", given).status_code == 302
    assert Sender.objects.get().window == window
    assert "Oficina" in page(lucia, "/admin/relay/sender/")
    lucia.post(f"/admin/relay/sendingwindow/{window.pk}/delete/", {"post": "yes"})
    assert SendingWindow.objects.exists()


def test_a_suppression_is_lowered_and_says_who_made_it(lucia: Client) -> None:
    when = {"until_0": "", "until_1": ""}
    answer = lucia.post("/admin/relay/suppression/add/", {"email": "Ana@Pequeña.Example", "reason": "Lo pidió", **when})
    assert answer.status_code == 302
    made = Suppression.objects.get()
    assert made.email == "ana@xn--pequea-0wa.example"
    assert made.created_by is not None
    assert made.created_by.username == "lucia"
    lucia.force_login(User.objects.create_superuser("jorge"))
    lucia.post(f"/admin/relay/suppression/{made.pk}/change/", {"email": made.email, "reason": "Otra vez", **when})
    made.refresh_from_db()
    assert (made.reason, made.created_by.username) == ("Otra vez", "lucia")
    assert "Otra vez" in page(lucia, "/admin/relay/suppression/?q=ana@")


# --- downloads ----------------------------------------------------------------------------------------------


@pytest.fixture
def rejects(stored_in: Path) -> BulkSend:
    sent = draft()
    sent.rejects_file.save("rejects.csv", ContentFile(b"correo;motivo\n"))
    return sent


@pytest.fixture
def attachment(stored_in: Path) -> Attachment:
    made = Attachment(filename="Estado <1>.html", content_type="text/html", size=4, sha256="0" * 64)
    made.file.save("aa/aa.html", ContentFile(b"<b>x"))
    return made


def test_files_leave_as_inert_downloads(lucia: Client, rejects: BulkSend, attachment: Attachment) -> None:
    for url, content, name in (
        (f"{LIST}{rejects.pk}/rejects/", b"correo;motivo\n", f'filename="bulk-send-{rejects.pk}-rejects.csv"'),
        (f"/admin/relay/attachment/{attachment.pk}/download/", b"<b>x", 'filename="Estado <1>.html"'),
    ):
        answer = lucia.get(url)
        assert b"".join(answer.streaming_content) == content  # type: ignore[attr-defined]
        assert answer["Content-Disposition"] == f"attachment; {name}"
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in answer["Cache-Control"]


def test_no_page_shows_where_files_are_stored(lucia: Client, rejects: BulkSend, attachment: Attachment) -> None:
    rejects.attachments.add(attachment)
    for url in (f"{LIST}{rejects.pk}/change/", f"/admin/relay/attachment/{attachment.pk}/change/"):
        shown = page(lucia, url)
        assert str(rejects.rejects_file.name) not in shown
        assert str(attachment.file.name) not in shown


def test_a_file_that_is_gone_is_a_404(lucia: Client, rejects: BulkSend, stored_in: Path) -> None:
    Path(rejects.rejects_file.path).unlink()
    assert lucia.get(f"{LIST}{rejects.pk}/rejects/").status_code == 404
    assert lucia.get(f"{LIST}{bulk_send().pk}/rejects/").status_code == 404


def test_downloads_need_the_right_to_look(client: Client, rejects: BulkSend, attachment: Attachment) -> None:
    urls = [f"{LIST}{rejects.pk}/rejects/", f"/admin/relay/attachment/{attachment.pk}/download/"]
    for url in urls:
        assert client.get(url).status_code == 302  # to the login
    client.force_login(user("operador", "view_sender"))
    for url in urls:
        assert client.get(url).status_code == 403


# --- words --------------------------------------------------------------------------------------------------


def test_every_state_has_a_colour_and_every_reason_of_a_recipient_a_name() -> None:
    assert set(STATUS_COLOURS) == set(Status.values)
    assert set(STATE_COLOURS) == set(COUNT_NAMES) == set(State.values)
    assert set(OUTCOME_COLOURS) == set(Attempt.Outcome.values)
    of_bulk_sends = {"person", "quota", "misconfigured", "attachment_missing"}
    of_bulk_sends |= {"window", "window_never", "stop_loss", "first_slice", "missed", "approval"}
    of_templates = {"template_missing", "template_changed", "template_unreadable"}
    of_looks = {
        "found",
        "found_all",
        "absent",
        "by_person",
        "not_yet",
        "two_alike",
        "unexplained",
        "under_way",
        "test_send",
        "log_incomplete",
    }
    assert set(SENTENCES) - of_bulk_sends - of_templates - of_looks == set(NAMES)
