"""Every row of the file becomes one recipient, and what stands in its cells arrives as it was, on both databases."""

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay import importing, reasons
from relay.addresses import AddressProblem, check_address
from relay.file_problems import FileProblem
from relay.importing import Findings, import_recipients
from relay.models import BulkSend, Recipient, Suppression
from relay.recipients import open_recipients
from relay.rendering import compile_template
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


def imported(path: Path, html: str = "", **fields) -> tuple[BulkSend, Findings]:
    file = open_recipients(path)
    understood = {"address_column": file.header[file.address_column], "columns": list(file.columns)}
    bulk_send = new_bulk_send(**{"status": "draft", "template_html": html, **understood} | fields)
    with transaction.atomic():
        return bulk_send, import_recipients(bulk_send, file, compile_template("", html))


@pytest.fixture
def written(tmp_path):
    def write(*lines: str) -> Path:
        path = tmp_path / "lista.csv"
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return path

    return write


def stored(bulk_send: BulkSend) -> list[tuple]:
    """(row, address, state, reason, detail) in the order of the file."""
    return list(bulk_send.recipients.order_by("row").values_list("row", "email", "state", "reason", "reason_detail"))


# --- What arrives

HARD = "\t\\\"'\n\r;,|{}%N.\0\u2028\u2029\x85\u00a0\ufeff\U0001f600ñ́"
ANY = st.one_of(
    st.text(HARD + "abc", max_size=12),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r\x85"), max_size=8),
    st.sampled_from(["\\N", "\\.", "\\n", "\\x41", "\\", "\\\\t", "NULL", '{"a": 1}', "%s", "'; DROP TABLE x; --"]),
)
GOOD_ADDRESS = st.sampled_from(
    [
        "ana@example.com",
        " Luis@Example.COM ",
        "o'brien+x@example.com",
        "a|b`{}~^%$#!@example.com",
        "\ufeffeva@example.com",
        "jose@ñandú.example",
    ]
)
BAD_ADDRESS = st.one_of(
    ANY,
    st.sampled_from(["a\\b@example.com", "a\tb@example.com", '"a\\"b"@example.com', "ana@", "x" * 400]),
    st.builds("{}@example.com".format, ANY),
)
ROW = st.tuples(st.one_of(GOOD_ADDRESS, BAD_ADDRESS), ANY, ANY)


def as_stored(address: str) -> str:
    """What is kept of a cell that is no address: nothing that could break a line, a table or a screen."""
    kept = ["\ufffd" if character < " " or character == "\x7f" else character for character in address.strip()[:320]]
    return "".join(kept).replace("\\", "＼")


def expected_of(number: int, address: str, cells: tuple[str, ...]) -> tuple:
    if "\0" in address + "".join(cells):
        cells = tuple(cell.replace("\0", "\ufffd") for cell in cells)
        return number, as_stored(address), "excluded", reasons.NUL_BYTE, "", cells
    verdict = check_address(address)
    if isinstance(verdict, AddressProblem):
        return number, as_stored(address), "excluded", reasons.INVALID_ADDRESS, verdict.code, cells
    return number, verdict, "pending", "", "", cells


@given(st.lists(ROW, min_size=1, max_size=6))
@example([("ana@example.com", "\\N", "\\."), ("a\\\tb", "\t", "\n\\")])
@example([("eva@example.com", "a\0b", "\\"), ("\0\\", "\u2028", "\U0001f600")])
@example([("a\x1fb\x7fc\x01", "\x01", "\x7f")])
@hypothesis_settings(
    max_examples=150,
    deadline=None,
    # The database is rolled back by the test itself after each example.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_cells_and_addresses_arrive_as_they_were(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lista.csv"
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL).writerows([("correo", "a\\b", "ñ"), *rows])
        path.write_bytes(text.getvalue().encode("utf-8-sig"))
        with transaction.atomic():
            try:
                bulk_send, findings = imported(path, allow_repeats=True)
            except FileProblem as problem:
                assert problem.code == "no_rows"  # noqa: PT017
                assume(False)
            found = [
                (row.row, row.email, row.state, row.reason, row.reason_detail, row.variables)
                for row in bulk_send.recipients.order_by("row")
            ]
            transaction.set_rollback(True)
    expected = [
        expected_of(number, address, cells)
        for number, (address, *cells) in enumerate(rows, 2)
        if "".join([address, *cells]).strip()
    ]
    expected = [(*row[:5], dict(zip(["a\\b", "ñ"], row[5], strict=True))) for row in expected]
    first: dict[str, int] = {}
    for index, (number, email, state, _reason, _detail, variables) in enumerate(expected):
        if state == "pending":
            earlier = first.setdefault(email.lower() + json.dumps(variables), number)
            if earlier != number:
                expected[index] = (number, email, "excluded", reasons.DUPLICATE, str(earlier), variables)
    assert found == expected
    assert findings.total == len(expected)
    assert findings.excluded == sum(row[2] == "excluded" for row in expected)
    assert findings.valid + findings.excluded == findings.total


def test_a_block_ends_where_the_next_begins(written):
    for rows in (importing.COPY_BLOCK, importing.COPY_BLOCK + 1):
        bulk_send, findings = imported(written("correo;a", *(f"p{n}@example.com;{n}" for n in range(rows))))
        assert findings.total == bulk_send.recipients.count() == rows
        assert dict(bulk_send.recipients.values_list("row", "variables")) == {n + 2: {"a": str(n)} for n in range(rows)}


@pytest.mark.parametrize("count", [importing.INSERT_PIECE + 1, importing.ANALYZE_FROM])
def test_many_rows_arrive_too(written, count):
    bulk_send, findings = imported(written("correo", *(f"p{n}@example.com" for n in range(count))))
    assert findings.valid == bulk_send.recipients.filter(state="pending").count() == count


def test_a_new_recipient_has_never_been_called(written):
    bulk_send, _findings = imported(written("correo;a", "ana@example.com;1"))
    row = Recipient.objects.values().get(bulk_send=bulk_send)
    del row["id"]
    assert row == {
        "bulk_send_id": bulk_send.pk,
        "row": 2,
        "email": "ana@example.com",
        "variables": {"a": "1"},
        "state": "pending",
        "reason": "",
        "reason_detail": "",
        "message_id": "",
        "delivery": "",
        "accepted_at": None,
        "attempts": 0,
        "not_before": None,
        "sending_since": None,
        "looks": 0,
        "look_at": None,
        "settled": False,
        "lease_id": None,
    }


def test_a_file_that_turns_out_damaged_on_the_way_stores_nothing(written):
    path = written("correo;a", *(f"p{n}@example.com;{n}" for n in range(3000)), 'z@example.com;"abierta')
    with pytest.raises(FileProblem), transaction.atomic():
        imported(path)
    assert not Recipient.objects.exists()


@pytest.mark.parametrize("address", range(3))
def test_the_address_may_stand_in_any_column(written, address):
    cells = ["a1", "b1"]
    cells.insert(address, "ana@example.com")
    header = ["a", "b"]
    header.insert(address, "correo")
    bulk_send, _findings = imported(written(";".join(header), ";".join(cells)))
    assert bulk_send.recipients.get().variables == {"a": "a1", "b": "b1"}
    assert bulk_send.recipients.get().email == "ana@example.com"


# --- What is excluded


def test_each_excluded_row_says_why(written):
    Suppression.objects.create(email="baja@example.com", reason="Lo pidió")
    Suppression.objects.create(email="antes@example.com", reason="Rebote", until=timezone.now())
    bulk_send, findings = imported(
        written(
            "nombre;correo;monto",
            "Ana;ana@example.com;1",
            "Luis;luis@ejemplo;2",
            ";eva@example.com; ",
            "Iván;ivan@example.com",
            "Zoe;zoe@example.com;1;2",
            "Baja;BAJA@example.com;3",
            "Ana;Ana@Example.com;4",
            "Antes;antes@example.com;5",
            "Corta",
        ),
        html="{{nombre}} {{monto}}",
    )
    assert stored(bulk_send) == [
        (2, "ana@example.com", "pending", "", ""),
        (3, "luis@ejemplo", "excluded", "invalid_address", "bad_domain"),
        (4, "eva@example.com", "excluded", "missing_variable", "nombre, monto"),
        (5, "ivan@example.com", "excluded", "ragged_row", "2 / 3"),
        (6, "zoe@example.com", "excluded", "ragged_row", "4 / 3"),
        (7, "BAJA@example.com", "excluded", "suppressed", "Lo pidió"),
        (8, "Ana@example.com", "excluded", "duplicate", "2"),
        (9, "antes@example.com", "pending", "", ""),
        (10, "", "excluded", "ragged_row", "1 / 3"),
    ]
    assert findings.as_json() == {
        "valid": 2,
        "excluded": 7,
        "by_reason": {
            "invalid_address": 1,
            "missing_variable": 1,
            "ragged_row": 3,
            "suppressed": 1,
            "duplicate": 1,
        },
        "examples": {
            "invalid_address": [{"row": 3, "detail": "bad_domain"}],
            "missing_variable": [{"row": 4, "detail": "nombre, monto"}],
            "ragged_row": [
                {"row": 5, "detail": "2 / 3"},
                {"row": 6, "detail": "4 / 3"},
                {"row": 10, "detail": "1 / 3"},
            ],
            "suppressed": [{"row": 7, "detail": "Lo pidió"}],
            "duplicate": [{"row": 8, "detail": "2"}],
        },
        "slips": 0,
        "slip_examples": [],
    }


def test_findings_add_up_and_keep_five_examples(written):
    rows = [f"malo{n};x" if n % 3 else f"p{n % 30}@gmial.com;x" for n in range(200)]
    bulk_send, findings = imported(written("correo;a", *rows))
    assert findings.total == 200
    assert findings.by_reason == {"invalid_address": 133, "duplicate": 57}
    assert (findings.valid, findings.excluded) == (10, 190)
    assert bulk_send.recipients.counts() | {"pending": 10, "excluded": 190} == bulk_send.recipients.counts()
    assert {reason: len(examples) for reason, examples in findings.examples.items()} == {
        "invalid_address": 5,
        "duplicate": 5,
    }
    assert [example["row"] for example in findings.examples["invalid_address"]] == [3, 4, 6, 7, 9]
    assert [example["row"] for example in findings.examples["duplicate"]] == [32, 35, 38, 41, 44]
    assert findings.slips == 67
    assert findings.slip_examples[0] == {"row": 2, "detail": "gmail.com"}


def test_the_first_valid_row_of_an_address_stays(written):
    rows = [";ana@example.com", "1;ANA@example.com", "2;ana@example.com"]
    bulk_send, _findings = imported(written("monto;correo", *rows), html="{{monto}}")
    assert [row[2:] for row in stored(bulk_send)] == [
        ("excluded", "missing_variable", "monto"),
        ("pending", "", ""),
        ("excluded", "duplicate", "3"),
    ]


def test_repeats_that_were_allowed_are_excluded_only_when_all_cells_are_equal(written):
    rows = ["1;ana@example.com", "2;ana@example.com", "1;Ana@example.com", "1 ;ana@example.com"]
    bulk_send, _findings = imported(written("monto;correo", *rows), allow_repeats=True)
    assert [row[2:] for row in stored(bulk_send)] == [
        ("pending", "", ""),
        ("pending", "", ""),
        ("excluded", "duplicate", "2"),
        ("pending", "", ""),
    ]


def test_empty_cells_may_be_allowed(written):
    bulk_send, _findings = imported(
        written("monto;correo", ";ana@example.com"), html="{{monto}}{{#monto}}{{otro}}{{/monto}}", allow_empty=True
    )
    assert bulk_send.recipients.get().state == "pending"


def test_a_variable_is_needed_only_where_its_section_is_true(written):
    rows = ["1;ana@example.com;", ";luis@example.com;", "2;eva@example.com;marzo"]
    bulk_send, _findings = imported(written("monto;correo;mes", *rows), html="{{#monto}}{{mes}}{{/monto}}")
    assert [row[2:] for row in stored(bulk_send)] == [
        ("excluded", "missing_variable", "mes"),
        ("pending", "", ""),
        ("pending", "", ""),
    ]


@pytest.mark.parametrize("html", ["{{deuda}}", "{{#deuda}}{{/deuda}}{{^otro}}{{deuda}}{{/otro}}"])
def test_a_mapped_variable_is_looked_for_in_its_column(written, html):
    bulk_send, _findings = imported(
        written("correo;deuda;saldo", "ana@example.com;1;", "eva@example.com;;2"),
        html=html,
        variable_map={"deuda": "saldo"},
    )
    assert [row[2:] for row in stored(bulk_send)] == [("excluded", "missing_variable", "deuda"), ("pending", "", "")]


def test_the_address_itself_may_be_a_variable(written):
    bulk_send, _findings = imported(
        written("correo", "ana@example.com"), html="{{correo}}{{#correo}}{{correo}}{{/correo}}"
    )
    assert bulk_send.recipients.get().state == "pending"


@pytest.mark.parametrize("name", [r"monto\total", r"a\N", "\\", "monto\ttotal"])
def test_a_missing_variable_may_have_any_name(written, name):
    path = written(f'"{name}";correo', ";ana@example.com", "1;eva@example.com")
    bulk_send, _findings = imported(path, html="{{" + name + "}}")
    assert stored(bulk_send) == [
        (2, "ana@example.com", "excluded", "missing_variable", name),
        (3, "eva@example.com", "pending", "", ""),
    ]


def test_a_row_that_is_imported_twice_is_refused_by_the_database(written):
    path = written("correo", "ana@example.com")
    bulk_send, _findings = imported(path)
    with pytest.raises(IntegrityError), transaction.atomic():
        import_recipients(bulk_send, open_recipients(path), compile_template("", ""))


def test_the_rejected_rows_are_written_as_they_stand_each_with_its_reason(written, tmp_path):
    path = written("correo;monto", "ana@example.com;1", "=malo\\;2", "ana@example.com;3")
    bulk_send, _findings = imported(path)
    target = tmp_path / "rechazados.csv"
    importing.write_rejected_rows(bulk_send, open_recipients(path), target)
    with target.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=";")
    assert header[:2] == ["correo", "monto"]
    assert [row[:2] for row in rows] == [["=malo\\", "2"], ["ana@example.com", "3"]]
    assert [row[2] for row in rows] == [row.reason_text for row in bulk_send.recipients.exclude(row=2).order_by("row")]
