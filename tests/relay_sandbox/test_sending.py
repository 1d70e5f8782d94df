"""The two send endpoints (relay API notes §2)."""

import base64
import hashlib
import uuid
from typing import Any

import pytest

from tests.relay_sandbox.harness import RECIPIENT, Answer, Relay, message

PDF = {"filename": "factura.pdf", "base64_content": base64.b64encode(b"%PDF-1.4").decode(), "type": "application/pdf"}


def keys(answer: Answer) -> list[str]:
    assert answer.code == "400.1"
    return [error["key"] for error in answer.json["errors"]]


def test_an_accepted_message_names_itself_and_one_delivery_per_recipient(relay: Relay) -> None:
    people = [{"type": kind, "email": f"{kind}@example.com"} for kind in ("to", "cc", "bcc")]
    answer = relay.send(recipients=people)
    created, links = answer.json["createdResourceId"], answer.json["_links"]
    assert answer.status == 201
    assert str(uuid.UUID(created)) == created
    assert links[0]["rel"] == "related"
    assert links[0]["href"] == answer.headers["location"] == f"/accounts/1/messages/{created}"
    assert [link["rel"] for link in links[1:]] == ["/docs/rels/get-delivery"] * 3
    addresses = [relay.get(link["href"]).json["recipientAddress"] for link in links[1:]]
    assert addresses == ["to@example.com", "cc@example.com", "bcc@example.com"]


def test_what_was_accepted_can_be_inspected(relay: Relay) -> None:
    answer = relay.send(
        text="Hola", reply_to={"email": "ayuda@example.com", "name": "Ayuda"}, attachments=[PDF], recipients=[RECIPIENT]
    )
    [item] = relay.messages()
    assert item["message_id"] == answer.json["createdResourceId"]
    assert answer.json["_links"][1]["href"].endswith(item["delivery_ids"][0])
    assert item["recipients"] == ["ana@example.com"]
    assert item["from"] == {"email": "avisos@example.com", "name": "Avisos"}
    assert item["reply_to"] == {"email": "ayuda@example.com", "name": "Ayuda"}
    assert (item["html"], item["text"], item["model"]) == ("<p>Hola</p>", "Hola", None)
    sha256 = hashlib.sha256(b"%PDF-1.4").hexdigest()
    assert item["attachments"] == [{"name": "factura.pdf", "type": "application/pdf", "size": 8, "sha256": sha256}]


def test_a_template_message_takes_sender_and_subject_of_the_template(relay: Relay) -> None:
    answer = relay.send_template(
        relay.payment,
        {"nombre": "Ana & Cía", "monto": 120.5, "vence": None},
        from_email=None,
        from_name=None,
        attachments=None,
        reply_to=None,
    )
    assert answer.status == 201
    [item] = relay.messages()
    assert item["from"] == {"email": "cobranzas@example.com", "name": "Cobranzas Andina"}
    assert item["subject"] == "Ana & Cía, su cuota de $120.5 vence el "
    assert item["template_id"] == relay.payment
    assert item["model"]["nombre"] == "Ana & Cía"


def test_a_template_message_may_name_its_own_sender(relay: Relay) -> None:
    relay.send_template(relay.payment, {}, from_email="otro@example.com", from_name="Otro")
    assert relay.messages()[0]["from"] == {"email": "otro@example.com", "name": "Otro"}


def test_fields_that_nobody_has_proven_are_ignored(relay: Relay) -> None:
    answer = relay.send_template(relay.payment, {"nombre": "Ana"}, subject="Otro", templateId=7, tags=["x"])
    assert answer.status == 201
    assert relay.messages()[0]["subject"].startswith("Ana, su cuota")
    assert relay.send(messageId=3, headers="x", metadata={"a": 1}).status == 201


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"from_email": None}, "from_email"),
        ({"from_email": "nobody"}, "from_email"),
        ({"from_name": 3}, "from_name"),
        ({"subject": None}, "subject"),
        ({"subject": " "}, "subject"),
        ({"html": {}}, "html"),
        ({"recipients": None}, "recipients"),
        ({"recipients": []}, "recipients"),
        ({"recipients": ["ana@example.com"]}, "recipients[0]"),
        ({"recipients": [{"email": "ana@example.com"}]}, "recipients[0].type"),
        ({"recipients": [{"type": "TO", "email": "ana@example.com"}]}, "recipients[0].type"),
        ({"recipients": [RECIPIENT, {"type": "to", "email": "ana@"}]}, "recipients[1].email"),
        ({"recipients": [{**RECIPIENT, "name": 1}]}, "recipients[0].name"),
        ({"reply_to": "ayuda@example.com"}, "reply_to"),
        ({"reply_to": {"email": "ayuda"}}, "reply_to.email"),
        ({"attachments": {}}, "attachments"),
        ({"attachments": [{**PDF, "base64_content": "no es base64"}]}, "attachments[0].base64_content"),
        ({"attachments": [{**PDF, "base64_content": "YQ"}]}, "attachments[0].base64_content"),
        ({"attachments": [{**PDF, "filename": ""}]}, "attachments[0].filename"),
        ({"attachments": [PDF, {"name": "a", "content": "YQ==", "type": "text/plain"}]}, "attachments[1].filename"),
    ],
)
def test_a_field_at_fault_is_named_and_nothing_is_accepted(relay: Relay, changes: dict[str, Any], key: str) -> None:
    assert key in keys(relay.send(**changes))
    assert relay.messages() == []


@pytest.mark.parametrize(
    "email",
    ["ana", "ana@", "@example.com", "ana@example", "ana @example.com", "a..b@example.com", ".a@example.com"]
    + ["ana@-x.com", "ana@example..com", "ñu@example.com", "ana@ñu.com", "ana,b@example.com", f"{'a' * 65}@example.com"]
    + [7, None, "ana@example.com\n"],
)
def test_what_is_no_address_is_refused(relay: Relay, email: Any) -> None:
    assert keys(relay.send(email)) == ["recipients[0].email"]


@pytest.mark.parametrize("email", ["o'hara+x@mail.example.com", "ana@xn--u-xga.com", "A_B-c.d@e.co", "1@2.com"])
def test_unusual_addresses_are_accepted(relay: Relay, email: str) -> None:
    assert relay.send(email).status == 201
    assert relay.accepted() == [email]


def test_the_newer_name_of_the_attachment_type_is_understood(relay: Relay) -> None:
    file = {"filename": "a.txt", "base64_content": "YQ==", "content_type": "text/plain"}
    assert relay.send(attachments=[file]).status == 201


@pytest.mark.parametrize(("model", "expected"), [(None, ["model"]), ("text", ["model"]), ([], ["model"])])
def test_a_template_message_needs_a_model(relay: Relay, model: object, expected: list[str]) -> None:
    assert keys(relay.send_template(relay.payment, model)) == expected


def test_an_unknown_template_is_404_1_and_nothing_is_accepted(relay: Relay) -> None:
    assert relay.send_template(str(uuid.uuid4()), {}).code == "404.1"
    assert relay.messages() == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 100_000]
)
def test_what_is_not_a_json_object_is_400_1(relay: Relay, body: bytes) -> None:
    assert relay.call("POST", "/accounts/sandbox/messages", body).code == "400.1"


def test_every_call_is_on_record_in_order(relay: Relay) -> None:
    relay.faults(recipients={"luis@example.com": "reset_after"})
    relay.send()
    relay.send("no address")
    with pytest.raises(ConnectionResetError):
        relay.send("luis@example.com")
    relay.call("POST", "/accounts/1/messages", message(), auth="token nadie")
    lines = relay.get("/_sandbox/calls.csv").body.decode().splitlines()
    assert lines[0] == "sequence,received_at,recipient,fault,accepted,status"
    assert [line.split(",")[2:] for line in lines[1:]] == [
        ["ana@example.com", "ok", "1", "201"],
        ["no address", "ok", "0", "400"],
        ["luis@example.com", "reset_after", "1", ""],
        ["", "ok", "0", "401"],
    ]
    stats = relay.get("/_sandbox/stats").json
    assert (stats["calls"], stats["accepted"], stats["by_fault"]) == (4, 2, {"reset_after": 1})
    assert stats["in_flight"] == 0
    assert stats["max_in_flight"] == 1


def test_the_accepted_messages_as_csv(relay: Relay) -> None:
    created = relay.send(subject='Hola, "Ana"').json
    header, row = relay.get("/_sandbox/messages.csv").body.decode().splitlines()
    assert header == "recipient,message_id,delivery,subject,received_at"
    delivery = created["_links"][1]["href"].rsplit("/", 1)[1]
    assert row.startswith(f'ana@example.com,{created["createdResourceId"]},{delivery},"Hola, ""Ana""",2')


def test_messages_are_read_on_from_the_last_one_seen(relay: Relay) -> None:
    for number in range(5):
        relay.send(f"p{number}@example.com")
    first = relay.get("/_sandbox/messages", limit=2).json
    rest = relay.get("/_sandbox/messages", after=first["last_id"]).json
    assert [item["recipients"][0][:2] for item in first["items"] + rest["items"]] == ["p0", "p1", "p2", "p3", "p4"]
    assert relay.get("/_sandbox/messages", after="x").code == "400.1"


def test_emptying_forgets_messages_and_counts(relay: Relay) -> None:
    relay.send()
    relay.call("DELETE", "/_sandbox/messages")
    assert relay.messages() == []
    assert relay.get("/_sandbox/stats").json["calls"] == 0
    assert relay.get("/accounts/1/deliveries").json["itemsCount"] == 0
