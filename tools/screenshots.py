"""./dev screenshots: the main pages of the console as pictures, for the README and the manual.

A sandbox relay, a database of its own with the work of an ordinary week in it, the console and a Chromium; all of it
ends with this. The pictures go to docs/images/ (or a folder that is named), each under a name that stays.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import django  # noqa: E402
from django.urls import resolve  # noqa: E402
from playwright.sync_api import Browser  # noqa: E402

from demo.sample import write_sample  # noqa: E402
from tests.browser.chromium import running_chromium  # noqa: E402
from tests.browser.console import running_console  # noqa: E402
from tests.browser.steps import Preparing  # noqa: E402
from tests.browser.visitor import Visitor, visiting  # noqa: E402
from tests.installation import Installation, new_database, people  # noqa: E402
from tests.sandbox import Sandbox, running_sandbox  # noqa: E402

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 200_000
WIDE = {"width": 1300, "height": 900}
NARROW = {"width": 360, "height": 740}
PASSWORD = "una clave larga de muestra"
SENDER = "cobranzas@example.com"


@dataclass(frozen=True, slots=True)
class Week:
    """What was made, by key."""

    done: int
    moving: int
    draft: int
    scheduled: int
    recipient: int
    report: int
    preparation: int = 0


@dataclass(frozen=True, slots=True)
class Picture:
    name: str
    path: Callable[[Week], str]
    also: tuple[Literal["dark", "narrow"], ...] = ()


PICTURES = (
    Picture("inicio", lambda week: "/admin/", ("dark", "narrow")),
    Picture("preparar-plantilla", lambda week: f"/admin/relay/preparation/{week.preparation}/template/"),
    Picture("preparar-archivo", lambda week: f"/admin/relay/preparation/{week.preparation}/file/", ("narrow",)),
    Picture("revision", lambda week: f"/admin/relay/bulksend/{week.draft}/review/"),
    Picture("correo", lambda week: f"/admin/relay/bulksend/{week.draft}/preview/2/"),
    Picture("cuando", lambda week: f"/admin/relay/bulksend/{week.scheduled}/when/"),
    Picture("envios", lambda week: "/admin/relay/bulksend/", ("dark", "narrow")),
    Picture("envio-en-curso", lambda week: f"/admin/relay/bulksend/{week.moving}/change/", ("dark", "narrow")),
    Picture("envio-terminado", lambda week: f"/admin/relay/bulksend/{week.done}/change/"),
    Picture("destinatarios", lambda week: f"/admin/relay/recipient/?bulk_send={week.done}"),
    Picture("destinatario", lambda week: f"/admin/relay/recipient/{week.recipient}/change/"),
    Picture("plantillas", lambda week: "/admin/relay/mailtemplate/"),
    Picture("reportes", lambda week: "/admin/reports/generatedreport/", ("dark",)),
    Picture("reporte", lambda week: f"/admin/reports/generatedreport/{week.report}/change/"),
    Picture("actividad", lambda week: "/admin/relay/activity/"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev screenshots", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=IMAGES)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    django.setup()
    with tempfile.TemporaryDirectory(prefix="relay-pictures-") as place, contextlib.ExitStack() as running:
        sandbox = running.enter_context(running_sandbox(Path(place, "sandbox.sqlite3"), "--delivery-seconds", "0"))
        database = running.enter_context(new_database(Path(place)))
        installation = Installation(Path(place), {**database, **sandbox.environment(), "SECRET_KEY": PASSWORD * 3})
        installation.environment |= {"DOPPLER_REPORTS_POLL_INITIAL_DELAY": "0.2", "RELAY_STOP_LOSS": "0"}
        _say("making the work of a week")
        with _week(installation, sandbox) as week:
            console = running.enter_context(running_console(installation))
            browser = running.enter_context(running_chromium())
            session = _log_in(browser, console)
            week = _prepare(browser, console, session, installation, week)
            there = [it for it in PICTURES if _is_there(it.path(week))]
            for missing in set(PICTURES) - set(there):
                _say(f"this version has no page for {missing.name}.png")
            written = [path for it in there for path in _take(browser, console, session, it, week, folder)]
    large = [path.name for path in written if path.stat().st_size > MOST_BYTES]
    _say(
        f"{len(written)} pictures in {folder}"
        + (f"; larger than {MOST_BYTES // 1000} kB: {', '.join(large)}" if large else "")
    )
    return 1 if large else 0


@contextlib.contextmanager
def _week(installation: Installation, sandbox: Sandbox) -> Iterator[Week]:
    """While this is open, one bulk send is on its way."""
    installation.json("sender", "add", SENDER, "--name", "Cobranzas Ejemplo")
    installation.json("sender", "add", "avisos@example.com", "--name", "Avisos Ejemplo")
    made = ("--noinput", "--username", "lucia", "--email", "lucia@example.com", "--verbosity", "0")
    _done(installation.run("createsuperuser", *made, DJANGO_SUPERUSER_PASSWORD=PASSWORD))
    sample = installation.folder / "destinatarios-diciembre.csv"
    write_sample(sample)
    refused = {f"persona{number}@example.com": "400" for number in (20, 45, 77)}

    done = _create(installation, sandbox, sample, "Aviso de pago, diciembre")
    installation.json("bulk", "start", str(done), "--accept-rejects", "--drain")
    sandbox.faults(recipients=refused)
    second = _create(
        installation, sandbox, installation.write_file(people(320), "renovaciones.csv"), "Renovaciones de póliza"
    )
    installation.json("bulk", "start", str(second), "--drain")
    time.sleep(1.1)  # a report ends at a whole second, later than the last message
    report = _report(installation)

    draft = _create(installation, sandbox, sample, "Recordatorio de vencimiento")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(hour=14, minute=0, second=0, microsecond=0).isoformat()
    ready = installation.write_file(people(1500), "clientes-norte.csv")
    scheduled = _create(installation, sandbox, ready, "Campaña de clientes, zona norte", "--schedule-at", tomorrow)
    moving = _create(
        installation, sandbox, installation.write_file(people(9000), "cuotas-enero.csv"), "Cuotas de enero"
    )
    sandbox.faults(latency_ms=900, recipients=refused)
    with (installation.folder / "sending.log").open("wb") as log:
        process = installation.start_logged(log, "bulk", "start", str(moving), "--drain", "--json")
        try:
            installation.wait_until(moving, "accepted", 80, timeout=90)
            yield Week(done, moving, draft, scheduled, _a_recipient(installation, second), report)
        finally:
            process.terminate()
            process.wait(timeout=60)


def _create(installation: Installation, sandbox: Sandbox, file: Path, name: str, *more: str) -> int:
    return installation.create(sandbox.template, file, "--name", name, "--sender", SENDER, *more)


def _report(installation: Installation) -> int:
    day = (datetime.now(UTC) - timedelta(hours=5)).date().isoformat()
    days = ("--from", day, "--to", day)
    first = int(installation.json("report", "request", "--type", "deliveries", *days)["id"])
    installation.json("report", "request", "--type", "bounces", *days)
    installation.json("process_reports_pending")
    installation.json("report", "load", str(first), "--database", "default")
    installation.json("report", "request", "--type", "opens", *days)
    return first


def _a_recipient(installation: Installation, bulk_send: int) -> int:
    """One that was refused: its page has the most to tell."""
    wanted = f"Recipient.objects.filter(bulk_send={bulk_send}, state='refused').values_list('pk', flat=True)[0]"
    answer = installation.run("shell", "-v0", "-c", f"from relay.models import Recipient; print({wanted})")
    _done(answer)
    return int(answer.output)


def _log_in(browser: Browser, console: str) -> str:
    with visiting(browser, console) as visitor:
        visitor.log_in("lucia", PASSWORD)
        return next(str(it["value"]) for it in visitor.context.cookies() if it["name"] == "sessionid")


def _prepare(browser: Browser, console: str, session: str, installation: Installation, week: Week) -> Week:
    """Somebody is preparing one more, and has got as far as its file."""
    if not _is_there("/admin/relay/preparation/add/"):
        return week
    with visiting(browser, console) as visitor:
        visitor.enter(session)
        file = installation.folder / "destinatarios-diciembre.csv"
        Preparing(visitor).begin().choose("Aviso de pago", SENDER, "Aviso de vencimiento, zona sur").upload(file)
        return replace(week, preparation=int(visitor.page.url.split("/preparation/")[1].split("/")[0]))


def _is_there(path: str) -> bool:
    return resolve(urlsplit(path).path).url_name is not None  # the last of the admin's URLs takes whatever is no page


def _take(browser: Browser, console: str, session: str, picture: Picture, week: Week, folder: Path) -> list[Path]:
    taken = []
    for look in ("light", *picture.also):
        size, theme = (NARROW if look == "narrow" else WIDE), ("dark" if look == "dark" else "light")
        settings: dict[str, Any] = {"viewport": size, "color_scheme": theme}
        with visiting(browser, console, **settings) as visitor:
            visitor.enter(session)
            taken.append(_picture(visitor, picture, week, folder, "" if look == "light" else f"-{look}"))
    return taken


def _picture(visitor: Visitor, picture: Picture, week: Week, folder: Path, suffix: str) -> Path:
    path = picture.path(week)
    status = visitor.open(path)
    if status != 200:
        sys.exit(f"screenshots: {path} answers {status}")
    visitor.page.wait_for_timeout(600)  # fonts, charts, what unfolds
    visitor.assert_untroubled()
    target = folder / f"{picture.name}{suffix}.png"
    visitor.page.screenshot(path=target)
    return target


def _done(result: Any) -> None:
    if result.code:
        sys.exit(f"screenshots: {result.errors}")


def _say(text: str) -> None:
    print(f"screenshots: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
