"""Whatever table a spreadsheet can write, it is read back exactly, with the row numbers of the spreadsheet."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay.file_problems import FileProblem
from relay.recipients import open_recipients, read_rows
from relay.rejects import write_rejects

# Any character but lone surrogates, which no file can hold, and the control characters that no table has.
ANY = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r\x85")
# Letters of Windows-1252 that cannot be mistaken for UTF-8: none of them is a continuation byte.
WINDOWS = st.sampled_from("aZ09 ;,|\t\"'\n\r@=-ñÑáéíóúüçÀßÿ")
ENCODINGS = [
    ("utf-8", b"", ANY),
    ("utf-8", b"\xef\xbb\xbf", ANY),
    ("utf-16-le", b"\xff\xfe", ANY),
    ("utf-16-be", b"\xfe\xff", ANY),
    ("cp1252", b"", WINDOWS),
]


@st.composite
def files(draw):
    """(bytes, delimiter, header, address column, rows as written); a row of None is a blank line."""
    codec, prefix, characters = draw(st.sampled_from(ENCODINGS))
    delimiter = draw(st.sampled_from(";,\t|"))
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    columns = draw(st.lists(st.text("abcñXY_", min_size=1, max_size=6), unique=True, min_size=1, max_size=5))
    assume(not set(columns) & {"email"})
    address = draw(st.integers(0, len(columns)))
    header = [*columns[:address], draw(st.sampled_from(["email", "E-Mail"])), *columns[address:]]
    cells = st.lists(st.text(characters, max_size=8), min_size=len(header), max_size=len(header))
    ragged = st.lists(st.text(characters, max_size=8), min_size=1, max_size=8)
    rows = draw(st.lists(st.one_of(cells, cells, cells, ragged, st.none()), max_size=8))
    text = "".join(_written(row, delimiter, line_end, quoting) for row in [header, *rows])
    if draw(st.booleans()):
        text = text.removesuffix(line_end)
    return prefix + text.encode(codec), delimiter, header, address, rows


def _written(row, delimiter, line_end, quoting) -> str:
    if row is None:
        return line_end
    # csv.writer quotes only the line ends that it writes itself, so let it write both.
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=delimiter, lineterminator="\r\n", quoting=quoting).writerow(row)
    return written.getvalue().removesuffix("\r\n") + line_end


def _is_blank(row) -> bool:
    return row is None or not any(cell.strip() for cell in row)


@given(files())
@hypothesis_settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_table_is_read_back_exactly(case):
    content, delimiter, header, address, rows = case
    expected = [
        (number, row, None if len(row) == len(header) else "ragged_row")
        for number, row in enumerate(rows, 2)
        if not _is_blank(row)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lista.csv"
        path.write_bytes(content)
        if not expected:
            with pytest.raises(FileProblem) as caught:
                open_recipients(path)
            assert caught.value.code == "no_rows"
            return
        file = open_recipients(path)
        assert (file.delimiter, list(file.header), file.address_column) == (delimiter, header, address)
        assert [tuple(row) for row in read_rows(file)] == expected
        _check_rejects(path, file, expected)


def _check_rejects(path, file, expected):
    """All rows rejected and read again: the same cells, each with its reason."""
    target = path.with_name("rechazados.csv")
    assert write_rejects(file, ((number, f"n{number}") for number, _row, _problem in expected), target) == len(expected)
    again = open_recipients(target)
    assert again.header == (*file.header, "motivo")
    width = len(file.header)
    assert [row.cells for row in read_rows(again)] == [
        [*row, *[""] * (width - len(row)), f"n{number}"] for number, row, _problem in expected
    ]


@given(st.binary(max_size=200))
@hypothesis_settings(max_examples=1_500, deadline=None)
def test_any_bytes_are_read_or_refused(content):
    for start in (b"", b"email;a\n", "email;ñ\n".encode("utf-16"), b"PK\x03\x04"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lista.csv"
            path.write_bytes(start + content)
            try:
                numbers = [row.number for row in read_rows(open_recipients(path))]
            except FileProblem as problem:
                assert problem.params["file"] == "lista.csv"  # noqa: PT017 either outcome is right
            else:
                assert numbers == sorted(set(numbers))


@given(st.text('a;,"\n\r ', max_size=40))
@hypothesis_settings(max_examples=3_000, deadline=None)
def test_quotes_in_every_place_are_read_as_csv_reads_them_or_refused(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lista.csv"
        path.write_bytes(b"email;b;c\n" + text.encode())
        try:
            read = [row.cells for row in read_rows(open_recipients(path))]
        except FileProblem as problem:
            assert problem.code in ("open_quote", "no_rows")  # noqa: PT017
        else:
            with path.open(newline="") as file:
                rows = list(csv.reader(file, delimiter=";"))[1:]
            assert read == [row for row in rows if not _is_blank(row)]
