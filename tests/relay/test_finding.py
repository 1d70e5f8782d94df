"""Recipients found by what an operator remembers of them, in bounded pieces."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from relay import finding
from relay.finding import FOR_A_PERSON, Wanted, find_after, find_at_once, find_before, folded, values_with
from relay.models import BulkSend, Recipient
from tests.relay.admin_rows import State, recipient
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


def with_values(sent: BulkSend, row: int, **variables: Any) -> Recipient:
    return recipient(sent, row, State.PENDING, variables=variables)


def rows_of(found: finding.Found) -> list[int]:
    return [one.row for one in found.recipients]


@pytest.mark.parametrize(
    "text",
    ["muñoz", "MUNOZ", "José Mu", "jose", 'con "comillas"', "100%", "a_b", r"c:\x", "[x]*", "<b>", "ПЁТР"],
)
def test_any_value_is_found_without_case_or_accents_and_nothing_in_it_is_special(text: str) -> None:
    sent = new_bulk_send()
    with_values(sent, 2, nombre='José MUÑOZ con "comillas"', otro=r"100% a_b c:\x [x]*", cosa="<b>Пётр</b>", nada="")
    with_values(sent, 3, nombre="Ana", otro="1000 axb", cosa="x")
    assert rows_of(find_after(Wanted(sent.pk, text=text), 0)) == [2]


def test_names_of_variables_are_no_values_and_numbers_are() -> None:
    sent = new_bulk_send()
    with_values(sent, 2, cedula=912345678)
    assert rows_of(find_after(Wanted(sent.pk, text="cedula"), 0)) == []
    assert rows_of(find_after(Wanted(sent.pk, text="2345"), 0)) == [2]


def test_only_the_chosen_bulk_send_is_looked_through() -> None:
    ours, other = new_bulk_send(3), new_bulk_send(3)
    assert rows_of(find_after(Wanted(ours.pk, text="persona"), 0)) == [2, 3, 4]
    assert {one.bulk_send_id for one in find_at_once(Wanted(other.pk, text="persona2@"))} == {other.pk}


def test_an_address_and_a_row_number_are_found_at_once() -> None:
    sent = new_bulk_send(30)
    assert [one.row for one in find_at_once(Wanted(sent.pk, text="PERSONA7@"))] == [7]
    assert [one.row for one in find_at_once(Wanted(sent.pk, text="9"))] == [9]
    assert find_at_once(Wanted(sent.pk, text="9", state="refused")) == []
    assert find_at_once(Wanted(sent.pk, text="9" * 40)) == []
    assert find_at_once(Wanted(sent.pk)) == []


def test_states_and_reasons_are_found_also_those_that_wait_for_a_person() -> None:
    sent = new_bulk_send()
    for row, state in enumerate(State.values, 2):
        recipient(sent, row, state)
    unknown = State.values.index(State.UNKNOWN) + 2
    assert rows_of(find_after(Wanted(sent.pk, state=State.UNKNOWN), 0)) == [unknown]
    assert rows_of(find_after(Wanted(sent.pk, state=FOR_A_PERSON), 0)) == [unknown]
    assert rows_of(find_after(Wanted(sent.pk, reason="no_answer"), 0)) == [unknown]
    assert rows_of(find_after(Wanted(sent.pk, state=State.ACCEPTED, reason="no_answer"), 0)) == []


def test_pages_follow_the_rows_forwards_and_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "PAGE", 3)
    sent = new_bulk_send(8)  # rows 2 to 9
    wanted = Wanted(sent.pk)
    first = find_after(wanted, 0)
    assert (rows_of(first), first.more_before, first.more_after) == ([2, 3, 4], False, True)
    second = find_after(wanted, first.looked_to)
    assert (rows_of(second), second.more_before, second.more_after) == ([5, 6, 7], True, True)
    third = find_after(wanted, second.looked_to)
    assert (rows_of(third), third.more_after) == ([8, 9], False)
    back = find_before(wanted, third.looked_from + 1)
    assert (rows_of(back), back.more_before, back.more_after) == ([5, 6, 7], True, True)
    start = find_before(wanted, back.looked_from + 1)
    assert (rows_of(start), start.more_before, start.more_after) == ([2, 3, 4], False, True)


def test_a_search_is_bounded_and_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "FIRST_PIECE", 10)
    sent = new_bulk_send(35)  # rows 2 to 36
    wanted = Wanted(sent.pk, text="persona36")
    at, steps = 0, 0
    while True:
        with CaptureQueriesContext(connection) as captured:
            found = find_after(wanted, at, seconds=0)
        assert len(captured) == 2  # where the file ends, and one piece
        assert found.looked_to - found.looked_from <= 10
        at, steps = found.looked_to, steps + 1
        if not found.more_after:
            break
        assert found.recipients == []
    assert (steps, at, rows_of(found)) == (4, 36, [36])

    backwards = find_before(Wanted(sent.pk, text="persona2@"), 37, seconds=0)
    assert (backwards.looked_from, backwards.looked_to) == (26, 36)
    assert backwards.more_before


def test_no_search_skips_rows_by_offset_or_counts() -> None:
    sent = new_bulk_send(5)
    with CaptureQueriesContext(connection) as captured:
        find_after(Wanted(sent.pk, text="x", state="pending"), 3)
        find_before(Wanted(sent.pk, reason="refused"), 3)
    asked = " ".join(query["sql"] for query in captured)
    assert "OFFSET" not in asked
    assert "COUNT" not in asked


def test_a_file_of_one_row_and_one_of_none() -> None:
    assert find_after(Wanted(new_bulk_send().pk), 0) == finding.Found([], 0, 0, more_before=False, more_after=False)
    found = find_before(Wanted(new_bulk_send(1).pk), 10**9)
    assert (rows_of(found), found.more_before, found.more_after) == ([2], False, False)


def test_the_values_that_hold_it_are_named() -> None:
    row = Recipient(variables={"nombre": "José Muñoz", "saldo": "12,50", "nota": "munoz paga"})
    assert values_with(row, "MUÑOZ") == {"nombre": "José Muñoz", "nota": "munoz paga"}
    assert folded("Ñandú ÁÉÍ") == "nandu aei"
