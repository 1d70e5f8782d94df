"""manage.py window, and --window of the other commands."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import translation

from relay import reasons
from relay.models import Decision, Sender, SendingWindow
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db

HOURS = ("--opens", "08:00", "--closes", "20:00")
WORKDAYS = ("--weekdays", "12345", *HOURS)
OFFICE = {
    "name": "oficina",
    "weekdays": "12345",
    "opens": "08:00",
    "closes": "20:00",
    "time_zone": "America/Bogota",
    "rests_on_holidays": False,
}


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    def told(*words: str) -> Any:
        call_command(*words, "--json")
        return json.loads(capsys.readouterr().out)

    return told


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Any:
    def refusal(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            call_command(*words)
        assert ended.value.code == 1
        return capsys.readouterr().err

    return refusal


def test_a_window_is_added_listed_changed_and_removed(told: Any) -> None:
    added = told("window", "add", "oficina", *WORKDAYS, "--zone", "America/Bogota", "--no-holidays")
    assert added == OFFICE
    assert told("window", "list") == {"windows": [OFFICE]}
    changed = told("window", "add", "oficina", "--weekdays", "67", *HOURS)
    assert changed == {**OFFICE, "weekdays": "67", "time_zone": "", "rests_on_holidays": True}
    assert SendingWindow.objects.count() == 1
    assert told("window", "remove", "oficina") == {"removed": "oficina"}
    assert told("window", "list") == {"windows": []}


def test_a_person_reads_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("window", "add", "oficina", *WORKDAYS, "--zone", "America/Bogota", "--no-holidays")
    assert capsys.readouterr().out == "oficina  12345  08:00\u201320:00  America/Bogota  (open on holidays)\n"


@pytest.mark.parametrize(
    ("name", "given", "named"),
    [
        ("oficina", ("--weekdays", "123458", *HOURS), "weekdays"),
        ("oficina", ("--weekdays", "1123", *HOURS), "weekdays"),
        ("oficina", ("--weekdays", "lunes", *HOURS), "weekdays"),
        ("oficina", ("--weekdays", "", *HOURS), "weekdays"),
        ("oficina", (*WORKDAYS, "--zone", "America/Macondo"), "America/Macondo"),
        ("oficina", (*WORKDAYS, "--zone", "America"), "America"),
        ("none", WORKDAYS, "none"),
        ("", WORKDAYS, "name"),
        ("x" * 101, WORKDAYS, "100"),
    ],
)
def test_what_is_no_window_is_refused(refusal: Any, name: str, given: tuple[str, ...], named: str) -> None:
    assert named in refusal("window", "add", name, *given)
    assert not SendingWindow.objects.exists()


@pytest.mark.parametrize("opens", ["8", "24:00", "08:00+05:00", "08:00:30", "tarde"])
def test_a_time_that_is_none_is_refused(opens: str) -> None:
    with pytest.raises(Exception, match="is not a time such as 08:00"):
        call_command("window", "add", "oficina", "--weekdays", "1", "--opens", opens, "--closes", "20:00")


def test_a_window_in_use_is_not_removed_and_its_users_are_named(told: Any, refusal: Any) -> None:
    told("window", "add", "oficina", *WORKDAYS)
    told("sender", "add", "avisos@example.com", "--window", "oficina")
    sends = [new_bulk_send(window=SendingWindow.objects.get()) for _ in range(12)]
    sentence = refusal("window", "remove", "oficina")
    assert "sender avisos@example.com" in sentence
    assert f"bulk send {sends[0].pk}" in sentence
    assert "2 more" in sentence
    assert SendingWindow.objects.exists()


def test_an_unknown_window_is_refused_everywhere(refusal: Any) -> None:
    bulk_send = new_bulk_send(1)
    assert "oficina" in refusal("window", "remove", "oficina")
    assert "window list" in refusal("bulk", "window", str(bulk_send.pk), "oficina")
    assert "window list" in refusal("sender", "add", "avisos@example.com", "--window", "oficina")
    assert not Sender.objects.exists()
    assert "window list" in refusal(
        *("bulk", "create", "--template", "aviso", "--recipients", __file__, "--window", "oficina")
    )


def test_a_sender_gets_keeps_and_loses_its_window(told: Any) -> None:
    told("window", "add", "oficina", *WORKDAYS)
    assert told("sender", "add", "avisos@example.com", "--window", "oficina")["window"] == "oficina"
    assert told("sender", "add", "avisos@example.com", "--name", "Avisos")["window"] == "oficina"
    assert told("sender", "list")["senders"][0]["window"] == "oficina"
    assert told("sender", "add", "avisos@example.com", "--window", "none")["window"] is None


def test_the_window_of_a_bulk_send_is_changed_and_its_rest_ends(told: Any) -> None:
    told("window", "add", "oficina", *WORKDAYS)
    bulk_send = new_bulk_send(1)
    assert told("bulk", "window", str(bulk_send.pk), "oficina")["window"] == "oficina"
    bulk_send.pause(reasons.WINDOW, window="oficina")
    stands = told("bulk", "window", str(bulk_send.pk), "none")
    assert (stands["window"], stands["status"], stands["reason"]) == (None, "sending", "")
    changes = Decision.objects.filter(bulk_send=bulk_send)
    assert [(change.what, change.details) for change in changes] == [
        ("change", {"window": "oficina"}),
        ("change", {"window": None}),
    ]
