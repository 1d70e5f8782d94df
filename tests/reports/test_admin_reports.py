"""The console's pages of reports: what they show, how much they ask of the database, that strangers' text is text."""

from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import gettext as _

from reports import problems
from reports.admin.words import STATE_COLOURS, STATUS_COLOURS
from reports.models import Delivery
from tests.console import page
from tests.relay.admin_rows import HOSTILE, bulk_send
from tests.reports.report_rows import CONTENT, Loading, State, load, report, with_file

pytestmark = pytest.mark.django_db
LIST = "/admin/reports/generatedreport/"
DELIVERIES = "/admin/reports/delivery/"


@pytest.fixture(autouse=True)
def stored_in(settings: Any, tmp_path: Path) -> Path:
    settings.ATTACHMENTS_ROOT = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def only_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.loading.aliases", lambda: ["default"])


@pytest.fixture
def analytics(monkeypatch: pytest.MonkeyPatch, only_default: None) -> None:
    monkeypatch.setattr("reports.loading.aliases", lambda: ["default", "analytics"])


# --- the list -----------------------------------------------------------------------------------------------


def test_the_list_shows_reports_in_every_state(lucia: Client, stored_in: Path) -> None:
    for state in State:
        report(state)
    with_file(stored_in, rows=1_234_567, requested_by=User.objects.get())
    shown = page(lucia, LIST)
    for state in State:
        assert str(state.label) in shown
    assert "20/11/2026 – 22/11/2026" in shown
    assert "1.234.567" in shown.replace("\xa0", ".").replace("\u202f", ".")
    assert "lucia" in shown
    assert problems.sentence(problems.TIMED_OUT, {"minutes": 15}).partition("«")[0] in shown


def test_a_report_of_one_day_shows_it_once(lucia: Client) -> None:
    day = date(2026, 11, 20)
    report(first_day=day, last_day=day)
    assert page(lucia, LIST).count("20/11/2026") == 1


def test_the_list_asks_the_database_little_however_long_it_is(lucia: Client, stored_in: Path) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(lucia, LIST)
        return len(captured)

    load(with_file(stored_in, requested_by=User.objects.get()), requested_by=User.objects.get())
    few = queries()
    for number in range(20):
        load(with_file(stored_in, f"reports/{number}.csv", requested_by=User.objects.get()))
    assert queries() == few
    assert few <= 9


@pytest.mark.usefixtures("analytics")
def test_the_poll_asks_the_database_little_too(lucia: Client, stored_in: Path) -> None:
    asked = "&".join(f"id={load(with_file(stored_in, f'{number}.csv')).report_id}" for number in range(20))
    with CaptureQueriesContext(connection) as captured:
        page(lucia, f"{LIST}progress/?{asked}")
    assert len(captured) <= 5  # session, user, his zone, reports, loads


def test_a_report_is_found_by_its_number_or_the_relays_and_by_nothing_else(lucia: Client) -> None:
    found, other = report(request_id="880017", type="opens"), report(request_id="x-9", type="clicks")
    for term in (str(found.pk), "880017", " 880017 "):
        shown = page(lucia, f"{LIST}?q={term}")
        assert f"report-{found.pk}-state" in shown
        assert f"report-{other.pk}-state" not in shown
    for term in ("lucia", "88001", "9" * 5000, "²", "'", "%"):
        shown = page(lucia, f"{LIST}?q={term}")
        assert "report-" not in shown.replace("report-list", ""), term


def test_the_list_is_filtered_by_type_state_and_day(lucia: Client) -> None:
    old = report(State.ERROR, type="opens", requested_at=timezone.now() - timedelta(days=400))
    new = report(State.PENDING, type="clicks")
    since = (timezone.localtime() - timedelta(days=7)).isoformat().replace("+", "%2B")
    for query, here, gone in (
        ("type__exact=opens", old, new),
        ("state__exact=PENDING", new, old),
        (f"requested_at__gte={since}", new, old),
    ):
        shown = page(lucia, f"{LIST}?{query}")
        assert f"report-{here.pk}-state" in shown
        assert f"report-{gone.pk}-state" not in shown


# --- loads --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("analytics")
@pytest.mark.parametrize("place", ["list", "page"])
def test_a_badge_says_into_what_it_was_loaded(lucia: Client, stored_in: Path, place: str) -> None:
    loaded = with_file(stored_in)
    url = LIST if place == "list" else f"{LIST}{loaded.pk}/change/"
    badge = _("Loaded in: %(alias)s")
    assert badge % {"alias": "default"} not in page(lucia, url)
    load(loaded)
    assert badge % {"alias": "default"} in page(lucia, url)
    assert badge % {"alias": "analytics"} not in page(lucia, url)
    load(loaded, alias="analytics")
    assert badge % {"alias": "default"} in page(lucia, url)
    assert badge % {"alias": "analytics"} in page(lucia, url)


@pytest.mark.usefixtures("analytics")
def test_loads_that_wait_run_or_failed_are_seen(lucia: Client, stored_in: Path) -> None:
    running = with_file(stored_in, "1.csv", rows=1000)
    load(running, Loading.LOADING, rows_read=250)
    load(running, Loading.WAITING, "analytics")
    failed = load(with_file(stored_in, "2.csv"), Loading.FAILED)
    for url in (LIST, f"{LIST}progress/?id={running.pk}", f"{LIST}{running.pk}/change/"):
        shown = page(lucia, url)
        assert _("Loading into: %(alias)s") % {"alias": "default"} in shown
        assert 'value="25"' in shown
        assert _("Waiting for: %(alias)s") % {"alias": "analytics"} in shown
    assert failed.error in page(lucia, LIST)
    assert failed.error in page(lucia, f"{LIST}{failed.report_id}/change/")


def test_a_load_of_a_report_without_rows_has_no_share(lucia: Client) -> None:
    empty = report(State.READY)
    load(empty, Loading.LOADING)
    assert "<progress" not in page(lucia, LIST)


@pytest.mark.parametrize("url", [LIST, "{page}", "{page_progress}", f"{LIST}progress/?id={{pk}}", f"{LIST}add/"])
@pytest.mark.parametrize("configured", [False, True])
def test_nothing_speaks_of_a_second_database_that_is_not_configured(
    lucia: Client, stored_in: Path, monkeypatch: pytest.MonkeyPatch, url: str, configured: bool
) -> None:
    loaded = with_file(stored_in)
    load(loaded)
    load(loaded, alias="analytics")  # of a time when it was
    aliases = ["default", "analytics"] if configured else ["default"]
    monkeypatch.setattr("reports.loading.aliases", lambda: aliases)
    places = {"page": f"{LIST}{loaded.pk}/change/", "page_progress": f"{LIST}{loaded.pk}/progress/", "pk": loaded.pk}
    shown = page(lucia, url.format(**places))
    assert ("analytics" in shown) == (configured and "add" not in url)


# --- the page of one report ---------------------------------------------------------------------------------


def test_the_page_shows_all_that_is_known(lucia: Client, stored_in: Path) -> None:
    sent = bulk_send(name="Cuotas de noviembre")
    ready = with_file(stored_in, request_id="880017", bulk_send=sent, rows=31)
    load(ready)
    shown = page(lucia, f"{LIST}{ready.pk}/change/")
    for fact in (
        "20/11/2026 – 22/11/2026",
        "2026-11-20 05:00:00",
        "2026-11-23 05:00:00",
        "880017",
        "Cuotas de noviembre",
        "entregas-1.csv",
        "5" * 64,
        *("30", "19", "7", "3", "1"),
    ):
        assert fact in shown, fact
    assert f"/admin/relay/bulksend/{sent.pk}/change/" in shown
    assert str(stored_in) not in shown


@pytest.mark.parametrize("state", State.values)
def test_the_page_answers_in_every_state(lucia: Client, state: str) -> None:
    assert str(State(state).label) in page(lucia, f"{LIST}{report(state).pk}/change/")


def test_an_unknown_report_leads_back_or_is_a_404(lucia: Client) -> None:
    assert lucia.get(f"{LIST}999/change/").status_code == 302
    for what in ("progress", "csv", "rejects"):
        assert lucia.get(f"{LIST}999/{what}/").status_code == 404
    for what in ("retry", "load/default"):
        assert lucia.post(f"{LIST}999/{what}/").status_code == 404


def test_reports_cannot_be_changed_or_deleted_even_by_a_superuser(lucia: Client, stored_in: Path) -> None:
    kept = with_file(stored_in)
    assert lucia.post(f"{LIST}{kept.pk}/change/", {"type": "opens"}).status_code == 403
    assert lucia.post(f"{LIST}{kept.pk}/delete/", {"post": "yes"}).status_code == 403
    lucia.post(LIST, {"action": "delete_selected", "_selected_action": [kept.pk], "post": "yes"})
    kept.refresh_from_db()
    assert kept.type == "deliveries"
    assert lucia.get("/admin/reports/loadrequest/").status_code == 404
    assert lucia.get("/admin/reports/reportload/").status_code == 404


# --- what changes by itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State.values)
def test_the_page_is_polled_while_the_report_is_under_way(lucia: Client, state: str) -> None:
    one = report(state)
    moves = state in {State.PENDING, State.PROCESSING}
    for url, poll in (
        (LIST, f"{LIST}progress/?id={one.pk}"),
        (f"{LIST}{one.pk}/change/", f"{LIST}{one.pk}/progress/"),
    ):
        shown = page(lucia, url)
        assert f'data-poll="{poll}"' in shown
        assert (f'data-poll="{poll}" hidden>' in shown) is not moves
        assert "relay/progress.js" in shown
        assert page(lucia, poll).startswith("<div data-moving>" if moves else "<div>")


@pytest.mark.parametrize("state", Loading.values)
def test_the_page_is_polled_while_it_is_loaded(lucia: Client, stored_in: Path, state: str) -> None:
    one = with_file(stored_in)
    load(one, state)
    moves = state in {Loading.WAITING, Loading.LOADING}
    for url, poll in ((LIST, f"{LIST}progress/?id={one.pk}"), (f"{LIST}{one.pk}/change/", f"{LIST}{one.pk}/progress/")):
        assert (f'data-poll="{poll}" hidden>' in page(lucia, url)) is not moves
        assert page(lucia, poll).startswith("<div data-moving>" if moves else "<div>")


@pytest.mark.usefixtures("analytics")
def test_the_poll_gives_what_the_page_would_show(lucia: Client, stored_in: Path) -> None:
    """Part by part and letter by letter, or the page would flicker."""
    one = with_file(stored_in)
    load(one, Loading.LOADING, rows_read=1)
    load(one, Loading.FAILED, "analytics")
    report(State.ERROR)
    for url, poll in (
        (LIST, f"{LIST}progress/?id={one.pk}&id={one.pk + 1}"),
        (f"{LIST}{one.pk}/change/", f"{LIST}{one.pk}/progress/"),
    ):
        parts = page(lucia, poll).removeprefix("<div data-moving>").strip().removesuffix("</div>")
        ids = [piece.partition('"')[0] for piece in parts.split('id="report-')[1:]]
        assert len(ids) == (6 if url == LIST else 9)
        shown = page(lucia, url)
        pieces = [f'<{tag} id="report-' for tag in ("div", "span")]
        for piece in parts.replace(pieces[1], pieces[0]).split(pieces[0])[1:]:
            assert piece in shown.replace(pieces[1], pieces[0])


def test_the_poll_of_the_list_knows_only_what_is_asked_for(lucia: Client) -> None:
    shown, other = report(), report()
    answer = page(lucia, f"{LIST}progress/?id={shown.pk}&id=x&id=-1&id={'9' * 400}&id=%00")
    assert f"report-{shown.pk}-state" in answer
    assert f"report-{other.pk}-state" not in answer
    assert page(lucia, f"{LIST}progress/").strip() == "<div></div>"


def test_the_poll_is_never_kept(lucia: Client) -> None:
    one = report()
    for url in (f"{LIST}progress/?id={one.pk}", f"{LIST}{one.pk}/progress/"):
        assert "no-store" in lucia.get(url)["Cache-Control"]


# --- downloads ----------------------------------------------------------------------------------------------


def test_the_file_leaves_as_an_inert_download(lucia: Client, stored_in: Path) -> None:
    ready = with_file(stored_in, "reports/entregas <1>.csv")
    (stored_in / "reports" / "entregas <1>.rejects.csv").write_bytes(b"line,reason\n")
    for what, content, name in (
        ("csv", CONTENT, "entregas <1>.csv"),
        ("rejects", b"line,reason\n", "entregas <1>.rejects.csv"),
    ):
        answer = lucia.get(f"{LIST}{ready.pk}/{what}/")
        assert answer.streaming
        assert b"".join(answer.streaming_content) == content  # type: ignore[attr-defined]
        assert answer["Content-Disposition"] == f'attachment; filename="{name}"'
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Cache-Control"].startswith("private, no-store")


def test_only_a_ready_report_with_a_file_has_a_download(lucia: Client, stored_in: Path) -> None:
    ready = with_file(stored_in)
    described = {"file": ready.file, "size": 1, "sha256": "0" * 64, "rows": 1}
    without = [report(State.READY), *(report(state, **described) for state in State if state != State.READY)]
    assert f"{LIST}{ready.pk}/csv/" in page(lucia, LIST)
    for other in without:
        assert f"{LIST}{other.pk}/csv/" not in page(lucia, LIST)
        assert f"{LIST}{other.pk}/csv/" not in page(lucia, f"{LIST}{other.pk}/change/")
        assert lucia.get(f"{LIST}{other.pk}/csv/").status_code == 404


def test_the_rejects_are_offered_when_there_are_any(lucia: Client, stored_in: Path) -> None:
    ready = with_file(stored_in)
    rejects = f"{LIST}{ready.pk}/rejects/"
    assert rejects not in page(lucia, f"{LIST}{ready.pk}/change/")
    assert lucia.get(rejects).status_code == 404
    (stored_in / "reports" / "entregas-1.rejects.csv").write_bytes(b"line,reason\n")
    assert rejects in page(lucia, f"{LIST}{ready.pk}/change/")
    assert b"".join(lucia.get(rejects).streaming_content) == b"line,reason\n"  # type: ignore[attr-defined]
    assert lucia.get(f"{LIST}{report().pk}/rejects/").status_code == 404


def test_a_file_that_is_gone_is_a_404(lucia: Client, stored_in: Path) -> None:
    ready = with_file(stored_in)
    (stored_in / ready.file).unlink()
    assert lucia.get(f"{LIST}{ready.pk}/csv/").status_code == 404


# --- strangers' text ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("analytics")
def test_hostile_words_of_the_relay_and_of_files_are_shown_as_text(lucia: Client, stored_in: Path) -> None:
    said = {"problem": problems.NOT_FETCHED, "problem_params": {"detail": HOSTILE}}
    sent = bulk_send(name=HOSTILE)
    mallory = User.objects.create_user(HOSTILE)
    wrong = report(State.ERROR, request_id=HOSTILE, requested_by=mallory, bulk_send=sent, **said)
    name = {"file": HOSTILE.replace("/", "") + ".csv", "size": 1, "sha256": HOSTILE, "rows": 1}
    ready = report(State.READY, **name)
    load(ready, Loading.FAILED, **{**said, "requested_by": mallory})
    load(ready, Loading.DONE, "analytics", requested_by=mallory)
    told = delivery(subject=HOSTILE, sender_name=HOSTILE, status=HOSTILE.lower(), extra={HOSTILE: HOSTILE})
    for url in (
        LIST,
        f"{LIST}progress/?id={wrong.pk}",
        f"{LIST}{wrong.pk}/change/",
        f"{LIST}{wrong.pk}/progress/",
        f"{LIST}{wrong.pk}/history/",
        f"{LIST}{ready.pk}/change/",
        f"{LIST}?q=%3Cscript%3Ealert(1)",
        DELIVERIES,
        f"{DELIVERIES}{told.pk}/change/",
        f"{DELIVERIES}?q=%3Cscript%3Ealert(1)",
    ):
        shown = page(lucia, url)
        assert "<script>alert(1)" not in shown, url
        assert url.endswith("/history/") or "&lt;script&gt;alert(1)" in shown, url


# --- deliveries ---------------------------------------------------------------------------------------------


def delivery(number: int = 1, **fields: Any) -> Delivery:
    now = timezone.now()
    return Delivery.objects.create(
        **{
            "key": number.to_bytes(16, "big"),
            "sent_at": now - timedelta(minutes=number),
            "local_day": timezone.localdate(),
            "sender": "avisos@example.com",
            "recipient": f"persona{number}@example.com",
            "subject": "Su cuota vence",
            "status": "sent",
            "as_of": now,
            **fields,
        }
    )


def test_deliveries_are_looked_up_by_the_whole_address(lucia: Client) -> None:
    delivery(1, recipient="ana@example.com")
    delivery(2, recipient="anabel@example.com", status="en camino", extra={"Campaña": "Noviembre"})
    assert "anabel@example.com" in page(lucia, DELIVERIES)
    for term in ("ana@example.com", " ANA@Example.com "):
        shown = page(lucia, f"{DELIVERIES}?q={term}")
        assert "ana@example.com" in shown
        assert "anabel@example.com" not in shown
    shown = page(lucia, f"{DELIVERIES}{Delivery.objects.get(recipient='anabel@example.com').pk}/change/")
    assert "en camino" in shown
    assert "Campaña" in shown
    assert "Noviembre" in shown


def test_days_are_found_by_the_index_of_time_and_nothing_else_is_asked_of_them(lucia: Client) -> None:
    first = timezone.localdate() - timedelta(days=40)
    for number, day in enumerate((first - timedelta(days=1), first, first + timedelta(days=1))):
        at = datetime.combine(day, time(23, 59), ZoneInfo("America/Guayaquil"))
        delivery(number + 1, sent_at=at, local_day=day)
    until = first + timedelta(days=1)
    with CaptureQueriesContext(connection) as captured:
        shown = page(lucia, f"{DELIVERIES}?local_day__gte={first}&local_day__lt={until}")
    assert "persona2@example.com" in shown
    assert "persona1@example.com" not in shown
    assert "persona3@example.com" not in shown
    asked = [query["sql"] for query in captured if "reports_deliveries" in query["sql"]]
    assert asked
    assert all('"sent_at" >=' in sql and '"sent_at" <' in sql for sql in asked)
    for refused in (f"local_day={first}", "local_day__year=2026", "local_day__isnull=1"):
        assert lucia.get(f"{DELIVERIES}?{refused}").status_code == 400
    for no_day in ("hola", "0001-01-01", "9999-12-31"):
        assert lucia.get(f"{DELIVERIES}?local_day__gte={no_day}").status_code == 302


def test_the_search_uses_the_index_of_recipients(lucia: Client) -> None:
    delivery()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # on one row a scan is right; on millions it is not
    with CaptureQueriesContext(connection) as captured:
        page(lucia, f"{DELIVERIES}?q=persona1@example.com")
    asked = [query["sql"] for query in captured if "reports_deliveries" in query["sql"]]
    assert asked
    # Also what is counted: in another order PostgreSQL would read the whole table for it.
    assert all(sql.partition("ORDER BY ")[2].startswith('"reports_deliveries"."sent_at" DESC') for sql in asked)
    assert "delivery_by_recipient" in Delivery.objects.filter(recipient="persona1@example.com").explain()


def test_the_list_of_deliveries_is_read_in_the_order_of_its_key_and_counted_only_so_far(
    lucia: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        delivery(number)
    monkeypatch.setattr("relay.admin.searching.COUNTED_AT_MOST", 5)
    with CaptureQueriesContext(connection) as captured:
        shown = page(lucia, DELIVERIES)
    about = [query["sql"] for query in captured if "reports_deliveries" in query["sql"]]
    counts = [sql for sql in about if "COUNT(" in sql]
    assert counts
    assert all("LIMIT 6" in sql for sql in counts)
    orders = {sql.partition("ORDER BY ")[2].partition(" LIMIT")[0] for sql in about}
    natural = ", ".join(f'"reports_deliveries"."{column}" DESC' for column in ("sent_at", "key", "ordinal"))
    assert orders == {natural}
    assert "más de 5 entregas" in shown


def test_deliveries_are_only_looked_at(lucia: Client) -> None:
    one = delivery()
    assert lucia.get(f"{DELIVERIES}add/").status_code == 403
    assert lucia.post(f"{DELIVERIES}{one.pk}/change/", {"status": "dropped"}).status_code == 403
    assert lucia.post(f"{DELIVERIES}{one.pk}/delete/", {"post": "yes"}).status_code == 403
    one.refresh_from_db()
    assert one.status == "sent"


# --- words --------------------------------------------------------------------------------------------------


def test_every_state_has_a_colour() -> None:
    assert set(STATE_COLOURS) == set(State.values)
    assert set(STATUS_COLOURS) == set(Delivery.Status.values)


def test_the_menu_leads_to_reports_for_who_may_see_them(lucia: Client) -> None:
    for url in (LIST, DELIVERIES):
        assert f'href="{url}"' in page(lucia, "/admin/relay/bulksend/")
