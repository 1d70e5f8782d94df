"""What a person may decide in the console, who may, and that nothing happens by following a link."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay import reasons
from relay.admin.decisions import DECISIONS
from relay.models import BulkSend, Decision, Recipient
from tests.relay.admin_rows import State, Status, bulk_send, draft, in_every_state, recipient, user

pytestmark = pytest.mark.django_db
LIST = "/admin/relay/bulksend/"
LABEL = "Procesar envío masivo seleccionado"


@pytest.fixture
def operator(client: Client) -> Client:
    """Logged in with the two rights an operator needs, and no more."""
    client.force_login(user("operador", "view_bulksend", "change_bulksend"))
    return client


@pytest.fixture
def onlooker(client: Client) -> Client:
    client.force_login(user("auditora", "view_bulksend", "view_recipient"))
    return client


def process(client: Client, *sent: BulkSend) -> list[str]:
    """Runs the list action and returns what it said."""
    answer = client.post(LIST, {"action": "process_selected", "_selected_action": [one.pk for one in sent], "index": 0})
    assert answer.status_code == 302
    return [f"{message.level_tag}: {message}" for message in get_messages(answer.wsgi_request)]


def status_of(sent: BulkSend) -> str:
    return BulkSend.objects.get(pk=sent.pk).status


# --- the list action ----------------------------------------------------------------------------------------


def test_the_action_has_the_label_of_the_guide(operator: Client) -> None:
    bulk_send()
    assert LABEL in operator.get(LIST).content.decode()


def test_a_pending_bulk_send_is_queued_and_nothing_is_sent_by_the_page(operator: Client) -> None:
    sent = bulk_send(name="Cuotas de noviembre")
    recipient(sent, 2, State.PENDING)
    assert process(operator, sent) == [
        f"success: El envío masivo {sent.pk} «Cuotas de noviembre» quedó en cola: "
        "sus mensajes empiezan a salir en breve."
    ]
    assert status_of(sent) == Status.SENDING
    assert Recipient.objects.get().state == State.PENDING


def test_each_selected_bulk_send_gets_its_own_answer(operator: Client) -> None:
    pending, sending, rejects, done = bulk_send(), bulk_send(Status.SENDING), draft(), bulk_send(Status.DONE)
    said = process(operator, pending, sending, rejects, done)
    assert [line.partition(":")[0] for line in said] == ["success", "warning", "error", "error"]
    assert "ya se está enviando" in said[1]
    assert "tiene filas rechazadas que nadie ha aceptado" in said[2]
    assert "está en «Terminado»" in said[3]
    assert [status_of(one) for one in (pending, sending, rejects, done)] == ["sending", "sending", "draft", "done"]


def test_a_bulk_send_without_valid_rows_is_not_started(operator: Client) -> None:
    sent = bulk_send(total=2, findings={"excluded": 2})
    assert "no tiene destinatarios válidos" in process(operator, sent)[0]
    assert status_of(sent) == Status.PENDING


def test_who_started_it_is_recorded(operator: Client) -> None:
    sent, refused = bulk_send(), draft()
    process(operator, sent, refused)
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user.get_username()) == (str(sent.pk), "operador")
    decision = Decision.objects.get()
    assert (decision.what, decision.actor, decision.made_by) == ("start", "operador", entry.user)
    assert entry.get_change_message() == "Envío autorizado."


def test_the_action_is_not_there_for_who_may_only_look(onlooker: Client) -> None:
    sent = bulk_send()
    assert LABEL not in onlooker.get(LIST).content.decode()
    onlooker.post(LIST, {"action": "process_selected", "_selected_action": [sent.pk], "index": 0})
    assert status_of(sent) == Status.PENDING


def test_getting_the_list_with_the_action_in_the_address_does_nothing(operator: Client) -> None:
    sent = bulk_send()
    operator.get(f"{LIST}?action=process_selected&_selected_action={sent.pk}&index=0")
    assert status_of(sent) == Status.PENDING


# --- the buttons of one bulk send ---------------------------------------------------------------------------

MOVES = [
    ("start", Status.PENDING, Status.SENDING),
    ("start-valid", Status.DRAFT, Status.SENDING),
    ("pause", Status.SENDING, Status.PAUSED),
    ("pause", Status.SETTLING, Status.PAUSED),
    ("resume", Status.PAUSED, Status.SENDING),
    ("resume", Status.ERROR, Status.SENDING),
    ("cancel", Status.DRAFT, Status.CANCELLED),
    ("cancel", Status.PENDING, Status.CANCELLED),
    ("cancel", Status.SENDING, Status.CANCELLED),
    ("cancel", Status.PAUSED, Status.CANCELLED),
    ("cancel", Status.SETTLING, Status.CANCELLED),
    ("cancel", Status.ERROR, Status.CANCELLED),
]


def made(status: str) -> BulkSend:
    return draft() if status == Status.DRAFT else bulk_send(status)


@pytest.mark.parametrize(("decision", "before", "after"), MOVES)
def test_asking_changes_nothing_and_posting_does_it(operator: Client, decision: str, before: str, after: str) -> None:
    sent = made(before)
    url = f"{LIST}{sent.pk}/{decision}/"
    with CaptureQueriesContext(connection) as captured:
        asked = operator.get(url).content.decode()
    assert "csrfmiddlewaretoken" in asked
    assert "Volver" in asked
    writes = [query["sql"] for query in captured if query["sql"].startswith(("UPDATE", "INSERT", "DELETE"))]
    assert not [sql for sql in writes if "relay_" in sql]
    assert status_of(sent) == before
    assert not LogEntry.objects.exists()

    answer = operator.post(url)
    assert answer["Location"] == f"{LIST}{sent.pk}/change/"
    assert status_of(sent) == after
    assert LogEntry.objects.get().user.get_username() == "operador"


@pytest.mark.parametrize("status", Status.values)
def test_only_buttons_that_mean_something_are_offered(operator: Client, status: str) -> None:
    sent = made(status)
    shown = operator.get(f"{LIST}{sent.pk}/change/").content.decode()
    offered = {name for name in DECISIONS if f"{LIST}{sent.pk}/{name.replace('_', '-')}/" in shown}
    changeable = set() if status in {Status.DONE, Status.CANCELLED} else {"change_pace"}
    assert offered == {move.replace("-", "_") for move, before, _after in MOVES if before == status} | changeable


def test_a_pause_that_would_end_by_itself_can_be_made_to_last(operator: Client) -> None:
    sent = bulk_send(Status.PAUSED, reason=reasons.WINDOW, resume_at=timezone.now())
    url = f"{LIST}{sent.pk}/pause/"
    assert url in operator.get(f"{LIST}{sent.pk}/change/").content.decode()
    operator.post(url)
    sent.refresh_from_db()
    assert (sent.status, sent.reason, sent.resume_at) == ("paused", reasons.PERSON, None)


def test_a_draft_without_valid_rows_can_only_be_cancelled(operator: Client) -> None:
    sent = bulk_send(Status.DRAFT, total=1, findings={"excluded": 1})
    assert "start-valid" not in operator.get(f"{LIST}{sent.pk}/change/").content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_decision_that_came_too_late_says_so(operator: Client, method: str) -> None:
    sent = bulk_send(Status.DONE)
    answer = getattr(operator, method)(f"{LIST}{sent.pk}/cancel/")
    assert answer.status_code == 302
    (message,) = get_messages(answer.wsgi_request)
    assert "está en «Terminado»" in str(message)
    assert not LogEntry.objects.exists()


def test_cancelling_excludes_what_has_not_left_and_nothing_else(operator: Client) -> None:
    sent = bulk_send(Status.SENDING)
    in_every_state(sent)
    assert "Mensajes que no saldrán nunca: 1." in operator.get(f"{LIST}{sent.pk}/cancel/").content.decode()
    operator.post(f"{LIST}{sent.pk}/cancel/")
    states = dict(sent.recipients.values_list("row", "state"))
    assert sorted(states.values()) == ["accepted", "excluded", "excluded", "refused", "sending", "unknown"]


def test_a_post_without_the_token_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("lucia"))
    sent = bulk_send(Status.SENDING)
    assert client.post(f"{LIST}{sent.pk}/pause/").status_code == 403
    assert status_of(sent) == Status.SENDING


@pytest.mark.parametrize("decision", ["start", "start-valid", "pause", "resume", "cancel", "retry", "change-pace"])
def test_who_may_only_look_sees_no_button_and_cannot_press_it(onlooker: Client, decision: str) -> None:
    sent = bulk_send(Status.SENDING)
    assert f"/{decision}/" not in onlooker.get(f"{LIST}{sent.pk}/change/").content.decode()
    assert onlooker.get(f"{LIST}{sent.pk}/{decision}/").status_code == 403
    assert onlooker.post(f"{LIST}{sent.pk}/{decision}/").status_code == 403
    assert status_of(sent) == Status.SENDING


def test_strangers_are_sent_to_the_login(client: Client) -> None:
    sent = bulk_send(Status.SENDING)
    for url in (LIST, f"{LIST}{sent.pk}/change/", f"{LIST}{sent.pk}/pause/", "/admin/relay/recipient/"):
        assert client.post(url)["Location"].startswith("/admin/login/")
    assert status_of(sent) == Status.SENDING


def test_staff_without_rights_sees_nothing(client: Client) -> None:
    client.force_login(user("nadie"))
    sent = bulk_send()
    row = recipient(sent, 2, State.PENDING)
    for url in (
        LIST,
        f"{LIST}{sent.pk}/change/",
        f"{LIST}{sent.pk}/history/",
        f"{LIST}{sent.pk}/rejects/",
        "/admin/relay/recipient/",
        f"/admin/relay/recipient/{row.pk}/change/",
        "/admin/relay/sender/",
        "/admin/relay/suppression/",
        "/admin/relay/attachment/",
    ):
        assert client.get(url).status_code == 403, url
    assert "Envíos masivos" not in client.get("/admin/").content.decode()


def test_logging_in_without_a_destination_leads_to_the_console(client: Client) -> None:
    User.objects.create_superuser("lucia", password="clave-de-prueba")
    answer = client.post("/admin/login/", {"username": "lucia", "password": "clave-de-prueba"})
    assert answer["Location"] == "/admin/"
