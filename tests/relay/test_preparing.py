"""What people save of a preparation, what it lacks, how variables find their columns, and how drafts are discarded."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction

from relay import decisions, ledger, preparing
from relay.creating import ATTACHMENTS_LIMIT, Refused
from relay.decisions import Actor
from relay.models import BulkSend, Decision, Preparation, Recipient, RememberedMapping, Sender, WrongState
from relay.preparing import Outdated
from tests.relay.ledger_acts import ON_POSTGRESQL
from tests.relay.preparations import PEOPLE, given, kept_template, prepared
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db
BY = Actor("lucia")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def stored_in(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def checked_draft(**fields: Any) -> tuple[Preparation, BulkSend]:
    """As the check leaves it, without its relay."""
    made = prepared()
    sent = new_bulk_send(**{"rows": 2, "status": "draft"} | fields)
    Preparation.objects.filter(pk=made.pk).update(checking="checked", bulk_send=sent)
    made.refresh_from_db()
    return made, sent


# --- Saving


def test_who_saves_from_an_older_page_is_told_so_and_saves_nothing() -> None:
    made = prepared(file_name="lista.csv")
    preparing.change(made.pk, version=made.version, subject="El nuevo")
    with pytest.raises(Outdated, match=r"after you opened the page|después de que"):
        preparing.change(made.pk, version=made.version, subject="El viejo")
    made.refresh_from_db()
    assert made.subject == "El nuevo"


def test_saving_the_same_again_keeps_the_check() -> None:
    made, _sent = checked_draft()
    same = preparing.change(made.pk, version=made.version, template_id=made.template_id, allow_empty=False)
    assert same.is_checked
    assert same.version == made.version


def test_a_new_name_reaches_the_draft_and_keeps_the_check() -> None:
    made, sent = checked_draft()
    assert preparing.change(made.pk, version=made.version, name="Cuotas de abril").is_checked
    sent.refresh_from_db()
    assert sent.name == "Cuotas de abril"


@pytest.mark.parametrize("field", ["subject", "reply_to", "delimiter", "encoding", "address_column"])
def test_what_was_changed_after_the_check_makes_the_draft_stale(field: str) -> None:
    made, sent = checked_draft()
    changed = preparing.change(made.pk, version=made.version, **{field: "x"})
    assert changed.checking == "idle"
    with pytest.raises(WrongState, match=r"changed after its check|cambió después"):
        decisions.start(sent, BY, accept_rejects=True)
    sent.refresh_from_db()
    assert sent.status == "draft"
    assert not Decision.objects.exists()


def test_a_checked_draft_can_be_started_and_is_then_closed() -> None:
    made, sent = checked_draft()
    decisions.start(sent, BY)
    with pytest.raises(WrongState):
        preparing.change(made.pk, version=made.version, subject="Tarde")
    with pytest.raises(WrongState):
        preparing.discard_preparation(made.pk)


# --- The file


def test_an_upload_gets_a_name_that_nobody_chose_and_its_beginning_is_understood(stored_in: Path) -> None:
    made = prepared(file_name="../../lista de ñandúes.csv")
    kept = Path(made.file.path)
    assert kept.parent == stored_in / "uploads"
    assert kept.stat().st_mode & 0o777 == 0o640
    assert made.file_name == "lista de ñandúes.csv"
    assert made.understood["delimiter"] == ";"
    assert made.understood["address_column"] == "correo"
    assert made.header == ["correo", "nombre", "monto", "vence"]
    assert made.understood["sample"][0] == ["ana@example.com", "Ana", "10", "mañana"]
    assert made.file_size == len(PEOPLE.encode())
    assert len(made.file_sha256) == 64


@pytest.mark.django_db(transaction=True)
def test_another_file_replaces_the_first_and_its_corrections(stored_in: Path) -> None:
    made = prepared()
    made = preparing.change(made.pk, version=made.version, encoding="cp850")
    made = given(made, "correo,nombre\nana@example.com,Ana\n", "otra.txt")
    assert [path.suffix for path in files(stored_in)] == [".txt"]
    assert (made.encoding, made.understood["delimiter"]) == ("", ",")


@pytest.mark.parametrize("name", ["lista.exe", "lista", "lista.csv.html", ".csv/x.svg"])
def test_only_lists_are_accepted(name: str, stored_in: Path) -> None:
    with pytest.raises(Refused):
        prepared(file_name=name)
    assert files(stored_in) == []


def test_a_file_that_is_too_large_is_refused_with_a_sentence(settings: Any, stored_in: Path) -> None:
    settings.BULK_MAX_UPLOAD_MB = 1
    with pytest.raises(Refused, match=r"1[.,]0 MB"):
        prepared("x" * (1024 * 1024 + 1))
    assert files(stored_in) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("nombre;saldo\nAna;10\n", "no_address_column"),
        ("correo;email\na@example.com;b@example.com\n", "two_address_columns"),
        ("ana@example.com;Ana\nbeto@example.com;Beto\n", "no_header"),
        ("correo;nombre\n", "no_rows"),
        ("", "empty"),
        (b"%PDF-1.7 ...", "binary"),
    ],
)
def test_a_file_that_is_not_understood_is_kept_with_its_problem(content: str | bytes, code: str) -> None:
    made = prepared(content)
    assert made.understood["problem"]["code"] == code
    assert preparing.problems(made) == [made.file_problem]
    assert "lista.csv" in made.file_problem


def corrected(made: Preparation, **corrections: str) -> Preparation:
    return preparing.correct(made.pk, version=made.version, **corrections)


def test_the_address_column_can_be_chosen_where_none_is_known() -> None:
    made = prepared("quien;nombre;monto;vence\nana@example.com;Ana;10;hoy\n")
    assert made.header == ["quien", "nombre", "monto", "vence"]
    made = corrected(made, address_column="quien")
    assert made.understood["address_column"] == "quien"
    assert preparing.problems(made) == []


def test_the_encoding_can_be_corrected_without_another_upload() -> None:
    made = prepared(PEOPLE.replace("Ana", "Añá").encode("cp850"))
    assert made.understood["sample"][0][1] != "Añá"
    assert corrected(made, encoding="cp850").understood["sample"][0][1] == "Añá"


def test_a_wrong_encoding_is_a_clear_problem() -> None:
    made = corrected(prepared(PEOPLE.encode("cp1252")), encoding="utf-8")
    assert made.understood["problem"]["code"] == "not_in_encoding"
    assert "UTF-8" in made.file_problem


def test_a_wrong_delimiter_shows_one_column() -> None:
    made = corrected(prepared(), delimiter="|")
    assert made.header == ["correo;nombre;monto;vence"]
    assert made.understood["problem"]["code"] == "no_address_column"
    assert corrected(made, delimiter="").header == ["correo", "nombre", "monto", "vence"]


def test_of_a_long_file_only_the_beginning_is_read(monkeypatch: pytest.MonkeyPatch, stored_in: Path) -> None:
    monkeypatch.setattr("relay.first_look.HEAD", 200)
    made = prepared(PEOPLE + "x@example.com;X;1;hoy\n" * 50 + '"abierta')
    assert made.understood["problem"] is None
    assert len(made.understood["sample"]) == 5
    assert len(files(stored_in)) == 1


# --- Variables and columns


def test_names_match_without_case_accents_blanks_and_underscores() -> None:
    header = ["Correo", "NOMBRE", "Fecha de Pago", "número"]
    needed = ["nombre", "fecha_de_pago", "numero", "saldo"]
    assert preparing.match(needed, header) == {"nombre": "NOMBRE", "fecha_de_pago": "Fecha de Pago", "numero": "número"}


def test_an_equal_name_wins_and_a_chosen_column_wins_over_it() -> None:
    header = ["Nombre", "nombre", "alias"]
    assert preparing.match(["nombre"], header) == {"nombre": "nombre"}
    assert preparing.match(["nombre"], header, [{"nombre": "alias"}]) == {"nombre": "alias"}
    assert preparing.match(["nombre"], header, [{"nombre": "gone"}, {"nombre": "Nombre"}]) == {"nombre": "Nombre"}


def test_what_was_chosen_for_a_template_is_remembered_where_its_columns_exist() -> None:
    kept_template()
    RememberedMapping.objects.create(template_id="aviso", variable_map={"monto": "total", "vence": "fecha"})
    made = prepared("correo;nombre;total;vence\nana@example.com;Ana;10;hoy\n")
    assert made.variable_map == {"nombre": "nombre", "monto": "total", "vence": "vence"}
    assert preparing.chosen_columns(made) == {"monto": "total"}


def test_a_variable_without_a_column_is_named() -> None:
    made = prepared("correo;nombre\nana@example.com;Ana\n")
    [problem] = preparing.problems(made)
    assert "vence, monto" in problem
    with pytest.raises(Refused, match="vence, monto"):
        preparing.request_check(made.pk, version=made.version)


# --- What is missing


def test_a_subject_of_its_own_needs_a_sender() -> None:
    kept_template(from_email="")
    made = prepared(subject="{{nombre}}")
    assert len(preparing.problems(made)) == 1
    made = preparing.change(made.pk, version=made.version, sender=Sender.objects.create(email="avisos@example.com"))
    assert preparing.problems(made) == []


def test_a_sender_that_was_disabled_is_to_be_chosen_anew() -> None:
    made = prepared(sender=Sender.objects.create(email="avisos@example.com"))
    Sender.objects.update(active=False)
    made.refresh_from_db()
    assert "avisos@example.com" in preparing.problems(Preparation.objects.get(pk=made.pk))[0]


# --- Attachments


def test_attachments_are_kept_by_content_and_can_be_taken_away() -> None:
    made = prepared()
    two = [("a.pdf", ContentFile(b"%PDF-1")), ("b/../b.txt", ContentFile(b"hola"))]
    made = preparing.attach(made.pk, version=made.version, uploads=two)
    assert set(made.attachments.values_list("filename", "size")) == {("a.pdf", 6), ("b.txt", 4)}
    first = made.attachments.get(filename="a.pdf")
    made = preparing.detach(made.pk, version=made.version, attachment_id=first.pk)
    assert [str(one) for one in made.attachments.all()] == ["b.txt"]


def test_attachments_have_a_limit_together() -> None:
    made = prepared()
    half = ContentFile(b"x" * (ATTACHMENTS_LIMIT // 2 + 1))
    made = preparing.attach(made.pk, version=made.version, uploads=[("a.bin", half)])
    with pytest.raises(Refused, match="10 MB"):
        preparing.attach(made.pk, version=made.version, uploads=[("b.bin", half)])
    many = [(f"{number}.txt", ContentFile(b"x")) for number in range(20)]
    with pytest.raises(Refused, match="20"):
        preparing.attach(made.pk, version=made.version, uploads=many)


# --- Discarding


@pytest.mark.django_db(transaction=True)
def test_a_draft_goes_with_its_recipients_and_its_file(stored_in: Path) -> None:
    made, sent = checked_draft(rejects_file="rejects/x.csv")
    (stored_in / "rejects").mkdir()
    (stored_in / "rejects" / "x.csv").write_text("correo\n")
    decisions.change_rate(sent, BY, 5)
    other = new_bulk_send(1, status="draft")
    preparing.discard(sent)
    assert list(BulkSend.objects.all()) == [other]
    assert Recipient.objects.count() == 1
    assert not (stored_in / "rejects" / "x.csv").exists()
    made.refresh_from_db()
    assert (made.bulk_send, made.checking) == (None, "idle")


@pytest.mark.parametrize("status", [status for status in BulkSend.Status.values if status != "draft"])
def test_only_a_draft_is_discarded(status: str) -> None:
    from tests.relay.admin_rows import bulk_send

    sent = bulk_send(status)
    with pytest.raises(WrongState):
        preparing.discard(sent)
    assert BulkSend.objects.filter(pk=sent.pk).exists()


@pytest.mark.parametrize("trace", ["lease", "attempt", "decision", "began"])
def test_a_draft_with_a_trace_of_sending_stays(trace: str) -> None:
    from django.utils import timezone

    sent = new_bulk_send(2, status="draft")
    if trace == "lease":
        ledger.acquire(sent.pk)
    elif trace == "attempt":
        Recipient.objects.filter(bulk_send=sent, row=2).update(attempts=1)
    elif trace == "decision":
        Decision.objects.create(bulk_send=sent, actor="lucia", what="start")
    else:
        BulkSend.objects.filter(pk=sent.pk).update(processing_started_at=timezone.now())
    with pytest.raises(WrongState):
        preparing.discard(sent)
    assert Recipient.objects.filter(bulk_send=sent).count() == 2


def test_a_draft_that_stays_on_record_is_cancelled_where_it_would_be_deleted() -> None:
    made, sent = checked_draft()
    Decision.objects.create(bulk_send=sent, actor="pedro", what="pause")
    preparing.give_up(sent)
    sent.refresh_from_db()
    made.refresh_from_db()
    assert (sent.status, made.bulk_send) == ("cancelled", None)
    assert [decision.what for decision in sent.decisions.all()] == ["pause", "cancel"]
    assert set(sent.recipients.values_list("state", flat=True)) == {"excluded"}


def test_to_discard_again_is_no_mistake_and_a_start_afterwards_is_told() -> None:
    sent = new_bulk_send(2, status="draft")
    preparing.discard(sent)
    preparing.discard(sent)
    with pytest.raises(WrongState, match=r"discarded|descart"):
        decisions.start(sent, BY)


@pytest.mark.django_db(transaction=True)
def test_a_discarded_preparation_cannot_be_started_and_leaves_nothing(stored_in: Path) -> None:
    made, sent = checked_draft()
    preparing.discard_preparation(made.pk)
    assert not Preparation.objects.open().exists()
    with pytest.raises(WrongState):
        decisions.start(sent, BY)
    assert preparing.delete_discarded(with_at_most=1) == 0
    assert preparing.delete_discarded() == 1
    assert not Preparation.objects.exists()
    assert not BulkSend.objects.exists()
    assert files(stored_in) == []


@pytest.mark.postgres
@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_turn", range(10))
def test_of_a_start_and_a_discard_at_once_one_wins(_turn: int) -> None:
    sent = new_bulk_send(50, status="draft")

    def tried(work: Any) -> bool:
        try:
            work(BulkSend.objects.get(pk=sent.pk))
        except (WrongState, BulkSend.DoesNotExist):
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as pool:
        works = [lambda found: decisions.start(found, BY), preparing.discard]
        started, discarded = [future.result(timeout=60) for future in [pool.submit(tried, work) for work in works]]
    left = BulkSend.objects.filter(pk=sent.pk).first()
    if left is None:
        assert (started, discarded) == (False, True)
        assert not Recipient.objects.exists()
    else:
        assert (left.status, started, discarded) == ("sending", True, False)
        assert Recipient.objects.count() == 50


@pytest.mark.postgres
@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_a_start_waits_for_a_change_and_is_then_refused() -> None:
    made, sent = checked_draft()

    def start() -> str:
        try:
            decisions.start(BulkSend.objects.get(pk=sent.pk), BY)
        except WrongState as problem:
            return str(problem)
        finally:
            connection.close()
        return "started"

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            preparing.change(made.pk, version=made.version, subject="Otro")
            starting = pool.submit(start)
            with pytest.raises(TimeoutError):
                starting.result(timeout=0.5)
        assert "started" not in starting.result(timeout=30)
    assert BulkSend.objects.get(pk=sent.pk).status == "draft"
