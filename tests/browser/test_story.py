"""The whole work of a day, in a browser, with a relay behind that behaves like the real one."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.console import running_console, running_worker
from tests.browser.steps import BulkSends, Preparing, Recipients, Reports
from tests.browser.visitor import Visitor, visiting
from tests.browser.world import World
from tests.installation import Installation, new_database, people
from tests.sandbox import Sandbox

NAME = "Cuotas de diciembre"
PASSWORD = "una clave larga de prueba"
QUICK = {
    "DOPPLER_REPORTS_POLL_INITIAL_DELAY": "0.2",
    "DOPPLER_REPORTS_POLL_MAX_DELAY": "1",
    "RELAY_MAX_CONNECTIONS": "10",
    "SECRET_KEY": "of the story in a browser " * 3,
}
SLOWLY = "6"  # messages a second
BAD = [
    ("Eva", "eva(arroba)example.com", "1", "10", "2026-12-15"),
    ("Luis", "persona7@example.com", "2", "10", "2026-12-15"),
    ("", "sin-nombre@example.com", "3", "10", "2026-12-15"),
]


@dataclass(frozen=True, slots=True)
class Day:
    """An installation on which people work: console, worker, relay."""

    console: str
    installation: Installation
    sandbox: Sandbox


@pytest.fixture
def day(tmp_path: Path, sandbox: Sandbox) -> Iterator[Day]:
    with ExitStack() as running:
        database = running.enter_context(new_database(tmp_path))
        installation = Installation(tmp_path, {**database, **sandbox.environment(), **QUICK})
        installation.json("sender", "add", "cobranzas@example.com", "--name", "Cobranzas Ejemplo")
        made = ("--noinput", "--username", "lucia", "--email", "lucia@example.com", "--verbosity", "0")
        assert installation.run("createsuperuser", *made, DJANGO_SUPERUSER_PASSWORD=PASSWORD).code == 0
        running.enter_context(running_worker(installation))
        console = running.enter_context(running_console(installation))
        yield Day(console, installation, sandbox)


@pytest.fixture
def lucia_there(chromium: Browser, day: Day) -> Iterator[Visitor]:
    with visiting(chromium, day.console) as visitor:
        visitor.log_in("lucia", PASSWORD)
        yield visitor
        visitor.assert_untroubled()


def test_from_a_file_with_bad_rows_to_a_loaded_report(lucia_there: Visitor, day: Day, chromium: Browser) -> None:
    _prepare(lucia_there, day)
    _send_and_watch(lucia_there, day)
    _find_a_recipient(lucia_there, day)
    _report(lucia_there, day, chromium)


def _prepare(visitor: Visitor, day: Day) -> None:
    """Checked, corrected, checked again, looked at, tried, and given an hour."""
    installation = day.installation
    corrected = installation.write_file([*people(250), ("Eva", *BAD[0][1:]), BAD[1]], "cuotas corregidas.csv")
    tomorrow = datetime.now(ZoneInfo("America/Guayaquil")).date() + timedelta(days=1)
    first = installation.write_file([*people(250), *BAD], "cuotas.csv")
    preparing = Preparing(visitor).begin().choose("Aviso de pago", "cobranzas@example.com", NAME)
    preparing.upload(first).check()
    assert preparing.numbers() == [253, 250, 3]

    preparing.back_to_the_file().upload(corrected).attach(installation.write_file([], "condiciones.csv")).check()
    assert preparing.numbers() == [252, 250, 2]
    sent = int(preparing.page.url.split("/bulksend/")[1].split("/")[0])

    preparing.accept_the_valid()
    visitor.open(f"/admin/relay/bulksend/{sent}/review/")
    preparing.preview().next_row().send_me_a_test()
    expect(preparing.mail().locator("body")).to_contain_text("Persona")
    assert day.sandbox.accepted() == {"lucia@example.com": 1}

    page = preparing.schedule(sent, tomorrow, "09:30", SLOWLY).confirm(250)
    page.sees("9:30")
    assert day.sandbox.accepted() == {"lucia@example.com": 1}


def _send_and_watch(visitor: Visitor, day: Day) -> None:
    """Slow enough to be paused under way, and every message once all the same."""
    day.sandbox.faults(recipients={"persona9@example.com": "400"})
    sends = BulkSends(visitor).open()
    expect(sends.row(NAME)).to_contain_text("Pendiente")
    page = sends.choose(NAME)
    page.decide("Enviar ahora")

    page.wait_for_more_than(5, "aceptados")
    page.decide("Pausar")
    page.wait_for("Pausado")
    visitor.page.wait_for_timeout(1500)  # calls that were under way end
    visitor.page.reload()
    resting = page.count("aceptados")
    assert 5 < resting < 249
    visitor.page.wait_for_timeout(1500)
    visitor.page.reload()
    assert page.count("aceptados") == resting

    page.change_rate("")
    page.decide("Reanudar")
    page.wait_for("Terminado")
    assert (page.count("aceptados"), page.count("rechazados"), page.count("excluidos")) == (249, 1, 2)
    assert set(day.sandbox.accepted().values()) == {1}
    page.sees("lucia")  # the log of decisions says who


def _find_a_recipient(visitor: Visitor, day: Day) -> None:
    found = Recipients(visitor).find("persona11@example.com").choose("persona11@example.com")
    found.sees("Aceptado")
    ours = next(one for one, address in day.sandbox.accepted_ids().items() if address == "persona11@example.com")
    found.sees(ours)
    visitor.page.get_by_text("Su correo, tal como salió").click()
    expect(Preparing(visitor).mail().locator("body")).to_contain_text("Persona 11")
    refused = Recipients(visitor).find("persona9@example.com").choose("persona9@example.com")
    refused.sees("Rechazado")


def _report(visitor: Visitor, day: Day, chromium: Browser) -> None:
    today = datetime.now(ZoneInfo("America/Guayaquil")).date()
    visitor.page.wait_for_timeout(1100)  # a report ends at a whole second: later than the last message
    reports = Reports(visitor).open().request(today, today)
    reports.open().button("Procesar pendientes ahora").click()
    expect(reports.load_button()).to_be_enabled(timeout=60_000)  # the page keeps itself true
    expect(visitor.page.get_by_text("Listo", exact=True).first).to_be_visible()

    # Somebody else looks at the same list, on a page that has not heard of what happens meanwhile.
    with visiting(chromium, day.console) as other:
        other.context.add_cookies(visitor.context.cookies())  # type: ignore[arg-type]
        other.context.route("**/progress/**", lambda route: route.abort())
        stale = Reports(other).open()
        reports.load_button().click()
        badge = visitor.page.get_by_text("Cargado en: default").first
        expect(badge).to_be_visible(timeout=60_000)
        expect(reports.load_button()).to_be_disabled()
        stale.load_button().click()
        stale.sees("ya se cargó en «default»")
    loads = day.installation.json("report", "status", "1")["loads"]
    messages = sum(day.sandbox.accepted().values())  # the relay's report knows of the test too
    assert [(load["alias"], load["rows"], load["inserted"]) for load in loads] == [("default", messages, messages)]


# --- as each group -----------------------------------------------------------------------------------------------

LOOK = {"/admin/relay/bulksend/", "/admin/relay/recipient/"}
# What each sees (200) and is refused (403). A group that is not here fails: say what it may.
SEES: dict[str, tuple[set[str], set[str]]] = {
    "Report Managers": (
        {"/admin/", "/admin/reports/generatedreport/", "/admin/reports/generatedreport/add/"},
        {"/admin/relay/bulksend/", "/admin/relay/recipient/", "/admin/auth/user/", "/admin/relay/sender/"},
    ),
    "Operadores": (
        {"/admin/", *LOOK, "/admin/reports/generatedreport/"},
        {"/admin/auth/user/", "/admin/auth/group/", "/admin/relay/sender/add/"},
    ),
    "Aprobadores": (
        {"/admin/", *LOOK},
        {"/admin/auth/user/", "/admin/relay/sender/add/", "/admin/reports/generatedreport/add/"},
    ),
    "Consulta": (
        {"/admin/", *LOOK},
        {"/admin/auth/user/", "/admin/relay/sender/add/", "/admin/reports/generatedreport/add/"},
    ),
    "nadie": ({"/admin/"}, {*LOOK, "/admin/reports/generatedreport/", "/admin/auth/user/"}),
}
DECISIONS = ("start", "pause", "resume", "cancel", "retry", "change-pace")
MAY_DECIDE = {"Operadores"}


def test_each_group_sees_what_it_must_and_is_refused_the_rest(chromium: Browser, world: World) -> None:
    groups = set(world.sessions) - {"lucia"}
    assert groups >= {"Report Managers", "nadie"}
    assert groups <= set(SEES)
    send = world.objects["relay.bulksend"][0]
    for group in sorted(groups):
        with visiting(chromium, world.console) as member:
            member.enter(world.sessions[group])
            seen, refused = SEES[group]
            answers = {path: member.open(path) for path in seen | refused}
            assert {path for path, status in answers.items() if status == 200} == seen, (group, answers)
            assert {path for path, status in answers.items() if status == 403} == refused, (group, answers)
            member.open("/admin/")
            links = member.page.locator("#nav-sidebar a").evaluate_all("them => them.map((it) => it.pathname)")
            assert not refused & set(links), group
            statuses = {member.open(f"/admin/relay/bulksend/{send}/{decision}/") for decision in DECISIONS}
            assert (statuses == {403}) == (group not in MAY_DECIDE), (group, statuses)
            member.assert_untroubled()
