"""The rejected rows of a recipients file: its own layout, cells as they came, and the reason."""

import csv

import pytest

from relay.recipients import open_recipients, read_rows
from relay.rejects import write_rejects


@pytest.fixture
def rejected(tmp_path):
    """The bytes written for the given reasons on a file of the given bytes."""

    def write(content: bytes, reasons, name="lista.csv") -> bytes:
        path, target = tmp_path / name, tmp_path / "rechazados.csv"
        path.write_bytes(content)
        write.count = write_rejects(open_recipients(path), iter(reasons), target)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([name, "rechazados.csv"])
        return target.read_bytes()

    return write


def test_the_rows_named_are_written_as_they_came_with_their_reason(rejected):
    content = (
        b'email;nota;monto\r\nana@example.com;x;007\r\n malo@ ;"a;""b""\r\nc";1,50\r\n'
        b"luis@example.com;y;2\r\nno;z; 3 \r\n"
    )
    assert (
        rejected(content, [(3, "No es válida."), (5, "No tiene @.")])
        == ('email;nota;monto;motivo\r\n malo@ ;"a;""b""\r\nc";1,50;No es válida.\r\nno;z; 3 ;No tiene @.\r\n').encode()
    )
    assert rejected.count == 2


@pytest.mark.parametrize(
    ("codec", "prefix"),
    [
        ("utf-8", b""),
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("cp1252", b""),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
def test_the_layout_is_the_files_own(rejected, codec, prefix, line_end, delimiter):
    text = "email;año\nana@example.com;Ñ\n".replace(";", delimiter).replace("\n", line_end)
    expected = "email;año;motivo\nana@example.com;Ñ;ya está\n".replace(";", delimiter).replace("\n", line_end)
    assert rejected(prefix + text.encode(codec), [(2, "ya está")]) == prefix + expected.encode(codec)


def test_a_line_break_of_another_kind_within_a_cell_stays_in_it(rejected, tmp_path):
    written = rejected(b'email;a\nana@example.com;"x\ry"\n', [(2, "z")])
    assert written == b'email;a;motivo\nana@example.com;"x\ry";z\n'


def test_the_line_that_names_the_delimiter_is_kept(rejected):
    assert rejected(b"sep=,\r\nemail,a\r\nx,1\r\n", [(3, "z")]) == b"sep=,\r\nemail,a,motivo\r\nx,1,z\r\n"


def test_the_reason_of_a_short_row_stands_under_its_heading_and_a_long_row_keeps_its_cells(rejected):
    content = b"email;a;b\nana@example.com\nluis@example.com;1;2;3\n"
    assert rejected(content, [(2, "corta"), (3, "larga")]) == (
        b"email;a;b;motivo\nana@example.com;;;corta\nluis@example.com;1;2;3;larga\n"
    )


@pytest.mark.parametrize(("header", "heading"), [("email;motivo", "motivo_2"), ("motivo;email;motivo_2", "motivo_3")])
def test_a_heading_that_is_taken_gets_a_number(rejected, header, heading):
    row = ";".join("x" for _ in header.split(";"))
    assert rejected(f"{header}\n{row}\n".encode(), [(2, "z")]) == f"{header};{heading}\n{row};z\n".encode()


def test_a_sentence_that_the_encoding_lacks_is_written_with_question_marks(rejected):
    written = rejected("email;a\nx;ñ\n".encode("cp1252"), [(2, "→ «ñ»")])
    assert written == "email;a;motivo\nx;ñ;? «ñ»\n".encode("cp1252")


def test_nul_rows_can_be_written(rejected):
    assert rejected(b"email;a\nx;1\0\n", [(2, "z")]) == b"email;a;motivo\nx;1\0;z\n"


def test_several_reasons_of_one_row_share_it_and_rows_that_do_not_exist_are_left_out(rejected):
    written = rejected(b"email;a\nx;1\n\ny;2\n", [(2, "Uno."), (2, "Dos."), (4, "Tres."), (9, "Cuatro.")])
    assert written == b"email;a;motivo\nx;1;Uno. Dos.\ny;2;Tres.\n"
    assert rejected.count == 2


def test_a_reason_for_a_row_in_between_that_is_blank_does_not_hide_those_after_it(rejected):
    assert rejected(b"email;a\nx;1\n\ny;2\n", [(3, "Nada."), (4, "Sí.")]) == b"email;a;motivo\ny;2;S\xc3\xad.\n"


def test_without_reasons_the_header_alone_is_written(rejected):
    assert rejected(b"email;a\nx;1\n", []) == b"email;a;motivo\n"
    assert rejected.count == 0


def test_nothing_is_left_behind_when_the_reasons_fail(tmp_path):
    (tmp_path / "lista.csv").write_text("email\nx\n")
    target = tmp_path / "rechazados.csv"
    target.write_text("de antes")

    def failing():
        yield 2, "z"
        raise RuntimeError("base de datos")

    with pytest.raises(RuntimeError):
        write_rejects(open_recipients(tmp_path / "lista.csv"), failing(), target)
    assert target.read_text() == "de antes"
    assert len(list(tmp_path.iterdir())) == 2


def test_reasons_are_taken_lazily(tmp_path):
    path = tmp_path / "lista.csv"
    path.write_text("email\n" + "x\n" * 1_000)
    file = open_recipients(path)
    taken = []

    def reasons():
        for row in read_rows(file):
            taken.append(row.number)
            yield row.number, "z"

    assert write_rejects(file, reasons(), tmp_path / "rechazados.csv") == 1_000
    assert taken == list(range(2, 1_002))


def test_the_rejects_can_be_read_as_a_recipients_file_again(rejected, tmp_path):
    rejected("Correo electrónico|motivo\nx|ñ\n".encode(), [(2, "z")])
    again = open_recipients(tmp_path / "rechazados.csv")
    assert again.columns == ("motivo", "motivo_2")
    with (tmp_path / "rechazados.csv").open(newline="") as file:
        assert list(csv.reader(file, delimiter="|"))[1] == ["x", "ñ", "z"]
