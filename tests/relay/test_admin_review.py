"""Steps (c) and (d) in the console: findings, the mail of each row, a test to oneself, when, and the confirmation."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from relay import extremes, models, reasons, trying
from relay.admin.foreseeing import speed_of
from relay.admin.reviewing import INERT
from relay.models import BulkSend, Decision, Quota, Recipient, SendingWindow
from tests.relay.admin_rows import HOSTILE, Status, bulk_send, draft, recipient, user
from tests.relay.rows import new_bulk_send
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db
OPERATOR = ("view_bulksend", "change_bulksend", "add_bulksend", "view_recipient")


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(user("operadora", *OPERATOR, email="operadora@example.com"))
    return client


def url(sent: BulkSend, rest: str) -> str:
    return f"/admin/relay/bulksend/{sent.pk}/{rest}/"


def text(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def mail(client: Client, sent: BulkSend, row: int, query: str = "") -> str:
    """What the frame shows, without what keeps its links from being clicked."""
    shown = text(client, url(sent, f"preview/{row}/mail") + query)
    assert shown.endswith(INERT)
    return shown.removesuffix(INERT)


def said(answer: Any) -> list[str]:
    return [f"{message.level_tag}: {message}" for message in get_messages(answer.wsgi_request)]


def ready(rows: int = 2, **fields: Any) -> BulkSend:
    """A draft without rejected rows."""
    sent = bulk_send(Status.DRAFT, **{"total": rows, "findings": {"valid": rows, "excluded": 0}} | fields)
    for row in range(2, rows + 2):
        recipient(sent, row, "pending")
    return sent


# --- (c) the review


def test_the_review_says_what_was_found_and_where(operator: Client) -> None:
    shown = text(operator, url(draft(), "review"))
    for words in ("Dirección no válida", "Fila 3", "gmail.com", "Enviar solo los válidos"):
        assert words in shown


def test_the_rejected_rows_can_be_downloaded(operator: Client) -> None:
    sent = draft()
    assert url(sent, "rejects") not in text(operator, url(sent, "review"))
    BulkSend.objects.update(rejects_file="rejects/x.csv")
    assert url(sent, "rejects") in text(operator, url(sent, "review"))


def test_to_accept_the_rejects_leads_on_and_is_on_record(operator: Client) -> None:
    sent = draft()
    answer = operator.post(url(sent, "review/accept"))
    assert answer["Location"] == url(sent, "when")
    sent.refresh_from_db()
    assert (sent.status, sent.accept_rejects) == (Status.DRAFT, True)
    assert Decision.objects.get().actor == "operadora"
    assert "Enviar solo los válidos" not in text(operator, url(sent, "review"))
    assert url(sent, "when") in text(operator, url(sent, "review"))


def test_without_rejected_rows_it_goes_simply_on(operator: Client) -> None:
    sent = ready()
    shown = text(operator, url(sent, "review"))
    assert url(sent, "when") in shown
    assert "review/accept" not in shown


def test_where_nothing_is_valid_nothing_can_be_decided(operator: Client) -> None:
    sent = bulk_send(Status.DRAFT, total=1, findings={"valid": 0, "excluded": 1, "by_reason": {reasons.DUPLICATE: 1}})
    recipient(sent, 2, "excluded")
    shown = text(operator, url(sent, "review"))
    assert "review/accept" not in shown
    assert url(sent, "when") not in shown.split("relay-steps")[-1].split("</nav>")[-1]


def test_the_page_of_a_draft_leads_to_the_review(operator: Client) -> None:
    sent = draft()
    assert url(sent, "review") in text(operator, f"/admin/relay/bulksend/{sent.pk}/change/")
    done = bulk_send(Status.DONE)
    assert url(done, "review") not in text(operator, f"/admin/relay/bulksend/{done.pk}/change/")


# --- The mail of a row


def test_the_preview_is_the_mail_of_that_row(operator: Client) -> None:
    sent = ready(3, template_html="<p>Hola {{nombre}}</p>", from_email="cobros@example.com", from_name="Cobros")
    Recipient.objects.filter(row=3).update(variables={"nombre": "Béatriz"})
    shown = text(operator, url(sent, "preview/3"))
    for words in ("Béatriz, su cuota vence", "Cobros &lt;cobros@example.com&gt;", "persona3@example.com"):
        assert words in shown
    assert url(sent, "preview/2") in shown
    assert url(sent, "preview/4") in shown
    assert mail(operator, sent, 3) == "<p>Hola Béatriz</p>"


def test_the_frame_has_no_right_and_its_content_no_policy_but_its_own(operator: Client) -> None:
    sent = ready(1)
    shown = text(operator, url(sent, "preview/2"))
    assert '<iframe sandbox="" ' in shown
    assert "allow-scripts" not in shown
    assert "allow-same-origin" not in shown
    answer = operator.get(url(sent, "preview/2/mail"))
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.rstrip().endswith("sandbox")
    assert "script" not in policy
    assert answer["Content-Type"] == "text/html; charset=utf-8"
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer["Cache-Control"]
    assert operator.get(url(sent, "preview/2"))["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "value", [HOSTILE, '"><img src=x onerror=alert(1)>', "{{nombre}}", "javascript:alert(1)", "</iframe>" + HOSTILE]
)
def test_hostile_values_stay_text_around_the_frame(operator: Client, value: str) -> None:
    sent = ready(1, name=value, file_name=value, from_name=value[:100], from_email="a@example.com", columns=["nombre"])
    Recipient.objects.update(variables={"nombre": value})
    BulkSend.objects.update(template_html="<script>alert(2)</script>{{{nombre}}}{{nombre}}", template_name=value)
    for page in ("review", "preview/2", "when"):
        shown = text(operator, url(sent, page))
        assert "alert(2)" not in shown
        if "<" in value:
            assert value not in shown
            assert escape(value) in shown
    framed = operator.get(url(sent, "preview/2/mail"))
    assert "sandbox" in framed["Content-Security-Policy"], "what is in the mail runs nowhere"


def test_what_a_row_lacks_is_named_and_marked(operator: Client) -> None:
    sent = ready(1, allow_empty=True)
    Recipient.objects.update(variables={"nombre": ""})
    shown = text(operator, url(sent, "preview/2"))
    assert "?marked=1" in shown
    assert "nombre" in shown
    assert mail(operator, sent, 2, "?marked=1") == "<p>⟦nombre⟧</p>"
    assert "?marked=1" not in text(operator, url(sent, "preview/2") + "?real=1")


def test_a_row_that_is_not_sent_is_shown_with_the_reason(operator: Client) -> None:
    sent = draft()
    answer = operator.get(url(sent, "preview/3"))
    assert "arroba" in answer.context["excluded"] or "@" in answer.context["excluded"]
    assert "preview/3/test" not in answer.content.decode()


def test_a_row_can_be_gone_to_by_its_number(operator: Client) -> None:
    sent = ready(3)
    assert operator.get(url(sent, "preview"), {"row": "4"})["Location"] == url(sent, "preview/4")
    for typed in ("99", "-1", "4x", "²", "9" * 30, ""):
        assert operator.get(url(sent, "preview"), {"row": typed})["Location"] == url(sent, "preview/2")
    assert operator.get(url(sent, "preview/99")).status_code == 404


def test_a_template_that_cannot_be_read_is_a_sentence_and_no_fault(operator: Client) -> None:
    sent = ready(1, template_html="{{#abierta}}")
    assert "abierta" in text(operator, url(sent, "preview/2"))
    assert mail(operator, sent, 2) == ""
    assert operator.get(url(sent, "review")).status_code == 200


def test_what_was_sent_is_shown_from_the_template_that_it_keeps(operator: Client) -> None:
    sent = bulk_send(Status.DONE, template_html="<p>{{nombre}}</p>")
    recipient(sent, 2, "accepted")
    assert mail(operator, sent, 2) == "<p>Ana</p>"
    assert "preview/2/test" not in text(operator, url(sent, "preview/2"))


def test_the_extremes_are_found_among_the_first_rows(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extremes, "ROWS", 4)
    sent = ready(6)
    Recipient.objects.filter(row=3).update(variables={"nombre": "Maximiliana Guadalupe"})
    Recipient.objects.filter(row=4).update(variables={"nombre": " "})
    Recipient.objects.filter(row=7).update(variables={"nombre": "x" * 500})
    found = extremes.extremes_of(sent)
    assert (found.looked_at, found.all_rows, found.first) == (4, False, 2)
    assert (found.longest, found.longest_variable, found.longest_length) == (3, "nombre", 21)
    assert (found.empty, found.largest) == ((4,), 3)
    answer = operator.get(url(sent, "review"))
    assert "4" in answer.context["looked_at"]
    assert answer.context["looked_at"] in answer.content.decode()


def test_the_pages_ask_as_much_of_the_database_for_many_rows_as_for_few(operator: Client) -> None:
    few, many = ready(2), ready(40)
    for sent in (few, many):
        operator.get(url(sent, "preview/2"))  # the extremes are kept
    counts = []
    for sent in (few, many):
        with CaptureQueriesContext(connection) as queries:
            operator.get(url(sent, "preview/2"))
        counts.append(len(queries))
    assert counts[0] == counts[1]


# --- Who may


@pytest.mark.parametrize("page", ["review", "preview", "preview/2", "preview/2/mail", "when"])
def test_without_the_right_to_see_bulk_sends_nothing_is_seen(client: Client, page: str) -> None:
    client.force_login(user("nadie", "view_recipient"))
    assert client.get(url(ready(1), page)).status_code == 403


@pytest.mark.parametrize("page", ["preview", "preview/2", "preview/2/mail"])
def test_who_may_not_see_recipients_sees_no_mail(client: Client, page: str) -> None:
    client.force_login(user("curioso", "view_bulksend", "change_bulksend"))
    sent = ready(1)
    assert client.get(url(sent, page)).status_code == 403
    assert "preview" not in text(client, url(sent, "review"))


def test_who_only_looks_decides_nothing(client: Client) -> None:
    client.force_login(user("auditora", "view_bulksend", "view_recipient", email="auditora@example.com"))
    sent = draft()
    assert "review/accept" not in text(client, url(sent, "review"))
    assert client.get(url(sent, "when")).status_code == 403
    for page in ("review/accept", "when", "when/confirm", "preview/2/test"):
        assert client.post(url(sent, page)).status_code == 403
    sent.refresh_from_db()
    assert (sent.status, sent.accept_rejects) == (Status.DRAFT, False)


@pytest.mark.parametrize("page", ["review/accept", "preview/2/test", "when/confirm"])
def test_a_link_changes_nothing(operator: Client, page: str) -> None:
    assert operator.get(url(draft(), page)).status_code == 405


def test_whatever_changes_something_needs_the_token(operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="operadora"))
    for page in ("review/accept", "preview/2/test", "when", "when/confirm"):
        assert strict.post(url(draft(), page)).status_code == 403


# --- The test to oneself


def test_a_test_goes_to_who_asked_for_it(operator: Client, new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    sent = new(2, status="draft")
    answer = operator.post(url(sent, "preview/3/test"), {"email": "otra@example.com"})
    assert answer["Location"] == url(sent, "preview/3")
    assert dict(sandbox.accepted()) == {"operadora@example.com": 1}
    assert said(answer)[0].startswith("success:")
    assert models.TestSend.objects.get().row == 3


def test_who_has_no_address_is_told_so(client: Client, new: Callable[..., BulkSend], sandbox: Sandbox) -> None:
    client.force_login(user("sin-correo", *OPERATOR))
    sent = new(1, status="draft")
    assert "preview/2/test" not in text(client, url(sent, "preview/2"))
    answer = client.post(url(sent, "preview/2/test"))
    assert said(answer)[0].startswith("error:")
    assert sandbox.calls() == []


def test_the_limit_is_a_sentence(
    operator: Client, monkeypatch: pytest.MonkeyPatch, new: Callable[..., BulkSend]
) -> None:
    monkeypatch.setattr(trying, "MOST_AN_HOUR", 0)
    assert said(operator.post(url(new(1, status="draft"), "preview/2/test")))[0].startswith("error:")


# --- (d) when


def later(days: int = 1) -> dict[str, str]:
    moment = timezone.localtime() + timedelta(days=days)
    return {"when": "later", "date": f"{moment:%Y-%m-%d}", "hour": "10:30"}


def seen_on(client: Client, sent: BulkSend, filled: dict[str, str]) -> str:
    """The confirmation page, and the fingerprint on it."""
    answer = client.post(url(sent, "when"), filled)
    assert answer.status_code == 200
    return str(answer.context["seen"])


def confirm(client: Client, sent: BulkSend, filled: dict[str, str], **more: str) -> Any:
    seen = seen_on(client, sent, filled)
    return client.post(url(sent, "when/confirm"), {**filled, "seen": seen, **more})


def test_now_is_confirmed_and_allowed(operator: Client) -> None:
    sent = ready(from_email="cobros@example.com")
    page = operator.post(url(sent, "when"), {"when": "now"}).content.decode()
    for words in ("2</span>", "cobros@example.com", "{{nombre}}, su cuota vence", "Aviso de pago"):
        assert words in page
    sent.refresh_from_db()
    assert sent.status == Status.DRAFT, "nothing is decided before it is confirmed"
    answer = confirm(operator, sent, {"when": "now"})
    assert answer["Location"] == f"/admin/relay/bulksend/{sent.pk}/change/"
    sent.refresh_from_db()
    assert sent.status == Status.SENDING
    assert Decision.objects.get().actor == "operadora"
    assert operator.get(f"/admin/relay/bulksend/{sent.pk}/change/").status_code == 200


def test_an_hour_with_window_rate_and_slice(operator: Client) -> None:
    window = SendingWindow.objects.create(name="Oficina", opens="08:00", closes="18:00", time_zone="America/Bogota")
    sent = ready(3)
    filled = {**later(), "window": str(window.pk), "max_rate": "2.5", "first_slice": "1"}
    confirm(operator, sent, filled)
    sent.refresh_from_db()
    assert (sent.status, sent.window, sent.max_rate, sent.first_slice) == (Status.PENDING, window, 2.5, 1)
    assert sent.scheduled_at is not None
    assert f"{sent.scheduled_at.astimezone(UTC):%H:%M}" == "15:30", "10:30 in Bogotá"
    assert sent.scheduled_by is not None


def test_the_zone_of_the_hour_is_shown(operator: Client) -> None:
    sent = ready()
    assert "America/Guayaquil" in text(operator, url(sent, "when"))
    assert "America/Guayaquil" in operator.post(url(sent, "when"), later()).content.decode()


@pytest.mark.parametrize(
    ("filled", "field"),
    [
        ({"when": "later", "hour": "10:00"}, "date"),
        ({"when": "later", "date": "2026-01-01"}, "hour"),
        ({"when": "later", "date": "2020-01-01", "hour": "10:00"}, "hour"),
        ({"when": "later", "date": "9999-12-31", "hour": "23:00"}, "date"),
        ({"when": "later", "date": "mañana", "hour": "10:00"}, "date"),
        ({"when": "nunca"}, "when"),
        ({"when": "now", "max_rate": "-1"}, "max_rate"),
        ({"when": "now", "max_rate": "nan"}, "max_rate"),
        ({"when": "now", "first_slice": "-1"}, "first_slice"),
        ({"when": "now", "window": "12345"}, "window"),
    ],
)
def test_what_cannot_be_is_said_beside_its_field(operator: Client, filled: dict[str, str], field: str) -> None:
    sent = ready()
    answer = operator.post(url(sent, "when"), filled)
    assert list(answer.context["form"].errors) == [field]
    answer = operator.post(url(sent, "when/confirm"), {**filled, "seen": "x"})
    assert field in answer.context["form"].errors
    sent.refresh_from_db()
    assert sent.status == Status.DRAFT


@pytest.fixture
def santiago() -> SendingWindow:
    return SendingWindow.objects.create(name="Chile", opens="00:00", closes="23:59", time_zone="America/Santiago")


def test_an_hour_that_the_clocks_skip_is_explained(
    operator: Client, santiago: SendingWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 1, tzinfo=UTC))
    filled = {"when": "later", "date": "2026-09-06", "hour": "00:30", "window": str(santiago.pk)}
    answer = operator.post(url(ready(), "when"), filled)
    (problem,) = answer.context["form"].errors["hour"]
    assert "00:30" in problem
    assert "01:30" in problem


def test_of_an_hour_that_comes_twice_the_confirmation_says_which(
    operator: Client, santiago: SendingWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 1, tzinfo=UTC))
    filled = {"when": "later", "date": "2026-04-04", "hour": "23:30", "window": str(santiago.pk)}
    answer = operator.post(url(ready(), "when"), filled)
    assert answer.context["form"].twice
    assert "UTC-03:00" in answer.content.decode()


def test_rejected_rows_are_decided_on_first(operator: Client) -> None:
    sent = draft()
    assert operator.get(url(sent, "when"))["Location"] == url(sent, "review")
    answer = operator.post(url(sent, "when/confirm"), {"when": "now", "seen": "x"})
    assert answer["Location"] == url(sent, "review")
    sent.refresh_from_db()
    assert sent.status == Status.DRAFT


# --- The number to type


@pytest.mark.parametrize("typed", ["3", " 3 "])
def test_above_the_set_size_the_number_is_typed(operator: Client, settings: Any, typed: str) -> None:
    settings.BULK_CONFIRM_ABOVE = 2
    sent = ready(3)
    for wrong in ("", "4", "sí", "33"):
        answer = confirm(operator, sent, {"when": "now"}, typed=wrong)
        assert answer.status_code == 200
        assert "typed" in answer.context["confirmation"].errors
    sent.refresh_from_db()
    assert sent.status == Status.DRAFT
    assert confirm(operator, sent, {"when": "now"}, typed=typed).status_code == 302
    sent.refresh_from_db()
    assert sent.status == Status.SENDING


@pytest.mark.parametrize("typed", ["80000", "80.000", "80,000", "80 000", "80\xa0000"])
def test_the_number_may_be_typed_as_it_is_shown(operator: Client, typed: str) -> None:
    sent = ready(2)
    BulkSend.objects.update(total=80_000, findings={"valid": 80_000, "excluded": 0})
    assert confirm(operator, sent, {"when": "now"}, typed=typed).status_code == 302


def test_a_wrong_number_keeps_what_was_seen(operator: Client, settings: Any) -> None:
    """Otherwise whoever mistypes would confirm what another has changed meanwhile."""
    settings.BULK_CONFIRM_ABOVE = 0
    sent = ready()
    seen = seen_on(operator, sent, {"when": "now"})
    BulkSend.objects.update(subject="Otro", from_email="a@example.com")
    again = operator.post(url(sent, "when/confirm"), {"when": "now", "seen": seen, "typed": "7"})
    assert again.context["seen"] == seen
    answer = operator.post(url(sent, "when/confirm"), {"when": "now", "seen": seen, "typed": "2"})
    assert said(answer)[0].startswith("error:")
    sent.refresh_from_db()
    assert sent.status == Status.DRAFT


# --- At once, and again


def test_of_two_who_confirm_at_once_one_is_told(operator: Client) -> None:
    other = Client()
    other.force_login(user("otra", *OPERATOR))
    sent = ready()
    seen = seen_on(operator, sent, later()), seen_on(other, sent, {"when": "now"})
    operator.post(url(sent, "when/confirm"), {**later(), "seen": seen[0]})
    answer = other.post(url(sent, "when/confirm"), {"when": "now", "seen": seen[1]})
    assert answer["Location"] == url(sent, "when")
    assert said(answer)[0].startswith("error:")
    sent.refresh_from_db()
    assert sent.status == Status.PENDING
    assert Decision.objects.get().actor == "operadora"


def test_what_waits_for_its_hour_is_rescheduled(operator: Client) -> None:
    sent = ready()
    confirm(operator, sent, later())
    assert url(sent, "when") in text(operator, f"/admin/relay/bulksend/{sent.pk}/change/")
    page = text(operator, url(sent, "when"))
    assert 'value="10:30"' in page
    confirm(operator, sent, later(3))
    sent.refresh_from_db()
    assert sent.status == Status.PENDING
    assert timezone.localtime(sent.scheduled_at).date() == (timezone.localtime() + timedelta(days=3)).date()
    assert [one.what for one in Decision.objects.all()] == ["start", "change"]


@pytest.mark.parametrize("status", [Status.SENDING, Status.PAUSED, Status.DONE, Status.CANCELLED])
def test_what_has_begun_has_no_when_any_more(operator: Client, status: str) -> None:
    sent = bulk_send(status)
    assert operator.get(url(sent, "when"))["Location"] == f"/admin/relay/bulksend/{sent.pk}/change/"


def test_back_keeps_what_was_filled_in(operator: Client) -> None:
    sent = ready()
    page = operator.post(url(sent, "when"), {**later(), "max_rate": "7", "back": "1"}).content.decode()
    assert 'value="10:30"' in page
    assert 'value="7' in page


# --- The forecast in words


def test_the_forecast_is_by_the_chosen_rate(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 11, 24, 15, tzinfo=UTC))  # 10:00 in Guayaquil
    sent = ready()
    BulkSend.objects.update(total=36_000, findings={"valid": 36_000, "excluded": 0})
    shown = operator.post(url(sent, "when"), {"when": "now", "max_rate": "10", "look": "1"}).content.decode()
    assert "11:00" in shown


def test_the_forecast_takes_quotas_into_account(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    Quota.objects.create(
        period="daily", limit=40_000, remaining=30_000, read_at=now, reset_at=now + timedelta(hours=30)
    )
    sent = ready()
    BulkSend.objects.update(total=100_000, findings={"valid": 100_000, "excluded": 0})
    (_end, first_day, *_rest) = operator.post(
        url(sent, "when"), {"when": "now", "max_rate": "1000", "look": "1"}
    ).context["forecast"]
    assert "30000" in first_day.replace("\xa0", "")


def test_without_any_speed_it_says_that_it_cannot_be_told(operator: Client) -> None:
    assert len(operator.get(url(ready(), "when")).context["forecast"]) == 3
    assert speed_of(None).per_second is None


def test_the_speed_of_the_last_bulk_send_is_taken(operator: Client) -> None:
    began = timezone.now() - timedelta(days=1)
    new_bulk_send(
        status="done",
        total=1000,
        findings={"excluded": 0},
        processing_started_at=began,
        finished_at=began + timedelta(seconds=50),
    )
    assert speed_of(None).per_second == 20
    assert speed_of(5.0).per_second == 5, "the lowest holds"
    assert any("20" in line for line in operator.get(url(ready(), "when")).context["forecast"])
