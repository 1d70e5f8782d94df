"""In the console: what the relay's log said of an unknown recipient, and what a person answers for it."""

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.utils import timezone
from django.utils.html import escape

from relay import reasons
from relay.admin.words import VERDICT_COLOURS
from relay.models import Decision, Recipient, Settlement
from tests.relay.admin_rows import HOSTILE, State, Status, bulk_send, recipient, user

pytestmark = pytest.mark.django_db
RECIPIENTS = "/admin/relay/recipient/"
ANSWERS = ["was-sent", "was-not-sent"]


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(user("operador", "view_bulksend", "change_bulksend", "view_recipient"))
    return client


@pytest.fixture
def unknown() -> Recipient:
    return recipient(bulk_send(Status.SETTLING, total=1), 2, State.UNKNOWN)


def page(client: Client, row: Recipient, name: str = "change") -> str:
    answer = client.get(f"{RECIPIENTS}{row.pk}/{name}/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_shows_each_look_and_the_next_one(operator: Client, unknown: Recipient) -> None:
    look_at = timezone.now()
    Recipient.objects.filter(pk=unknown.pk).update(looks=1, look_at=look_at)
    attempt = unknown.attempt_set.get()
    Settlement.objects.create(recipient=unknown, attempt=attempt, look=1, verdict="unknown", reason=reasons.NOT_YET)
    Settlement.objects.create(
        recipient=unknown, attempt=attempt, look=0, verdict="returned", reason=reasons.BY_PERSON, note=HOSTILE
    )
    unknown.refresh_from_db()
    shown = page(operator, unknown)
    for settlement in Settlement.objects.all():
        assert escape(settlement.reason_text) in shown
        assert settlement.get_verdict_display() in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert HOSTILE not in shown
    assert 'name="settlements-0-note"' not in shown


@pytest.mark.parametrize(
    ("answer", "verdict", "state", "status"),
    [
        ("was-sent", "accepted", State.ACCEPTED, Status.DONE),
        ("was-not-sent", "returned", State.PENDING, Status.SENDING),
    ],
)
def test_a_person_answers_with_a_reason(
    operator: Client, unknown: Recipient, answer: str, verdict: str, state: str, status: str
) -> None:
    url = f"{RECIPIENTS}{unknown.pk}/{answer}/"
    assert url in page(operator, unknown)
    page(operator, unknown, answer)
    unknown.refresh_from_db()
    assert unknown.state == State.UNKNOWN  # asking changed nothing

    assert operator.post(url, {"note": "Lo dijo por teléfono"})["Location"] == f"{RECIPIENTS}{unknown.pk}/change/"
    unknown.refresh_from_db()
    assert unknown.state == state
    assert unknown.bulk_send.status == status
    made = Settlement.objects.get()
    assert (made.look, made.verdict, made.note) == (0, verdict, "Lo dijo por teléfono")
    assert made.decided_by is not None
    decision = Decision.objects.get()
    assert (decision.what, decision.actor, decision.made_by) == ("settle", "operador", made.decided_by)
    shown = page(operator, unknown)
    assert "Lo dijo por teléfono" in shown
    assert url not in shown


@pytest.mark.parametrize("note", ["", "   ", "x" * 501])
@pytest.mark.parametrize("answer", ANSWERS)
def test_without_a_reason_of_bearable_length_nothing_is_decided(
    operator: Client, unknown: Recipient, answer: str, note: str
) -> None:
    asked = operator.post(f"{RECIPIENTS}{unknown.pk}/{answer}/", {"note": note})
    assert asked.status_code == 200
    unknown.refresh_from_db()
    assert unknown.state == State.UNKNOWN
    assert not Settlement.objects.exists()


@pytest.mark.parametrize("state", [state for state in State.values if state != State.UNKNOWN])
@pytest.mark.parametrize("answer", ANSWERS)
def test_only_unknown_recipients_can_be_answered_for(operator: Client, answer: str, state: str) -> None:
    row = recipient(bulk_send(Status.SENDING), 2, state)
    url = f"{RECIPIENTS}{row.pk}/{answer}/"
    assert url not in page(operator, row)
    told = operator.post(url, {"note": "Seguro"})
    assert told.status_code == 302
    assert [message.level_tag for message in get_messages(told.wsgi_request)] == ["warning"]
    row.refresh_from_db()
    assert row.state == state


@pytest.mark.parametrize("rights", [("view_recipient", "view_bulksend"), ("change_bulksend",), ("view_recipient",), ()])
@pytest.mark.parametrize("answer", ANSWERS)
def test_who_may_not_decide_or_not_look_cannot(
    client: Client, unknown: Recipient, answer: str, rights: tuple[str, ...]
) -> None:
    client.force_login(user("auditora", *rights))
    url = f"{RECIPIENTS}{unknown.pk}/{answer}/"
    assert client.get(url).status_code == 403
    assert client.post(url, {"note": "Seguro"}).status_code == 403
    unknown.refresh_from_db()
    assert unknown.state == State.UNKNOWN
    if rights == ("view_recipient",):
        assert url not in page(client, unknown)


def test_a_post_without_the_token_is_refused(unknown: Recipient) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user("operador", "change_bulksend", "view_recipient"))
    assert client.post(f"{RECIPIENTS}{unknown.pk}/was-sent/", {"note": "Seguro"}).status_code == 403
    unknown.refresh_from_db()
    assert unknown.state == State.UNKNOWN


def test_those_that_wait_for_a_person_are_found_and_counted(operator: Client, unknown: Recipient) -> None:
    asked_again = recipient(unknown.bulk_send, 3, State.UNKNOWN)
    Recipient.objects.filter(pk=asked_again.pk).update(look_at=timezone.now())
    recipient(unknown.bulk_send, 4, State.ACCEPTED)
    listed = operator.get(f"{RECIPIENTS}?state=for_a_person", follow=True).content.decode()
    assert unknown.email in listed
    assert asked_again.email not in listed
    assert "persona4@example.com" not in listed
    link = f"{RECIPIENTS}?bulk_send={unknown.bulk_send_id}&amp;state=for_a_person"
    url = f"/admin/relay/bulksend/{unknown.bulk_send_id}/change/"
    assert link in operator.get(url).content.decode()
    Recipient.objects.filter(pk=unknown.pk).update(look_at=timezone.now())
    assert link not in operator.get(url).content.decode()


def test_every_verdict_has_a_colour() -> None:
    assert set(VERDICT_COLOURS) == set(Settlement.Verdict.values)
