"""The page of a bulk send while it moves: numbers, words, buttons, and the fragments of its poll."""

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from relay import decisions, reasons
from relay.admin.bulk_send_page import time_left
from relay.admin.limits import limit_sentence
from relay.admin.minutes_chart import chart_context
from relay.admin.words import number
from relay.decisions import Actor
from relay.models import BulkSend, Decision, Lease, Recipient
from relay.tallies import Minute
from relay.watching import watch
from tests.console import page
from tests.relay.admin_rows import HOSTILE, State, Status, bulk_send, in_every_state, recipient, user
from tests.relay.rows import add_recipients, new_bulk_send

pytestmark = pytest.mark.django_db
LIST = "/admin/relay/bulksend/"


def lease_of(sent: BulkSend, **told: Any) -> Lease:
    now = timezone.now()
    return Lease.objects.create(
        bulk_send=sent, owner="worker", acquired_at=now, expires_at=now + timedelta(minutes=1), **told
    )


def poll(client: Client, sent: BulkSend) -> dict[str, str]:
    """The parts of the fragment by the end of their names, and whether it goes on under `moving`."""
    text = page(client, f"{LIST}{sent.pk}/progress/")
    parts = re.split(rf'<div id="send-{sent.pk}-([\w-]+)">', text)
    return {"moving": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


# --- numbers -------------------------------------------------------------------------------------------------


def test_the_poll_tells_counts_rate_limit_and_end(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING, total=3000)
    in_every_state(sent)
    add_recipients(sent, *range(100, 1100))
    lease_of(sent, calls_in_flight=7, calls_per_second=12.5, limited_by=Lease.Limit.CONNECTIONS)
    shown = poll(lucia, sent)
    assert "data-moving" in shown["moving"]
    assert number(1001) in shown["count-pending"]
    for state in State.values:
        assert f"&amp;state={state}" in shown[f"count-{state}"]
    assert "<dd>7</dd>" in shown["pace"]
    assert "12" in shown["pace"]
    assert "RELAY_MAX_CONNECTIONS" in shown["pace"]
    assert shown["pace"].count("<dt>") == 5  # with the time left and the expected end


def test_a_poll_reads_no_recipients_and_asks_little(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING, total=6)
    in_every_state(sent)
    lease_of(sent, calls_per_second=5.0)
    with CaptureQueriesContext(connection) as captured:
        poll(lucia, sent)
    assert not [query["sql"] for query in captured if "relay_recipient" in query["sql"]]
    assert not [query["sql"] for query in captured if "template_html" in query["sql"]]
    assert len(captured) <= 24


@pytest.mark.parametrize("status", Status.values)
def test_the_poll_of_every_status_answers_and_goes_on_only_while_something_moves(lucia: Client, status: str) -> None:
    sent = bulk_send(status)
    recipient(sent, 2, State.PENDING)
    shown = poll(lucia, sent)
    assert ("data-moving" in shown["moving"]) == (status in {Status.SENDING, Status.SETTLING})
    assert str(Status(status).label) in shown["state"]


def test_what_is_still_on_its_way_after_a_pause_is_waited_for(lucia: Client) -> None:
    sent = bulk_send(Status.PAUSED)
    row = recipient(sent, 2, State.SENDING)
    assert "data-moving" in poll(lucia, sent)["moving"]
    Recipient.objects.filter(pk=row.pk).update(state=State.PENDING, lease=None)
    assert "data-moving" not in poll(lucia, sent)["moving"]


def test_the_page_shows_the_same_parts_as_its_poll(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING, processing_started_at=timezone.now())
    in_every_state(sent)
    shown = page(lucia, f"{LIST}{sent.pk}/change/")
    assert f'data-poll="{LIST}{sent.pk}/progress/"' in shown
    assert "relay/progress.js" in shown
    for name in poll(lucia, sent):
        assert name == "moving" or shown.count(f'id="send-{sent.pk}-{name}"') == 1, name


def test_nothing_on_the_page_needs_a_style_or_a_script_of_its_own(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING, processing_started_at=timezone.now())
    in_every_state(sent)
    for text in poll(lucia, sent).values():
        assert "style=" not in text
        assert "<script" not in text
        assert not re.search(r"\son\w+=", text)


# --- buttons and rights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "offered"),
    [
        (Status.PENDING, {"start", "change-pace", "cancel"}),
        (Status.SENDING, {"pause", "change-pace", "cancel", "retry"}),
        (Status.PAUSED, {"resume", "change-pace", "cancel", "retry"}),
        (Status.DONE, {"retry"}),
        (Status.CANCELLED, set()),
    ],
)
def test_buttons_follow_the_state(client: Client, status: str, offered: set[str]) -> None:
    sent = bulk_send(status)
    recipient(sent, 2, State.REFUSED)
    client.force_login(user("operador", "change_bulksend", "view_recipient"))
    assert set(re.findall(r"/bulksend/\d+/([\w-]+)/", poll(client, sent)["buttons"])) == offered
    client.force_login(user("consulta", "view_bulksend"))
    assert "href" not in poll(client, sent)["buttons"]


def test_who_may_not_see_recipients_sees_counts_without_links(client: Client) -> None:
    sent = bulk_send(Status.SENDING)
    in_every_state(sent)
    client.force_login(user("consulta", "view_bulksend"))
    shown = poll(client, sent)
    assert "href" not in shown["count-refused"]
    assert ">1<" in shown["count-refused"]
    assert "/results/" not in page(client, f"{LIST}{sent.pk}/change/")
    assert client.get(f"{LIST}{sent.pk}/results/").status_code == 403


def test_strangers_are_refused(client: Client) -> None:
    sent = bulk_send()
    client.force_login(user("nadie", "view_sender"))
    for name in ("progress", "decisions", "results"):
        assert client.get(f"{LIST}{sent.pk}/{name}/").status_code == 403
        assert client.post(f"{LIST}{sent.pk}/{name}/").status_code == 405
    client.force_login(user("consulta", "view_bulksend", "view_recipient"))
    assert client.get(f"{LIST}999/progress/").status_code == 404


# --- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [*Lease.Limit.values, ""])
def test_every_limit_has_its_words(limit: str) -> None:
    sent = new_bulk_send(3, max_rate=20.0)
    lease_of(sent, limited_by=limit, calls_per_second=19.0)
    said = limit_sentence(sent, watch(sent))
    assert len(said) > 15
    assert ("20" in said) == (limit == Lease.Limit.RATE)


def test_a_rate_below_its_own_is_the_accounts(settings: Any) -> None:
    sent = new_bulk_send(3, max_rate=20.0)
    settings.RELAY_MAX_RATE = 25.0
    lease_of(sent, limited_by=Lease.Limit.RATE, calls_per_second=12.0)
    assert "RELAY_MAX_RATE" in limit_sentence(sent, watch(sent))


def test_most_workers_say_what_limits_it_and_dead_ones_say_nothing() -> None:
    sent = new_bulk_send(3)
    for limit in (Lease.Limit.SLOW, Lease.Limit.CONNECTIONS, Lease.Limit.CONNECTIONS):
        lease_of(sent, limited_by=limit, calls_per_second=5.0)
    Lease.objects.create(
        bulk_send=sent, owner="dead", acquired_at=timezone.now(), expires_at=timezone.now(), calls_per_second=99.0
    )
    now = watch(sent)
    assert now.limits == (Lease.Limit.CONNECTIONS, Lease.Limit.SLOW)
    assert now.rate == 15.0
    assert now.workers == 3


def test_what_is_paused_is_limited_by_why_it_is_paused() -> None:
    sent = bulk_send(Status.PAUSED, reason=reasons.QUOTA, reason_params={"period": "hourly"})
    assert limit_sentence(sent, watch(sent)) == sent.reason_text


def test_the_time_left_is_told_no_finer_than_it_is_known() -> None:
    told = [time_left(seconds) for seconds in (5, 61, 59 * 60, 3 * 3600 + 120, 50 * 3600)]
    assert len(set(told)) == 5
    assert "59" in told[2]
    assert "3" in told[3]
    assert "2" in told[3]
    assert told[4].startswith("2 d")


# --- chart ---------------------------------------------------------------------------------------------------


def test_the_chart_shows_each_minute_and_its_table_the_sums() -> None:
    begin = timezone.now().replace(second=0, microsecond=0)
    drawn = chart_context([Minute(begin, 0, 0, 0), Minute(begin + timedelta(minutes=1), 60, 30, 10)])
    assert [(one.key, list(one.values)) for one in drawn["chart"].series] == [
        ("accepted", [0, 60]),
        ("refused", [0, 30]),
        ("unknown", [0, 10]),
    ]
    assert [values for _place, values in drawn["rows"]] == [["60", "30", "10"], ["0", "0", "0"]]  # the latest first
    assert drawn["sums"] == ["60", "30", "10"]


def test_the_chart_and_its_table_say_the_same(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING, processing_started_at=timezone.now())
    in_every_state(sent)
    shown = poll(lucia, sent)
    assert shown["chart"].count('<rect class="relay-series ') == 3 + 3  # a bar of three pieces, and the key
    assert shown["table"].count("<tr>") == 1 + 30 + 1
    recipient_free = bulk_send(Status.SENDING, processing_started_at=timezone.now())
    assert "<svg" not in poll(lucia, recipient_free)["chart"]


# --- decisions -----------------------------------------------------------------------------------------------


def test_decisions_are_listed_the_latest_first_and_paged(lucia: Client) -> None:
    sent = bulk_send(Status.SENDING)
    decisions.pause(sent, Actor("ana"))
    decisions.resume(sent, Actor(HOSTILE))
    shown = poll(lucia, sent)
    assert shown["decisions"].index("&lt;script&gt;") < shown["decisions"].index("ana")
    assert HOSTILE not in shown["decisions"]
    assert "href" not in shown["older"]
    for _ in range(118):
        Decision.objects.create(bulk_send=sent, actor="luis", what="pause")
    assert f"{LIST}{sent.pk}/decisions/" in poll(lucia, sent)["older"]

    seen, address = 0, f"{LIST}{sent.pk}/decisions/"
    for _page in range(3):
        shown_page = page(lucia, address)
        seen += shown_page.count('<td class="watch-when">')
        found = re.search(r'href="(\?before=\d+)"', shown_page)
        address = f"{LIST}{sent.pk}/decisions/{found[1]}" if found else ""
    assert (seen, address) == (120, "")
    assert "luis" in page(lucia, f"{LIST}{sent.pk}/decisions/?before=nonsense")


# --- results -------------------------------------------------------------------------------------------------


def test_results_leave_as_csv_row_by_row_and_no_cell_is_computed(lucia: Client) -> None:
    sent = bulk_send(Status.DONE)
    in_every_state(sent)
    recipient(sent, 20, State.ACCEPTED, email='=cmd()|"x"@example.com')
    answer = lucia.get(f"{LIST}{sent.pk}/results/")
    assert answer.streaming
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert "no-store" in answer.headers["Cache-Control"]
    text = answer.getvalue().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["row"] for row in rows] == ["2", "3", "4", "5", "6", "7", "20"]
    assert rows[-1]["email"].startswith("'=cmd()")
    assert rows[2]["state"] == State.values[2]


def test_results_come_in_pieces(lucia: Client) -> None:
    sent = new_bulk_send(1200)
    answer = lucia.get(f"{LIST}{sent.pk}/results/")
    pieces = list(answer)
    assert len(pieces) == 3
    assert b"".join(pieces).count(b"\r\n") == 1201
