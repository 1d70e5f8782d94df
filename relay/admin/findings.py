"""What the validation of a file found, for pages: counts by reason, first examples, what looks misspelt."""

from typing import Any

from django.urls import reverse

from relay import reasons
from relay.admin import words
from relay.models import BulkSend


def findings_of(bulk_send: BulkSend) -> dict[str, Any]:
    """For `relay/admin/findings.html`."""
    return {
        "findings": _findings(bulk_send),
        "slips": _slips(bulk_send),
        "rejects_url": reverse("admin:relay_bulksend_rejects", args=[bulk_send.pk]) if bulk_send.rejects_file else "",
    }


def recipients_of(bulk_send: BulkSend) -> str:
    return f"{reverse('admin:relay_recipient_changelist')}?bulk_send={bulk_send.pk}"


def _findings(bulk_send: BulkSend) -> list[dict[str, Any]]:
    examples = bulk_send.findings.get("examples", {})
    return [
        {
            "name": reasons.name(code),
            "count": words.number(count),
            "examples": [
                {"row": example["row"], "text": reasons.sentence(code, {"detail": example["detail"]})}
                for example in examples.get(code, [])
            ],
            "url": f"{recipients_of(bulk_send)}&reason={code}",
        }
        for code, count in bulk_send.findings.get("by_reason", {}).items()
    ]


def _slips(bulk_send: BulkSend) -> dict[str, Any] | None:
    """Addresses that look misspelt. They are sent all the same, so this is a warning and no finding."""
    count = bulk_send.findings.get("slips", 0)
    if not count:
        return None
    return {"count": words.number(count), "examples": bulk_send.findings.get("slip_examples", [])}
