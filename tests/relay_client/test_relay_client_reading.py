"""Answers of the relay, read through the client: templates, deliveries, limits, reports, links and pages."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from raw_relay import ClientMaker, RawRelay, http

from relay_client import (
    Limit,
    Limits,
    Link,
    Message,
    Recipient,
    RelayClient,
    RelayNotFound,
    RelayUnavailable,
    ReportRequest,
    Template,
    TemplateBody,
)

MESSAGE = Message("notices@example.com", "Notices", [Recipient("ana@example.com")], "Invoice", html="<p>Hi</p>")
T1 = {
    "id": "t1",
    "name": "Invoice",
    "from_email": "notices@example.com",
    "from_name": "Notices",
    "subject": "Invoice {{number}}",
    "body": "<p>{{name}}</p>",
    "bodyType": "rawHtml",
    "created_at": "2025-01-10T12:00:00Z",
    "last_updated": "2025-01-11T04:30:00.1234567-05:00",
    "_links": [{"href": "/accounts/5/templates/t1", "rel": "self /docs/rels/get-template"}],
}
D1 = {
    "subject": "Invoice",
    "senderAddress": "notices@example.com",
    "recipientAddress": "ana@example.com",
    "date": "2025-03-01T14:00:05+00:00",
    "status": "Rejected",
    "bounceType": "hard",
    "opens": 2,
    "clicks": "1",
    "_links": [{"href": "/accounts/5/deliveries/d1", "rel": "/docs/rels/get-delivery"}],
}


def links(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"rel": rel, "href": href} for rel, href in pairs]


def pages(*contents: tuple[list[Any], str | None]) -> list[bytes]:
    return [
        http(200, {"items": items, "_links": links(*([("next last", after)] if after else []))})
        for items, after in contents
    ]


async def listed[T](items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


async def test_delivery_links_are_taken_by_whole_relation(raw_relay: RawRelay, client: RelayClient) -> None:
    body = {
        "createdResourceId": "m1",
        "_links": [
            *links(
                ("related", "/accounts/5/messages/m1"),
                ("/docs/rels/get-delivery", "/d/1"),
                ("related /docs/rels/get-delivery", "/d/2"),
                ("https://api.dopplerrelay.com/docs/rels/get-delivery", "/d/3"),
                ("/docs/es/rels/get-delivery?x=1#y", "/d/4"),
                ("/docs/rels/get-delivery", "/d/1"),
                ("/docs/rels/get-delivery-collection", "/d"),
                ("/docs/rels/forget-delivery", "/no"),
                ("rels/get-delivery/more", "/no"),
                ("", "/no"),
            ),
            "nonsense",
            {"rel": 5, "href": None},
            {"rel": "/docs/rels/get-delivery"},
        ],
    }
    raw_relay.answers = [http(201, body)]
    accepted = await client.send_message(MESSAGE)
    assert accepted.message_id == "m1"
    assert accepted.deliveries == ("/d/1", "/d/2", "/d/3", "/d/4")


@pytest.mark.parametrize("found", [None, {}, "links", 5, [None]])
async def test_an_accepted_message_without_usable_links_is_accepted(
    found: object, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [http(201, {"createdResourceId": 345, "_links": found})]
    accepted = await client.send_message(MESSAGE)
    assert (accepted.message_id, accepted.deliveries) == ("345", ())


async def test_an_id_is_read_even_from_a_body_in_the_wrong_charset(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(201, '{"createdResourceId": "m1", "message": "Envío aceptado"}'.encode("latin-1"))]
    assert (await client.send_message(MESSAGE)).message_id == "m1"


async def test_a_template_is_read_whole(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(200, T1)]
    assert await client.get_template("t1") == Template(
        id="t1",
        name="Invoice",
        from_email="notices@example.com",
        from_name="Notices",
        subject="Invoice {{number}}",
        body_type="rawHtml",
        body="<p>{{name}}</p>",
        thumbnail=None,
        created_at=datetime(2025, 1, 10, 12, tzinfo=UTC),
        last_updated=datetime(2025, 1, 11, 9, 30, 0, 123456, tzinfo=UTC),
        links=(Link("self /docs/rels/get-template", "/accounts/5/templates/t1"),),
    )
    assert raw_relay.requests[0].line == "GET /accounts/example/templates/t1 HTTP/1.1"
    assert "content-type" not in raw_relay.requests[0].headers


async def test_templates_are_read_from_page_to_page(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = pages(
        ([T1, T1 | {"id": "t2"}], "/accounts/5/templates?page=2"),
        ([T1 | {"id": "t3"}], None),
    )
    assert [template.id for template in await listed(client.templates())] == ["t1", "t2", "t3"]
    assert raw_relay.requests[1].line == "GET /accounts/5/templates?page=2 HTTP/1.1"


async def test_paging_ends_at_an_empty_page(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = pages(([T1], "/accounts/5/templates?page=2"), ([], "/accounts/5/templates?page=3"))
    assert len(await listed(client.templates())) == 1
    assert len(raw_relay.requests) == 2


async def test_paging_ends_at_a_page_already_read(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = pages(([T1], "/a?page=2"), ([T1], "/a?page=3"), ([T1], "/a?page=2"))
    assert len(await listed(client.templates())) == 3
    assert len(raw_relay.requests) == 3


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/accounts/5/templates?page=2",
        "//evil.example/accounts/5/templates",
        "http://127.0.0.1:1/accounts/5/templates",
        "http://user@127.0.0.1/x",
        "javascript:alert(1)//",
        "http://[broken",
        "http://127.0.0.1:99999999/",
    ],
)
async def test_a_page_elsewhere_is_refused_and_never_sees_the_key(
    elsewhere: str, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = pages(([T1], elsewhere))
    with pytest.raises(RelayUnavailable):
        await listed(client.templates())
    assert len(raw_relay.requests) == 1


async def test_links_stay_below_the_path_of_the_base_url(raw_relay: RawRelay, make_client: ClientMaker) -> None:
    client = await make_client(base_url=raw_relay.url + "/relay")
    for href in (f"{raw_relay.url}/other/d", "/../other/d", "/x/%2e%2e/%2e%2e/other"):
        with pytest.raises(RelayUnavailable):
            await client.get_delivery(href)
    assert not raw_relay.requests


async def test_a_complete_link_to_the_relay_itself_is_followed(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = pages(([T1], f"{raw_relay.url}/accounts/5/templates?page=2"), ([T1], None))
    assert len(await listed(client.templates())) == 2


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": {}}, {"items": [T1, None]}, {"items": [{}]}])
async def test_a_page_that_may_hide_an_item_is_not_taken_for_a_shorter_one(
    body: object, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [http(200, body)]
    with pytest.raises(RelayUnavailable):
        await listed(client.templates())


async def template_body(client: RelayClient, **fields: Any) -> TemplateBody:
    base = {
        "id": "t1",
        "name": "",
        "from_email": "",
        "from_name": "",
        "subject": "",
        "body_type": "rawHtml",
        "body": None,
        "thumbnail": None,
        "created_at": None,
        "last_updated": None,
        "links": (),
    }
    return await client.get_template_body(Template(**(base | fields)))


async def test_a_template_body_is_read_by_its_link(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(200, {"name": "x", "html": "<p>", "mseditor": {"children": []}})]
    link = Link("related /docs/rels/get-template-body", "/somewhere/else/body")
    assert await template_body(client, links=(link,)) == TemplateBody("<p>", mseditor=True)
    assert raw_relay.requests[0].line == "GET /somewhere/else/body HTTP/1.1"


async def test_a_template_body_without_a_link_is_read_below_the_template(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [http(200, {"html": "<p>"})]
    assert await template_body(client) == TemplateBody("<p>", mseditor=False)
    assert raw_relay.requests[0].line == "GET /accounts/example/templates/t1/body HTTP/1.1"


async def test_a_body_that_came_with_the_template_serves_when_there_is_no_other(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [http(404, {"errorCode": 1})]
    assert await template_body(client, body="<p>own") == TemplateBody("<p>own", mseditor=False)
    with pytest.raises(RelayNotFound):
        await template_body(client)
    raw_relay.answers = [http(200, {"name": "x"})]
    assert (await template_body(client, body="<p>own")).html == "<p>own"
    assert (await template_body(client, body_type="empty")).html == ""
    with pytest.raises(RelayUnavailable):
        await template_body(client)


async def test_a_delivery_is_read_by_its_link(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(200, D1)]
    delivery = await client.get_delivery("/accounts/5/deliveries/d1")
    assert (delivery.sender, delivery.recipient) == ("notices@example.com", "ana@example.com")
    assert delivery.date == datetime(2025, 3, 1, 14, 0, 5, tzinfo=UTC)
    assert (delivery.status, delivery.bounce_type) == ("rejected", "hard")
    assert (delivery.opens, delivery.clicks) == (2, 1)
    assert delivery.href == "/accounts/5/deliveries/d1"


async def test_deliveries_are_read_from_page_to_page(raw_relay: RawRelay, client: RelayClient) -> None:
    bare = {"recipientAddress": "gone@example.com", "date": "yesterday", "_links": links(("self", "/d/9"))}
    raw_relay.answers = pages(([D1], "/accounts/example/deliveries?page=2&filter=a%2Bb"), ([bare, {}], None))
    first, second, third = await listed(client.deliveries())
    assert first.status == "rejected"
    assert (second.recipient, second.date, second.status, second.href) == ("gone@example.com", None, "", "/d/9")
    assert (third.recipient, third.bounce_type, third.opens, third.href) == ("", None, 0, "")
    assert "filter=a%2Bb" in raw_relay.requests[1].line


async def test_limits_are_read_and_nonsense_among_them_is_none(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [
        http(
            200,
            {
                "monthly": {"limit": 10000, "remaining": 9400, "reset": "2025-04-01T00:00:00Z"},
                "daily": {"limit": "many"},
                "hourly": {"limit": 0, "remaining": 0},
            },
        ),
        http(200, {"noLimits": True}),
    ]
    assert await client.limits() == Limits(
        monthly=Limit(10000, 9400, datetime(2025, 4, 1, tzinfo=UTC)),
        daily=None,
        hourly=Limit(0, 0, None),
        unlimited=False,
    )
    assert await client.limits() == Limits(None, None, None, unlimited=True)
    assert raw_relay.requests[0].line == "GET /accounts/example/status/limits HTTP/1.1"


@pytest.mark.parametrize(
    ("body", "location", "request_id"),
    [
        ({"createdResourceId": "345", "id": "1"}, "", "345"),
        ({"createdResourceId": 345}, "", "345"),
        ({"reportRequestId": 346, "id": 1}, "", "346"),
        ({"id": "347"}, "", "347"),
        ({"_links": links(("related", "/reports/reportrequest?reportRequestId=348"))}, "", "348"),
        ({"_links": links(("self", "/reports/1"), ("related", "/x?reportRequestId=9"))}, "", "9"),
        ({"_links": links(("self", "/reports/reportrequest/349/"))}, "", "349"),
        ({}, "/reports/reportrequest?reportRequestId=350", "350"),
        (b"", "https://api.dopplerrelay.com/reports/reportrequest/351", "351"),
        (b"<html>", "", None),
        ({"message": "Report requested", "_links": links(("self", "/reports/latest"))}, "http://[bad?x", None),
    ],
)
@pytest.mark.parametrize("status", [200, 201, 202])
async def test_the_id_of_a_report_request_is_found_wherever_it_stands(
    body: object, location: str, request_id: str | None, status: int, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [http(status, body, {"Location": location} if location else None)]
    moment = datetime(2025, 3, 1, tzinfo=UTC)
    assert await client.request_report(moment, moment) == request_id


async def test_a_report_request_is_in_progress_ready_or_without_rows(raw_relay: RawRelay, client: RelayClient) -> None:
    ready = {
        "id": 5,
        "name": "report",
        "start_date": "2025-03-01T00:00:00Z",
        "end_date": "2025-03-02T00:00:00Z",
        "processed": True,
        "file_path": "https://files.dopplerrelay.com/reports/x.csv",
    }
    raw_relay.answers = [
        http(202),
        http(200),
        http(200, ready | {"processed": False, "file_path": None}),
        http(200, ready | {"file_path": ""}),
        http(200, ready),
    ]
    waiting = ReportRequest("5", "", None, None, processed=False, file_url=None)
    assert await client.report_request("5") == waiting
    assert await client.report_request("5") == waiting
    progressing, empty, done = [await client.report_request("5") for _ in range(3)]
    assert (progressing.processed, progressing.file_url) == (False, None)
    assert (empty.processed, empty.file_url) == (True, None)
    assert done == ReportRequest(
        id="5",
        name="report",
        start=datetime(2025, 3, 1, tzinfo=UTC),
        end=datetime(2025, 3, 2, tzinfo=UTC),
        processed=True,
        file_url="https://files.dopplerrelay.com/reports/x.csv",
    )
    assert raw_relay.requests[0].line == "GET /reports/reportrequest?reportRequestId=5 HTTP/1.1"


async def test_report_requests_are_listed(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(200, {"items": [{"name": "a", "processed": True}, {"id": 2, "processed": False}]})]
    found = await client.report_requests()
    assert [(one.id, one.name, one.processed) for one in found] == [("", "a", True), ("2", "", False)]
    assert raw_relay.requests[0].line == "GET /reports/reportrequests HTTP/1.1"
