"""The start page: what stands on it for whom, in which order, and that it stays text and stays cheap."""

import csv
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone, translation

from relay import reasons
from relay.admin.dashboard import page_or_none
from relay.admin.downloads import rows_as_csv
from relay.models import Lease, Quota, Recipient, Sender
from tests.relay.admin_rows import HOSTILE, State, Status, bulk_send, draft, recipient, user

pytestmark = pytest.mark.django_db

START = "/admin/"
LIVE = "/admin/start/live/"
WELL = "Nothing needs a person"


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def looker(client: Client) -> Client:
    """Somebody who may look at bulk sends, and at nothing else."""
    client.force_login(user("mira", "view_bulksend"))
    return client


def text_of(answer: HttpResponse) -> str:
    assert answer.status_code == 200
    return unescape(answer.content.decode())


def shown(client: Client) -> str:
    return text_of(client.get(START))


def rows_of(answer: HttpResponse) -> list[list[str]]:
    assert answer.status_code == 200
    return list(csv.reader(answer.content.decode("utf-8-sig").splitlines()))


# --- Who sees what


def test_who_may_see_nothing_is_told_whom_to_ask(client: Client):
    User.objects.create_superuser("jefa", first_name="Julia", last_name="Paz")
    client.force_login(user("nadie"))
    page = shown(client)
    assert "Ask for rights: Julia Paz." in page
    assert "dashboard-figures" not in page
    assert WELL not in page


def test_who_may_see_nothing_gets_no_numbers_by_other_addresses_either(client: Client):
    bulk_send(Status.SENDING, name="Reservado")
    client.force_login(user("nadie"))
    assert "Reservado" not in text_of(client.get(LIVE))
    assert [client.get(f"/admin/start/{name}.csv").status_code for name in ("sent", "refused")] == [403, 403]


def test_who_is_not_logged_in_is_asked_to(client: Client):
    for address in (START, LIVE, "/admin/start/sent.csv"):
        assert client.get(address).status_code == 302


def test_a_looker_sees_bulk_sends_and_no_reports(looker: Client):
    bulk_send(Status.SENDING, name="Cobranzas")
    page = shown(looker)
    assert "Cobranzas" in page
    assert "Delivered" not in page
    assert "Reports waiting" not in page


def test_a_table_that_does_not_exist_is_not_found(lucia: Client):
    assert lucia.get("/admin/start/otra.csv").status_code == 404


# --- An installation with nothing in it


def test_an_empty_installation_says_the_first_three_steps(lucia: Client):
    page = shown(lucia)
    assert "The first steps" in page
    assert 'href="/admin/relay/sender/add/"' in page
    assert "Check the relay's account" in page
    assert "Prepare the first bulk send" in page
    assert WELL not in page


def test_an_empty_installation_shows_no_empty_charts_and_no_noughts(lucia: Client):
    page = shown(lucia)
    assert "dashboard-figures" not in page
    assert "Messages per day" not in page
    bulk_send(Status.DONE)
    page = shown(lucia)
    assert "dashboard-figures" in page
    assert "Messages per day" in page


def test_a_step_that_is_done_says_so(lucia: Client):
    assert "Done:" not in shown(lucia)
    Sender.objects.create(email="cobros@example.com")
    assert "Done:" in shown(lucia)


def test_keys_that_are_missing_are_named_and_never_shown(lucia: Client, settings: Any):
    settings.DOPPLER_RELAY_API_KEY = ""
    assert "DOPPLER_RELAY_API_KEY" in shown(lucia)
    settings.DOPPLER_RELAY_API_KEY = "secreto-123"
    settings.DOPPLER_RELAY_ACCOUNT_ID = "901"
    page = shown(lucia)
    assert "DOPPLER_RELAY_API_KEY" not in page
    assert "secreto-123" not in page


def test_steps_lead_only_where_one_may_go(client: Client):
    client.force_login(user("mira", "view_bulksend", "view_sender"))
    page = shown(client)
    assert "Add a sender" in page
    assert "/admin/relay/sender/add/" not in page


def test_steps_are_gone_with_the_first_bulk_send(lucia: Client):
    bulk_send(Status.DONE)
    assert "The first steps" not in shown(lucia)


# --- What is begun from here


def test_who_may_prepare_bulk_sends_begins_one_here_where_there_is_a_page_for_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
):
    client.force_login(user("opera", "view_bulksend", "add_bulksend"))
    monkeypatch.setattr("relay.admin.overview.page_or_none", lambda name: f"/{name}/")
    assert 'href="/admin:relay_preparation_add/"' in shown(client)


def test_who_may_not_prepare_them_does_not(looker: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("relay.admin.overview.page_or_none", lambda name: f"/{name}/")
    assert "relay_preparation_add" not in shown(looker)


def test_a_page_that_this_installation_lacks_is_no_address():
    assert page_or_none("admin:nothing_of_that_name") is None


# --- What needs a person


def test_when_nothing_needs_a_person_a_line_says_so(looker: Client):
    bulk_send(Status.DONE)
    page = shown(looker)
    assert WELL in page
    assert "Needs a person" not in page


def test_an_error_says_what_is_to_be_mended_and_leads_there(looker: Client):
    stopped = bulk_send(Status.ERROR, name="Cobranzas")
    page = shown(looker)
    assert f"«Cobranzas»: {reasons.sentence(reasons.TEMPLATE_CHANGED, {})}" in page
    assert f'href="/admin/relay/bulksend/{stopped.pk}/change/"' in page
    assert WELL not in page


@pytest.mark.parametrize("reason", [reasons.STOP_LOSS, reasons.FIRST_SLICE, reasons.MISSED, reasons.WINDOW_NEVER])
def test_a_pause_that_only_a_person_ends_is_named(looker: Client, reason: str):
    bulk_send(Status.PAUSED, name="Detenido", reason=reason)
    assert f"«Detenido»: {reasons.sentence(reason, {})}" in shown(looker)


def test_a_pause_that_ends_by_itself_or_that_a_person_made_needs_nobody(looker: Client):
    bulk_send(Status.PAUSED, reason=reasons.QUOTA, resume_at=timezone.now() + timedelta(hours=1))
    bulk_send(Status.PAUSED, reason=reasons.PERSON)
    assert WELL in shown(looker)


def test_an_hour_that_passed_while_nothing_ran_is_named(looker: Client):
    bulk_send(Status.PENDING, name="Vencido", scheduled_at=timezone.now() - timedelta(days=1))
    bulk_send(Status.PENDING, name="Futuro", scheduled_at=timezone.now() + timedelta(days=1))
    page = shown(looker)
    assert "«Vencido» should have begun at" in page
    assert "«Futuro» should" not in page


def test_unknown_recipients_whom_the_log_will_not_explain_wait_for_a_person(lucia: Client):
    sent = bulk_send(Status.SETTLING, name="Cobranzas")
    rows = [recipient(sent, row, State.UNKNOWN) for row in (2, 3, 4)]
    Recipient.objects.filter(pk=rows[0].pk).update(look_at=timezone.now())
    page = shown(lucia)
    assert "2 recipients of «Cobranzas» are unknown" in page
    assert f'href="/admin/relay/recipient/?bulk_send={sent.pk}&state=for_a_person"' in page


def test_who_may_not_see_recipients_is_led_to_the_bulk_send(looker: Client):
    sent = bulk_send(Status.SETTLING)
    recipient(sent, 2, State.UNKNOWN)
    page = shown(looker)
    assert "1 recipient of" in page
    assert "/admin/relay/recipient/" not in page


def test_a_draft_waits_while_nobody_has_decided_about_its_rejects(looker: Client):
    draft(name="Con rechazos")
    draft(name="Aceptado", accept_rejects=True)
    bulk_send(Status.DRAFT, name="Sin rechazos")
    page = shown(looker)
    assert "The draft «Con rechazos» has 1 rejected row" in page
    assert "«Aceptado»" not in page
    assert "«Sin rechazos»" not in page


def test_of_one_kind_only_the_latest_are_named(looker: Client):
    for number in range(7):
        bulk_send(Status.ERROR, name=f"Error {number}")
    page = shown(looker)
    assert [f"«Error {number}»" in page for number in range(7)] == [False, False, True, True, True, True, True]
    assert "?status__exact=error" in page


def test_what_is_urgent_comes_first(lucia: Client):
    draft(name="Borrador")
    bulk_send(Status.ERROR, name="Con error")
    page = shown(lucia)
    assert page.index("«Con error»") < page.index("«Borrador»") < page.index("dashboard-figures")


# --- How many left


def test_outcomes_are_counted_for_today_and_for_thirty_days(looker: Client):
    sent = bulk_send(Status.SENDING)
    for row, state in enumerate([State.ACCEPTED, State.ACCEPTED, State.REFUSED, State.PENDING], 2):
        recipient(sent, row, state)
    page = "".join(shown(looker).split())
    assert 'Sentmessages</dt><ddclass="relay-bigdashboard-accepted">2</dd>' in page
    assert 'Refusedmessages</dt><ddclass="relay-bigdashboard-refused">1</dd>' in page
    assert 'Unknownmessages</dt><ddclass="relay-bigdashboard-none">0</dd>' in page


def test_refusals_are_told_by_their_code(looker: Client):
    assert "Refused, by reason" not in shown(looker)
    sent = bulk_send(Status.SENDING)
    recipient(sent, 2, State.REFUSED)
    assert "The relay refused it (400.1)." in shown(looker)
    assert rows_of(looker.get("/admin/start/refused.csv")) == [
        ["Reason", "Today", "Last 30 days"],
        ["The relay refused it (400.1).", "1", "1"],
    ]


def test_the_days_are_a_file_too_the_last_line_is_today(looker: Client):
    recipient(bulk_send(Status.SENDING), 2, State.ACCEPTED)
    answer = looker.get("/admin/start/sent.csv")
    rows = rows_of(answer)
    assert rows[0] == ["Day", "Sent messages", "Refused messages", "Unknown messages"]
    assert rows[-1] == [timezone.localdate().isoformat(), "1", "0", "0"]
    assert len(rows) == 31
    assert answer["Content-Disposition"].startswith('attachment; filename="sent-')


def test_a_cell_that_is_a_formula_stays_text_in_the_file():
    answer = rows_as_csv([["Day", "=1+1"], ["@SUM(A1)", "-2"], ["plain", -2]], filename="x.csv")
    assert rows_of(answer) == [["Day", "'=1+1"], ["'@SUM(A1)", "'-2"], ["plain", "-2"]]


def test_without_anything_sent_the_chart_says_so(looker: Client):
    bulk_send(Status.DONE)
    assert "Nothing has been sent in these days." in shown(looker)


# --- What moves, and what is next


def test_what_is_under_way_shows_how_far_it_is(looker: Client):
    sent = bulk_send(Status.SENDING, name="Cobranzas", total=4)
    for row, state in enumerate([State.ACCEPTED, State.REFUSED, State.PENDING, State.EXCLUDED], 2):
        recipient(sent, row, state)
    now = timezone.now()
    Lease.objects.create(
        bulk_send=sent, owner="w", acquired_at=now, expires_at=now + timedelta(minutes=1), calls_per_second=25.2
    )
    page = shown(looker)
    assert 'max="100" value="75" aria-label="Cobranzas"' in page
    assert "75 % · 1 accepted of 4 rows · 1 refused · 25 per second" in page


def test_a_pause_says_why_and_until_when(looker: Client):
    bulk_send(
        Status.PAUSED,
        reason=reasons.WINDOW,
        reason_params={"window": "Oficina"},
        resume_at=timezone.now() + timedelta(hours=1),
    )
    page = shown(looker)
    assert "Outside its sending window «Oficina»." in page
    assert "It goes on by itself at" in page


def test_what_is_next_says_its_hour_and_how_many(looker: Client):
    bulk_send(Status.PENDING, name="Mañana", scheduled_at=timezone.now() + timedelta(days=1), total=1)
    bulk_send(Status.PENDING, name="A mano", total=1200)
    page = shown(looker)
    assert "waits for somebody to start it · 1,200 recipients" in page
    assert "· 1 recipient" in page


def test_nothing_under_way_and_nothing_next(looker: Client):
    bulk_send(Status.DONE)
    page = shown(looker)
    assert "None is under way." in page
    assert "No bulk send is scheduled." in page


# --- Quotas


def test_quotas_are_bars_with_their_numbers_and_their_renewal(looker: Client):
    now = timezone.now()
    bulk_send(Status.DONE)
    for period, remaining in (("monthly", 900), ("hourly", 25)):
        Quota.objects.create(
            period=period, limit=1000, remaining=remaining, reset_at=now + timedelta(hours=1), read_at=now
        )
    page = shown(looker)
    assert page.index("Messages per hour") < page.index("Messages per month")
    assert 'max="1000" value="975"' in page
    assert "975 of 1,000 used, 25 left" in page
    assert "renewed at" in page


def test_a_quota_whose_period_is_over_is_whole_again(looker: Client):
    then = timezone.now() - timedelta(hours=1)
    Quota.objects.create(period="hourly", limit=1000, remaining=0, reset_at=then, read_at=then)
    assert "0 of 1,000 used" in shown(looker)


def test_quotas_without_limit_and_quotas_nobody_asked_for(looker: Client):
    assert "Not known yet" in shown(looker)
    Quota.objects.create(period="hourly", read_at=timezone.now())
    assert "The relay named no limit" in shown(looker)


# --- How it behaves


def test_it_updates_itself_only_while_something_moves(looker: Client):
    bulk_send(Status.DONE)
    assert "data-moving" not in text_of(looker.get(LIVE))
    bulk_send(Status.SENDING, name="Cobranzas")
    fragment = text_of(looker.get(LIVE))
    assert "data-moving" in fragment
    assert 'id="dashboard-under-way"' in fragment
    assert 'id="dashboard-sent"' not in fragment  # an open table would close


def test_what_the_poll_brings_is_what_the_page_has(looker: Client):
    bulk_send(Status.SENDING, name="Cobranzas")
    page = shown(looker)
    part = text_of(looker.get(LIVE)).partition('<div id="dashboard-under-way"')[2].partition('<div id="dashboard-')[0]
    assert part.rstrip().removesuffix("</div>") in page


def test_names_of_others_stay_text(lucia: Client):
    draft(name=HOSTILE)
    for status in Status.values:
        bulk_send(status, name=HOSTILE, template_name=HOSTILE, scheduled_at=timezone.now() - timedelta(days=1))
    recipient(bulk_send(Status.SETTLING, name=HOSTILE), 2, State.UNKNOWN)
    for address in (START, LIVE):
        content = lucia.get(address).content.decode()
        assert HOSTILE not in content
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content


def test_no_script_and_no_style_stands_in_what_is_ours(lucia: Client):
    recipient(bulk_send(Status.SENDING), 2, State.ACCEPTED)
    ours = shown(lucia).partition('<div id="dashboard-top"')[2].partition('role="status"')[0]
    assert "<svg" in ours
    assert [found for found in ("<script", " style=", " onclick=") if found in ours] == []


def test_more_bulk_sends_do_not_make_more_queries(looker: Client, django_assert_max_num_queries: Any):
    for number in range(12):
        for status in (Status.SENDING, Status.PENDING, Status.ERROR):
            bulk_send(status, name=f"{status} {number}")
    with django_assert_max_num_queries(40) as captured:
        shown(looker)
    heavy = [query["sql"] for query in captured.captured_queries if "template_html" in query["sql"]]
    counting = [query["sql"] for query in captured.captured_queries if 'FROM "relay_recipient"' in query["sql"]]
    assert (heavy, counting) == ([], [])
