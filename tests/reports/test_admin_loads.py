"""From a button of the console to the rows in a database, with nothing put in between."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from reports import loading
from reports.models import LoadRequest
from tests.reports.rows import new_report, row, table

LIST = "/admin/reports/generatedreport/"
BOTH = ["default", "analytics"] if connection.vendor == "postgresql" else ["default"]

pytestmark = pytest.mark.django_db(databases=BOTH)


@pytest.fixture
def manager(client: Client) -> Client:
    """Somebody of the group of the deployment guide, and with no other right."""
    user = User.objects.create_user("marta", is_staff=True)
    user.groups.add(Group.objects.get(name="Report Managers"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("alias", BOTH)
def test_a_button_leads_to_rows_in_that_database_and_to_its_badge(manager: Client, alias: str, settings: Any) -> None:
    report = new_report([row("ana@example.com"), row("luis@example.com", "Rejected")])
    address = f"{LIST}{report.pk}/load/{alias}/"

    assert manager.get(address).status_code == 405
    assert manager.post(address).status_code == 302
    assert [request.alias for request in loading.load_waiting(stop=lambda: False)] == [alias]

    assert len(table(alias)) == 2
    for other in set(BOTH) - {alias}:
        assert table(other) == []
    request = LoadRequest.objects.get()
    assert (request.state, request.inserted, request.requested_by.username) == ("done", 2, "marta")
    assert f"Cargado en: {alias}" in manager.get(LIST).content.decode()
    assert "ya" in manager.post(address, follow=True).content.decode()
    assert LoadRequest.objects.count() == 1
    assert loading.load_waiting(stop=lambda: False) == []
    assert len(table(alias)) == 2
