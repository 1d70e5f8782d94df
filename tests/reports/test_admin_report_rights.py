"""What can be done to reports in the console, who may, and that nothing happens by following a link."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.http import HttpResponseBase
from django.test import Client
from django.utils import timezone
from django.utils.translation import gettext as _

from relay.explained import Explained
from reports import loading
from reports.models import GeneratedReport, LoadRequest
from tests.relay.admin_rows import user
from tests.reports.report_rows import Loading, State, load, report, with_file

pytestmark = pytest.mark.django_db
LIST = "/admin/reports/generatedreport/"
ADD = f"{LIST}add/"
GROUP = "Report Managers"
EVERY_RIGHT = (
    "view_generatedreport",
    "add_generatedreport",
    "change_generatedreport",
    "delete_generatedreport",
    "can_process_reports",
    "can_load_to_db",
)


class Asked:
    """What was asked of the workers."""

    def __init__(self) -> None:
        self.to_collect = 0
        self.to_load: list[int] = []

    def collect(self) -> None:
        self.to_collect += 1

    def load(self, load_request_id: int) -> None:
        self.to_load.append(load_request_id)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr("reports.tasks.ask_to_collect", made.collect)
    monkeypatch.setattr("reports.tasks.ask_to_load", made.load)
    monkeypatch.setattr("reports.loading.aliases", lambda: ["default"])
    return made


@pytest.fixture(autouse=True)
def stored_in(settings: Any, tmp_path: Path) -> Path:
    settings.ATTACHMENTS_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def manager(client: Client) -> Client:
    """Logged in as a member of the group that a migration made."""
    marta = user("marta")
    marta.groups.add(Group.objects.get(name=GROUP))
    client.force_login(marta)
    return client


def said(answer: HttpResponseBase) -> list[str]:
    return [f"{message.level_tag}: {message}" for message in get_messages(answer.wsgi_request)]  # type: ignore[attr-defined]


def page(client: Client, url: str = LIST) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    return answer.content.decode()


def period(first: int = 0, last: int = 0, **other: str) -> dict[str, str]:
    """Days from today, as a person writes them in Spanish."""
    today = timezone.localdate()
    days = {"first_day": today + timedelta(days=first), "last_day": today + timedelta(days=last)}
    return {"type": "deliveries", **{name: f"{day:%d/%m/%Y}" for name, day in days.items()}, **other}


# --- who may do what ----------------------------------------------------------------------------------------


def read(answer: HttpResponseBase) -> HttpResponseBase:
    """To the end, so that the file is closed."""
    if answer.streaming:
        list(answer.streaming_content)  # type: ignore[attr-defined]
    return answer


type Act = Callable[[Client, GeneratedReport], HttpResponseBase]

LOOKING = {
    "list": lambda client, one: client.get(LIST),
    "page": lambda client, one: client.get(f"{LIST}{one.pk}/change/"),
    "history": lambda client, one: client.get(f"{LIST}{one.pk}/history/"),
    "progress of the list": lambda client, one: client.get(f"{LIST}progress/?id={one.pk}"),
    "progress of the page": lambda client, one: client.get(f"{LIST}{one.pk}/progress/"),
    "csv": lambda client, one: read(client.get(f"{LIST}{one.pk}/csv/")),
    "rejects": lambda client, one: read(client.get(f"{LIST}{one.pk}/rejects/")),
}
ACTS: dict[str, tuple[Act, set[str]]] = {
    # Django: who may change may look.
    **{name: (act, {"view_generatedreport", "change_generatedreport"}) for name, act in LOOKING.items()},
    "form": (lambda client, one: client.get(ADD), {"add_generatedreport"}),
    "request": (lambda client, one: client.post(ADD, period()), {"add_generatedreport"}),
    "process": (lambda client, one: client.post(f"{LIST}process-pending/"), {"can_process_reports"}),
    "retry": (lambda client, one: client.post(f"{LIST}{one.pk}/retry/"), {"can_process_reports"}),
    "load": (lambda client, one: client.post(f"{LIST}{one.pk}/load/default/"), {"can_load_to_db"}),
    "change": (lambda client, one: client.post(f"{LIST}{one.pk}/change/", {"type": "opens"}), set()),
    "delete": (lambda client, one: client.post(f"{LIST}{one.pk}/delete/", {"post": "yes"}), set()),
}


@pytest.fixture
def one(stored_in: Path) -> GeneratedReport:
    made = with_file(stored_in)
    (stored_in / "reports" / "entregas-1.rejects.csv").write_bytes(b"line\n")
    return made


def left() -> tuple[Any, ...]:
    return list(GeneratedReport.objects.values_list("state", "type")), LoadRequest.objects.count()


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("right", [*EVERY_RIGHT, "view_delivery", "none"])
def test_each_right_alone_allows_what_it_says_and_nothing_else(
    client: Client, asked: Asked, one: GeneratedReport, right: str, act: str
) -> None:
    client.force_login(user("operador", right))
    before = left()
    does, needs = ACTS[act]
    answer = does(client, one)
    if right in needs:
        assert answer.status_code in {200, 302}
        assert not answer.headers.get("Location", "").startswith("/admin/login/")
    else:
        assert answer.status_code == 403
        assert left() == before
        assert (asked.to_collect, asked.to_load) == (0, [])


@pytest.mark.parametrize("act", ACTS)
def test_strangers_are_sent_to_the_login(client: Client, asked: Asked, one: GeneratedReport, act: str) -> None:
    before = left()
    answer = ACTS[act][0](client, one)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")
    assert left() == before
    assert (asked.to_collect, asked.to_load) == (0, [])


def test_somebody_who_is_not_staff_is_a_stranger(client: Client, one: GeneratedReport) -> None:
    client.force_login(user("cliente", *EVERY_RIGHT))
    User.objects.update(is_staff=False)
    for does, _needs in ACTS.values():
        assert does(client, one).headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("url", ["process-pending/", "{pk}/retry/", "{pk}/load/default/"])
@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_what_changes_something_is_done_by_post_alone(
    manager: Client, asked: Asked, one: GeneratedReport, url: str, method: str
) -> None:
    before = left()
    answer = getattr(manager, method)(LIST + url.format(pk=one.pk))
    assert answer.status_code == 405
    assert answer["Allow"] == "POST"
    assert left() == before
    assert (asked.to_collect, asked.to_load) == (0, [])


@pytest.mark.parametrize("url", ["progress/", "{pk}/progress/", "{pk}/csv/", "{pk}/rejects/"])
def test_what_only_shows_is_not_posted(manager: Client, one: GeneratedReport, url: str) -> None:
    assert manager.post(LIST + url.format(pk=one.pk)).status_code == 405


@pytest.mark.parametrize("url", ["add/", "process-pending/", "{pk}/retry/", "{pk}/load/default/"])
def test_a_post_without_the_token_is_refused(asked: Asked, one: GeneratedReport, url: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("lucia"))
    before = left()
    assert client.post(LIST + url.format(pk=one.pk), period()).status_code == 403
    assert left() == before
    assert (asked.to_collect, asked.to_load) == (0, [])


def test_the_forms_carry_the_token(one: GeneratedReport) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("lucia"))
    for url in (LIST, f"{LIST}{one.pk}/change/", ADD):
        shown = page(client, url)
        token = shown.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        assert token, url
    answer = client.post(f"{LIST}{one.pk}/load/default/", {"csrfmiddlewaretoken": token})
    assert answer.status_code == 302
    assert LoadRequest.objects.count() == 1


# --- the group of the guide ---------------------------------------------------------------------------------


def test_the_group_has_exactly_the_rights_of_the_guide() -> None:
    rights = Group.objects.get(name=GROUP).permissions.values_list("content_type__app_label", "codename")
    assert set(rights) == {("reports", right) for right in EVERY_RIGHT if right != "delete_generatedreport"}


@pytest.mark.parametrize("act", ACTS)
def test_a_member_does_all_of_it_and_neither_edits_nor_deletes(manager: Client, one: GeneratedReport, act: str) -> None:
    does, needs = ACTS[act]
    assert does(manager, one).status_code in ({200, 302} if needs else {403})


def test_deliveries_have_a_right_of_their_own(client: Client) -> None:
    for right, status in (("view_generatedreport", 403), ("view_delivery", 200)):
        client.force_login(user(right, right))
        assert client.get("/admin/reports/delivery/").status_code == status


def test_a_member_sees_no_other_part_of_the_console(manager: Client) -> None:
    shown = page(manager)
    assert f'href="{LIST}"' in shown
    for other in ("relay/bulksend", "relay/recipient", "auth/user", "reports/delivery"):
        assert manager.get(f"/admin/{other}/").status_code == 403
        assert f'href="/admin/{other}/"' not in shown


def test_the_rights_can_be_read_where_they_are_given(client: Client) -> None:
    client.force_login(User.objects.create_superuser("lucia"))
    shown = page(client, f"/admin/auth/group/{Group.objects.get(name=GROUP).pk}/change/")
    for right in (_("Can process pending reports"), _("Can load reports into a database")):
        assert right in shown


# --- which buttons are there --------------------------------------------------------------------------------

BUTTONS = {
    "add_generatedreport": f'href="{ADD}"',
    "can_process_reports": f'action="{LIST}process-pending/"',
    "can_load_to_db": "/load/default/",
}


@pytest.mark.parametrize("held", BUTTONS)
def test_a_button_is_there_for_who_may_press_it(client: Client, one: GeneratedReport, held: str) -> None:
    report(State.ERROR)
    client.force_login(user("operador", "view_generatedreport", held))
    shown = page(client)
    for right, button in BUTTONS.items():
        assert (button in shown) == (right == held)
    assert ("/retry/" in shown) == (held == "can_process_reports")
    assert f"{LIST}{one.pk}/csv/" in shown


def test_the_page_of_a_report_has_the_same_buttons(client: Client, one: GeneratedReport) -> None:
    wrong = report(State.ERROR)
    client.force_login(user("operador", "view_generatedreport"))
    assert "formaction" not in page(client, f"{LIST}{one.pk}/change/")
    assert "formaction" not in page(client, f"{LIST}{wrong.pk}/change/")
    assert f"{LIST}{one.pk}/csv/" in page(client, f"{LIST}{one.pk}/change/")
    client.force_login(user("jefa", "view_generatedreport", "can_process_reports", "can_load_to_db"))
    assert f'formaction="{LIST}{one.pk}/load/default/"' in page(client, f"{LIST}{one.pk}/change/")
    assert f'formaction="{LIST}{wrong.pk}/retry/"' in page(client, f"{LIST}{wrong.pk}/change/")


def test_the_poll_gives_nobody_a_button_he_may_not_press(client: Client, one: GeneratedReport) -> None:
    client.force_login(user("operador", "view_generatedreport"))
    for url in (f"{LIST}progress/?id={one.pk}", f"{LIST}{one.pk}/progress/"):
        assert "formaction" not in page(client, url)
    client.force_login(user("cargadora", "view_generatedreport", "can_load_to_db"))
    for url in (f"{LIST}progress/?id={one.pk}", f"{LIST}{one.pk}/progress/"):
        assert f'formaction="{LIST}{one.pk}/load/default/"' in page(client, url)


@pytest.mark.parametrize("state", [*State.values, *Loading.values])
@pytest.mark.parametrize("place", ["list", "page"])
def test_a_button_that_cannot_be_pressed_says_why(
    manager: Client, one: GeneratedReport, state: str, place: str
) -> None:
    shown_report = report(state) if state in State.values else one
    if state in Loading.values:
        load(one, state)
    elif state != State.READY:
        one.delete()
    shown = page(manager, LIST if place == "list" else f"{LIST}{shown_report.pk}/change/")
    reason = {
        Loading.DONE: _("It is loaded into %(alias)s already."),
        Loading.LOADING: _("It is being loaded into %(alias)s right now."),
        Loading.WAITING: _("It already waits to be loaded into %(alias)s."),
        Loading.FAILED: "",
        State.READY: "",
    }.get(state, _("Only a report that is ready can be loaded."))
    assert (f"{LIST}{shown_report.pk}/load/default/" in shown) == (not reason)
    assert _("Load DB (%(alias)s)") % {"alias": "default"} in shown
    if reason:
        assert f'<span title="{reason % {"alias": "default"}}"><button type="button"' in shown
        assert "disabled>" in shown


# --- loading ------------------------------------------------------------------------------------------------


def test_loading_is_queued_and_the_page_answers_at_once(manager: Client, asked: Asked, one: GeneratedReport) -> None:
    answer = manager.post(f"{LIST}{one.pk}/load/default/")
    wanted = LoadRequest.objects.get()
    assert (wanted.report, wanted.alias, wanted.state) == (one, "default", Loading.WAITING)
    assert wanted.requested_by is not None
    assert wanted.requested_by.username == "marta"
    assert asked.to_load == [wanted.pk]
    told = {"id": one.pk, "alias": "default"}
    assert said(answer) == ["success: " + _("Report %(id)d is queued to be loaded into %(alias)s.") % told]
    assert answer.headers["Location"] == f"{LIST}{one.pk}/change/"
    assert LogEntry.objects.get().get_change_message()


def test_one_goes_back_to_where_the_button_was_but_never_out(manager: Client, one: GeneratedReport) -> None:
    url, own = f"{LIST}{one.pk}/load/default/", f"{LIST}{one.pk}/change/"
    here = f"http://testserver{LIST}?state__exact=READY&p=2"
    for came_from, goes_to in (
        (here, here),
        ("https://example.com/admin/", own),
        ("//example.com/", own),
        ("javascript:alert(1)", own),
        ("", own),
    ):
        assert manager.post(url, headers={"referer": came_from}).headers["Location"] == goes_to


def test_who_may_not_look_is_not_led_to_a_refusal(client: Client, one: GeneratedReport) -> None:
    client.force_login(user("cargadora", "can_load_to_db"))
    answer = client.post(f"{LIST}{one.pk}/load/default/", headers={"referer": f"http://testserver{LIST}"})
    assert client.get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.ERROR])
def test_a_report_that_is_not_ready_is_not_loaded(manager: Client, asked: Asked, state: str) -> None:
    answer = manager.post(f"{LIST}{report(state).pk}/load/default/")
    assert answer.status_code == 302
    (sentence,) = said(answer)
    assert sentence.startswith("warning: ")
    assert asked.to_load == []
    assert not LoadRequest.objects.exists()


def test_who_comes_second_is_told_so(manager: Client, asked: Asked, one: GeneratedReport) -> None:
    load(one)
    answer = manager.post(f"{LIST}{one.pk}/load/default/")
    assert answer.status_code == 302
    (sentence,) = said(answer)
    assert sentence.startswith("warning: ")
    assert asked.to_load == []
    assert LoadRequest.objects.get().state == Loading.DONE


@pytest.mark.parametrize("problem", [loading.LoadRefused, Explained])
def test_the_losers_sentence_is_the_message(
    manager: Client, monkeypatch: pytest.MonkeyPatch, one: GeneratedReport, problem: type[Explained]
) -> None:
    def somebody_was_faster(*_given: Any, **_named: Any) -> LoadRequest:
        raise problem("Otra persona lo cargó.")

    monkeypatch.setattr("reports.loading.request_load", somebody_was_faster)
    assert said(manager.post(f"{LIST}{one.pk}/load/default/")) == ["warning: Otra persona lo cargó."]


def test_a_load_that_failed_is_asked_for_again(manager: Client, asked: Asked, one: GeneratedReport) -> None:
    failed = load(one, Loading.FAILED)
    manager.post(f"{LIST}{one.pk}/load/default/")
    failed.refresh_from_db()
    assert failed.state == Loading.WAITING
    assert asked.to_load == [failed.pk]


def test_a_database_that_is_not_configured_is_no_page(manager: Client, asked: Asked, one: GeneratedReport) -> None:
    for alias in ("analytics", "otra", "%3Cscript%3E"):
        assert manager.post(f"{LIST}{one.pk}/load/{alias}/").status_code == 404
    assert not LoadRequest.objects.exists()
    assert asked.to_load == []


def test_a_second_database_has_its_own_button(
    manager: Client, asked: Asked, monkeypatch: pytest.MonkeyPatch, one: GeneratedReport
) -> None:
    def wanted(of: GeneratedReport, alias: str, *, by: User | None) -> LoadRequest:
        return load(of, Loading.WAITING, alias, requested_by=by)

    monkeypatch.setattr("reports.loading.aliases", lambda: ["default", "analytics"])
    monkeypatch.setattr("reports.loading.request_load", wanted)  # there may be no such database here
    load(one)
    shown = page(manager)
    assert f'formaction="{LIST}{one.pk}/load/analytics/"' in shown  # loaded into one, the other stays possible
    assert f'formaction="{LIST}{one.pk}/load/default/"' not in shown
    manager.post(f"{LIST}{one.pk}/load/analytics/")
    assert asked.to_load == [LoadRequest.objects.get(alias="analytics").pk]


# --- processing, retrying -----------------------------------------------------------------------------------


def test_processing_what_is_pending_is_queued(manager: Client, asked: Asked) -> None:
    report(State.PENDING)
    report(State.PROCESSING)
    report(State.READY)
    answer = manager.post(f"{LIST}process-pending/")
    assert asked.to_collect == 1
    (sentence,) = said(answer)
    assert sentence.startswith("success: 2 ")
    assert answer.headers["Location"] == LIST


def test_with_nothing_pending_it_says_so(manager: Client, asked: Asked) -> None:
    report(State.ERROR)
    report(State.READY)
    assert said(manager.post(f"{LIST}process-pending/")) == ["info: " + _("No report is pending.")]
    assert asked.to_collect == 0


def test_a_report_in_error_is_retried(manager: Client, asked: Asked) -> None:
    wrong = report(State.ERROR, request_id="880017", asked_at=timezone.now())
    answer = manager.post(f"{LIST}{wrong.pk}/retry/")
    wrong.refresh_from_db()
    assert wrong.state in {State.PENDING, State.PROCESSING}
    assert asked.to_collect == 1
    assert said(answer) == ["success: " + _("Report %(id)d goes on from where it stood.") % {"id": wrong.pk}]
    assert answer.headers["Location"] == f"{LIST}{wrong.pk}/change/"


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.READY])
def test_only_an_error_is_retried(manager: Client, asked: Asked, state: str) -> None:
    other = report(state)
    (sentence,) = said(manager.post(f"{LIST}{other.pk}/retry/"))
    assert sentence.startswith("warning: ")
    other.refresh_from_db()
    assert other.state == state
    assert asked.to_collect == 0


# --- requesting ---------------------------------------------------------------------------------------------


def test_the_form_offers_today_and_every_type(manager: Client) -> None:
    shown = page(manager, ADD)
    today = f"{timezone.localdate():%d/%m/%Y}"
    assert shown.count(f'value="{today}"') == 2
    for name, label in GeneratedReport.Type.choices:
        assert f'value="{name}"' in shown
        assert str(label) in shown
    assert shown.count("vDateField") == 2
    assert "DateTimeShortcuts.js" in shown


def test_a_report_is_requested_and_collected_at_once(manager: Client, asked: Asked) -> None:
    answer = manager.post(ADD, period(-2, 0, type="opens"))
    made = GeneratedReport.objects.get()
    assert LogEntry.objects.get().object_id == str(made.pk)
    today = timezone.localdate()
    assert (made.type, made.first_day, made.last_day) == ("opens", today - timedelta(days=2), today)
    assert made.state == State.PENDING
    assert made.requested_by is not None
    assert made.requested_by.username == "marta"
    assert asked.to_collect == 1
    assert answer.headers["Location"] == LIST
    assert said(answer) == [
        "success: " + _("Report %(id)d is requested; the list shows how far it is.") % {"id": made.pk}
    ]


@pytest.mark.parametrize(
    ("filled", "field"),
    [
        (period(0, -1), "last_day"),
        (period(-400, 0), "last_day"),
        (period(1, 1), "first_day"),
        (period(2, 1), "last_day"),
        (period(first_day="31/02/2026"), "first_day"),
        (period(first_day=""), "first_day"),
        (period(last_day="ayer"), "last_day"),
        (period(first_day="01/01/0001", last_day="01/01/0001"), "first_day"),
        (period(first_day="31/12/9999", last_day="31/12/9999"), "first_day"),
        (period(last_day="31/12/9999"), "last_day"),
        (period(type="todo"), "type"),
        (period(type=""), "type"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(
    manager: Client, asked: Asked, filled: dict[str, str], field: str
) -> None:
    answer = manager.post(ADD, filled)
    assert answer.status_code == 200
    assert field in answer.context["form"].errors
    assert "__all__" not in answer.context["form"].errors
    assert str(answer.context["form"].errors[field][0]) in answer.content.decode()
    assert not GeneratedReport.objects.exists()
    assert asked.to_collect == 0


def test_djangos_own_form_cannot_make_a_raw_row(manager: Client) -> None:
    raw = {"state": State.READY, "file": "../../etc/passwd", "rows": 1, "size": 1, "request_id": "7"}
    manager.post(ADD, period() | raw)
    made = GeneratedReport.objects.get()
    assert (made.state, made.file, made.request_id) == (State.PENDING, "", "")
    assert made.first_day == timezone.localdate()
