"""HTTP itself: what is malformed gets a refusal, never a failure of ours."""

import http.client
import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.relay_sandbox.harness import RECIPIENT, Relay, message, raw_exchange, raw_send

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def status_of(answer: bytes | str) -> int:
    assert isinstance(answer, bytes)
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET http://localhost/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nName : x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000, 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"GET /" + b"x" * 70_000, 431),
        (b"BREW /%ff%00 HTTP/1.1\r\nConnection: close\r\n\r\n", 404),
    ],
)
def test_malformed_requests_are_refused(relay: Relay, request_bytes: bytes, status: int) -> None:
    assert status_of(raw_exchange(relay, request_bytes)) == status
    assert relay.get("/user").status == 200


def test_a_body_in_chunks_in_single_bytes_is_read(relay: Relay) -> None:
    body = json.dumps(message()).encode()
    head = b"POST /accounts/1/messages?api_key=sandbox-key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    with socket.create_connection(relay.address, timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + chunks:
            connection.sendall(bytes([byte]))
        assert status_of(connection.recv(65536)) == 201


def test_pipelined_requests_are_answered_in_order_on_one_connection(relay: Relay) -> None:
    one = raw_send().replace(b"Connection: close\r\n", b"")
    answer = raw_exchange(relay, one * 200 + raw_send("ultima@example.com"))
    assert isinstance(answer, bytes)
    assert answer.count(b"HTTP/1.1 201 Created") == 201
    assert relay.accepted()[-1] == "ultima@example.com"


def test_a_connection_is_kept_and_old_clients_get_theirs_closed(relay: Relay) -> None:
    connection = http.client.HTTPConnection(*relay.address, timeout=5)
    for _ in range(3):
        connection.request("GET", "/user", headers={"Authorization": "token sandbox-key"})
        assert connection.getresponse().read()
    connection.close()
    assert status_of(raw_exchange(relay, b"GET /user HTTP/1.0\r\n\r\n")) == 401


def test_expect_continue_is_met(relay: Relay) -> None:
    request = raw_send().replace(b"\r\nHost", b"\r\nExpect: 100-continue\r\nHost")
    answer = raw_exchange(relay, request)
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created")


def test_head_has_no_body(relay: Relay) -> None:
    answer = raw_exchange(relay, b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert isinstance(answer, bytes)
    assert status_of(answer) == 200
    assert answer.endswith(b"\r\n\r\n")


def test_a_large_attachment_goes_through_and_is_kept_once(relay: Relay) -> None:
    file = {"filename": "grande.bin", "type": "application/zip", "base64_content": "QUJD" * 4_000_000}
    assert relay.send(attachments=[file, file]).status == 201
    assert [one["size"] for one in relay.messages()[0]["attachments"]] == [12_000_000] * 2


@quick
@given(body=st.binary(max_size=200))
def test_random_bytes_as_a_body_never_fail(relay: Relay, body: bytes) -> None:
    for path in ("/accounts/1/messages", f"/accounts/1/templates/{relay.payment}/message", "/accounts/1/templates"):
        assert relay.call("POST", path, body).status in (201, 400)


@quick
@given(
    values=st.dictionaries(
        st.sampled_from(sorted([*message(), "model", "reply_to", "attachments", "text"])), json_values
    )
)
def test_random_values_never_fail(relay: Relay, values: dict[str, object]) -> None:
    body = json.dumps({**message(), "model": {}, **values}).encode()
    assert relay.call("POST", "/accounts/1/messages", body).status in (201, 400)
    assert relay.call("POST", f"/accounts/1/templates/{relay.newsletter}/message", body).status in (201, 400)


@quick
@given(model=st.dictionaries(st.sampled_from(["mes", "user", "promo", "titulo"]), json_values))
def test_random_models_render_and_show(relay: Relay, model: dict[str, object]) -> None:
    answer = relay.send_template(relay.newsletter, model, recipients=[RECIPIENT])
    if answer.status == 400:  # NaN, or half of a surrogate pair
        return
    last = relay.get("/_sandbox/stats").json["accepted"]
    relay.get(f"/inbox/{last}")
    [item] = relay.get("/_sandbox/messages", after=0, limit=1).json["items"]
    for path in (f"/inbox/{item['id']}", f"/inbox/{item['id']}/html", "/"):
        assert relay.get(path).status == 200
    relay.call("DELETE", "/_sandbox/messages")


@quick
@given(value=json_values, text=st.text(max_size=30))
def test_random_settings_and_queries_never_fail(relay: Relay, value: object, text: str) -> None:
    for path in ("faults", "limits", "clock"):
        body = json.dumps(value if isinstance(value, dict) else {text: value}).encode()
        assert relay.call("PUT", f"/_sandbox/{path}", body).status in (200, 400)
    relay.reset()
    for path in ("/accounts/1/deliveries", "/accounts/1/statistics/events/by_day", "/accounts/1/templates", "/"):
        query = {"filter": text, "from": text, "page": text, "q": text, "before": text}
        assert relay.get(path, **{name: part.encode("utf-8", "replace") for name, part in query.items()}).status in (
            200,
            400,
        )
