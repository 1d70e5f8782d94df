"""The recipients of one bulk send in the console: searched, filtered, paged, and one of them with its mail."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from relay import finding
from relay.models import Recipient
from tests.console import page
from tests.relay.admin_rows import HOSTILE, State, bulk_send, in_every_state, recipient, user
from tests.relay.rows import new_bulk_send

pytestmark = pytest.mark.django_db
RECIPIENTS = "/admin/relay/recipient/"


def shown_rows(text: str) -> list[str]:
    return re.findall(r">(persona\d+@example\.com)<", text)


def links(text: str) -> list[str]:
    pages = text.partition('<nav class="watch-pages"')[2].partition("</nav>")[0]
    return [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]+)"', pages)]


def test_a_value_is_found_and_named(lucia: Client) -> None:
    sent = bulk_send()
    recipient(sent, 2, State.PENDING, variables={"nombre": "José Muñoz", "saldo": "10"})
    recipient(sent, 3, State.PENDING, variables={"nombre": "Ana"})
    shown = page(lucia, f"{RECIPIENTS}?bulk_send={sent.pk}&q=munoz")
    assert shown_rows(shown) == ["persona2@example.com"]
    assert "nombre: José Muñoz" in shown
    assert 'value="munoz"' in shown


def test_an_address_is_found_at_once_and_the_rest_is_one_click_away(lucia: Client) -> None:
    sent = new_bulk_send(3)
    recipient(sent, 9, State.PENDING, variables={"jefe": "persona2@example.com"})
    address = f"{RECIPIENTS}?bulk_send={sent.pk}&q=persona2@"
    shown = page(lucia, address)
    assert shown_rows(shown) == ["persona2@example.com"]
    assert "everywhere=1" in shown
    assert shown_rows(page(lucia, f"{address}&everywhere=1")) == ["persona2@example.com", "persona9@example.com"]


def test_it_is_said_how_far_it_came_and_goes_on_from_there(lucia: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "FIRST_PIECE", 10)
    monkeypatch.setattr(finding._PieceSize, "goes_on", lambda size: size._pieces == 0)
    sent = new_bulk_send(25)  # rows 2 to 26
    shown = page(lucia, f"{RECIPIENTS}?bulk_send={sent.pk}&q=persona 26")
    assert shown_rows(shown) == []
    assert re.search(r"\b10\b[^<]*\b26\b", shown)
    following = links(shown)
    assert following == [f"{RECIPIENTS}?bulk_send={sent.pk}&q=persona+26&after=10"]
    for _step in range(2):
        shown = page(lucia, following[-1])
        following = links(shown)
    assert shown_rows(shown) == ["persona26@example.com"]
    assert not [link for link in following if "after=" in link]


def test_pages_follow_each_other_both_ways(lucia: Client) -> None:
    sent = new_bulk_send(120)
    first = page(lucia, f"{RECIPIENTS}?bulk_send={sent.pk}")
    assert len(shown_rows(first)) == finding.PAGE
    second = page(lucia, links(first)[-1])
    assert shown_rows(second)[0] == "persona52@example.com"
    third = page(lucia, links(second)[-1])
    assert len(shown_rows(third)) == 20
    back = page(lucia, next(link for link in links(third) if "before=" in link))
    assert shown_rows(back) == shown_rows(second)


def test_filters_say_how_many_there_are(lucia: Client) -> None:
    sent = bulk_send(total=6)
    in_every_state(sent)
    shown = page(lucia, f"{RECIPIENTS}?bulk_send={sent.pk}&state=refused")
    assert len(shown_rows(shown)) == 1
    assert re.search(r'<option value="refused" selected>[^<]+\(1\)</option>', shown)
    assert re.search(r'<option value="refused">[^<]+\(1\)</option>', shown)  # the reason
    assert '<option value="no_answer">' not in shown


@pytest.mark.parametrize(
    "asked",
    ["state=nonsense", "reason=nonsense", "after=-1", "after=x", f"before={9**40}", "q=%00", "q=" + "x" * 999],
)
def test_a_strangers_link_is_no_error(lucia: Client, asked: str) -> None:
    page(lucia, f"{RECIPIENTS}?bulk_send={new_bulk_send(2).pk}&{asked}")


def test_what_people_wrote_stays_text(lucia: Client) -> None:
    sent = bulk_send(name=HOSTILE)
    row = recipient(sent, 2, State.PENDING, email=f"{HOSTILE}@example.com", variables={HOSTILE: HOSTILE})
    for address in (f"{RECIPIENTS}?bulk_send={sent.pk}&q=script", f"{RECIPIENTS}{row.pk}/change/"):
        shown = page(lucia, address)
        assert HOSTILE not in shown
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


def test_only_who_may_see_recipients_sees_them(client: Client) -> None:
    sent = new_bulk_send(1)
    client.force_login(user("consulta", "view_bulksend"))
    assert client.get(f"{RECIPIENTS}?bulk_send={sent.pk}").status_code == 403
    assert client.get(f"{RECIPIENTS}?state=for_a_person").status_code == 403
    client.force_login(user("mira", "view_recipient"))
    assert client.get(f"{RECIPIENTS}?bulk_send={sent.pk}").status_code == 200
    assert client.get(f"{RECIPIENTS}?bulk_send=999").status_code == 404


def test_a_page_asks_little_and_never_for_the_template(lucia: Client) -> None:
    sent = new_bulk_send(60)
    with CaptureQueriesContext(connection) as captured:
        page(lucia, f"{RECIPIENTS}?bulk_send={sent.pk}&state=pending")
    assert len(captured) <= 16
    asked = " ".join(query["sql"] for query in captured)
    assert "template_html" not in asked
    assert not [query for query in captured if "COUNT(" in query["sql"] and "relay_recipient" in query["sql"]]


def test_those_that_wait_for_a_person_are_looked_for_in_each_bulk_send(lucia: Client) -> None:
    assert lucia.get(f"{RECIPIENTS}?state=for_a_person").status_code == 200  # nobody waits
    first, second = bulk_send(name="Primera"), bulk_send(name="Segunda")
    recipient(first, 2, State.UNKNOWN)
    assert f"bulk_send={first.pk}" in lucia.get(f"{RECIPIENTS}?state=for_a_person").headers["Location"]
    recipient(second, 2, State.UNKNOWN)
    shown = page(lucia, f"{RECIPIENTS}?state=for_a_person")
    for sent in (first, second):
        assert f"?bulk_send={sent.pk}&amp;state=for_a_person" in shown


def test_the_mail_of_a_recipient_stands_in_a_frame_without_rights(lucia: Client, client: Client) -> None:
    row: Recipient = recipient(bulk_send(), 2, State.ACCEPTED)
    shown = page(lucia, f"{RECIPIENTS}{row.pk}/change/")
    frame = re.search(r"<iframe[^>]+>", shown)
    assert frame
    assert 'sandbox=""' in frame[0]
    source = re.search(r'src="([^"]+)"', frame[0])
    assert source
    assert "Ana" in page(lucia, source[1])
    client.force_login(user("mira", "view_recipient"))
    assert "<iframe" not in page(client, f"{RECIPIENTS}{row.pk}/change/")
