"""What each group that comes with the product sees and is refused: every page of the console, one by one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db.models.signals import post_migrate
from django.test import Client
from django.urls import URLResolver
from django.utils import timezone

from relay import activity, groups
from relay.models import Attachment, GroupGrant, MailTemplate, Preparation, Sender, SendingWindow, Suppression
from reports.models import Delivery
from tests.relay.admin_rows import State, Status, bulk_send, recipient
from tests.reports.report_rows import report

pytestmark = pytest.mark.django_db

OPERATORS, APPROVERS, ONLOOKERS, REPORTERS = "Operadores", "Aprobadores", "Consulta", "Report Managers"
GROUPS = (OPERATORS, APPROVERS, ONLOOKERS, REPORTERS)
THE_THREE = {OPERATORS, APPROVERS, ONLOOKERS}
ALL = {*THE_THREE, REPORTERS}
NOBODY: set[str] = set()  # administrators alone, or not even they

# The address of a page, as its pattern is written → who is let in. The first that fits counts; none: the test fails,
# since nobody has thought about who may see that page.
MAY: list[tuple[str, set[str]]] = [
    # Of everybody who has an account.
    (r"|login/|password_change/(done/)?|jsi18n/|search/", ALL),
    (r"account/|start/live/|start/<slug:name>\.csv", ALL),
    (r".*/<path:object_id>/", ALL),  # leads on to the page of the thing, which asks
    # What nobody adds, changes or deletes by hand.
    (r"relay/preparation/<path:object_id>/delete/", NOBODY),
    (r"relay/(activity|attachment|bulksend|recipient)/(add/|<path:object_id>/delete/)", NOBODY),
    (r"reports/delivery/(add/|<path:object_id>/delete/)", NOBODY),
    (r"reports/generatedreport/<path:object_id>/delete/", NOBODY),
    # Access.
    (r"auth/.*", NOBODY),
    (r"relay/activity/.*", {APPROVERS}),
    # Bulk sends.
    (r"relay/bulksend/<path:object_id>/(start|start-valid|pause|resume|retry|change-pace|cancel)/", {OPERATORS}),
    (r"relay/bulksend/<path:object_id>/(approve|reject)/", {APPROVERS}),
    (r"relay/bulksend/<path:object_id>/discard/", {OPERATORS}),
    (r"relay/bulksend/<int:object_id>/(review/accept|preview/<int:row>/test|when|when/confirm)/", {OPERATORS}),
    (r"relay/recipient/<path:object_id>/(was-sent|was-not-sent)/", {OPERATORS}),
    (r"relay/(bulksend|recipient|attachment)/.*", THE_THREE),
    # Templates, and what is prepared.
    (r"relay/mailtemplate/<path:object_id>/delete/", NOBODY),
    (r"relay/mailtemplate/(add/|<int:object_id>/(finish|discard)/)", {OPERATORS}),
    (r"relay/mailtemplate/.*", THE_THREE),
    (r"relay/preparation/.*", {OPERATORS}),
    # Lists.
    (r"relay/suppression/add/", {OPERATORS}),
    (r"relay/(sender|sendingwindow|suppression)/(add/|<path:object_id>/delete/)", NOBODY),
    (r"relay/(sender|sendingwindow|suppression)/.*", THE_THREE),
    # Reports.
    (r"reports/generatedreport/(add/|process-pending/|<int:object_id>/(retry|load)/.*)", {REPORTERS}),
    (r"reports/generatedreport/.*", ALL),
    (r"reports/delivery/.*", THE_THREE),
]
# Lists of applications, what completes a field (which asks the field's own page), the way out.
DJANGO_S = re.compile(r".*\(\?P<|autocomplete/|logout/|r/")
# These change something: they listen to POST alone.
POSTED = re.compile(
    r"reports/generatedreport/(process-pending/|<int:object_id>/(retry|load)/.*)"
    r"|relay/mailtemplate/(refresh|try|check|<int:object_id>/(fetch|finish|discard))/"
    r"|relay/preparation/<int:object_id>/(upload|attach|detach/<int:attachment_id>|stop)/"
    r"|relay/bulksend/<int:object_id>/(review/accept|preview/<int:row>/test|when/confirm)/"
)


@dataclass(frozen=True)
class Page:
    route: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return self.route


def pages(patterns: Any = None, before: str = "") -> Iterator[Page]:
    for pattern in admin.site.urls[0] if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from pages(pattern.url_patterns, before + str(pattern.pattern))
        elif not before.startswith(("django_tasks", "procrastinate")):
            yield Page(before + str(pattern.pattern), tuple(pattern.pattern.converters))


def allowed(page: Page) -> set[str]:
    for pattern, who in MAY:
        if re.fullmatch(pattern, page.route):
            return who
    raise AssertionError(f"who may see {page.route}? Say so in MAY")


@pytest.fixture
def numbers(settings: Any) -> dict[str, int]:
    """One of each thing, so that a page is refused because of who asks and not because there is nothing."""
    settings.BULK_APPROVAL_ABOVE = 1
    sent = bulk_send(Status.PENDING)
    now = timezone.now()
    delivery = Delivery.objects.create(
        key=b"k" * 16, sent_at=now, local_day=now.date(), sender="a@example.com", recipient="b@example.com", as_of=now
    )
    made: dict[str, Any] = {
        "activity": activity.record(activity.What.LOGIN, by="ana"),
        "attachment": Attachment.objects.create(filename="a.pdf", content_type="x", size=1, sha256="a" * 64),
        "bulksend": sent,
        "recipient": recipient(sent, 2, State.UNKNOWN),
        "sender": Sender.objects.create(email="avisos@example.com"),
        "sendingwindow": SendingWindow.objects.create(name="Oficina", opens=time(8), closes=time(18)),
        "suppression": Suppression.objects.create(email="baja@example.com", reason="baja"),
        "user": User.objects.create_user("otra"),
        "group": Group.objects.create(name="Otro"),
        "generatedreport": report(),
        "delivery": delivery,
        "mailtemplate": MailTemplate.objects.create(template_id="aviso", name="Aviso", html="x", fetched_at=now),
        "preparation": Preparation.objects.create(name="Cobranza"),
    }
    return {name: thing.pk for name, thing in made.items()}


def address(page: Page, numbers: dict[str, int]) -> str:
    model = page.route.split("/")[1] if page.arguments else ""
    filled = {"alias": "default", "content_type_id": "1"}
    return "/admin/" + re.sub(
        r"<(?:\w+:)?(\w+)>", lambda found: filled.get(found[1]) or str(numbers.get(model, 1)), page.route
    )


def is_let_in(client: Client, page: Page, numbers: dict[str, int]) -> bool:
    url = address(page, numbers)
    answer = client.post(url) if POSTED.fullmatch(page.route) else client.get(url)
    assert answer.status_code in {200, 302, 403, 404}, (url, answer.status_code)
    return answer.status_code != 403


@pytest.mark.parametrize("name", GROUPS)
def test_each_group_sees_what_it_must_and_is_refused_the_rest(
    name: str, client: Client, numbers: dict[str, int]
) -> None:
    member = User.objects.create_user("ana", is_staff=True)
    member.groups.add(Group.objects.get(name=name))
    client.force_login(member)
    everything = [page for page in pages() if not DJANGO_S.match(page.route)]
    assert len(everything) > 80
    wrong = []
    for page in everything:
        seen = is_let_in(client, page, numbers)
        if seen != (name in allowed(page)):
            wrong.append(f"{page}: {'let in' if seen else 'refused'}")
    assert not wrong


@pytest.mark.parametrize("name", GROUPS)
def test_its_menu_shows_nothing_that_it_would_be_refused(name: str, client: Client) -> None:
    member = User.objects.create_user("ana", is_staff=True)
    member.groups.add(Group.objects.get(name=name))
    client.force_login(member)
    links = set(re.findall(r'href="(/admin/\w+/\w+/)"', client.get("/admin/").content.decode()))
    assert links
    assert {link: client.get(link).status_code for link in links} == dict.fromkeys(links, 200)


# --- how they get their rights


def migrated() -> None:
    """What Django says after each `migrate`."""
    for config in apps.get_app_configs():
        post_migrate.send(sender=config, app_config=config, verbosity=0, interactive=False, using="default")


def rights(name: str) -> set[str]:
    found = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
    return {".".join(right) for right in found}


def test_after_migrating_an_empty_database_they_are_there_with_their_rights() -> None:
    known = {
        f"{label}.{codename}"
        for label, codename in Permission.objects.values_list("content_type__app_label", "codename")
    }
    for name, wanted in groups.RIGHTS.items():
        assert rights(name) == wanted & known
        assert not {right for right in wanted - known if not right.endswith("_mailtemplate")}


def test_every_right_that_they_are_to_have_looks_like_one() -> None:
    for wanted in groups.RIGHTS.values():
        assert all(re.fullmatch(r"(relay|reports)\.(add|change|view|approve)_[a-z]+", right) for right in wanted)


def test_what_an_administrator_took_away_stays_away() -> None:
    group = Group.objects.get(name=OPERATORS)
    group.permissions.remove(Permission.objects.get(codename="change_bulksend"))
    migrated()
    assert "relay.change_bulksend" not in rights(OPERATORS)


def test_what_he_added_stays_and_members_stay() -> None:
    group = Group.objects.get(name=ONLOOKERS)
    group.permissions.add(Permission.objects.get(codename="view_user"))
    group.user_set.add(User.objects.create_user("ana"))
    migrated()
    assert "auth.view_user" in rights(ONLOOKERS)
    assert group.user_set.count() == 1


def test_a_right_that_comes_to_exist_later_is_given_then_and_once() -> None:
    group = Group.objects.get(name=OPERATORS)
    late = Permission.objects.get(codename="add_suppression")
    group.permissions.remove(late)
    GroupGrant.objects.filter(group=group, right="relay.add_suppression").delete()  # as if it had not existed
    migrated()
    assert "relay.add_suppression" in rights(OPERATORS)
    group.permissions.remove(late)
    migrated()
    assert "relay.add_suppression" not in rights(OPERATORS)


def test_a_group_that_was_renamed_or_deleted_is_left_alone() -> None:
    Group.objects.filter(name=ONLOOKERS).delete()
    Group.objects.filter(name=OPERATORS).update(name="Equipo de cobranza")
    group = Group.objects.get(name="Equipo de cobranza")
    group.permissions.clear()
    GroupGrant.objects.all().delete()
    migrated()
    assert rights("Equipo de cobranza") == set()
    assert not Group.objects.filter(name__in=[ONLOOKERS, OPERATORS]).exists()


def test_a_group_that_alone_may_use_a_sender_cannot_be_deleted(client: Client) -> None:
    """Or its sender would be everybody's."""
    client.force_login(User.objects.create_superuser("lucia"))
    group, other = Group.objects.create(name="Cobranzas"), Group.objects.create(name="Jefatura")
    Sender.objects.create(email="cobranza@example.com").groups.set([group])
    Sender.objects.create(email="ambas@example.com").groups.set([group, other])
    client.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})
    client.post(f"/admin/auth/group/{other.pk}/delete/", {"post": "yes"})
    assert set(Group.objects.filter(pk__in=[group.pk, other.pk])) == {group}
