"""Every fault on a real socket: which class it becomes, and that a send reaches the relay once and no more."""

import asyncio
import copy
import pickle
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from raw_relay import ClientMaker, RawRelay, http, reset

from relay_client import (
    Attachment,
    Message,
    Recipient,
    RelayClient,
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayQuotaExceeded,
    RelayRejected,
    RelayUnavailable,
    RelayUnknown,
)

MESSAGE = Message("notices@example.com", "Notices", [Recipient("ana@example.com")], "Invoice", html="<p>Hi</p>")


def problem(status: int, code: int = 1, **more: Any) -> bytes:
    return http(status, {"title": "No", "detail": "Because", "status": status, "errorCode": code, **more})


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def send_reset(writer: asyncio.StreamWriter) -> None:
    reset(writer)


async def stall(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def reset_in_the_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"createdResourceId": "id')
    await writer.drain()
    await asyncio.sleep(0.05)
    reset(writer)


async def close_in_the_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{"createdResourceId": "id"}')
    writer.close()


async def cut_without_a_length(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 201 Created\r\n\r\n{"createdResourceId": "id')
    writer.close()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Always alive, never done: a limit between two bytes would wait for ever."""
    writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def not_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    writer.close()


async def broken_gzip(writer: asyncio.StreamWriter) -> None:
    writer.write(http(201, b"no gzip at all", {"Content-Encoding": "gzip"}))


AFTER_IT_LEFT = {
    "closed without an answer": hang_up,
    "reset before the answer": send_reset,
    "no answer in time": stall,
    "reset in the middle of the answer": reset_in_the_body,
    "closed in the middle of the answer": close_in_the_body,
    "cut answer without a length": cut_without_a_length,
    "an answer that never ends": drip,
    "an answer that is not HTTP": not_http,
    "an answer that does not unpack": broken_gzip,
}

SETTLE_NOTHING = {
    "500": problem(500, 0),
    "501": problem(501, 0),
    "502 html": http(502, b"<html>Bad gateway</html>", {"Content-Type": "text/html"}),
    "503 with Retry-After": http(503, b"", {"Retry-After": "7"}),
    "504 empty": http(504),
    "408": http(408),
    "redirect": http(302, b"", {"Location": "/elsewhere"}),
    "permanent redirect": http(308, b"", {"Location": "https://elsewhere.example/"}),
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "200 html": http(200, b"<html>Welcome</html>", {"Content-Type": "text/html"}),
    "201 empty": http(201),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "201 list": http(201, ["createdResourceId"]),
    "201 string": http(201, "accepted"),
    "201 cut JSON": http(201, b'{"createdResourceId": "id-1", "_li'),
    "201 without an id": http(201, {"message": "Message accepted", "_links": []}),
    "201 with a blank id": http(201, {"createdResourceId": "  "}),
    "201 with null for an id": http(201, {"createdResourceId": None}),
    "201 far too long": http(201, {"createdResourceId": "id-1", "message": "x" * 2_000_000}),
    "201 nested too deep": http(201, b"[" * 200_000),
}


async def failed_send(client: RelayClient, message: Message = MESSAGE) -> RelayError | RelayMisconfigured:
    with pytest.raises((RelayError, RelayMisconfigured)) as caught:
        await client.send_message(message)
    return caught.value


async def failed_read(client: RelayClient) -> RelayError | RelayMisconfigured:
    with pytest.raises((RelayError, RelayMisconfigured)) as caught:
        await client.get_template("template-1")
    return caught.value


@pytest.mark.parametrize("fault", AFTER_IT_LEFT)
async def test_a_send_that_left_and_got_no_usable_answer_is_unknown_and_is_not_repeated(
    fault: str, raw_relay: RawRelay, make_client: ClientMaker
) -> None:
    raw_relay.behaves = AFTER_IT_LEFT[fault]
    error = await failed_send(await make_client(timeout_seconds=0.3, read_attempts=3))
    assert type(error) is RelayUnknown
    await asyncio.sleep(0.1)
    assert len(raw_relay.requests) == 1


@pytest.mark.parametrize("fault", AFTER_IT_LEFT)
async def test_a_question_without_a_usable_answer_may_be_asked_again(
    fault: str, raw_relay: RawRelay, make_client: ClientMaker
) -> None:
    raw_relay.behaves = AFTER_IT_LEFT[fault]
    error = await failed_read(await make_client(timeout_seconds=0.3))
    assert type(error) is RelayUnavailable
    assert not error.throttled


@pytest.mark.parametrize("fault", SETTLE_NOTHING)
async def test_an_answer_that_settles_nothing_leaves_a_send_unknown(
    fault: str, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [SETTLE_NOTHING[fault]]
    error = await failed_send(client)
    assert type(error) is RelayUnknown
    assert error.status == int(SETTLE_NOTHING[fault].split()[1])
    await asyncio.sleep(0.05)
    assert len(raw_relay.requests) == 1


@pytest.mark.parametrize("fault", SETTLE_NOTHING)
async def test_an_answer_that_settles_nothing_makes_a_question_unavailable(
    fault: str, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [SETTLE_NOTHING[fault]]
    assert type(await failed_read(client)) is RelayUnavailable


@pytest.mark.parametrize("status", [200, 201, 202])
async def test_200_201_and_202_accept_alike(status: int, raw_relay: RawRelay, client: RelayClient) -> None:
    raw_relay.answers = [http(status, {"createdResourceId": "id-1"})]
    assert (await client.send_message(MESSAGE)).message_id == "id-1"


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (problem(400, 1), RelayRejected, "400.1"),
        (problem(400, 2), RelayRejected, "400.2"),
        (http(400, b"<html>"), RelayRejected, ""),
        (http(400, ["no"]), RelayRejected, ""),
        (http(400, {"type": "/docs/errors/400.14-not-inactive"}), RelayRejected, "400.14"),
        (problem(401, 0), RelayMisconfigured, "401.0"),
        (http(401), RelayMisconfigured, ""),
        (problem(403, 1), RelayMisconfigured, "403.1"),
        (http(403, b"<html>blocked</html>"), RelayMisconfigured, ""),
        (problem(404, 1), RelayNotFound, "404.1"),
        (problem(404, 0), RelayNotFound, "404.0"),
        (problem(402, 1), RelayQuotaExceeded, "402.1"),
        (http(402), RelayQuotaExceeded, ""),
        (http(413, b"<html>too large</html>"), RelayRejected, ""),
        (http(422, "no"), RelayRejected, ""),
        (problem(429, 1), RelayUnavailable, "429.1"),
        (http(429), RelayUnavailable, ""),
    ],
)
async def test_a_4xx_has_its_class_for_sends_and_questions_alike(
    answer: bytes, kind: type[Exception], code: str, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [answer]
    for error in (await failed_send(client), await failed_read(client)):
        assert type(error) is kind
        assert error.status == int(answer.split()[1])
        assert error.code == code
        assert str(error.status) in str(error)
    assert len(raw_relay.requests) == 2


@pytest.mark.parametrize("end", [hang_up, send_reset, stall])
async def test_a_4xx_whose_body_got_lost_is_still_a_no(end: Any, raw_relay: RawRelay, make_client: ClientMaker) -> None:
    async def refuse(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 900\r\n\r\n{"detail"')
        await writer.drain()
        await asyncio.sleep(0.05)
        await end(writer)

    raw_relay.behaves = refuse
    error = await failed_send(await make_client(timeout_seconds=0.3))
    assert type(error) is RelayRejected
    assert error.status == 400


async def test_a_validation_error_brings_the_reasons_of_the_relay(raw_relay: RawRelay, client: RelayClient) -> None:
    errors = [{"key": "recipients[0].email", "detail": "Not an address"}, "nonsense", {"key": 5}]
    raw_relay.answers = [problem(400, 1, detail="x" * 2000, errors=errors)]
    error = await failed_send(client)
    assert isinstance(error, RelayRejected)
    assert error.errors == (("recipients[0].email", "Not an address"), ("", ""))
    assert error.detail == "x" * 500


async def test_a_quota_says_when_it_opens_again(raw_relay: RawRelay, client: RelayClient) -> None:
    more = {"limit": 400, "deliveriesCount": 401, "period": "daily", "resetDate": "2025-03-02T00:00:00Z"}
    raw_relay.answers = [problem(402, 1, **more)]
    error = await failed_send(client)
    assert isinstance(error, RelayQuotaExceeded)
    assert (error.limit, error.deliveries_count, error.period) == (400, 401, "daily")
    assert error.reset_at == datetime(2025, 3, 2, tzinfo=UTC)
    assert "402.1" in str(error)
    assert "2025-03-02" in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("12", 12),
        ("1.5", 1.5),
        ("0", 0),
        ("-5", 0),
        ("999999999", 3600),
        ("9" * 400, 3600),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Wed, 99 Foo 2025 99:00:00 GMT", None),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 3600),
    ],
)
async def test_retry_after_is_read_with_suspicion(
    header: str, seconds: float | None, raw_relay: RawRelay, client: RelayClient
) -> None:
    raw_relay.answers = [http(429, b"", {"Retry-After": header})]
    error = await failed_send(client)
    assert isinstance(error, RelayUnavailable)
    assert error.throttled
    assert error.retry_after == seconds


async def test_retry_after_may_be_a_date(raw_relay: RawRelay, client: RelayClient) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    raw_relay.answers = [http(429, b"", {"Retry-After": date})]
    error = await failed_send(client)
    assert isinstance(error, RelayUnavailable)
    assert error.retry_after is not None
    assert 80 < error.retry_after <= 90


# --- before it left -------------------------------------------------------------------------------------------------


async def test_a_refused_connection_sent_nothing(make_client: ClientMaker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = await failed_send(await make_client(base_url=f"http://127.0.0.1:{port}/"))
    assert type(error) is RelayUnavailable
    assert error.status is None
    assert not error.throttled


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue of connections is full: the next one gets neither yes nor no."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for one in waiting:
            one.close()


async def test_a_stalled_connection_sent_nothing(make_client: ClientMaker, deaf_port: int) -> None:
    # The time for the answer is the shorter one: it must not be what ends a connection that never was.
    client = await make_client(
        base_url=f"http://127.0.0.1:{deaf_port}", timeout_seconds=0.1, connect_timeout_seconds=0.5
    )
    assert type(await failed_send(client)) is RelayUnavailable


async def test_an_unknown_host_name_sent_nothing(make_client: ClientMaker) -> None:
    assert type(await failed_send(await make_client(base_url="http://relay.invalid/"))) is RelayUnavailable


async def test_a_server_without_tls_was_sent_nothing(make_client: ClientMaker) -> None:
    seen: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(2000))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await failed_send(await make_client(base_url=f"https://127.0.0.1:{port}"))
    assert type(error) is RelayUnavailable
    assert seen
    assert not any(b"POST" in data for data in seen)


async def test_a_stalled_tls_handshake_sent_nothing(make_client: ClientMaker) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await make_client(base_url=f"https://127.0.0.1:{port}", connect_timeout_seconds=0.3)
        assert type(await failed_send(client)) is RelayUnavailable


async def test_waiting_for_a_free_connection_is_neither_connecting_nor_being_answered(
    raw_relay: RawRelay, make_client: ClientMaker
) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(http(201, {"createdResourceId": "id-1"}))

    raw_relay.behaves = slowly
    client = await make_client(max_connections=1, timeout_seconds=0.25, connect_timeout_seconds=0.25)
    answers = await asyncio.gather(*(client.send_message(MESSAGE) for _ in range(6)))
    assert len(answers) == 6
    assert raw_relay.connections == 1


# --- kept-alive connections -----------------------------------------------------------------------------------------


async def test_a_kept_connection_that_the_relay_closed_while_idle_is_not_used(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    async def once(writer: asyncio.StreamWriter) -> None:
        writer.write(http(201, {"createdResourceId": "id-1"}))
        await writer.drain()
        writer.close()

    raw_relay.behaves = once
    await client.send_message(MESSAGE)
    await asyncio.sleep(0.05)
    await client.send_message(MESSAGE)
    assert (raw_relay.connections, len(raw_relay.requests)) == (2, 2)


async def test_a_send_into_a_kept_connection_that_is_just_closing_is_unknown_and_not_repeated(
    raw_relay: RawRelay, client: RelayClient
) -> None:
    async def close_at_the_second(writer: asyncio.StreamWriter) -> None:
        if len(raw_relay.requests) == 2:
            reset(writer)
        else:
            writer.write(http(201, {"createdResourceId": "id-1"}))

    raw_relay.behaves = close_at_the_second
    await client.send_message(MESSAGE)
    assert type(await failed_send(client)) is RelayUnknown
    assert (raw_relay.connections, len(raw_relay.requests)) == (1, 2)
    await client.send_message(MESSAGE)
    assert (raw_relay.connections, len(raw_relay.requests)) == (2, 3)


async def test_connections_are_kept_and_shared(raw_relay: RawRelay, client: RelayClient) -> None:
    for _ in range(5):
        await client.send_message(MESSAGE)
    assert raw_relay.connections == 1


# --- large bodies, cancellation -------------------------------------------------------------------------------------


async def test_a_relay_that_goes_away_while_a_large_file_is_sent_leaves_an_unknown(
    make_client: ClientMaker,
) -> None:
    connections = 0

    async def swallow_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(100_000)
        reset(writer)

    async with await asyncio.start_server(swallow_some, "127.0.0.1", 0) as server:
        client = await make_client(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert type(await failed_send(client, with_file(20_000_000))) is RelayUnknown
        assert connections == 1


async def test_a_refusal_in_the_middle_of_a_large_file_is_heard(make_client: ClientMaker) -> None:
    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100_000)
        writer.write(http(413, b"<html>too large</html>"))
        await writer.drain()
        await asyncio.sleep(0.5)
        writer.close()

    async with await asyncio.start_server(refuse_early, "127.0.0.1", 0) as server:
        client = await make_client(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        error = await failed_send(client, with_file(20_000_000))
    assert type(error) is RelayRejected
    assert error.status == 413


def with_file(size: int) -> Message:
    return Message(
        "notices@example.com",
        "Notices",
        [Recipient("ana@example.com")],
        "File",
        text="Here",
        attachments=[Attachment("file.bin", "application/octet-stream", "A" * size)],
    )


async def test_a_cancelled_send_is_cancelled_and_frees_its_connection(
    raw_relay: RawRelay, make_client: ClientMaker
) -> None:
    raw_relay.behaves = stall
    client = await make_client(max_connections=1)
    send = asyncio.create_task(client.send_message(MESSAGE))
    while not raw_relay.requests:
        await asyncio.sleep(0.01)
    send.cancel()
    with pytest.raises(asyncio.CancelledError):
        await send
    raw_relay.behaves = None
    await client.send_message(MESSAGE)


# --- repeated reads -------------------------------------------------------------------------------------------------


async def test_questions_are_repeated_until_one_is_answered(raw_relay: RawRelay, make_client: ClientMaker) -> None:
    raw_relay.answers = [http(500), http(502, b"<html>"), http(200, {"id": "t1", "name": "Invoice"})]
    client = await make_client(read_attempts=3)
    assert (await client.get_template("t1")).name == "Invoice"
    assert len(raw_relay.requests) == 3


async def test_questions_end_after_the_attempts_allowed(raw_relay: RawRelay, make_client: ClientMaker) -> None:
    raw_relay.answers = [http(500)]
    assert type(await failed_read(await make_client(read_attempts=2))) is RelayUnavailable
    assert len(raw_relay.requests) == 2


@pytest.mark.parametrize("answer", [problem(400), problem(401), problem(402), problem(404)])
async def test_a_no_is_not_asked_again(answer: bytes, raw_relay: RawRelay, make_client: ClientMaker) -> None:
    raw_relay.answers = [answer]
    await failed_read(await make_client(read_attempts=3))
    assert len(raw_relay.requests) == 1


async def test_a_short_wait_asked_for_is_kept_and_a_long_one_is_left_to_the_caller(
    raw_relay: RawRelay, make_client: ClientMaker
) -> None:
    client = await make_client(read_attempts=3)
    raw_relay.answers = [http(429, b"", {"Retry-After": "0.3"}), http(200, {"id": "t1"})]
    before = asyncio.get_running_loop().time()
    await client.get_template("t1")
    assert asyncio.get_running_loop().time() - before >= 0.29

    raw_relay.requests.clear()
    raw_relay.answers = [http(429, b"", {"Retry-After": "600"})]
    error = await failed_read(client)
    assert isinstance(error, RelayUnavailable)
    assert error.retry_after == 600
    assert len(raw_relay.requests) == 1


# --- the errors themselves ------------------------------------------------------------------------------------------


async def test_errors_survive_pickle_and_copy(raw_relay: RawRelay, client: RelayClient) -> None:
    answers = [
        problem(400, 1, errors=[{"key": "a", "detail": "b"}]),
        problem(401),
        problem(402, 1, limit=4, resetDate="2025-03-02T00:00:00Z"),
        problem(404),
        http(429, b"", {"Retry-After": "5"}),
        http(500),
    ]
    for answer in answers:
        raw_relay.answers = [answer]
        error = await failed_send(client)
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(twin) is type(error)
            assert str(twin) == str(error)
            assert vars(twin) == vars(error)


def test_no_except_for_the_tree_hides_a_wrong_key_and_none_for_refusals_a_missing_template() -> None:
    assert not issubclass(RelayMisconfigured, RelayError)
    assert not issubclass(RelayNotFound, RelayRejected)
    assert not issubclass(RelayQuotaExceeded, RelayRejected)
