"""What leaves, byte for byte where it matters."""

import asyncio
import json
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from raw_relay import KEY, ClientMaker, RawRelay, http

from relay_client import (
    Address,
    Attachment,
    Message,
    Recipient,
    RelayClient,
    TemplateDraft,
    TemplateMessage,
)

FULL = Message(
    from_email="notices@example.com",
    from_name="Avisos Peña",
    recipients=[
        Recipient("ana@example.com", "Ana Núñez"),
        Recipient("team@example.com", type="cc"),
        Recipient("archive@example.com", "Archive", "bcc"),
    ],
    subject="Factura 1001",
    html="<p>Hola Ana</p>",
    text="Hola Ana",
    reply_to=Address("help@example.com", "Help"),
)
FULL_JSON: dict[str, Any] = {
    "from_email": "notices@example.com",
    "from_name": "Avisos Peña",
    "recipients": [
        {"type": "to", "email": "ana@example.com", "name": "Ana Núñez"},
        {"type": "cc", "email": "team@example.com"},
        {"type": "bcc", "email": "archive@example.com", "name": "Archive"},
    ],
    "reply_to": {"email": "help@example.com", "name": "Help"},
    "subject": "Factura 1001",
    "html": "<p>Hola Ana</p>",
    "text": "Hola Ana",
}
FILE = Attachment("ficha ñ.pdf", "application/pdf", "JVBERi0xLjQK")
FILE_JSON = {"filename": "ficha ñ.pdf", "base64_content": "JVBERi0xLjQK", "type": "application/pdf"}


async def test_a_message_leaves_with_the_proven_fields_and_no_others(raw_relay: RawRelay, client: RelayClient) -> None:
    await client.send_message(FULL)
    request = raw_relay.requests[0]
    assert request.line == "POST /accounts/example/messages HTTP/1.1"
    assert request.body == json.dumps(FULL_JSON, separators=(",", ":"), ensure_ascii=False).encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert "cookie" not in request.headers


async def test_what_a_message_does_not_have_is_left_out(raw_relay: RawRelay, client: RelayClient) -> None:
    await client.send_message(
        Message(
            "notices@example.com",
            "",
            [Recipient("ana@example.com")],
            "Hi",
            text="Hi",
            reply_to=Address("h@example.com"),
        )
    )
    assert raw_relay.requests[0].json == {
        "from_email": "notices@example.com",
        "recipients": [{"type": "to", "email": "ana@example.com"}],
        "reply_to": {"email": "h@example.com"},
        "subject": "Hi",
        "text": "Hi",
    }


async def test_a_template_message_leaves_nulls_for_the_templates_own_sender(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    model = {"user": {"name": "Ana"}, "list": [{"item": "Book", "price": 12.5}], "paid": False, "note": None}
    await client.send_template_message("t-1", TemplateMessage([Recipient("ana@example.com")], model))
    request = raw_relay.requests[0]
    assert request.line == "POST /accounts/example/templates/t-1/message HTTP/1.1"
    assert request.json == {
        "from_email": None,
        "from_name": None,
        "recipients": [{"type": "to", "email": "ana@example.com"}],
        "model": model,
    }


async def test_a_template_message_may_replace_the_sender(raw_relay: RawRelay, client: RelayClient) -> None:
    message = TemplateMessage(
        [Recipient("ana@example.com")],
        {},
        from_email="other@example.com",
        from_name="Other",
        reply_to=Address("help@example.com"),
        attachments=[FILE],
    )
    await client.send_template_message("t-1", message)
    assert raw_relay.requests[0].json == {
        "from_email": "other@example.com",
        "from_name": "Other",
        "recipients": [{"type": "to", "email": "ana@example.com"}],
        "reply_to": {"email": "help@example.com"},
        "model": {},
        "attachments": [FILE_JSON],
    }


async def test_attachments_leave_streamed_with_a_length_and_never_in_chunks(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    large = Attachment("large.bin", "application/octet-stream", "QUJD" * 500_000)
    message = Message("n@example.com", "N", [Recipient("ana@example.com")], "Hi", html="<p>", attachments=[FILE, large])
    for _ in range(3):
        await client.send_message(message)
    for request in raw_relay.requests:
        assert "transfer-encoding" not in request.headers
        assert request.headers["content-type"] == "application/json"
        assert int(request.headers["content-length"]) == len(request.body)
        assert request.json["attachments"] == [
            FILE_JSON,
            {
                "filename": "large.bin",
                "base64_content": "QUJD" * 500_000,
                "type": "application/octet-stream",
            },
        ]
    assert raw_relay.connections == 1


async def test_calls_in_flight_share_a_large_file_in_memory(raw_relay: RawRelay, make_client: ClientMaker) -> None:
    reading = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reading.wait()
        writer.close()

    file = Attachment("large.bin", "application/octet-stream", "QUJD" * 1_000_000)
    message = Message("n@example.com", "N", [Recipient("ana@example.com")], "Hi", text="Hi", attachments=[file])
    file.as_json()
    async with await asyncio.start_server(later, "127.0.0.1", 0, limit=1024) as server:
        client = await make_client(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        tracemalloc.start()
        sends = [asyncio.create_task(client.send_message(message)) for _ in range(25)]
        await asyncio.sleep(0.3)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        reading.set()
        await asyncio.gather(*sends, return_exceptions=True)
    assert peak < 12_000_000  # 25 joined bodies would be 100 MB


def test_an_attachment_is_turned_into_json_once() -> None:
    file = Attachment("a.txt", "text/plain", "QQ==")
    assert file.as_json() is file.as_json()
    assert file == Attachment("a.txt", "text/plain", "QQ==")


async def test_values_that_utf8_cannot_carry_still_leave_as_json(raw_relay: RawRelay, client: RelayClient) -> None:
    await client.send_template_message("t", TemplateMessage([Recipient("ana@example.com")], {"x": "half \ud83d"}))
    assert raw_relay.requests[0].json["model"] == {"x": "half \ud83d"}


@pytest.mark.parametrize(("value", "kind"), [(float("nan"), ValueError), (object(), TypeError)])
async def test_a_model_that_is_no_json_is_the_callers_mistake_and_nothing_leaves(
    value: object, kind: type[Exception], raw_relay: RawRelay, client: RelayClient
) -> None:
    with pytest.raises(kind):
        await client.send_template_message("t", TemplateMessage([Recipient("ana@example.com")], {"x": value}))
    assert not raw_relay.connections


@pytest.mark.parametrize(
    ("given", "sent"),
    [("token", "token"), ("Token", "token"), ("TOKEN", "token"), ("bearer", "Bearer"), ("Bearer", "Bearer")],
)
async def test_both_schemes_are_sent_in_their_usual_spelling(
    given: str, sent: str, raw_relay: RawRelay, make_client: ClientMaker
) -> None:
    await (await make_client(auth_scheme=given)).send_message(FULL)
    assert raw_relay.requests[0].headers["authorization"] == f"{sent} {KEY}"


@pytest.mark.parametrize("path", ["", "/", "/relay", "/relay/", "/a/b/"])
async def test_the_base_url_may_have_a_path_and_a_slash_or_not(
    path: str, raw_relay: RawRelay, make_client: ClientMaker
) -> None:
    client = await make_client(base_url=raw_relay.url + path)
    await client.send_message(FULL)
    raw_relay.answers = [http(200, {"recipientAddress": "ana@example.com"})]
    await client.get_delivery("/accounts/5/deliveries/d-1")
    await client.get_delivery(f"{path.rstrip('/')}/accounts/5/deliveries/d-1")
    lines = [request.line.split()[1] for request in raw_relay.requests]
    assert lines[0] == path.rstrip("/") + "/accounts/example/messages"
    assert set(lines[1:]) == {path.rstrip("/") + "/accounts/5/deliveries/d-1"}


async def test_account_and_ids_are_single_opaque_segments(raw_relay: RawRelay, make_client: ClientMaker) -> None:
    client = await make_client(account="a/../b?c#d e")
    await client.send_template_message("x/y%2Fz", TemplateMessage([Recipient("ana@example.com")], {}))
    expected = "POST /accounts/a%2F..%2Fb%3Fc%23d%20e/templates/x%2Fy%252Fz/message HTTP/1.1"
    assert raw_relay.requests[0].line == expected


@pytest.mark.parametrize("template_id", ["", ".", ".."])
async def test_an_id_that_would_change_the_path_is_refused(
    template_id: str, raw_relay: RawRelay, client: RelayClient
) -> None:
    with pytest.raises(ValueError):
        await client.delete_template(template_id)
    assert not raw_relay.connections


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": ""},
        {"api_key": "SECRET\n"},
        {"api_key": "SECRET ñ"},
        {"account": ""},
        {"auth_scheme": "SECRET"},
        {"base_url": "api.dopplerrelay.com"},
        {"base_url": "ftp://relay.example/"},
        {"base_url": "https://user:SECRET@relay.example/"},
        {"base_url": "https://relay.example/?api_key=SECRET"},
        {"base_url": "https://[SECRET/"},
        {"timeout_seconds": 0},
        {"connect_timeout_seconds": -1},
        {"max_connections": 0},
        {"read_attempts": 0},
    ],
)
def test_wrong_settings_are_refused_at_once_and_without_being_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        RelayClient(**({"api_key": "k", "account": "example"} | wrong))
    assert "SECRET" not in str(caught.value)


async def test_a_closed_client_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await RelayClient(api_key="k", account="example").send_message(FULL)


async def test_templates_are_changed_by_the_calls_of_the_vendors_own_application(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    draft = TemplateDraft("Invoice", "notices@example.com", "Notices", "Invoice {{number}}")
    fields = {
        "name": "Invoice",
        "from_email": "notices@example.com",
        "from_name": "Notices",
        "subject": "Invoice {{number}}",
    }
    assert await client.create_template(draft) == "id-1"
    raw_relay.answers = [http(200, {"message": "Done"}), http(200), b"HTTP/1.1 204 No Content\r\n\r\n"]
    await client.update_template("id-1", draft)
    await client.put_template_body("id-1", "<p>ñ</p>")
    await client.delete_template("id-1")
    create, update, body, delete = raw_relay.requests
    assert (create.line.split()[:2], create.json) == (["POST", "/accounts/example/templates"], fields)
    assert update.line.split()[:2] == ["PUT", "/accounts/example/templates/id-1"]
    assert update.json == fields | {"id": "id-1"}
    assert body.line.split()[:2] == ["PUT", "/accounts/example/templates/id-1/body"]
    assert body.json == {"html": "<p>ñ</p>"}
    assert delete.line.split()[:2] == ["DELETE", "/accounts/example/templates/id-1"]
    assert delete.body == b""


async def test_a_report_is_asked_for_in_utc_with_milliseconds(raw_relay: RawRelay, client: RelayClient) -> None:
    guayaquil = timezone(timedelta(hours=-5))
    start = datetime(2025, 3, 1, tzinfo=guayaquil)
    await client.request_report(start, start + timedelta(days=1, microseconds=1999))
    assert raw_relay.requests[0].line == "POST /reports/reportrequest HTTP/1.1"
    assert raw_relay.requests[0].json == {
        "start_date": "2025-03-01T05:00:00.000Z",
        "end_date": "2025-03-02T05:00:00.001Z",
    }


async def test_deliveries_are_asked_for_by_text_and_half_open_period(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(200, {"items": []})]
    start = datetime(2025, 3, 1, tzinfo=UTC)
    found = client.deliveries(text="ana+x@example.com", start=start, end=start + timedelta(hours=1), per_page=50)
    assert [item async for item in found] == []
    target = raw_relay.requests[0].line.split()[1]
    path, _, query = target.partition("?")
    assert path == "/accounts/example/deliveries"
    assert set(query.split("&")) == {
        "per_page=50",
        "filter=ana%2Bx@example.com",
        "from=2025-03-01T00:00:00.000Z",
        "to=2025-03-01T01:00:00.000Z",
    }


async def test_an_end_in_the_future_is_left_out_as_the_vendors_application_does(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [http(200, {"items": []})]
    async for _ in client.deliveries(end=datetime.now(UTC) + timedelta(hours=1)):
        pass
    assert "to=" not in raw_relay.requests[0].line


async def test_moments_without_a_zone_are_refused(raw_relay: RawRelay, client: RelayClient) -> None:
    naive = datetime(2025, 3, 1)  # noqa: DTZ001 - the mistake on trial
    with pytest.raises(ValueError):
        client.deliveries(start=naive)
    with pytest.raises(ValueError):
        client.deliveries(end=naive)
    with pytest.raises(ValueError):
        await client.request_report(naive, datetime.now(UTC))
    with pytest.raises(ValueError):
        client.deliveries(per_page=201)
    assert not raw_relay.connections


async def test_many_calls_share_the_connections_allowed(raw_relay: RawRelay, make_client: ClientMaker) -> None:
    client = await make_client(max_connections=3)
    await asyncio.gather(*(client.send_message(FULL) for _ in range(50)))
    assert len(raw_relay.requests) == 50
    assert raw_relay.connections <= 3
