"""Hours are in the reader's own zone, named on the page; the days of reports in that of the installation."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone, translation

from relay import zones
from relay.models import Activity, UserPreferences
from tests.console import page
from tests.relay.admin_rows import bulk_send, user

pytestmark = pytest.mark.django_db
ACCOUNT = "/admin/account/"
NOON_IN_UTC = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def ana(client: Client) -> User:
    made = user("ana", "view_bulksend", email="ana@example.com")
    client.force_login(made)
    return made


def filled(**fields: str) -> dict[str, str]:
    return {"first_name": "Ana", "last_name": "Paz", "email": "ana@example.com", "time_zone": "Asia/Kolkata", **fields}


def test_hours_are_shown_in_the_zone_that_the_reader_chose_and_it_is_named(client: Client, ana: User) -> None:
    url = f"/admin/relay/bulksend/{bulk_send(scheduled_at=NOON_IN_UTC).pk}/change/"
    before = page(client, url)
    assert "America/Guayaquil (UTC−5)" in before
    assert "7 a.m." in before
    client.post(ACCOUNT, filled())
    after = page(client, url)
    assert "Hours in Asia/Kolkata (UTC+5:30)" in after
    assert "5:30 p.m." in after


def test_another_reader_and_what_follows_a_request_keep_their_own(client: Client, ana: User) -> None:
    client.post(ACCOUNT, filled())
    assert timezone.get_current_timezone_name() == "America/Guayaquil"
    client.force_login(User.objects.create_superuser("lucia"))
    assert "America/Guayaquil (UTC−5)" in page(client, "/admin/")


def test_the_days_of_a_report_are_those_of_the_installation(client: Client, settings: Any, monkeypatch: Any) -> None:
    client.force_login(user("ana", "add_generatedreport"))
    client.post(ACCOUNT, filled(time_zone="Pacific/Kiritimati"))
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 11, 24, 20, tzinfo=UTC))  # there it is the 25th
    text = page(client, "/admin/reports/generatedreport/add/")
    assert 'value="2026-11-24"' in text
    assert "America/Guayaquil" in text


def test_one_changes_ones_name_and_address_and_nothing_else(client: Client, ana: User) -> None:
    client.post(ACCOUNT, {**filled(email="otra@example.com"), "is_superuser": "on", "username": "jefa", "groups": "1"})
    ana.refresh_from_db()
    assert (ana.username, ana.first_name, ana.email, ana.is_superuser) == ("ana", "Ana", "otra@example.com", False)
    entry = Activity.objects.get(what="changed")
    assert (entry.by, entry.details) == ("ana", {"fields": ["First name", "Last name", "Email address", "Time zone"]})


def test_what_is_wrong_is_said_beside_the_field_and_nothing_is_saved(client: Client, ana: User) -> None:
    answer = client.post(ACCOUNT, filled(email="ana", time_zone="Mars/Olympus"))
    assert answer.status_code == 200
    assert answer.content.decode().count('class="errors') == 2
    assert not UserPreferences.objects.exists()
    ana.refresh_from_db()
    assert ana.email == "ana@example.com"


def test_the_installation_s_own_zone_is_not_frozen(client: Client, ana: User, settings: Any) -> None:
    """Who has it chosen follows when the installation moves."""
    client.post(ACCOUNT, filled(time_zone="America/Guayaquil"))
    settings.TIME_ZONE = "America/Bogota"
    assert zones.zone_of(ana) == "America/Bogota"


def test_strangers_are_sent_to_the_login(client: Client) -> None:
    assert client.get(ACCOUNT)["Location"].startswith("/admin/login/")


@pytest.mark.parametrize(
    ("zone", "said"),
    [("America/Guayaquil", "UTC−5"), ("Asia/Kolkata", "UTC+5:30"), ("UTC", "UTC+0"), ("America/St_Johns", "UTC−3:30")],
)
def test_how_far_from_utc(zone: str, said: str) -> None:
    assert zones.offset(zone, NOON_IN_UTC) == said
