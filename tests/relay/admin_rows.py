"""Rows for the tests of the console, made as the ledger's guards allow: new rows are pending or excluded, and every
other state is reached by the transitions that exist."""

from typing import Any

from django.contrib.auth.models import Permission, User
from django.utils import timezone

from relay import reasons
from relay.models import Attempt, BulkSend, Lease, Recipient
from tests.relay.rows import new_bulk_send

State = Recipient.State
Status = BulkSend.Status
HOSTILE = "<script>alert(1)</script>"


def bulk_send(status: str = Status.PENDING, **fields: Any) -> BulkSend:
    needs: dict[str, Any] = {}
    if status in {Status.PAUSED, Status.ERROR}:
        needs["reason"] = reasons.PERSON if status == Status.PAUSED else reasons.TEMPLATE_CHANGED
    if status in {Status.DONE, Status.CANCELLED}:
        needs["finished_at"] = timezone.now()
    return new_bulk_send(
        **{
            "name": f"Cuotas {status}",
            "status": status,
            "template_id": "aviso-de-pago",
            "template_name": "Aviso de pago",
            "template_subject": "{{nombre}}, su cuota vence",
            "template_html": "<p>{{nombre}}</p>",
            "file_name": "cuotas.csv",
            "file_encoding": "utf-8",
            "file_delimiter": ";",
            "columns": ["nombre"],
            "total": 2,
            **needs,
            **fields,
        }
    )


def draft(**fields: Any) -> BulkSend:
    findings = {
        "valid": 1,
        "excluded": 1,
        "by_reason": {reasons.INVALID_ADDRESS: 1},
        "examples": {reasons.INVALID_ADDRESS: [{"row": 3, "detail": "no_at_sign"}]},
        "slips": 1,
        "slip_examples": [{"row": 2, "detail": "gmail.com"}],
    }
    sent = bulk_send(Status.DRAFT, findings=findings, **fields)
    recipient(sent, 2, State.PENDING)
    recipient(sent, 3, State.EXCLUDED)
    return sent


def recipient(sent: BulkSend, row: int, state: str, email: str = "", **fields: Any) -> Recipient:
    email = email or f"persona{row}@example.com"
    made = Recipient(bulk_send=sent, row=row, email=email, variables={"nombre": "Ana"}, state=State.PENDING)
    for name, value in fields.items():
        setattr(made, name, value)
    if state == State.EXCLUDED:
        made.state, made.reason, made.reason_detail = State.EXCLUDED, reasons.INVALID_ADDRESS, "no_at_sign"
    made.save(force_insert=True)
    if state not in {State.PENDING, State.EXCLUDED}:
        _send(made)
    if state in _OUTCOMES:
        _settle(made, state)
    made.refresh_from_db()
    return made


def _send(made: Recipient) -> None:
    now = timezone.now()
    lease = Lease.objects.create(bulk_send=made.bulk_send, owner="worker", acquired_at=now, expires_at=now)
    Recipient.objects.filter(pk=made.pk).update(state=State.SENDING, lease=lease, sending_since=now)


_OUTCOMES: dict[str, dict[str, Any]] = {
    State.ACCEPTED: {"message_id": "mensaje-1", "delivery": "/accounts/1/deliveries/1"},
    State.REFUSED: {"reason": reasons.REFUSED, "reason_detail": "400.1"},
    State.UNKNOWN: {"reason": reasons.NO_ANSWER, "reason_detail": "time-out"},
}


def _settle(made: Recipient, state: str) -> None:
    accepted_at = timezone.now() if state == State.ACCEPTED else None
    Recipient.objects.filter(pk=made.pk).update(
        state=state, lease=None, attempts=1, accepted_at=accepted_at, **_OUTCOMES[state]
    )
    said = {} if state == State.ACCEPTED else {"reason": _OUTCOMES[state]["reason"], "code": "400.1", "status": 400}
    Attempt.objects.create(recipient=made, outcome=state, detail=HOSTILE, subject="Su cuota vence", **said)


def in_every_state(sent: BulkSend) -> list[Recipient]:
    return [recipient(sent, row, state) for row, state in enumerate(State.values, 2)]


def user(name: str, *rights: str, **fields: Any) -> User:
    made = User.objects.create_user(name, is_staff=True, **fields)
    made.user_permissions.set(Permission.objects.filter(codename__in=rights))
    return made
