"""The two send endpoints: the hot path.

authorise → read → draw a fault → check → quota → accept → (commit) → (latency) → answer or fault
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from relay_sandbox.accounts import Accounts, Quotas
from relay_sandbox.answers import SCHEMAS, Json, Problem, invalid, problem_answer
from relay_sandbox.checks import (
    Attachment,
    addresses_of,
    check_message,
    check_template_message,
    json_object,
)
from relay_sandbox.clock import Clock
from relay_sandbox.faults import Fault, Faults, carry_out
from relay_sandbox.outcomes import outcome
from relay_sandbox.stats import Stats
from relay_sandbox.store import Delivery, Guids, Message, Store
from relay_sandbox.templates import SendTemplate, Templates
from relay_sandbox.wire import Connection, Request, Response

_CREATION_TYPE = f"application/json; charset=utf-8; profile={SCHEMAS}/creation-result.json"


class Call:
    """One call from its arrival until its answer has left, or its caller has."""

    __slots__ = ("_open", "accept", "connection", "due", "received", "recipient", "stats")

    def __init__(self, request: Request, stats: Stats, received: int, due: float) -> None:
        self.connection: Connection = request.connection
        self.accept = request.headers.get("accept", "")
        self.received = received
        self.due = due
        self.recipient = ""
        self.stats = stats
        self._open = True
        stats.begin(received)
        self.connection.on_close = self.end

    def end(self) -> None:
        if self._open:
            self._open = False
            self.stats.in_flight -= 1


@dataclass(frozen=True, slots=True)
class Parts:
    """What the send path works with."""

    store: Store
    clock: Clock
    accounts: Accounts
    quotas: Quotas
    templates: Templates
    faults: Faults
    stats: Stats


class Sending:
    """`on_failure` is told when the store cannot be written; the sandbox has to stop then."""

    def __init__(self, parts: Parts, on_failure: Callable[[Exception], None]) -> None:
        self.store = parts.store
        self.clock = parts.clock
        self.accounts = parts.accounts
        self.quotas = parts.quotas
        self.templates = parts.templates
        self.faults = parts.faults
        self.stats = parts.stats
        self._on_failure = on_failure
        self._guids = Guids()
        self._commit_due = False
        self._loop = asyncio.get_running_loop()

    def receive(self, request: Request, segment: str, template_id: str | None) -> None:
        """Decide on a call at once; its answer leaves after the next commit."""
        call = Call(request, self.stats, self.clock.now(), self._loop.time() + self.faults.latency())
        try:
            account = self.accounts.authorise(request, segment).id
            body = json_object(request.body)
            addresses = addresses_of(body)
            call.recipient = addresses[0][:320] if addresses else ""
            fault = self.faults.for_send(addresses)
            if fault is not None and not fault.accepted:
                self._decide(call, self.faults.answer(fault, None, call.accept), fault, False)
                return
            message = self._read(call, account, template_id, body)
        except Problem as problem:
            self._decide(call, problem_answer(problem, call.accept), None, False)
            return
        self.store.add_message(message)
        answer = _created(message)
        if fault is not None:
            answer = self.faults.answer(fault, answer, call.accept)
        self._decide(call, answer, fault, True)

    def _read(self, call: Call, account: int, template_id: str | None, body: Json) -> Message:
        """The message of a body, counted against the quota; raises 404.1, 400.1, 402.1."""
        attachments: list[Attachment] = []
        template = None
        if template_id is None:
            errors = check_message(body, attachments)
        else:
            template = self.templates.for_send(account, template_id)
            errors = check_template_message(body, attachments)
        if errors:
            raise invalid(errors)
        self.quotas.take(account, len(body["recipients"]), call.received)
        return self._message(call, account, template, body, attachments)

    def _message(
        self,
        call: Call,
        account: int,
        template: SendTemplate | None,
        body: Json,
        attachments: list[Attachment],
    ) -> Message:
        own_sender = body.get("from_email") is not None
        reply_to = body.get("reply_to")
        if template is None:
            content: Json = {"html": body.get("html"), "text": body.get("text")}
        else:
            content = {"model": body["model"]}
        return Message(
            account=account,
            guid=self._guids.next(),
            received=call.received,
            from_email=body["from_email"] if own_sender or template is None else template.from_email,
            from_name=body.get("from_name") if own_sender or template is None else template.from_name,
            reply_to=json.dumps(reply_to) if reply_to else None,
            subject=body["subject"] if template is None else template.subject(body["model"]),
            template=template.id if template else None,
            revision=template.revision if template else None,
            content=json.dumps(content),
            deliveries=[self._delivery(recipient) for recipient in body["recipients"]],
            attachments=attachments,
        )

    def _delivery(self, recipient: Json) -> Delivery:
        email = recipient["email"]
        fate, opens, clicks = outcome(email)
        return Delivery(self._guids.next(), recipient["type"], email, recipient.get("name"), int(fate), opens, clicks)

    # -- after the decision ----------------------------------------------------------------------------------

    def _decide(self, call: Call, answer: Response, fault: Fault | None, accepted: bool) -> None:
        kind = fault.kind if fault else "ok"
        status = fault.status if fault else answer.status
        self.stats.decided(kind, accepted)
        self.store.add_call(call.received, call.recipient, kind, accepted, status)
        self.store.after_commit(lambda: self._after_commit(call, answer, fault))
        if not self._commit_due:
            # in the next turn of the loop: everybody whose request came in with this one shares the commit
            self._commit_due = True
            self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        self._commit_due = False
        try:
            self.store.commit()
        except sqlite3.Error as error:  # a full disk, say: no answer may leave that the store does not have
            self._on_failure(error)

    def _after_commit(self, call: Call, answer: Response, fault: Fault | None) -> None:
        if call.due > self._loop.time():
            self._loop.call_at(call.due, self._leave, call, answer, fault)
        else:
            self._leave(call, answer, fault)

    def _leave(self, call: Call, answer: Response, fault: Fault | None) -> None:
        connection = call.connection
        if connection.closed:
            return
        if fault is None or fault.how != "stall":  # a stalled call is in flight until its caller gives up
            call.end()
        if fault is None:
            connection.answer(answer)
        else:
            carry_out(fault, connection, answer)


def _created(message: Message) -> Response:
    """Index 0 is the message, then one link per delivery (relay API notes §2.3)."""
    base = f"/accounts/{message.account}"
    location = f"{base}/messages/{message.guid}"
    links = "".join(
        f',{{"href":"{base}/deliveries/{one.guid}","description":"One delivery","rel":"/docs/rels/get-delivery"}}'
        for one in message.deliveries
    )
    body = (
        f'{{"createdResourceId":"{message.guid}","message":"Message accepted","_links":'
        f'[{{"href":"{location}","description":"The message","rel":"related"}}{links}]}}'
    )
    return Response(201, body.encode(), _CREATION_TYPE, (("Location", location),))
