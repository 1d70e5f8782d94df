"""The file of a report → typed rows, or the reason why not."""

import gzip
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from reports import problems
from reports.columns import CutOff, NotAReport, Rejected, Typed, Zones, count_rows, read_layout, typed_rows
from tests.reports.rows import HEADER, row, text_of

UTC_ZONE, GUAYAQUIL, SANTIAGO = ZoneInfo("UTC"), ZoneInfo("America/Guayaquil"), ZoneInfo("America/Santiago")
LINE = b"Hola,a@example.com,A,b@example.com,Sent,2026-03-01 10:00:00,0,0\n"
HEAD = ",".join(HEADER).encode() + b"\n"


@pytest.fixture(autouse=True)
def english() -> Iterable[None]:
    with translation.override("en"):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.csv"


def read(path: Path, content: bytes, zones: Zones | None = None) -> tuple[list[Typed], list[Rejected]]:
    path.write_bytes(content)
    rejected: list[Rejected] = []
    with path.open("rb") as handle:
        rows = list(typed_rows(handle, read_layout(path), zones or Zones(UTC_ZONE, GUAYAQUIL), rejected.append))
    return rows, rejected


def refusal(path: Path, content: bytes) -> NotAReport:
    path.write_bytes(content)
    with pytest.raises(NotAReport) as refused:
        count_rows(path, read_layout(path))
    return refused.value


# --- What is read


def test_a_row_is_typed(path: Path):
    ((typed,), rejected) = read(
        path, text_of([row("Ana@Example.com", " SENT ", "2026-03-01 03:00:00", 2, "")]).encode()
    )
    assert rejected == []
    assert (typed.recipient, typed.status, typed.opens, typed.clicks) == ("ana@example.com", "sent", 2, 0)
    assert (typed.moment.utc, typed.moment.local_day) == ("2026-03-01 03:00:00", "2026-02-28")
    assert typed.moment.epoch == datetime(2026, 3, 1, 3, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + HEAD + LINE, id="byte order mark"),
        pytest.param(HEAD.replace(b"SenderName", b" sender NAME ").replace(b"Email", b"EMAIL") + LINE, id="names"),
        pytest.param(b"\n\n" + HEAD + b"\n" + LINE + b"\n", id="blank lines"),
        pytest.param((HEAD + LINE).replace(b"\n", b"\r\n"), id="line ends"),
        pytest.param((HEAD + LINE).decode().encode("utf-16"), id="UTF-16"),
        pytest.param((HEAD + LINE).rstrip(b"\n"), id="no line end at the end"),
        pytest.param(
            b"Clicks,Opens,Date,Status,Email,SenderName,Sender,Subject\n"
            b"0,0,2026-03-01 10:00:00,Sent,b@example.com,A,a@example.com,Hola\n",
            id="another order",
        ),
    ],
)
def test_the_same_row_in_another_form(path: Path, content: bytes):
    assert read(path, content) == read(path, HEAD + LINE)
    assert count_rows(path, read_layout(path)) == 1


def test_windows_1252_is_read_where_nothing_is_utf_8(path: Path):
    ((typed,), _rejected) = read(
        path, HEAD + "Señal,a@example.com,Ñ,b@example.com,Sent,2026-03-01 10:00:00,0,0\n".encode("cp1252")
    )
    assert (typed.subject, typed.sender_name) == ("Señal", "Ñ")


def test_unknown_columns_are_kept_as_json_whatever_their_order(path: Path):
    one, _rejected = read(path, b"B,A," + HEAD + b'"x ""y""",1,' + LINE)
    other, _rejected = read(path, b"A," + HEAD.rstrip() + b",B\n1," + LINE.rstrip() + b',"x ""y"""\n')
    assert one == other
    assert one[0].extra == '{"A":"1","B":"x \\"y\\""}'


@pytest.mark.parametrize(
    ("written", "zone", "utc", "local_day"),
    [
        ("2026-03-01 23:30:00", "America/Guayaquil", "2026-03-02 04:30:00", "2026-03-01"),
        ("2026-07-01 12:00:00", "America/New_York", "2026-07-01 16:00:00", "2026-07-01"),
        ("2026-11-01 01:30:00", "America/New_York", "2026-11-01 05:30:00", "2026-11-01"),  # twice: the first
        ("2026-03-01 04:59:59", "UTC", "2026-03-01 04:59:59", "2026-02-28"),
        ("2026-03-01 05:00:00", "UTC", "2026-03-01 05:00:00", "2026-03-01"),
        ("2026-03-01 05:30:00", "Asia/Kathmandu", "2026-02-28 23:45:00", "2026-02-28"),
        ("2024-02-29 00:00:00", "UTC", "2024-02-29 00:00:00", "2024-02-28"),
        (" 2026-03-01 05:00:00 ", "UTC", "2026-03-01 05:00:00", "2026-03-01"),
    ],
)
def test_moments(path: Path, written: str, zone: str, utc: str, local_day: str):
    ((typed,), _rejected) = read(path, text_of([row(when=written)]).encode(), Zones(ZoneInfo(zone), GUAYAQUIL))
    assert (typed.moment.utc, typed.moment.local_day) == (utc, local_day)


@pytest.mark.parametrize("zone", ["America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
def test_every_second_is_what_the_zone_says(path: Path, zone: str):
    """Hours are remembered as wholes; where the clocks change within one they must not be."""
    written = ZoneInfo(zone)
    days = [datetime(2026, 9, 6), datetime(2026, 4, 5), datetime(2026, 10, 4)]  # noqa: DTZ001
    cells = [f"{day:%Y-%m-%d} {hour:02d}:{minute:02d}:07" for day in days for hour in range(24) for minute in range(60)]
    rows, rejected = read(path, text_of([row(when=cell) for cell in cells]).encode(), Zones(written, SANTIAGO))
    expected = []
    for cell in cells:
        moment = datetime.fromisoformat(cell).replace(tzinfo=written)
        if moment.astimezone(UTC).astimezone(written).replace(tzinfo=None) == moment.replace(tzinfo=None):
            expected.append((f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}", f"{moment.astimezone(SANTIAGO):%Y-%m-%d}"))
    assert [(typed.moment.utc, typed.moment.local_day) for typed in rows] == expected
    assert len(rejected) == len(cells) - len(expected)


# --- Rows that cannot be typed


@pytest.mark.parametrize(
    ("bad", "column", "reason"),
    [
        (row(when="2026-02-30 10:00:00"), "Date", "does not exist"),
        (row(when="2026-03-01 24:00:00"), "Date", "does not exist"),
        (row(when="2026-03-01 10:60:00"), "Date", "does not exist"),
        (row(when="0001-01-01 00:00:00"), "Date", "does not exist"),
        (row(when="2026-03-01T10:00:00"), "Date", "not a date"),
        (row(when="01/03/2026 10:00"), "Date", "not a date"),
        (row(when="２０２６-03-01 10:00:00"), "Date", "not a date"),
        (row(when=""), "Date", "not a date"),
        (row(opens="-1"), "Opens", "whole number"),
        (row(opens="1.5"), "Opens", "whole number"),
        (row(clicks="uno"), "Clicks", "whole number"),
        (row(clicks="٣"), "Clicks", "whole number"),
        (row(opens=str(2**31)), "Opens", "too large"),
        (row(opens="9" * 5000), "Opens", "too large"),
        (row("  "), "Email", "blank"),
        (row(sender=""), "Sender", "blank"),
        (row("a" * 321), "Email", "longer"),
        (row(status=""), "Status", "blank"),
        (row(status="x" * 51), "Status", "longer"),
        (row(subject="x" * 4_001), "Subject", "longer"),
        (row(name="x" * 1_001), "SenderName", "longer"),
        (row()[:7], "", "7 cells instead of 8"),
        ((*row(), "more"), "", "9 cells instead of 8"),
        (row(subject="a\0b"), "", "NUL"),
    ],
)
def test_a_bad_row_is_rejected_with_its_place_and_reason(path: Path, bad: tuple[str, ...], column: str, reason: str):
    rows, (rejected,) = read(path, text_of([row(), bad, row()]).encode())
    assert len(rows) == 2
    assert (rejected.line, rejected.column, rejected.cells) == (3, column, list(bad))
    assert reason in rejected.reason


def test_an_hour_that_the_clocks_skip_does_not_exist(path: Path):
    _rows, (rejected,) = read(path, text_of([row(when="2026-09-06 00:30:00")]).encode(), Zones(SANTIAGO, SANTIAGO))
    assert "put forward" in rejected.reason


# --- Files that are no reports


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\n\n", "is empty", id="blank"),
        pytest.param(gzip.compress(HEAD + LINE), "compressed file", id="gzip"),
        pytest.param(b"<!DOCTYPE html><html><body>Sorry</body></html>", "web page", id="HTML"),
        pytest.param(b'{"error": "no"}\n', "lacks the columns Subject, Sender", id="JSON"),
        pytest.param(HEAD.replace(b",Clicks", b"").replace(b"Sender,", b"") + LINE, "Sender, Clicks", id="columns"),
        pytest.param(HEAD.rstrip() + b",email\n", "«email» twice", id="a column twice"),
        pytest.param(HEAD + b"\xc3\xb1,\xc3\n" + LINE, "row 2, byte", id="damaged"),
        pytest.param(HEAD + LINE + b'"never closed' + LINE[4:] + LINE * 3, 'row 3, column A: a quote (")', id="quote"),
        pytest.param(HEAD + b"x" * 1_100_000 + LINE, "row 2, column A: the cell is larger", id="cell"),
    ],
)
def test_what_is_no_report_is_refused_with_a_sentence(path: Path, content: bytes, said: str):
    problem = refusal(path, content)
    assert problem.code == problems.NOT_A_REPORT
    assert said in str(problem)
    assert "example.com" not in str(problem)


@pytest.mark.parametrize("cut", [LINE[:20], LINE[:-20], b'"Ho', b'"Hola",a@example.com,"A'])
def test_a_file_that_ends_within_a_row_is_cut_off(path: Path, cut: bytes):
    problem = refusal(path, HEAD + LINE * 2 + cut)
    assert isinstance(problem, CutOff)
    assert (problem.code, problem.line) == (problems.CUT_OFF, 4)


def test_only_a_header_is_a_report_of_no_rows(path: Path):
    assert read(path, HEAD) == ([], [])
    assert count_rows(path, read_layout(path)) == 0


@pytest.mark.parametrize("beginning", [HEAD, b"", HEAD + b'"'], ids=["row", "header", "quoted"])
def test_a_line_without_end_is_refused_in_bounded_memory(path: Path, beginning: bytes):
    with path.open("wb") as file:
        file.write(beginning)
        for _number in range(200):
            file.write(b"x" * 1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(NotAReport, match=r"1(6)? MB"):
            count_rows(path, read_layout(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60_000_000
