"""The record of who did what: what goes in, what never does, and that it stays."""

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.test import RequestFactory

from relay import activity
from relay.activity import What
from relay.models import Activity, Suppression
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db


def test_it_says_who_did_what_about_what_from_where(rf: RequestFactory) -> None:
    ana, sent = User.objects.create_user("ana"), new_bulk_send(name="Cuotas")
    activity.record(What.EXPORTED, by=ana, about=sent, request=rf.get("/", REMOTE_ADDR="192.0.2.7"), file="rejects")
    made = Activity.objects.get()
    assert (made.by, made.by_id, made.what, made.address) == ("ana", ana.pk, "exported", "192.0.2.7")
    assert (made.about_kind, made.about_id, made.about_label) == ("bulksend", str(sent.pk), "Cuotas")
    assert made.details == {"file": "rejects"}


def test_a_header_that_anybody_may_write_is_not_believed(rf: RequestFactory) -> None:
    request = rf.get("/", REMOTE_ADDR="192.0.2.7", HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert activity.record(What.LOGIN, by="ana", request=request).address == "192.0.2.7"


def test_what_happens_deep_within_a_request_has_its_address_too(rf: RequestFactory) -> None:
    with activity.on_behalf_of(rf.get("/", REMOTE_ADDR="192.0.2.7")):
        within = activity.record(What.DECIDED, by="ana", decision="pause")
    after = activity.record(What.DECIDED, by="command: root", decision="pause")
    assert (within.address, after.address) == ("192.0.2.7", "")


def test_nothing_of_a_recipient_is_kept(rf: RequestFactory) -> None:
    (row,) = new_bulk_send(1).recipients.all()
    suppression = Suppression.objects.create(email="ana@example.com", reason="baja")
    for about in (row, suppression):
        made = activity.record(What.CHANGED, by="ana", about=about)
        assert (made.about_id, made.about_label) == (str(about.pk), "")


def test_a_code_outside_of_the_vocabulary_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="meddled"):
        activity.record("meddled", by="ana")  # type: ignore[arg-type]


def test_the_name_stays_when_the_account_goes() -> None:
    ana = User.objects.create_user("ana")
    activity.record(What.ADDED, by=ana, about=Group.objects.create(name="Cobranzas"))
    ana.delete()
    assert Activity.objects.get().by == "ana"


@pytest.mark.parametrize("statement", ["UPDATE relay_activity SET details = '{}'", "DELETE FROM relay_activity"])
def test_the_database_refuses_to_change_or_to_forget_it(statement: str) -> None:
    activity.record(What.LOGIN, by="ana")
    with pytest.raises(IntegrityError, match="never"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Activity.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_tests_with_transactions_of_their_own_can_record_too() -> None:
    """Emptying the tables afterwards would fail this test, were it not for `tests.conftest`."""
    activity.record(What.LOGIN, by="ana")
    assert Activity.objects.count() == 1
