"""The labels of the deployment guide, word for word, and no English on any page of reports."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from reports.models import Delivery
from tests.relay.test_admin_spanish import english_in
from tests.reports.report_rows import Loading, State, load, report, with_file

pytestmark = pytest.mark.django_db
LIST = "/admin/reports/generatedreport/"


@pytest.fixture
def lucia(client: Client, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    settings.ATTACHMENTS_ROOT = tmp_path
    monkeypatch.setattr("reports.loading.aliases", lambda: ["default", "analytics"])
    monkeypatch.setattr("reports.tasks.ask_to_collect", lambda: None)
    client.force_login(User.objects.create_superuser("lucia"))
    return client


def page(client: Client, url: str) -> str:
    answer = client.get(url, follow=True)
    assert answer.status_code == 200, url
    return answer.content.decode()


def test_the_labels_are_those_of_the_guide(lucia: Client, tmp_path: Path) -> None:
    load(with_file(tmp_path, type="opens"))
    report(State.ERROR)
    shown = page(lucia, LIST)
    for label in (
        "Cargado en: default",
        "Cargar BD (default)",
        "Cargar BD (analytics)",
        "Procesar pendientes ahora",
        "Solicitar reporte",
        "Descargar CSV",
        "Reintentar",
    ):
        assert label in shown, label


def test_no_english_is_left_on_any_page_of_reports(lucia: Client, tmp_path: Path) -> None:
    ready = with_file(tmp_path)
    for state, alias in zip(Loading.values, ("default", "analytics") * 2, strict=True):
        load(with_file(tmp_path, f"reports/{state}.csv"), state, alias, requested_by=User.objects.get())
    load(ready, Loading.FAILED, "analytics", problem="file_missing")
    load(ready)
    (tmp_path / "reports" / "entregas-1.rejects.csv").write_bytes(b"")
    others = [report(state) for state in State]
    told = Delivery.objects.create(
        key=b"1" * 16,
        sent_at=timezone.now(),
        local_day=timezone.localdate(),
        sender="avisos@example.com",
        recipient="ana@example.com",
        status="dropped",
        as_of=timezone.now(),
    )
    urls = [LIST, f"{LIST}?q=nada", f"{LIST}add/", f"/admin/reports/delivery/{told.pk}/change/"]
    urls += ["/admin/reports/", "/admin/reports/delivery/", "/admin/reports/delivery/?q=nada"]
    for one in (ready, *others):
        urls += [f"{LIST}{one.pk}/{what}/" for what in ("change", "progress", "history")]
    pages = {url: page(lucia, url) for url in urls}
    for what in ("process-pending", f"{ready.pk}/retry", f"{others[-1].pk}/retry"):
        pages[what] = lucia.post(f"{LIST}{what}/", follow=True).content.decode()
    pages["refused"] = lucia.post(f"{LIST}add/", {"first_day": "2/1/2030", "last_day": "1/1/2030"}).content.decode()
    assert {url: found for url, html in pages.items() if (found := english_in(html))} == {}
