"""Nothing of a person, and nothing of the key, in what ends in logs."""

import asyncio
import logging
import traceback
from datetime import UTC, datetime

import pytest
from raw_relay import KEY, ClientMaker, RawRelay, http, reset

import relay_client
from relay_client import (
    Accepted,
    Address,
    Attachment,
    Delivery,
    Limit,
    Limits,
    Link,
    Message,
    Recipient,
    RelayClient,
    RelayError,
    RelayMisconfigured,
    ReportRequest,
    Template,
    TemplateBody,
    TemplateDraft,
    TemplateMessage,
)

# Every text that is a secret has the word in it; the key has its own.
RECIPIENT = Recipient("secret@example.com", "Secret")
FILE = Attachment("secret.pdf", "application/pdf", "secret")
MESSAGE = Message(
    from_email="secret@example.com",
    from_name="Secret",
    recipients=[RECIPIENT],
    subject="Secret",
    html="secret",
    text="secret",
    reply_to=Address("secret@example.com", "Secret"),
    attachments=[FILE],
)
TEMPLATE_MESSAGE = TemplateMessage([RECIPIENT], {"secret": "secret"}, "secret@example.com", "Secret")
SECRET_PROBLEM = {
    "title": "secret",
    "detail": "secret@example.com is secret",
    "errorCode": 1,
    "type": "/docs/errors/secret",
    "errors": [{"key": "secret", "detail": "secret"}],
    "period": "secret",
    "resetDate": "secret",
}


def check(text: str) -> None:
    assert KEY not in text
    assert "secret" not in text.lower()


ONE_OF_EACH = [
    Accepted("m", ("/d/1",)),
    Address("secret@example.com", "Secret"),
    FILE,
    Delivery("secret", "secret", "Secret", None, "sent", None, 0, 0, "/d/1"),
    Limit(1, 1, None),
    Limits(None, None, None, unlimited=False),
    Link("self", "/secret"),
    MESSAGE,
    RECIPIENT,
    ReportRequest("1", "r", None, None, processed=True, file_url="https://files.example/secret"),
    Template(
        "t", "Invoice", "secret", "secret", "secret", "rawHtml", "secret", "secret", None, None, (Link("a", "/secret"),)
    ),
    TemplateBody("secret", mseditor=False),
    TemplateDraft("Invoice", "secret@example.com", "Secret", "Secret"),
    TEMPLATE_MESSAGE,
]


def test_no_type_shows_an_address_a_subject_a_body_or_a_variable() -> None:
    FILE.as_json()
    shown = {type(one).__name__ for one in ONE_OF_EACH}
    # Errors, and that nothing of a link is in those of files, are tests of their own.
    types = {name for name in relay_client.__all__ if isinstance(getattr(relay_client, name), type)}
    errors = {name for name in types if issubclass(getattr(relay_client, name), Exception)}
    assert shown == types - errors - {"RelayClient"}
    for one in ONE_OF_EACH:
        check(repr(one))
        check(str(one))


def test_the_client_shows_host_and_account_only() -> None:
    client = RelayClient(api_key=KEY, account="example", base_url="https://relay.example/some/path")
    assert repr(client) == "<RelayClient host='relay.example' account='example'>"


ANSWERS = {
    str(status): http(status, SECRET_PROBLEM, {"Location": "/secret", "X-Secret": "secret"})
    for status in (200, 201, 302, 400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503)
} | {"html": http(200, b"<html>secret</html>"), "not http": b"secret secret\r\n\r\n"}


@pytest.mark.parametrize("answer", [*ANSWERS, "reset", "stall", "cut", "refused"])
async def test_no_error_shows_what_was_sent_or_what_the_relay_said(
    answer: str,
    raw_relay: RawRelay,
    make_client: ClientMaker,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        if answer == "reset":
            reset(writer)
        elif answer == "stall":
            await asyncio.sleep(60)
        elif answer == "cut":
            writer.write(b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"secret": "secret')
            writer.close()
        else:
            writer.write(ANSWERS[answer])

    raw_relay.behaves = behave
    options = {"timeout_seconds": 0.2, "read_attempts": 2}
    if answer == "refused":
        options["base_url"] = "http://127.0.0.1:9"
    client = await make_client(**options)
    caplog.set_level(logging.DEBUG)
    now = datetime.now(UTC)
    calls = [
        client.send_message(MESSAGE),
        client.send_template_message("t", TEMPLATE_MESSAGE),
        client.create_template(TemplateDraft("x", "secret@example.com", subject="secret")),
        client.put_template_body("t", "secret"),
        anext(client.deliveries(text="secret@example.com", start=now)),
        client.get_template("t"),
        client.get_delivery("/deliveries?filter=secret@example.com"),
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(errors) >= 5
    for error in errors:
        assert isinstance(error, RelayError | RelayMisconfigured)
        check(str(error))
        check(repr(error))
        check("".join(traceback.format_exception(error)))
        # Not even hidden: error trackers walk these, and aiohttp's exceptions hold the URL and the headers.
        assert error.__cause__ is None
        assert error.__context__ is None
    check(caplog.text)
    out, err = capfd.readouterr()
    check(out + err)


async def test_the_relays_own_words_are_kept_apart(raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(400, SECRET_PROBLEM)]
    with pytest.raises(RelayError) as caught:
        await client.send_message(MESSAGE)
    assert caught.value.detail == "secret@example.com is secret"
    check(str(caught.value))
