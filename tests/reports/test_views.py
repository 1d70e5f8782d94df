"""The views that people query, and the document that shows how."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from reports import sql_views
from reports.loading import load, request_load
from tests.reports.rows import new_report, row

pytestmark = pytest.mark.django_db
HOWTO = Path(__file__).resolve().parent.parent.parent / "docs" / "howto" / "consultas.md"
QUESTIONS = re.findall(r"^## (¿[^\n]+)\n.*?```sql\n(.*?)```", HOWTO.read_text("utf-8"), re.M | re.S)


def asked(sql: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, found, strict=True)) for found in cursor.fetchall()]


@pytest.fixture(autouse=True)
def rows() -> None:
    told = [
        row("ana@example.com", "Sent", "2026-03-01 15:00:00", opens=3, clicks=1),
        row("ana@example.com", "Retrying", "2026-03-01 18:00:00"),
        row("luis@example.net", "Rejected", "2026-03-01 15:00:00"),
        row("eva@example.net", "Invalid", "2026-03-01 15:00:01"),
        row("eva@example.org", "Dropped", "2026-03-01 15:00:01"),
        row("eva@example.edu", "Queued", "2026-03-01 15:00:01"),
        row("eva@example.com", "Otra", "2026-03-02 04:59:59", opens=1),  # still the first, in Guayaquil
        row("eva@example.com", "Sent", "2026-03-02 05:00:00"),
    ]
    load(request_load(new_report(told), "default", by=None))


def test_a_day_adds_up():
    first, second = asked("SELECT * FROM report_daily ORDER BY local_day")
    states = ("sent", "hard_bounces", "soft_bounces", "dropped", "queued", "other")
    assert [first[name] for name in states] == [1, 2, 1, 1, 1, 1]
    assert first["total"] == sum(first[name] for name in states) == 7
    assert [first[name] for name in ("opens", "unique_opens", "clicks", "unique_clicks")] == [4, 2, 1, 1]
    assert str(first["local_day"]) == str(date(2026, 3, 1))
    assert (str(second["local_day"]), second["sender"], second["total"]) == ("2026-03-02", "cobros@example.com", 1)


def test_each_of_the_seven_names_means_something():
    counted = {
        found["event"]: found["n"] for found in asked("SELECT event, count(*) AS n FROM report_events GROUP BY event")
    }
    assert counted == {"deliveries": 8, "sent": 2, "bounces": 3, "opens": 2, "clicks": 1}
    assert asked("SELECT * FROM report_events WHERE event IN ('spam', 'unsubscribed')") == []
    opens = asked("SELECT times FROM report_events WHERE event = 'opens' ORDER BY times")
    assert [found["times"] for found in opens] == [1, 3]
    bounces = asked("SELECT bounce FROM report_events WHERE event = 'bounces' ORDER BY bounce")
    assert [found["bounce"] for found in bounces] == ["hard", "hard", "soft"]


def test_an_address_has_the_state_of_its_last_delivery():
    (ana,) = asked("SELECT * FROM report_recipients WHERE recipient = 'ana@example.com'")
    assert (ana["status"], ana["bounce"], ana["deliveries"], ana["sent"], ana["opens"]) == ("retrying", "soft", 2, 1, 3)
    assert str(ana["last_sent_at"])[:16] == "2026-03-01 18:00"
    assert len(asked("SELECT * FROM report_recipients")) == 6


def test_they_can_be_put_up_again():
    sql_views.put_up(connection)
    sql_views.take_down(connection)
    sql_views.put_up(connection)
    assert len(asked("SELECT * FROM report_daily")) == 2


def test_the_document_has_five_questions_and_names_the_columns_there_are():
    assert len(QUESTIONS) == 5
    for view in sql_views.VIEWS:
        (columns,) = re.findall(rf"^\| `{view}` \|[^|]+\| `([^`]+)`", HOWTO.read_text("utf-8"), re.M)
        assert columns.split(", ") == list(asked(f"SELECT * FROM {view} LIMIT 1")[0])


@pytest.mark.parametrize(("question", "sql"), QUESTIONS)
def test_every_question_of_the_document_has_an_answer(question: str, sql: str):
    assert asked(sql.rstrip().rstrip(";")), question


def test_the_answers_are_right():
    answers = [asked(sql.rstrip().rstrip(";")) for _question, sql in QUESTIONS]
    assert [str(answers[0][0][name]) for name in ("entregas", "entregadas", "rebotes_duros")] == ["7", "1", "2"]
    assert [found["recipient"] for found in answers[1]] == ["eva@example.net", "luis@example.net"]
    assert [found["status"] for found in answers[2]] == ["retrying", "sent"]
    assert (answers[3][0]["entregas"], answers[3][0]["con_clic"]) == (2, 1)
    assert (answers[4][0]["dominio"], answers[4][0]["rebotes_duros"]) == ("example.net", 2)
