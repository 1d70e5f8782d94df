"""Recipients files as bytes: which encoding they are in, and where they are damaged."""

import os
import random
import time

import pytest

from relay.file_problems import FileProblem
from relay.recipients import Corrections, open_recipients, read_rows

TEXT = "email;nombre\nana@example.com;Peñafiel Ñáñez\nluis@example.com;José «Pepe» Ünal\n"


@pytest.fixture
def stored(tmp_path):
    def store(content: bytes, name: str = "lista.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return store


def names_in(path) -> list[str]:
    return [row.cells[1] for row in read_rows(open_recipients(path))]


def problem_of(path) -> FileProblem:
    with pytest.raises(FileProblem) as caught:
        list(read_rows(open_recipients(path)))
    return caught.value


@pytest.mark.parametrize(
    ("codec", "prefix", "encoding", "bom"),
    [
        ("utf-8", b"", "utf-8", b""),
        ("utf-8-sig", b"", "utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe", "utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff", "utf-16-be", b"\xfe\xff"),
        ("utf-16-le", b"", "utf-16-le", b""),
        ("utf-16-be", b"", "utf-16-be", b""),
        ("cp1252", b"", "cp1252", b""),
        ("latin-1", b"", "cp1252", b""),
    ],
)
def test_every_encoding_gives_the_same_text(stored, codec, prefix, encoding, bom):
    path = stored(prefix + TEXT.encode(codec))
    file = open_recipients(path)
    assert (file.encoding, file.bom, file.header) == (encoding, bom, ("email", "nombre"))
    assert names_in(path) == ["Peñafiel Ñáñez", "José «Pepe» Ünal"]


def test_windows_1252_has_more_than_latin_1(stored):
    assert names_in(stored("email;a\nana@example.com;5 € – “sí”\n".encode("cp1252"))) == ["5 € – “sí”"]


def test_a_file_that_ends_with_an_accent_is_windows_1252(stored):
    assert names_in(stored("email;a\nana@example.com;José".encode("cp1252"))) == ["José"]
    assert names_in(stored("email;a\nana@example.com;Muñ".encode("cp1252"))) == ["Muñ"]


def test_a_damaged_utf_8_file_is_not_read_as_windows_1252(stored):
    good = "email;a\nana@example.com;Peña\nluis@example.com;".encode()
    problem = problem_of(stored(good + b"Jos\xe9\neva@example.com;x\n"))
    assert problem.code == "damaged_text"
    assert (problem.params["row"], problem.params["byte"]) == (3, len(good) + 4)


@pytest.mark.parametrize(
    "damage", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xff"]
)
def test_every_kind_of_damage_is_found_with_its_place(stored, damage):
    start = 'email;a\nana@example.com;"Peña\ncon línea"\n\nluis@example.com;'.encode()
    problem = problem_of(stored(start + damage + b";\neva@example.com;x\n"))
    assert problem.code == "damaged_text"
    assert (problem.params["row"], problem.params["byte"]) == (4, len(start) + 1)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_utf_8_file_that_was_cut_off_is_refused(stored, cut):
    whole = "email;a\nana@example.com;Peña 😀".encode()
    problem = problem_of(stored(whole[:-cut]))
    assert (problem.code, problem.params["row"]) == ("damaged_text", 2)
    assert problem.params["byte"] == len(whole) - 3


def test_a_file_cut_off_within_its_only_accent_is_refused(stored):
    assert problem_of(stored("email;a\nana@example.com;José".encode()[:-1])).code == "damaged_text"


def test_a_utf_8_file_with_a_mark_is_never_windows_1252(stored):
    assert problem_of(stored(b"\xef\xbb\xbfemail;a\nana@example.com;Jos\xe9\n")).code == "damaged_text"


def test_damage_is_found_across_the_borders_of_what_is_read_at_once(stored):
    for shift in range(4):
        start = "email;a\n" + "x" * shift + "ana@example.com;😀\n" * 60_000
        content = start.encode() + b"luis@example.com;\xf0\x9f\x98"
        problem = problem_of(stored(content + b"\n"))
        assert (problem.code, problem.params["byte"]) == ("damaged_text", len(content) - 2)
        assert problem.params["row"] == 60_002
        assert len(names_in(stored(start.encode()))) == 60_000


def test_utf_8_after_a_megabyte_of_lone_accents_still_counts(stored):
    content = b"email;a\n" + b"ana@example.com;Jos\xe9\n" * 60_000 + "luis@example.com;Peña\n".encode()
    assert problem_of(stored(content)).code == "damaged_text"


def test_a_byte_that_windows_1252_lacks_is_refused_with_its_place(stored):
    start = b"email;a\nana@example.com;Jos\xe9\nluis@example.com;"
    problem = problem_of(stored(start + b"\x81\n"))
    assert (problem.code, problem.params["row"], problem.params["byte"]) == ("unknown_encoding", 3, len(start) + 1)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_that_was_cut_off_or_broken_is_refused(stored, codec):
    whole = "\ufeff" + TEXT
    problem = problem_of(stored(whole.encode(codec)[:-1]))
    assert (problem.code, problem.params["row"]) == ("damaged_text", 3)
    lone = whole.encode(codec) + "\ud83d".encode(codec, "surrogatepass") + "x\n".encode(codec)
    problem = problem_of(stored(lone))
    assert (problem.code, problem.params["row"], problem.params["byte"]) == (
        "damaged_text",
        4,
        len(whole.encode(codec)) + 1,
    )


def test_a_nul_in_utf_16_is_a_character_and_its_zero_bytes_are_not(stored):
    path = stored("\ufeffemail;a\nana@example.com;1\0\nluis@example.com;2\n".encode("utf-16-le"))
    assert [row.problem for row in read_rows(open_recipients(path))] == ["nul_byte", None]


def test_a_few_nuls_do_not_make_a_text_binary(stored):
    path = stored(b"email;a\n\0\0;1\nluis@example.com;2\n")
    assert [row.problem for row in read_rows(open_recipients(path))] == ["nul_byte", None]


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.7\n1 0 obj\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),  # .xls
        b"\x1f\x8b\x08\x00abc",
        b"  <HTML><body><table><tr><td>email</td></tr></table>",
        b"<?xml version='1.0'?><Workbook/>",
        "\ufeffemail\nana@example.com\n".encode("utf-32-le"),
        bytes(range(256)) * 4,
        bytes(5_000),
        random.Random(1).randbytes(100_000),
        random.Random(2).randbytes(60),
    ],
)
def test_what_is_no_text_is_refused_whatever_its_name(stored, content):
    assert problem_of(stored(content)).code == "binary"


def test_a_file_without_line_ends_is_refused_before_it_fills_the_memory(stored):
    problem = problem_of(stored(b"email;a\nana@example.com;1\n" + b"x" * 20_000_000))
    assert (problem.code, problem.params["row"]) == ("long_line", 3)


def test_a_file_is_scanned_at_hundreds_of_megabytes_a_second(stored):
    line = "ana@example.com;Peñafiel;Gómez;Quito;1,50;2026-01-01;00000001;https://example.com/1\n"
    path = stored(("email;b;c;d;e;f;g;h\n" + line * 500_000).encode())
    started = time.perf_counter()
    open_recipients(path)
    rate = os.path.getsize(path) / (time.perf_counter() - started)
    assert rate > 50e6  # 500 MB/s on the machine it was written on


def test_a_tab_between_two_names_is_not_a_blank_within_one(tmp_path):
    """Found by the property test: `email<tab>_` looked like `email_` under another delimiter."""
    path = tmp_path / "recipients.csv"
    path.write_bytes(b"email\t_\n0\n")
    file = open_recipients(path)
    assert (file.delimiter, file.header) == ("\t", ("email", "_"))


# --- What a person corrected


@pytest.mark.parametrize("codec", ["cp850", "mac-roman", "iso-8859-1", "cp1252", "utf-8"])
def test_a_named_encoding_is_taken_at_its_word(stored, codec):
    path = stored(TEXT.replace("«Pepe»", "Pepe").encode(codec))
    file = open_recipients(path, corrections=Corrections(encoding=codec))
    assert file.encoding == codec
    assert [row.cells[1] for row in read_rows(file)] == ["Peñafiel Ñáñez", "José Pepe Ünal"]


def test_a_named_encoding_leaves_its_mark_out(stored):
    path = stored(b"\xff\xfe" + TEXT.encode("utf-16-le"))
    file = open_recipients(path, corrections=Corrections(encoding="utf-16-le"))
    assert (file.bom, file.header) == (b"\xff\xfe", ("email", "nombre"))


@pytest.mark.parametrize(
    ("corrections", "code"),
    [
        (Corrections(encoding="utf-8"), "not_in_encoding"),
        (Corrections(encoding="rot13"), "wrong_encoding"),
        (Corrections(delimiter="x"), "wrong_delimiter"),
        (Corrections(delimiter=""), None),
        (Corrections(delimiter="|"), "no_address_column"),
        (Corrections(delimiter=";"), None),
    ],
)
def test_a_wrong_correction_is_a_clear_problem(stored, corrections, code):
    path = stored(TEXT.encode("cp1252"))
    if code is None:
        assert open_recipients(path, corrections=corrections).delimiter == ";"
        return
    with pytest.raises(FileProblem) as caught:
        open_recipients(path, corrections=corrections)
    assert caught.value.code == code
    assert "lista.csv" in caught.value.sentence
    assert "Peñafiel" not in caught.value.sentence


def test_a_binary_file_stays_one_whatever_is_said_of_it(stored):
    with pytest.raises(FileProblem) as caught:
        open_recipients(stored(b"%PDF-1.7 \x00\x01"), corrections=Corrections(encoding="iso-8859-1"))
    assert caught.value.code == "binary"
