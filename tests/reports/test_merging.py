"""What the table holds after reports that repeat, overlap and contradict each other; in whatever order they come."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.loading import Counts, load, request_load
from reports.models import Confirmation, Delivery, GeneratedReport, ReportLoad
from tests.reports.rows import new_report, row, table

pytestmark = pytest.mark.django_db


def loaded(report: GeneratedReport, alias: str = "default") -> Counts:
    return load(request_load(report, alias, by=None))


def facts() -> list[tuple[str, int, int]]:
    return list(Delivery.objects.order_by("ordinal").values_list("status", "opens", "clicks"))


def test_the_first_report_is_inserted():
    assert loaded(new_report([row("ana@example.com"), row("luis@example.com")])) == Counts(2, 2, 0, 0, 0)
    delivery = Delivery.objects.get(recipient="ana@example.com")
    assert (delivery.sent_at.isoformat(), str(delivery.local_day)) == ("2026-03-01T15:00:00+00:00", "2026-03-01")
    assert (delivery.status, delivery.ordinal, delivery.extra) == ("sent", 1, None)


def test_the_same_content_under_another_report_changes_nothing():
    rows = [row(f"persona{number}@example.com", opens=number) for number in range(50)]
    loaded(new_report(rows, made=1))
    before = list(Delivery.objects.order_by("id").values())
    assert loaded(new_report(rows, made=2, type="opens")) == Counts(50, 0, 0, 50, 0)
    assert list(Delivery.objects.order_by("id").values()) == before


def test_overlapping_reports_count_nobody_twice():
    loaded(new_report([row(f"persona{number}@example.com") for number in range(10)]))
    counts = loaded(new_report([row(f"persona{number}@example.com") for number in range(5, 15)], made=1))
    assert counts == Counts(10, 5, 0, 5, 0)
    assert Delivery.objects.count() == 15


def test_news_grow_and_never_go_back():
    loaded(new_report([row(status="Retrying")], made=1))
    assert loaded(new_report([row(opens=2, clicks=1)], made=2)) == Counts(1, 0, 1, 0, 0)
    assert loaded(new_report([row(status="Queued", opens=1)], made=3)) == Counts(1, 0, 0, 1, 0)
    assert facts() == [("sent", 2, 1)]


def test_between_final_states_the_report_made_later_is_right():
    loaded(new_report([row(status="Rejected")], made=2))
    assert loaded(new_report([row(status="Sent")], made=1)) == Counts(1, 0, 0, 1, 0)
    assert facts() == [("rejected", 0, 0)]
    assert loaded(new_report([row(status="Sent")], made=3)) == Counts(1, 0, 1, 0, 0)
    assert facts() == [("sent", 0, 0)]


def test_a_confirmation_counts_against_an_older_report_that_is_loaded_after_it():
    loaded(new_report([row(status="Sent")], made=1))
    assert loaded(new_report([row(status="Sent")], made=3)) == Counts(1, 0, 0, 1, 0)
    assert loaded(new_report([row(status="Rejected")], made=2)) == Counts(1, 0, 0, 1, 0)
    assert facts() == [("sent", 0, 0)]
    assert loaded(new_report([row(status="Rejected")], made=4)) == Counts(1, 0, 1, 0, 0)


def test_a_stretch_that_was_confirmed_is_one_row():
    rows = [row(f"persona{number}@example.com") for number in range(100)]
    loaded(new_report(rows, made=1))
    loaded(new_report(rows, made=2))
    assert Confirmation.objects.count() == 1


def test_rows_that_agree_in_all_that_names_them_are_kept_apart():
    same = [row(opens=0), row(opens=3), row(opens=1)]
    assert loaded(new_report(same, made=1)) == Counts(3, 3, 0, 0, 0)
    assert facts() == [("sent", 3, 0), ("sent", 1, 0), ("sent", 0, 0)]
    assert loaded(new_report(same[::-1], made=2)) == Counts(3, 0, 0, 3, 0)
    assert loaded(new_report([row(opens=3), row(opens=1), row(opens=2), row(opens=0)], made=3)) == Counts(4, 1, 2, 1, 0)
    assert facts() == [("sent", 3, 0), ("sent", 2, 0), ("sent", 1, 0), ("sent", 0, 0)]


def test_addresses_are_compared_without_case_subjects_with_it():
    loaded(new_report([row("Ana@Example.com", sender="Cobros@example.com")]))
    assert loaded(new_report([row("ana@example.COM")], made=1)).unchanged == 1
    assert loaded(new_report([row(subject="SU FACTURA")], made=2)).inserted == 1


def test_rows_outside_of_the_period_are_loaded_and_known_again():
    rows = [row(when="2026-03-01 15:00:00"), row(when="2027-01-01 00:00:00"), row(when="2026-03-02 05:00:00")]
    assert loaded(new_report(rows)) == Counts(3, 3, 0, 0, 0)
    assert loaded(new_report(rows, made=1)) == Counts(3, 0, 0, 3, 0)


def test_characters_that_the_copy_must_escape_come_through():
    subject = "a\\b\tc\nd\re\\N\\."
    loaded(new_report([row(subject=subject), row(subject="plain"), row(subject="\\N")]))
    assert set(Delivery.objects.values_list("subject", flat=True)) == {subject, "plain", "\\N"}
    assert loaded(new_report([row(subject=subject)], made=1)).unchanged == 1


def test_unknown_columns_are_kept_and_follow_the_later_report():
    header = b"Subject,Sender,SenderName,Email,Status,Date,Opens,Clicks,Campaign,\n"
    line = b'Hola,a@example.com,A,b@example.com,Sent,2026-03-01 10:00:00,0,0,"%s",x\n'
    loaded(new_report(content=header + line % b"a\\b", made=1))
    assert Delivery.objects.get().extra == {"Campaign": "a\\b", "column 10": "x"}
    assert loaded(new_report(content=header + line % b"a\\b", made=2)).unchanged == 1
    assert loaded(new_report(content=header + line % b"c", made=3)).updated == 1
    assert loaded(new_report(content=header + line % b"d", made=2)).unchanged == 1
    assert Delivery.objects.get().extra == {"Campaign": "c", "column 10": "x"}


REPORTED = st.tuples(
    st.sampled_from(["ana@example.com", "luis@example.com"]),
    st.sampled_from(["Queued", "Retrying", "Sent", "Rejected", "Otra"]),
    st.sampled_from(["2026-03-01 15:00:00", "2026-03-05 00:00:00"]),
    st.integers(0, 2),
    st.integers(0, 1),
    st.just("Su factura"),
    st.just("cobros@example.com"),
    st.sampled_from(["Cobros", "Otros"]),
)
MADE = st.lists(st.tuples(st.integers(0, 4), st.lists(REPORTED, max_size=4)), min_size=2, max_size=5)


@given(reports=MADE, data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_order_ends_in_the_same_table(db: Any, reports: list[tuple[int, list[Any]]], data: st.DataObject):
    assert _standing(_table_after(data.draw(st.permutations(reports)))) == _greatest(reports)


def _table_after(reports: list[tuple[int, list[Any]]]) -> list[tuple[Any, ...]]:
    for model in (Confirmation, Delivery, ReportLoad):
        model.objects.all().delete()
    for made, rows in reports:
        counts = loaded(new_report([row(*told) for told in rows], made=made))
        assert counts.rows == len(rows) == counts.inserted + counts.updated + counts.unchanged
    return table()


def _standing(rows: list[tuple[Any, ...]]) -> dict[Any, Any]:
    return {
        (recipient, sent_at[:19], int(ordinal)): (status, name, int(opens), int(clicks))
        for sent_at, ordinal, _day, _sender, name, recipient, _subject, status, opens, clicks, _extra in rows
    }


def _greatest(reports: list[tuple[int, list[Any]]]) -> dict[Any, Any]:
    """The same by another way: all that was told of each delivery, and the greatest of it."""
    told: dict[Any, list[Any]] = {}
    for made, rows in reports:
        brothers: dict[Any, list[Any]] = {}
        for email, word, when, opens, clicks, _subject, _sender, name in rows:
            rank = {"Queued": 0, "Retrying": 1}.get(word, 2)
            brothers.setdefault((email, when), []).append((rank, opens, clicks, word.lower(), name))
        for key, facts in brothers.items():
            for ordinal, (rank, opens, clicks, status, name) in enumerate(sorted(facts, reverse=True), 1):
                told.setdefault((*key, ordinal), []).append((rank, made, status, name, opens, clicks))
    return {
        key: (*max(fact[:4] for fact in facts)[2:], max(fact[4] for fact in facts), max(fact[5] for fact in facts))
        for key, facts in told.items()
    }
