"""Recipients files: the layout, the header, the rows and their numbers, and what is refused with its place."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import translation

from relay import file_problems
from relay.file_problems import FileProblem, column_letter
from relay.headers import conflicting_names
from relay.recipients import open_recipients, read_rows


@pytest.fixture(autouse=True)
def _settings_for_sentences():
    if not settings.configured:
        settings.configure(USE_I18N=False)


@pytest.fixture
def stored(tmp_path):
    """Writes text or bytes to a file and gives its path."""

    def store(content: str | bytes, name: str = "lista.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return store


def rows_of(path: Path, **options) -> list[tuple[int, list[str], str | None]]:
    return [tuple(row) for row in read_rows(open_recipients(path, **options))]


def problem_of(path: Path, **options) -> FileProblem:
    """The problem that refuses the file, at opening or on the way."""
    with pytest.raises(FileProblem) as caught:
        rows_of(path, **options)
    with translation.override("en"):
        assert caught.value.sentence.startswith(path.name + ": ")
    return caught.value


# --- Delimiters and line ends


@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_delimiter_and_line_end_is_read(stored, delimiter, line_end):
    lines = ["nombre;Email;saldo", "Ana;ana@example.com;1", "Luis;luis@example.com;2"]
    path = stored("".join(line.replace(";", delimiter) + line_end for line in lines))
    file = open_recipients(path)
    assert (file.format, file.encoding, file.delimiter) == ("csv", "utf-8", delimiter)
    assert file.header == ("nombre", "Email", "saldo")
    assert (file.address_column, file.columns, file.header_row) == (1, ("nombre", "saldo"), 1)
    assert rows_of(path) == [(2, ["Ana", "ana@example.com", "1"], None), (3, ["Luis", "luis@example.com", "2"], None)]


def test_the_last_line_needs_no_end(stored):
    assert rows_of(stored("email;a\nana@example.com;1")) == [(2, ["ana@example.com", "1"], None)]


def test_a_single_column_of_addresses_is_a_file(stored):
    file = open_recipients(stored("correo\nana@example.com\nluis@example.com\n"))
    assert file.header == ("correo",)
    assert file.columns == ()


def test_the_delimiter_is_the_one_under_which_an_address_column_exists(stored):
    path = stored("email;nombre, apellido, apodo;saldo\nana@example.com;Pérez, Ana, A;1,50\n")
    assert open_recipients(path).header == ("email", "nombre, apellido, apodo", "saldo")
    path = stored('nombre,email\n"a;b;c",ana@example.com\n')
    assert open_recipients(path).delimiter == ","
    path = stored("cliente|email\nA;B;C|ana@example.com\n")
    assert open_recipients(path).delimiter == "|"


def test_a_chosen_column_helps_to_find_the_delimiter(stored):
    path = stored("a,b,c;contacto\n1,2,3;ana@example.com\n")
    assert open_recipients(path, email_column="contacto").delimiter == ";"


def test_the_line_with_which_excel_names_its_delimiter_is_honoured_and_counted(stored):
    path = stored("sep=,\r\nemail,a;b\r\nana@example.com,1\r\n")
    file = open_recipients(path)
    assert (file.delimiter, file.header, file.header_row) == (",", ("email", "a;b"), 2)
    assert rows_of(path) == [(3, ["ana@example.com", "1"], None)]


# --- Rows and their numbers


def test_quoted_cells_keep_delimiters_quotes_and_line_breaks(stored):
    path = stored('email;nota\n"ana@example.com";"a;b ""c""\nd\r\ne\rf"\nluis@example.com;x\n')
    assert rows_of(path) == [
        (2, ["ana@example.com", 'a;b "c"\nd\r\ne\rf'], None),
        (3, ["luis@example.com", "x"], None),
    ]


def test_blank_lines_and_rows_without_any_text_are_counted_and_skipped(stored):
    path = stored("\n\nemail;a\n\nana@example.com;1\n;\n ;\u00a0\nluis@example.com;2\n;solo\n\n\n")
    file = open_recipients(path)
    assert file.header_row == 3
    assert rows_of(path) == [
        (5, ["ana@example.com", "1"], None),
        (8, ["luis@example.com", "2"], None),
        (9, ["", "solo"], None),
    ]


def test_cells_keep_their_text_exactly(stored):
    path = stored("email;cédula;monto;nota\n ana@example.com ;007;1.234,50;  dos  blancos \n")
    assert rows_of(path) == [(2, [" ana@example.com ", "007", "1.234,50", "  dos  blancos "], None)]


def test_short_and_long_rows_are_marked_and_keep_their_cells(stored):
    path = stored("a;email;b\n1;ana@example.com\n1;luis@example.com;2;3\nsolo\n1;eva@example.com;2\n")
    assert rows_of(path) == [
        (2, ["1", "ana@example.com"], "ragged_row"),
        (3, ["1", "luis@example.com", "2", "3"], "ragged_row"),
        (4, ["solo"], "ragged_row"),
        (5, ["1", "eva@example.com", "2"], None),
    ]


def test_a_nul_excludes_its_row_only(stored):
    path = stored("email;a\nana@example.com;1\0\nluis@example.com;2\n")
    assert rows_of(path) == [(2, ["ana@example.com", "1\0"], "nul_byte"), (3, ["luis@example.com", "2"], None)]


def test_text_after_a_closing_quote_and_quotes_within_text_are_tolerated(stored):
    path = stored('email;a;b\nana@example.com;"uno" dos;5" tubo\nluis@example.com;"x"y;"dos\nlíneas"\n')
    assert rows_of(path) == [
        (2, ["ana@example.com", "uno dos", '5" tubo'], None),
        (3, ["luis@example.com", "xy", "dos\nlíneas"], None),
    ]


# --- Header


@pytest.mark.parametrize(
    "name",
    [
        "email", "EMAIL", "Email", "e-mail", "E-Mail", "E mail", "mail", "Correo", "CORREO", "correo_electronico",
        "Correo electrónico", "CORREO  ELECTRÓNICO", "correo-electrónico", "email_address", "Email Address", " email ",
        "\u00a0email\u200b", "_email_", "Correo electro\u0301nico",
    ],
)  # fmt: skip
def test_the_address_column_has_many_names(stored, name):
    file = open_recipients(stored(f"nombre;{name}\nAna;ana@example.com\n"))
    assert file.address_column == 1
    assert file.columns == ("nombre",)


@pytest.mark.parametrize("name", ["emails", "correo2", "nombre", "e", "mail to", "gmail"])
def test_other_names_are_not_the_address_column(stored, name):
    assert problem_of(stored(f"x;{name}\nAna;ana@example.com\n")).code == "no_address_column"


def test_without_an_address_column_the_names_found_are_said(stored):
    problem = problem_of(stored("nombre;saldo\nAna;1\n"))
    assert problem.code == "no_address_column"
    assert problem.params["names"] == "«nombre», «saldo»"


def test_two_address_columns_are_refused_naming_both_and_the_remedy(stored):
    problem = problem_of(stored("Correo;nombre;E-Mail\na@example.com;Ana;b@example.com\n"))
    assert problem.code == "two_address_columns"
    assert (problem.params["name"], problem.params["first"]) == ("Correo", "A")
    assert (problem.params["other"], problem.params["second"]) == ("E-Mail", "C")
    with translation.override("en"):
        assert "--email-column" in problem.sentence


def test_email_column_chooses_by_exact_name_first_and_loosely_then(stored):
    path = stored("correo;Correo;E-mail\na@example.com;b@example.com;c@example.com\n")
    assert open_recipients(path, email_column="Correo").address_column == 1
    assert open_recipients(path, email_column=" EMAIL ").address_column == 2
    assert problem_of(path, email_column="CORREO").code == "two_address_columns"
    assert problem_of(path, email_column="otra").code == "unknown_email_column"
    assert problem_of(path, email_column="otra").params["wanted"] == "otra"


def test_names_are_stripped_and_differ_by_case(stored):
    file = open_recipients(stored("email; Nombre ;nombre\nana@example.com;1;2\n"))
    assert file.header == ("email", "Nombre", "nombre")


def test_repeated_names_are_refused_with_their_columns(stored):
    problem = problem_of(stored("email;saldo;x; saldo \nana@example.com;1;2;3\n"))
    assert (problem.code, problem.params["name"]) == ("repeated_header", "saldo")
    assert (problem.params["first"], problem.params["second"]) == ("B", "D")


@pytest.mark.parametrize(
    ("header", "outer", "inner"),
    [("email;user;user.name", "B", "C"), ("email;a.b.c;x;a.b", "D", "B"), ("email;a.b.c;a", "C", "B")],
)
def test_a_name_that_is_a_text_and_an_object_is_refused(stored, header, outer, inner):
    problem = problem_of(stored(f"{header}\nana@example.com\n"))
    assert problem.code == "nested_header"
    assert (problem.params["first"], problem.params["second"]) == (outer, inner)


def test_dotted_names_side_by_side_are_fine(stored):
    assert conflicting_names(["user.name", "user.city", "username"]) is None
    file = open_recipients(stored("email;user.name;user.city\nana@example.com;1;2\n"))
    assert file.columns == ("user.name", "user.city")


def test_an_empty_name_is_refused_with_its_column(stored):
    problem = problem_of(stored("email;a; \u00a0;b\nana@example.com;1;2;3\n"))
    assert (problem.code, problem.params["column"]) == ("empty_header", "C")


def test_a_nul_in_a_name_is_refused(stored):
    assert problem_of(stored("email;a\0b\nana@example.com;1\n")).code == "nul_in_header"


@pytest.mark.parametrize(
    "content",
    [
        "ana@example.com;Ana\nluis@example.com;Luis\n",
        "ana@example.com;ana@example.com\nx;y\n",
        "ana@example.com\nluis@example.com\n",
    ],
)
def test_a_file_without_header_is_told_so_and_no_address_is_repeated(stored, content):
    problem = problem_of(stored(content))
    assert problem.code == "no_header"
    assert "ana" not in str(problem.params)


def test_a_thousand_columns_are_read_and_more_are_refused_quickly(stored):
    def wide(columns: int) -> Path:
        names = ["email", *(f"columna_{number}" for number in range(columns - 1))]
        rows = [";".join(["ana@example.com", *["x" * 20] * (columns - 1)])] * 50
        return stored("\n".join([";".join(names), *rows]), f"{columns}.csv")

    assert len(rows_of(wide(1_000))) == 50
    started = time.perf_counter()
    problem = problem_of(wide(5_000))
    assert (problem.code, problem.params["columns"]) == ("too_many_columns", 5_000)
    assert time.perf_counter() - started < 2


def test_columns_have_the_letters_of_a_spreadsheet():
    assert [column_letter(index) for index in (0, 25, 26, 51, 52, 701, 702)] == [
        "A",
        "Z",
        "AA",
        "AZ",
        "BA",
        "ZZ",
        "AAA",
    ]


# --- Refused whole


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    assert problem_of(tmp_path / "no.csv").code == "missing"
    assert problem_of(tmp_path).code == "not_a_file"
    os.mkfifo(tmp_path / "pipe")
    assert problem_of(tmp_path / "pipe").code == "not_a_file"
    assert problem_of(tmp_path / ("x" * 300)).code in ("missing", "unreadable")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_refused(stored):
    path = stored("email\nana@example.com\n")
    path.chmod(stat.S_IWUSR)
    assert problem_of(path).code == "unreadable"


@pytest.mark.parametrize("content", ["", "\n\n\r\n", " \n;;\n", "\ufeff", "\ufeff\n", "sep=;\n"])
def test_a_file_without_any_text_is_empty(stored, content):
    assert problem_of(stored(content)).code == "empty"


@pytest.mark.parametrize("content", ["email;a", "email;a\n", "email;a\n\n;\n \n", "sep=;\nemail;a\n"])
def test_a_header_alone_is_refused(stored, content):
    assert problem_of(stored(content)).code == "no_rows"


def test_a_large_cell_is_refused_with_its_row_and_column(stored):
    path = stored("email;a\nana@example.com;1\nluis@example.com;" + "x" * 10_000_000 + "\n")
    problem = problem_of(path)
    assert (problem.code, problem.params["row"], problem.params["column"]) == ("large_cell", 3, "B")
    assert len(str(problem.params)) < 200


def test_a_cell_of_a_megabyte_is_read(stored):
    assert len(rows_of(stored("email;a\nana@example.com;" + "x" * 1_000_000))[0][1][1]) == 1_000_000


def test_a_large_quoted_cell_of_one_line_is_a_large_cell(stored):
    problem = problem_of(stored('email;a;b\nana@example.com;1;"' + "x" * 1_200_000 + '"\n'))
    assert (problem.code, problem.params["row"], problem.params["column"]) == ("large_cell", 2, "C")


def test_a_large_cell_in_the_header_is_refused(stored):
    problem = problem_of(stored("email;" + "x" * 1_200_000 + "\nana@example.com;1\n"))
    assert (problem.code, problem.params["row"]) == ("large_cell", 1)


OTHERS = "".join(f"persona{number}@example.com;{number}\n" for number in range(100))


@pytest.mark.parametrize(
    "rest",
    [
        OTHERS,  # up to the end of the file
        OTHERS * 500,  # more than a megabyte of it
        OTHERS + 'otra@example.com;"x"\n' + OTHERS,  # up to the next quote: the joined row would look well formed
        OTHERS + '"otra@example.com";"x"\n' + OTHERS,
        "",
    ],
)
def test_a_quote_that_is_never_closed_is_refused_where_it_opened(stored, rest):
    problem = problem_of(stored('email;a\nana@example.com;1\nluis@example.com;"2\n' + rest))
    assert (problem.code, problem.params["row"], problem.params["column"]) == ("open_quote", 3, "B")


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_quote_open_at_the_very_end_is_refused(stored, ending):
    problem = problem_of(stored('email;a\nana@example.com;"1' + ending))
    assert (problem.code, problem.params["row"], problem.params["column"]) == ("open_quote", 2, "B")
    assert problem_of(stored('email;a\nana@example.com;"' + ending)).code == "open_quote"
    assert problem_of(stored('email;a\nana@example.com;"1""' + ending)).code == "open_quote"


def test_a_quote_open_in_the_header_is_refused(stored):
    problem = problem_of(stored('email;"a\nana@example.com;1\n'))
    assert (problem.code, problem.params["row"], problem.params["column"]) == ("open_quote", 1, "B")


# --- Sentences


def test_a_problem_calls_the_file_by_the_name_given(stored):
    path = stored("", "tmp8s7d.upload")
    with pytest.raises(FileProblem) as caught:
        open_recipients(path, name="clientes.csv")
    assert caught.value.params["file"] == "clientes.csv"
    with translation.override("en"):
        assert str(caught.value) == "clientes.csv: the file is empty."


def test_every_code_has_a_sentence_that_takes_its_parameters():
    words = dict.fromkeys(
        ["file", "column", "name", "first", "second", "inner", "other", "names", "wanted", "encoding", "delimiter"], "x"
    )
    for code in file_problems._SENTENCES:
        with translation.override("en"):
            assert "%" not in FileProblem(code, **words, row=1, byte=2, columns=3).sentence


# --- Size

GENERATE_AND_READ = """
import resource, sys
from pathlib import Path
from relay.recipients import open_recipients, read_rows
path, rows = Path(sys.argv[1]), int(sys.argv[2])
with path.open("w", encoding="utf-8") as file:
    file.write("email;nombre;apellido;ciudad;monto;vence;contrato;enlace\\n")
    for n in range(rows):
        file.write(f'p{n}@example.com;"Pérez; Ana";Gómez;Quito;{n},50;2026-01-01;{n:08d};https://example.com/{n}\\n')
assert sum(1 for row in read_rows(open_recipients(path))) == rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path):
    def peak(rows: int) -> int:
        command = [sys.executable, "-c", GENERATE_AND_READ, str(tmp_path / "lista.csv"), str(rows)]
        root = Path(file_problems.__file__).parent.parent
        return int(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)

    assert peak(300_000) - peak(30_000) < 4_000  # KiB


def test_a_hundred_thousand_rows_are_read_in_a_moment(stored):
    line = "ana@example.com;Ana;Gómez;Quito;1,50;2026-01-01;00000001;https://example.com/1\n"
    path = stored("email;b;c;d;e;f;g;h\n" + line * 100_000)
    started = time.perf_counter()
    assert sum(1 for _ in read_rows(open_recipients(path))) == 100_000
    assert time.perf_counter() - started < 2  # ~0.15 s on the machine it was written on
