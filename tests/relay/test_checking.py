"""The check of a preparation: from a file and a template of the relay to a draft, once, whoever is killed meanwhile."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models.functions import Now

from relay import checking, mail_templates, preparing, tasks
from relay.models import Attachment, BulkSend, MailTemplate, Preparation, Recipient, RememberedMapping
from task_engines.engine import engine
from tests.relay.ledger_acts import HOUR, ON_POSTGRESQL
from tests.relay.preparations import PEOPLE, given, prepared
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def stored_in(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture(autouse=True)
def relay(sandbox: Sandbox, settings: Any) -> Sandbox:
    settings.DOPPLER_RELAY_API_KEY = sandbox.key
    settings.DOPPLER_RELAY_ACCOUNT_ID = sandbox.account
    settings.DOPPLER_RELAY_BASE_URL = sandbox.url + "/"
    return sandbox


def waiting(**fields: Any) -> Preparation:
    mail_templates.refresh()
    template = MailTemplate.objects.get(name="Aviso de pago")
    MailTemplate.objects.exclude(pk=template.pk).delete()
    needed = dict.fromkeys(template.variables, "nombre")
    made = prepared(**fields)
    made = preparing.change(made.pk, version=made.version, variable_map={**needed, **made.variable_map})
    return preparing.request_check(made.pk, version=made.version)


def test_a_check_makes_a_draft_with_the_findings_of_every_row() -> None:
    made = waiting(name="Cuotas de marzo", content=PEOPLE.replace(";Carla;", ";;"))
    assert checking.check_waiting() == 1
    made.refresh_from_db()
    sent = made.bulk_send
    assert sent is not None
    assert (made.checking, made.rows_read, made.problem) == ("checked", 3, "")
    assert (sent.status, sent.name, sent.total, sent.file_name) == ("draft", "Cuotas de marzo", 3, "lista.csv")
    assert sent.findings["by_reason"] == {"invalid_address": 1, "missing_variable": 1}
    assert sent.template_id == made.template_id


def test_it_stays_a_draft_although_all_rows_are_valid() -> None:
    made = waiting(content="correo;nombre;monto;vence\nana@example.com;Ana;10;hoy\n")
    checking.check_waiting()
    sent = BulkSend.objects.get()
    assert (sent.status, sent.findings["excluded"]) == ("draft", 0)
    sent.start()  # a person's click: nothing was rejected, so there is nothing to accept
    assert sent.status == "sending"
    assert made.pk


def test_corrections_options_and_attachments_reach_the_draft() -> None:
    made = waiting(content=PEOPLE.replace("Ana", "Añá").encode("cp850"), allow_repeats=True, allow_empty=True)
    attached = Attachment.objects.create(file="files/x", filename="x.pdf", content_type="a/b", size=1, sha256="0" * 64)
    Preparation.objects.filter(pk=made.pk).update(encoding="cp850", delimiter=";", address_column="correo")
    made.attachments.add(attached)
    checking.check_waiting()
    sent = BulkSend.objects.get()
    assert (sent.file_encoding, sent.allow_repeats, sent.allow_empty) == ("cp850", True, True)
    assert list(sent.attachments.all()) == [attached]
    assert sent.recipients.get(row=2).variables["nombre"] == "Añá"


def test_the_mapping_is_remembered_for_the_template() -> None:
    made = waiting(content=PEOPLE.replace("monto", "total"))
    made = preparing.change(made.pk, version=made.version, variable_map={**made.variable_map, "monto": "total"})
    preparing.request_check(made.pk, version=made.version)
    checking.check_waiting()
    assert RememberedMapping.objects.get().variable_map["monto"] == "total"
    again = prepared(PEOPLE.replace("monto", "total"))
    assert again.variable_map["monto"] == "total"


def test_the_draft_of_the_check_before_is_replaced() -> None:
    made = waiting()
    checking.check_waiting()
    before = BulkSend.objects.get()
    made.refresh_from_db()
    made = preparing.change(made.pk, version=made.version, allow_empty=True)
    preparing.request_check(made.pk, version=made.version)
    checking.check_waiting()
    made.refresh_from_db()
    sent = BulkSend.objects.get()
    assert sent.pk != before.pk
    assert made.bulk_send == sent
    assert Recipient.objects.count() == 3


def test_why_it_failed_is_said_and_it_can_be_asked_for_again(relay: Sandbox) -> None:
    made = waiting(content=PEOPLE + '"abierta;x;1;2\n')
    checking.check_waiting()
    made.refresh_from_db()
    assert made.checking == "failed"
    assert "lista.csv" in made.problem
    assert not BulkSend.objects.exists()
    made = given(made, PEOPLE)
    preparing.request_check(made.pk, version=made.version)
    assert checking.check_waiting() == 1
    made.refresh_from_db()
    assert made.is_checked


def test_a_relay_that_is_away_is_a_sentence(settings: Any) -> None:
    made = waiting()
    settings.DOPPLER_RELAY_BASE_URL = "http://127.0.0.1:9/"
    checking.check_waiting()
    made.refresh_from_db()
    assert made.checking == "failed"
    assert "DOPPLER_RELAY_BASE_URL" in made.problem


def test_what_the_template_needs_meanwhile_is_said_in_the_words_of_the_page(relay: Sandbox) -> None:
    made = waiting(content="correo;nombre\nana@example.com;Ana\n")
    Preparation.objects.filter(pk=made.pk).update(variable_map={})  # as if the template had needed nothing of it
    checking.check_waiting()
    made.refresh_from_db()
    assert made.checking == "failed"
    assert "monto" in made.problem
    assert "--map" not in made.problem
    assert not BulkSend.objects.exists()


def test_a_worker_that_was_killed_is_followed_by_another_once_its_time_is_over() -> None:
    made = waiting()
    running = Preparation.objects.filter(pk=made.pk)
    running.update(checking="running", checker="killed", checker_until=Now() + HOUR)
    assert checking.check_waiting() == 0
    running.update(checker_until=Now() - HOUR)
    assert checking.check_waiting() == 1
    assert BulkSend.objects.count() == 1


def test_a_check_that_ends_its_process_each_time_is_not_begun_for_ever() -> None:
    made = waiting()
    running = Preparation.objects.filter(pk=made.pk)
    running.update(checking="running", checker="killed", checker_until=Now() - HOUR, times_begun=checking.MOST_BEGUN)
    assert checking.check_waiting() == 1
    made.refresh_from_db()
    assert made.checking == "failed"
    assert str(checking.MOST_BEGUN) in made.problem
    assert not BulkSend.objects.exists()
    # Whoever asks for it again, after dividing the file say, gets it.
    preparing.request_check(made.pk, version=made.version)
    assert checking.check_waiting() == 1
    assert BulkSend.objects.count() == 1


def test_what_is_changed_while_it_is_checked_ends_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    made = waiting()
    real = checking.preparing.remember_mapping

    def changed_meanwhile(preparation: Preparation) -> None:
        real(preparation)
        preparing.stop_check(preparation.pk)

    monkeypatch.setattr(checking.preparing, "remember_mapping", changed_meanwhile)
    checking.check_waiting()
    made.refresh_from_db()
    assert not BulkSend.objects.exists()
    assert not Recipient.objects.exists()
    # Taken back with the transaction of the check, in this test: else it is idle.
    assert made.checking in {"idle", "running"}


def test_a_worker_that_is_told_to_end_leaves_it_to_the_next() -> None:
    made = waiting()
    told = iter([False])
    checking.check_waiting(lambda: next(told, True))
    made.refresh_from_db()
    assert (made.checking, made.checker_until) == ("waiting", None)
    assert not BulkSend.objects.exists()
    assert checking.check_waiting() == 1


def test_each_tick_asks_for_what_waits_once() -> None:
    made = waiting()
    tasks.tick()
    tasks.tick()
    assert engine().waits(tasks.check, made.pk)
    tasks.check.call(made.pk)
    made.refresh_from_db()
    assert made.is_checked


def test_each_tick_asks_for_what_was_discarded() -> None:
    made = waiting()
    checking.check_waiting()
    preparing.discard_preparation(made.pk)
    tasks.tick()
    assert engine().waits(tasks.delete_discarded)
    tasks.delete_discarded.call()
    assert not BulkSend.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_timer_alone_checks_what_waits() -> None:
    from django.core.management import call_command

    made = waiting()
    call_command("process_bulk_scheduled", "--json")
    made.refresh_from_db()
    assert made.is_checked
    preparing.discard_preparation(made.pk)
    call_command("process_bulk_scheduled", "--json")
    assert not Preparation.objects.exists()


@pytest.mark.postgres
@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_of_two_that_check_at_once_one_stores_a_draft() -> None:
    made = waiting()

    def check() -> None:
        try:
            checking.check(made.pk)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=check) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    made.refresh_from_db()
    assert made.is_checked
    assert BulkSend.objects.count() == 1
    assert Recipient.objects.count() == 3


@pytest.mark.postgres
@ON_POSTGRESQL
@pytest.mark.django_db(transaction=True)
def test_how_far_it_is_can_be_seen_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "PROGRESS_SECONDS", 0.01)
    monkeypatch.setattr("relay.importing.PROGRESS_ROWS", 1)
    made = waiting()
    seen: list[int] = []
    real = checking._Sign.show

    def look() -> None:
        with connection.cursor() as cursor:  # of this thread: the check's own is busy copying
            cursor.execute("SELECT rows_read FROM relay_preparation WHERE id = %s", [made.pk])
            seen.append(cursor.fetchone()[0])
        connection.close()

    def slow(sign: Any, rows: int) -> None:
        real(sign, rows)
        if rows == 2:
            threading.Event().wait(0.5)
            looking = threading.Thread(target=look)
            looking.start()
            looking.join(20)

    monkeypatch.setattr(checking._Sign, "show", slow)
    checking.check(made.pk)
    assert seen == [2]
