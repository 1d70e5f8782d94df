"""Differences are told line by line, and their cost is bounded whatever the texts are."""

import time

from relay.text_differences import MOST_LINES, MOST_SHOWN, Line, difference


def shown(before: str, after: str) -> list[tuple[str, str]]:
    return [(line.kind, line.text) for line in difference(before, after).lines]


def test_what_was_taken_out_and_put_in_is_shown_with_what_stands_around_it() -> None:
    found = difference("uno\ndos\ntres", "uno\n2\ntres\ncuatro")
    assert found.lines == (
        Line("same", "uno", 1, 1),
        Line("removed", "dos", before=2),
        Line("added", "2", after=2),
        Line("same", "tres", 3, 3),
        Line("added", "cuatro", after=4),
    )
    assert (found.removed, found.added, bool(found)) == (1, 2, True)


def test_equal_texts_differ_in_nothing() -> None:
    assert not difference("a\nb\n", "a\r\nb")
    assert not difference("", "")


def test_equal_lines_far_from_a_change_are_counted_and_not_shown() -> None:
    before = [f"línea {number}" for number in range(100)]
    after = before.copy()
    after[50] = "otra"
    found = difference("\n".join(before), "\n".join(after)).lines
    assert [line.text for line in found if line.kind == "skipped"] == ["47", "46"]
    assert [(line.before, line.after) for line in found if line.kind == "same"] == [
        (n, n) for n in (48, 49, 50, 52, 53, 54)
    ]


def test_between_two_changes_the_middle_is_left_out() -> None:
    before = [f"línea {number}" for number in range(100)]
    after = ["x", *before[1:99], "y"]
    found = difference("\n".join(before), "\n".join(after)).lines
    assert [line.text for line in found if line.kind == "skipped"] == ["92"]


def test_an_end_that_is_inserted_twice_is_not_counted_twice() -> None:
    assert shown("a", "a\na") == [("same", "a"), ("added", "a")]
    assert shown("a\na", "a") == [("same", "a"), ("removed", "a")]


def test_large_texts_are_told_as_one_exchange_at_once() -> None:
    before = "\n".join(f"a{number}" for number in range(MOST_LINES * 20))
    after = "\n".join(f"b{number}" for number in range(MOST_LINES * 20))
    began = time.monotonic()
    found = difference(before, after)
    assert time.monotonic() - began < 2
    assert (found.removed, found.cut, len(found.lines)) == (MOST_LINES * 20, True, MOST_SHOWN)


def test_a_line_of_megabytes_is_cut() -> None:
    assert len(difference("", "x" * 2_000_000).lines[0].text) < 500
