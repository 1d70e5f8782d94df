"""That what people do in the console goes on record, and that the record can be searched and taken along."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.test import Client
from django.utils import timezone, translation

from relay import activity
from relay.activity import What
from relay.models import Activity, Attachment, Sender, SendingWindow, Suppression
from tests.console import page
from tests.relay.admin_rows import HOSTILE, State, Status, bulk_send, recipient, user

pytestmark = pytest.mark.django_db
LIST = "/admin/relay/activity/"


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    with translation.override("en"):
        yield


def recorded(*what: str) -> list[Activity]:
    """Newest last; of these kinds only."""
    return list(Activity.objects.filter(what__in=what).order_by("id"))


def the_only(what: str) -> Activity:
    (entry,) = recorded(what)
    return entry


# --- coming and going


def test_logins_refusals_and_logouts(client: Client) -> None:
    ana = User.objects.create_user("ana", password="correcta-y-larga", is_staff=True)
    login = "/admin/login/"
    client.post(login, {"username": "ana", "password": "equivocada"}, REMOTE_ADDR="192.0.2.7")
    client.post(login, {"username": "x" * 500, "password": "equivocada"})
    client.post(login, {"username": "ana", "password": "correcta-y-larga"}, REMOTE_ADDR="192.0.2.8")
    client.post("/admin/logout/")
    refused, _cut = recorded("login_failed")
    assert (refused.by, refused.by_id, refused.address) == ("ana", None, "192.0.2.7")
    assert (the_only("login").by_id, the_only("login").address) == (ana.pk, "192.0.2.8")
    assert the_only("logout").by == "ana"
    assert all(len(entry.by) <= 150 for entry in Activity.objects.all())
    assert not Activity.objects.filter(details__icontains="equivocada").exists()
    assert "equivocada" not in json.dumps(list(Activity.objects.values("by", "details", "about_label")))


def test_a_new_password_by_oneself_by_an_administrator_and_by_a_command(client: Client) -> None:
    ana = User.objects.create_user("ana", password="correcta-y-larga", is_staff=True)
    client.force_login(ana)
    new = {"new_password1": "otra-clave-larga", "new_password2": "otra-clave-larga"}
    assert client.post("/admin/password_change/", {"old_password": "correcta-y-larga", **new}).status_code == 302
    client.force_login(User.objects.create_superuser("lucia"))
    by_another = {"password1": "mas-claves-largas", "password2": "mas-claves-largas", "usable_password": "true"}
    assert client.post(f"/admin/auth/user/{ana.pk}/password/", by_another).status_code == 302
    ana.refresh_from_db()
    ana.set_password("y-una-cuarta-clave")
    ana.save()
    by = [entry.by for entry in recorded("password")]
    assert by == ["ana", "lucia", activity.operator_name()]
    assert {entry.about_label for entry in recorded("password")} == {"ana"}


# --- what is changed in the console


def test_membership_of_groups_is_on_record(lucia: Client) -> None:
    ana = user("ana")
    cobranzas = Group.objects.create(name="Cobranzas")
    form = {
        "username": "ana",
        "is_active": "on",
        "is_staff": "on",
        "groups": [cobranzas.pk],
        "date_joined_0": "2026-11-24",
        "date_joined_1": "10:00:00",
    }
    assert lucia.post(f"/admin/auth/user/{ana.pk}/change/", form).status_code == 302
    entry = the_only("changed")
    assert (entry.by, entry.about_kind, entry.about_label) == ("lucia", "user", "ana")
    assert "Groups" in entry.details["fields"]
    assert (entry.details["groups"], entry.details["superuser"]) == (["Cobranzas"], False)


def test_rights_of_a_group_senders_and_windows(lucia: Client) -> None:
    group = Group.objects.create(name="Cobranzas")
    lucia.post("/admin/auth/group/add/", {"name": "Nuevo"})
    lucia.post("/admin/relay/sender/add/", {"email": "avisos@example.com", "active": "on", "groups": [group.pk]})
    hours = {"name": "Oficina", "weekdays": "12345", "opens": "08:00", "closes": "18:00"}
    lucia.post("/admin/relay/sendingwindow/add/", hours)
    added = {entry.about_kind: entry for entry in recorded("added")}
    assert set(added) == {"group", "sender", "sendingwindow"}
    assert added["sender"].details == {"active": True, "groups": ["Cobranzas"]}
    assert added["sendingwindow"].about_label == "Oficina"


def test_of_a_suppression_only_the_number_is_kept(lucia: Client) -> None:
    lucia.post("/admin/relay/suppression/add/", {"email": "ana@example.com", "reason": "queja de ana@example.com"})
    entry = the_only("added")
    assert (entry.about_kind, entry.about_id) == ("suppression", str(Suppression.objects.get().pk))
    assert "ana@example.com" not in json.dumps(list(Activity.objects.values("about_label", "details")))


def test_several_that_are_deleted_at_once_are_each_on_record(lucia: Client) -> None:
    senders = [Sender.objects.create(email=f"{name}@example.com") for name in ("a", "b", "c")]
    chosen = {"action": "delete_selected", "_selected_action": [sender.pk for sender in senders], "post": "yes"}
    lucia.post("/admin/relay/sender/", chosen)
    assert not Sender.objects.exists()
    assert [entry.about_label for entry in recorded("deleted")] == ["a@example.com", "b@example.com", "c@example.com"]


def test_saving_without_a_change_is_none(lucia: Client) -> None:
    sender = Sender.objects.create(email="avisos@example.com")
    lucia.post(f"/admin/relay/sender/{sender.pk}/change/", {"email": "avisos@example.com", "active": "on"})
    assert not recorded("changed")


# --- decisions and downloads


def test_a_decision_is_on_record_once_with_the_address_of_who_took_it(client: Client) -> None:
    client.force_login(user("ana", "view_bulksend", "change_bulksend"))
    sent = bulk_send(Status.SENDING)
    client.post(f"/admin/relay/bulksend/{sent.pk}/pause/", REMOTE_ADDR="192.0.2.7")
    entry = the_only("decided")
    assert (entry.by, entry.about_id, entry.address) == ("ana", str(sent.pk), "192.0.2.7")
    assert entry.details == {"decision": "pause"}
    assert not recorded("changed")


def test_what_a_person_says_of_an_unknown_recipient_names_the_row_and_not_the_person(lucia: Client) -> None:
    row = recipient(bulk_send(Status.SETTLING), 2, State.UNKNOWN, email="ana@example.com")
    lucia.post(f"/admin/relay/recipient/{row.pk}/was-sent/", {"note": "lo dijo ana@example.com"})
    entry = the_only("decided")
    assert entry.details == {"decision": "settle", "row": 2, "verdict": "accepted"}
    assert "ana@example.com" not in json.dumps(list(Activity.objects.values("about_label", "details")))


def test_downloads_are_on_record(lucia: Client, settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path
    sent = bulk_send()
    sent.rejects_file.save("r.csv", ContentFile(b"row\n"))
    attachment = Attachment(filename="a.pdf", content_type="x", size=1, sha256="a" * 64)
    attachment.file.save("a.pdf", ContentFile(b"x"))
    for url in (f"bulksend/{sent.pk}/rejects/", f"attachment/{attachment.pk}/download/"):
        b"".join(lucia.get(f"/admin/relay/{url}").streaming_content)  # type: ignore[attr-defined]
    assert [entry.details for entry in recorded("exported")] == [{"file": "rejects"}, {"file": "attachment"}]


def test_a_download_that_is_refused_or_not_there_is_none(client: Client) -> None:
    client.force_login(user("nadie"))
    client.get(f"/admin/relay/bulksend/{bulk_send().pk}/rejects/")
    assert not recorded("exported")


# --- commands


def test_commands_that_change_something_are_on_record_with_whoever_ran_them() -> None:
    def run(*words: str) -> None:
        call_command(*words, "--json", stdout=StringIO())

    run("sender", "add", "avisos@example.com")
    run("sender", "disable", "avisos@example.com")
    run("window", "add", "Oficina", "--weekdays", "12345", "--opens", "08:00", "--closes", "18:00")
    run("window", "remove", "Oficina")
    run("report", "request", "--type", "deliveries", "--from", "2026-03-01", "--to", "2026-03-01")
    run("bulk", "cancel", str(bulk_send().pk))
    done = [(entry.what, entry.about_kind) for entry in Activity.objects.order_by("id")]
    assert done == [
        ("added", "sender"),
        ("changed", "sender"),
        ("added", "sendingwindow"),
        ("deleted", "sendingwindow"),
        ("report_requested", "generatedreport"),
        ("decided", "bulksend"),
    ]
    assert {entry.by for entry in Activity.objects.all()} == {activity.operator_name()}
    assert not SendingWindow.objects.exists()


# --- the page


@pytest.fixture
def auditor(client: Client) -> Client:
    client.force_login(user("auditora", "view_activity"))
    return client


def shown(client: Client, query: str = "") -> set[str]:
    """Who stands in the list."""
    cells = re.findall(r'<td class="field-by[^>]*>([^<]*)<', page(client, f"{LIST}?{query}"))
    return {cell.strip().lower() for cell in cells}


def test_it_is_searched_by_person_number_kind_thing_and_period(auditor: Client) -> None:
    sent = bulk_send()
    activity.record(What.LOGIN, by="Ana")
    Activity.objects.bulk_create(
        [
            Activity(by="ana", what="exported", about_kind="bulksend", about_id="77"),
            Activity(by="anabel", what="decided", about_kind="bulksend", about_id=str(sent.pk)),
            Activity(by="luis", what="decided", at=timezone.now() - timedelta(days=10)),
        ]
    )
    assert shown(auditor) == {"ana", "anabel", "luis", "auditora"}
    assert shown(auditor, "q=ana") == {"ana", "anabel"}
    assert shown(auditor, "q=anab") == {"anabel"}
    assert shown(auditor, "q=77") == {"ana"}
    assert shown(auditor, "what__exact=decided") == {"anabel", "luis"}
    assert shown(auditor, "about=bulksend") == {"ana", "anabel"}
    assert shown(auditor, "days=7&what__exact=decided") == {"anabel"}


def test_nobody_without_the_right_sees_it_or_takes_it_along(client: Client) -> None:
    client.force_login(user("ana", "view_bulksend", "change_bulksend"))
    assert client.get(LIST).status_code == 403
    assert client.get(f"{LIST}export/").status_code == 403
    assert "Record of activity" not in page(client, "/admin/")


def test_nothing_in_it_can_be_changed_even_by_an_administrator(lucia: Client) -> None:
    entry = activity.record(What.LOGIN, by="ana")
    assert lucia.get(f"{LIST}add/").status_code == 403
    assert lucia.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    lucia.post(f"{LIST}{entry.pk}/change/", {"by": "otra"})
    assert Activity.objects.get(pk=entry.pk).by == "ana"


def test_the_csv_is_what_the_list_shows_and_is_on_record_itself(auditor: Client) -> None:
    activity.record(What.EXPORTED, by="=cmd()", file="rejects")
    activity.record(What.LOGIN, by="luis")
    answer = auditor.get(f"{LIST}export/?what__exact=exported")
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert "'=cmd()" in text
    assert "rejected rows" in text
    assert "luis" not in text
    last = recorded("exported")[-1]
    assert (last.by, last.details) == ("auditora", {"file": "activity"})


def test_what_stands_in_it_stays_text(auditor: Client) -> None:
    activity.record(What.EXPORTED, by=HOSTILE, about=bulk_send(name=HOSTILE), file=HOSTILE)
    text = page(auditor, LIST)
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_it_asks_the_database_little(auditor: Client, django_assert_max_num_queries: Any) -> None:
    sent = bulk_send()
    for _number in range(30):
        activity.record(What.DECIDED, by="ana", about=sent, decision="pause")
    with django_assert_max_num_queries(9):
        page(auditor, LIST)
