"""The pages on which a bulk send is prepared: who may see them, what they save, what they show of strangers' text."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from relay import checking, mail_templates, preparing, tasks
from relay.admin.steps import steps
from relay.models import BulkSend, MailTemplate, Preparation, Recipient, Sender
from task_engines.engine import engine
from tests.console import page
from tests.relay.admin_rows import HOSTILE, user
from tests.relay.preparations import PEOPLE, kept_template, prepared
from tests.relay.rows import new_bulk_send
from tests.relay.workbook_files import write_workbook
from tests.sandbox import Sandbox

pytestmark = pytest.mark.django_db
LIST = "/admin/relay/preparation/"
ADD = LIST + "add/"


@pytest.fixture(autouse=True)
def stored_in(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    cache.clear()  # what a relay that was away leaves there
    return tmp_path


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(user("olga", "add_bulksend", "view_bulksend"))
    return client


def address(preparation: Preparation, what: str) -> str:
    return f"{LIST}{preparation.pk}/{what}/"


def uploaded(content: str = PEOPLE, name: str = "lista.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode(), content_type="text/csv")


# --- who may


PAGES = ["", "add/", "1/change/", "1/template/", "1/file/", "1/progress/", "1/discard/"]
ACTIONS = ["1/upload/", "1/attach/", "1/detach/1/", "1/stop/", "1/discard/", "1/template/", "1/file/", "add/"]


@pytest.mark.parametrize("rest", PAGES)
def test_pages_are_refused_without_the_right(client: Client, rest: str) -> None:
    prepared()
    client.force_login(user("vera", "view_bulksend", "change_bulksend"))
    assert client.get(LIST + rest).status_code == 403


@pytest.mark.parametrize("rest", ACTIONS)
def test_actions_are_refused_without_the_right_and_without_csrf(client: Client, rest: str) -> None:
    made = prepared()
    client.force_login(user("vera", "view_bulksend", "change_bulksend"))
    assert client.post(LIST + rest, {"version": 1}).status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_superuser("lucia"))
    assert strict.post(LIST + rest, {"version": 1}).status_code == 403
    assert list(Preparation.objects.values_list("version", flat=True)) == [made.version]


@pytest.mark.parametrize("rest", ["1/upload/", "1/attach/", "1/detach/1/", "1/stop/"])
def test_what_changes_something_is_no_link(operator: Client, rest: str) -> None:
    prepared()
    assert operator.get(LIST + rest).status_code == 405


def test_another_operator_may_go_on_with_it(operator: Client) -> None:
    made = prepared(created_by=User.objects.create_user("otro"), name="La de otro")
    assert "La de otro" in page(operator, LIST)
    assert "lista.csv" in page(operator, address(made, "file"))


def test_the_button_is_for_those_who_may(client: Client, operator: Client) -> None:
    assert ADD in page(operator, "/admin/relay/bulksend/")
    client.force_login(user("vera", "view_bulksend"))
    assert ADD not in page(client, "/admin/relay/bulksend/")


# --- step (a)


def step_a(**fields: Any) -> dict[str, Any]:
    return {"name": "", "template": "aviso", "sender": "", "subject": "", "reply_to": "", "action": "next"} | fields


def test_the_first_save_makes_the_draft_and_goes_on_to_the_file(operator: Client) -> None:
    kept_template()
    assert not Preparation.objects.exists()
    assert "Aviso de pago" in page(operator, ADD)
    answer = operator.post(ADD, step_a(name="Cuotas", subject="{{nombre}}, su aviso", reply_to="dudas@example.com"))
    made = Preparation.objects.get()
    assert answer["Location"] == address(made, "file")
    assert (made.name, made.template_id, made.template_name) == ("Cuotas", "aviso", "Aviso de pago")
    assert (made.subject, made.reply_to) == ("{{nombre}}, su aviso", "dudas@example.com")
    assert made.created_by is not None
    assert made.created_by.username == "olga"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("template", ""), ("template", "gone"), ("reply_to", "sin-arroba"), ("subject", "{{nombre"), ("sender", "999")],
)
def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_saved(operator: Client, field: str, wrong: str) -> None:
    kept_template()
    answer = operator.post(ADD, step_a(**{field: wrong}))
    assert answer.status_code == 200
    assert list(answer.context["form"].errors) == [field]
    assert 'role="alert"' in answer.content.decode()
    assert not Preparation.objects.exists()


def test_only_active_senders_can_be_chosen(operator: Client) -> None:
    kept_template()
    one = Sender.objects.create(email="uno@example.com")
    Sender.objects.create(email="dos@example.com", active=False)
    shown = page(operator, ADD)
    assert "uno@example.com" in shown
    assert "dos@example.com" not in shown
    operator.post(ADD, step_a(sender=one.pk))
    preparation = Preparation.objects.get()
    assert preparation.sender == one
    Sender.objects.update(active=False)
    again = page(operator, reverse("admin:relay_preparation_template", args=[preparation.pk]))
    assert "uno@example.com" in again  # what was chosen is shown until another is


def test_templates_are_found_by_name_and_subject(operator: Client) -> None:
    kept_template()
    kept_template("b", name="Boletín", subject="Las novedades")
    kept_template("c", name="Ya no está", gone_at="2025-01-01T00:00Z")
    shown = page(operator, ADD)
    assert "Boletín" in shown
    assert "Ya no está" not in shown
    found = page(operator, ADD + "?q=novedades")
    assert "Boletín" in found
    assert "Aviso de pago" not in found


def test_the_list_of_templates_loads_no_content(operator: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(40):
        kept_template(f"t{number}", html="x" * 1000)
    with django_assert_max_num_queries(20) as captured:
        page(operator, ADD)
    assert not [query for query in captured if '"relay_mailtemplate"."html"' in query["sql"]]


def test_a_relay_that_is_away_is_a_sentence_and_the_copy_is_shown(operator: Client, settings: Any) -> None:
    settings.DOPPLER_RELAY_API_KEY, settings.DOPPLER_RELAY_ACCOUNT_ID = "k", "1"
    settings.DOPPLER_RELAY_BASE_URL = "http://127.0.0.1:9/"
    kept_template()
    answer = operator.post(ADD, step_a(action="refresh", name="Lo escrito"))
    shown = answer.content.decode()
    assert answer.status_code == 200
    assert answer.context["relay_problem"]
    assert "Aviso de pago" in shown
    assert "Lo escrito" in shown
    assert not Preparation.objects.exists()


def test_previews_run_nothing_and_are_for_those_who_may_see_templates(client: Client, operator: Client) -> None:
    kept_template()
    assert "<iframe" not in page(operator, ADD)
    client.force_login(user("vera", "add_bulksend", "view_mailtemplate"))
    shown = page(client, ADD)
    assert '<iframe sandbox src="' in shown
    assert "allow-scripts" not in shown


# --- step (b)


def test_a_file_is_uploaded_and_what_was_understood_is_shown(operator: Client) -> None:
    kept_template()
    operator.post(ADD, step_a())
    made = Preparation.objects.get()
    answer = operator.post(address(made, "upload"), {"version": made.version, "file": uploaded()})
    assert answer["Location"] == address(made, "file")
    shown = page(operator, address(made, "file"))
    assert "ana@example.com" in shown
    assert '<option value="nombre" selected>nombre</option>' in shown


def test_the_script_of_the_page_is_told_where_to_go_or_what_is_wrong(operator: Client) -> None:
    made = prepared()
    as_script = {"HTTP_ACCEPT": "application/json"}
    wrong = operator.post(
        address(made, "upload"), {"version": made.version, "file": uploaded(name="lista.pdf")}, **as_script
    )
    assert wrong.status_code == 400
    assert "lista.pdf" in wrong.json()["problem"]
    right = operator.post(address(made, "upload"), {"version": made.version, "file": uploaded()}, **as_script)
    assert right.json() == {"url": address(made, "file")}


def test_a_request_that_announces_too_much_is_refused_unread(operator: Client, settings: Any) -> None:
    made = prepared()
    settings.BULK_MAX_UPLOAD_MB = 1
    answer = operator.post(
        address(made, "upload"),
        {"version": made.version, "file": uploaded("x" * (3 * 1024 * 1024))},
        HTTP_ACCEPT="application/json",
    )
    assert answer.status_code == 413
    assert "1 MB" in answer.json()["problem"]
    made.refresh_from_db()
    assert made.file_name == "lista.csv"


def test_corrections_and_columns_are_saved_without_another_upload(operator: Client) -> None:
    made = prepared("quien|apodo|monto|vence\nana@example.com|Ana|10|hoy\n")
    filled = {"version": made.version, "encoding": "", "delimiter": "|", "address_column": "quien", "column_0": "apodo"}
    operator.post(address(made, "file"), filled | {"column_1": "vence", "column_2": "monto", "allow_empty": "on"})
    made.refresh_from_db()
    assert made.variable_map == {"nombre": "apodo", "vence": "vence", "monto": "monto"}
    assert (made.delimiter, made.address_column, made.allow_empty, made.allow_repeats) == ("|", "quien", True, False)
    assert preparing.problems(made) == []


def test_choices_are_kept_by_the_script_before_something_else_is_uploaded(operator: Client) -> None:
    made = prepared()
    as_script = {"HTTP_ACCEPT": "application/json"}
    chosen = {"version": made.version, "column_0": "nombre", "allow_empty": "on", "action": "save"}
    kept = operator.post(address(made, "file"), chosen, **as_script)
    assert kept.json() == {"version": made.version + 1}
    made.refresh_from_db()
    assert (made.allow_empty, made.variable_map["nombre"]) == (True, "nombre")
    wrong = operator.post(address(made, "file"), chosen | {"column_0": "no hay"}, **as_script)
    assert wrong.status_code == 400
    assert wrong.json()["problem"]
    stale = operator.post(address(made, "file"), chosen, **as_script)
    assert stale.status_code == 400


def test_a_workbook_has_no_encoding_to_be_corrected(operator: Client, stored_in: Path) -> None:
    rows: dict[int, list[Any]] = {1: ["correo", "nombre"], 2: ["ana@example.com", "Ana"]}
    written = write_workbook(stored_in / "x", ("Hoja", "visible", rows))
    made = prepared(written.read_bytes(), file_name="lista.xlsx")
    assert (made.understood["format"], made.understood["sample"]) == ("xlsx", [["ana@example.com", "Ana"]])
    shown = page(operator, address(made, "file"))
    assert 'name="encoding"' not in shown
    assert 'name="address_column"' in shown


def test_two_tabs_lose_nothing_silently(operator: Client) -> None:
    made = prepared()
    first = {"version": made.version, "allow_empty": "on", "column_0": "nombre"}
    operator.post(address(made, "file"), first)
    answer = operator.post(address(made, "file"), {"version": made.version, "allow_repeats": "on"}, follow=True)
    made.refresh_from_db()
    assert (made.allow_empty, made.allow_repeats) == (True, False)
    assert [str(message.level_tag) for message in answer.context["messages"]] == ["success", "error"]


def test_what_is_missing_is_said_before_the_check(operator: Client) -> None:
    made = prepared("correo;nombre\nana@example.com;Ana\n")
    operator.post(address(made, "file"), {"version": made.version, "action": "check", "column_0": "nombre"})
    made.refresh_from_db()
    assert made.checking == "idle"
    assert "vence, monto" in page(operator, address(made, "file"))


def test_attachments_are_added_and_removed(operator: Client) -> None:
    made = prepared()
    operator.post(
        address(made, "attach"),
        {"version": made.version, "files": [uploaded("a", "a.txt"), uploaded("b", HOSTILE.replace("/", "") + ".txt")]},
    )
    made.refresh_from_db()
    first = made.attachments.get(filename="a.txt")
    shown = page(operator, address(made, "file"))
    assert "a.txt" in shown
    assert HOSTILE.replace("/", "") not in shown
    operator.post(address(made, f"detach/{first.pk}"), {"version": made.version})
    assert made.attachments.count() == 1


def test_names_of_strangers_stay_text(operator: Client) -> None:
    tag = HOSTILE.replace("/", "&#47;")
    kept_template(name=HOSTILE, subject=HOSTILE)
    made = prepared(
        f'correo;"{HOSTILE}";{tag}\nana@example.com;"{HOSTILE}";x\n', file_name="<script>alert(1)<.csv", name=HOSTILE
    )
    for what in ("template", "file", "discard"):
        shown = page(operator, address(made, what))
        assert "<script>alert(1)" not in shown, what
    assert "<script>alert(1)" not in page(operator, LIST)
    assert "<script>alert(1)" not in page(operator, ADD)
    operator.post(address(made, "file"), {"version": made.version, "action": "check"})
    assert "<script>alert(1)" not in page(operator, address(made, "file"))


# --- from here to there


def test_the_steps_lead_only_where_one_can_go() -> None:
    made = prepared()
    reachable = [bool(step.url) for step in steps("template", preparation=made)]
    assert reachable == [False, True, False, False]
    assert [step.current for step in steps("file", preparation=made)] == [False, True, False, False]
    sent = new_bulk_send(1, status="draft")
    Preparation.objects.filter(pk=made.pk).update(bulk_send=sent, checking="checked")
    first_two = steps("review", bulk_send=sent)[:2]
    assert [step.url for step in first_two] == [address(made, "template"), address(made, "file")]


def test_a_confirmed_one_is_no_draft_any_more(operator: Client) -> None:
    made = prepared()
    sent = new_bulk_send(1, status="pending")
    Preparation.objects.filter(pk=made.pk).update(bulk_send=sent, checking="checked")
    assert operator.get(address(made, "file")).status_code == 404
    assert "lista.csv" not in page(operator, LIST)


def test_an_empty_list_says_what_to_do(operator: Client) -> None:
    shown = page(operator, LIST)
    assert ADD in shown
    assert reverse("admin:relay_preparation_add") == ADD


def test_a_draft_is_discarded_after_a_question(operator: Client, stored_in: Path) -> None:
    made = prepared()
    sent = new_bulk_send(2, status="draft")
    Preparation.objects.filter(pk=made.pk).update(bulk_send=sent, checking="checked")
    assert 'method="post"' in page(operator, address(made, "discard"))
    assert Preparation.objects.exists()
    operator.post(address(made, "discard"))
    assert not Preparation.objects.exists()
    assert not BulkSend.objects.exists()


def test_a_draft_of_a_command_is_discarded_on_its_own_page(operator: Client) -> None:
    sent = new_bulk_send(2, status="draft", findings={"excluded": 1})
    address_of = f"/admin/relay/bulksend/{sent.pk}/discard"
    assert address_of in page(operator, f"/admin/relay/bulksend/{sent.pk}/change/")
    assert 'method="post"' in operator.get(address_of, follow=True).content.decode()
    operator.post(address_of + "/")
    assert not BulkSend.objects.exists()
    assert not Preparation.objects.exists()


def test_what_is_no_draft_offers_no_discarding_and_refuses_it(operator: Client) -> None:
    sent = new_bulk_send(2, status="pending")
    assert "/discard" not in page(operator, f"/admin/relay/bulksend/{sent.pk}/change/")
    assert operator.post(f"/admin/relay/bulksend/{sent.pk}/discard/").status_code == 302
    assert BulkSend.objects.filter(pk=sent.pk).exists()


def test_discarding_a_draft_needs_the_right(client: Client) -> None:
    sent = new_bulk_send(2, status="draft")
    client.force_login(user("vera", "view_bulksend", "change_bulksend"))
    assert client.post(f"/admin/relay/bulksend/{sent.pk}/discard/").status_code == 403
    assert BulkSend.objects.exists()


def test_a_large_draft_is_left_to_a_worker(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.admin.discarding.AT_ONCE", 1)
    made = prepared()
    sent = new_bulk_send(2, status="draft")
    Preparation.objects.filter(pk=made.pk).update(bulk_send=sent, checking="checked")
    operator.post(address(made, "discard"))
    assert engine().waits(tasks.delete_discarded)
    assert operator.get(address(made, "file")).status_code == 404
    assert Recipient.objects.count() == 2


def test_the_whole_way_from_a_template_to_the_review(operator: Client, sandbox: Sandbox, settings: Any) -> None:
    settings.DOPPLER_RELAY_API_KEY = sandbox.key
    settings.DOPPLER_RELAY_ACCOUNT_ID = sandbox.account
    settings.DOPPLER_RELAY_BASE_URL = sandbox.url + "/"
    assert "Aviso de pago" in page(operator, ADD)  # the copy is read by the page itself, the first time
    template = MailTemplate.objects.get(name="Aviso de pago")
    operator.post(ADD, step_a(template=template.template_id, name="Cuotas de marzo"))
    made = Preparation.objects.get()
    needed = list(preparing.needed_variables(made))
    rows = [f"ana@example.com;{';'.join('x' for _ in needed)}", f"sin-arroba;{';'.join('x' for _ in needed)}"]
    content = "\n".join([f"correo;{';'.join(name.upper() for name in needed)}", *rows])
    operator.post(address(made, "upload"), {"version": made.version, "file": uploaded(content)})
    made.refresh_from_db()
    columns = {f"column_{number}": name.upper() for number, name in enumerate(needed)}
    operator.post(address(made, "file"), {"version": made.version, "action": "check"} | columns)
    assert engine().waits(tasks.check, made.pk)
    assert "data-moving" in page(operator, address(made, "progress"))
    assert checking.check_waiting() == 1
    sent = BulkSend.objects.get()
    assert f'data-next="/admin/relay/bulksend/{sent.pk}/' in page(operator, address(made, "progress"))
    assert (sent.status, sent.name) == ("draft", "Cuotas de marzo")
    assert sent.findings["by_reason"] == {"invalid_address": 1}
    assert sent.created_by is not None
    assert sandbox.messages() == []
    assert operator.get(f"{LIST}{made.pk}/change/")["Location"].startswith(f"/admin/relay/bulksend/{sent.pk}/")
    mail_templates.refresh()


def test_a_check_under_way_can_be_stopped(operator: Client) -> None:
    made = prepared()
    Preparation.objects.filter(pk=made.pk).update(checking="waiting")
    shown = page(operator, address(made, "file"))
    assert "La lista espera a ser revisada." in shown
    assert "data-moving" in page(operator, address(made, "progress"))
    operator.post(address(made, "stop"))
    made.refresh_from_db()
    assert made.checking == "idle"


def test_why_a_check_failed_is_shown(operator: Client) -> None:
    made = prepared()
    Preparation.objects.filter(pk=made.pk).update(checking="failed", problem=f"Fila 3: {HOSTILE}")
    shown = page(operator, address(made, "file"))
    assert "Fila 3: &lt;script&gt;" in shown
