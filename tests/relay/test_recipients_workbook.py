"""Recipients files that are workbooks."""

import zipfile

import pytest

from relay import workbooks
from relay.file_problems import FileProblem
from relay.recipients import open_recipients, read_rows
from relay.rejects import write_rejects
from tests.relay.workbook_files import Raw, write_workbook


@pytest.fixture
def workbook(tmp_path):
    """Writes sheets, each (name, state, {row number: cells}), as an .xlsx."""

    def write(*sheets, name="lista.xlsx"):
        return write_workbook(tmp_path / name, *sheets)

    return write


def visible(rows):
    return "Hoja1", "visible", rows


def rows_of(path, **options):
    return [tuple(row) for row in read_rows(open_recipients(path, **options))]


def problem_of(path) -> FileProblem:
    with pytest.raises(FileProblem) as caught:
        rows_of(path)
    return caught.value


def test_a_workbook_is_read_like_a_csv(workbook):
    path = workbook(visible({1: ["Nombre ", "E-Mail"], 2: ["Ana", "ana@example.com"], 3: ["Luis", "luis@example.com"]}))
    file = open_recipients(path)
    assert (file.format, file.delimiter, file.header) == ("xlsx", None, ("Nombre", "E-Mail"))
    assert (file.address_column, file.columns, file.header_row) == (1, ("Nombre",), 1)
    assert rows_of(path) == [(2, ["Ana", "ana@example.com"], None), (3, ["Luis", "luis@example.com"], None)]


@pytest.mark.parametrize("name", ["lista.csv", "lista.xls", "lista", "LISTA.XLSX"])
def test_a_workbook_is_known_by_its_content(workbook, name):
    path = workbook(visible({1: ["email"], 2: ["ana@example.com"]}), name=name)
    assert open_recipients(path).format == "xlsx"


def test_a_csv_called_xlsx_is_a_csv(tmp_path):
    path = tmp_path / "lista.xlsx"
    path.write_text("email\nana@example.com\n")
    assert open_recipients(path).format == "csv"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"),
        (" dos  blancos ", " dos  blancos "),
        ("línea\ny otra", "línea\ny otra"),
        (1500, "1500"),
        (1500.5, "1500.5"),
        (-3, "-3"),
        (0.1 + 0.2, "0.3"),
        (12345678901, "12345678901"),
        (1e20, "100000000000000000000"),
        (True, "TRUE"),
        (False, "FALSE"),
        (Raw('<c {at} s="1"><v>46000</v></c>'), "2025-12-09"),
        (Raw('<c {at} s="2"><v>46000</v></c>'), "2025-12-09"),
        (Raw('<c {at} s="2"><v>46000.5</v></c>'), "2025-12-09 12:00:00"),
        (Raw('<c {at} s="3"><v>0.25</v></c>'), "06:00:00"),
        (Raw('<c {at} t="str"><f>A1</f><v>0012</v></c>'), "0012"),
        (Raw('<c {at} t="e"><v>#N/A</v></c>'), ""),
    ],
)
def test_a_cell_has_the_text_that_a_person_sees(workbook, value, text):
    path = workbook(visible({1: ["email", "valor", "fin"], 2: ["ana@example.com", value, "x"]}))
    assert rows_of(path) == [(2, ["ana@example.com", text, "x"], None)]


def test_rows_have_the_numbers_of_the_sheet_and_blank_ones_are_skipped(workbook):
    path = workbook(
        visible(
            {3: ["email", "a"], 5: ["ana@example.com", "1"], 6: [" ", ""], 9: ["luis@example.com", None], 12: [" "]}
        )
    )
    assert open_recipients(path).header_row == 3
    assert rows_of(path) == [(5, ["ana@example.com", "1"], None), (9, ["luis@example.com", ""], None)]


def test_only_text_right_of_the_header_makes_a_row_ragged(workbook):
    path = workbook(
        visible(
            {
                1: ["email", "a"],
                2: ["ana@example.com", "1", "", "nota"],
                3: ["luis@example.com"],
                4: ["x@example.com", "2", " "],
            }
        )
    )
    assert rows_of(path) == [
        (2, ["ana@example.com", "1", "", "nota"], "ragged_row"),
        (3, ["luis@example.com", ""], None),
        (4, ["x@example.com", "2"], None),
    ]


def test_a_column_without_a_name_is_refused_with_its_letter(workbook):
    assert problem_of(workbook(visible({1: ["email", None, "b"], 2: ["ana@example.com"]}))).params["column"] == "B"
    assert problem_of(workbook(visible({2: [None, "email"], 3: [None, "ana@example.com"]}))).params["column"] == "A"


def test_the_first_visible_sheet_with_cells_is_read(workbook):
    path = workbook(
        ("Oculta", "hidden", {1: ["email"], 2: ["oculta@example.com"]}),
        ("Muy oculta", "veryHidden", {1: ["email"], 2: ["oculta@example.com"]}),
        ("Vacía", "visible", {4: [" ", ""]}),
        ("Datos", "visible", {1: ["email"], 2: ["ana@example.com"]}),
        ("Otra", "visible", {1: ["email"], 2: ["otra@example.com"]}),
    )
    assert open_recipients(path).sheet == "Datos"
    assert rows_of(path) == [(2, ["ana@example.com"], None)]


def test_a_workbook_without_cells_or_rows_is_refused(workbook):
    assert problem_of(workbook(visible({}))).code == "empty"
    assert problem_of(workbook(("Oculta", "hidden", {1: ["email"], 2: ["a@example.com"]}))).code == "empty"
    assert problem_of(workbook(visible({1: ["email", "a"], 2: ["", " "]}))).code == "no_rows"


def test_a_workbook_that_is_damaged_or_no_workbook_is_refused(workbook, tmp_path):
    whole = workbook(visible({1: ["email"], 2: ["ana@example.com"]})).read_bytes()
    (tmp_path / "cortado.xlsx").write_bytes(whole[: len(whole) // 2])
    assert problem_of(tmp_path / "cortado.xlsx").code == "bad_workbook"
    with zipfile.ZipFile(tmp_path / "otro.zip", "w") as archive:
        archive.writestr("carta.txt", "hola")
    assert problem_of(tmp_path / "otro.zip").code == "binary"
    with zipfile.ZipFile(tmp_path / "falso.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<esto no es un libro")
    assert problem_of(tmp_path / "falso.xlsx").code == "bad_workbook"


def test_a_bomb_is_refused_before_it_is_unpacked(workbook, monkeypatch):
    monkeypatch.setattr(workbooks, "MAX_WORKBOOK", 10_000)
    path = workbook(visible({1: ["email", "a"], 2: ["ana@example.com", "x" * 20_000]}))
    assert problem_of(path).code == "huge_workbook"


@pytest.mark.parametrize(
    ("stray", "column", "row"),
    [
        (Raw('<c r="XFD1048576" t="b"><v>1</v></c>'), "XFD", 1_048_576),
        (Raw("<c s='1' r='ZZ60000'><v>1</v></c>"), "ZZ", 60_000),
        (Raw('</row><row spans="1:9" r="1048576"><c r="Z9"><v>1</v></c>'), "Z", 1_048_576),
    ],
)
def test_a_stray_cell_far_away_is_refused_for_the_reader_would_end_the_process(workbook, stray, column, row):
    problem = problem_of(workbook(visible({1: ["email"], 2: ["ana@example.com", stray]})))
    assert (problem.code, problem.params["column"], problem.params["row"]) == ("huge_sheet", column, row)


def test_text_that_looks_like_a_place_is_none(workbook):
    path = workbook(visible({1: ["email", "a"], 2: ["ana@example.com", 'r="XFD1048576" <c r="XFD1048576">']}))
    assert len(rows_of(path)) == 1


def test_a_large_cell_is_refused_with_its_place(workbook):
    path = workbook(visible({1: ["email", "a"], 2: ["ana@example.com", "x" * 1_000_001]}))
    problem = problem_of(path)
    assert (problem.code, problem.params["row"], problem.params["column"]) == ("large_cell", 2, "B")


def test_more_than_a_thousand_columns_are_refused(workbook):
    names = ["email", *(f"c{number}" for number in range(1_000))]
    assert problem_of(workbook(visible({1: names, 2: ["ana@example.com"]}))).code == "too_many_columns"


def test_the_rejects_of_a_workbook_are_a_csv_that_excel_opens_well(workbook, tmp_path):
    path = workbook(visible({1: ["email", "año"], 2: ["ana@example.com", 7], 3: ["malo", "a;b"]}))
    assert write_rejects(open_recipients(path), iter([(3, "No tiene @.")]), tmp_path / "rechazados.csv") == 1
    written = (tmp_path / "rechazados.csv").read_bytes()
    assert written == '\ufeffemail;año;motivo\r\nmalo;"a;b";No tiene @.\r\n'.encode()
