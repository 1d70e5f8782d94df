"""What workers held that died, hang, or lost the database for longer than their lease."""

from collections.abc import Mapping

from relay import ledger
from relay.composing import Composer
from relay.models import BulkSend


def take_over_expired() -> int:
    """What lost workers held becomes `unknown`, with what a settlement needs to know; returns how many rows."""
    composers: dict[int, Composer] = {}

    def describe(bulk_send_id: int, email: str, variables: Mapping[str, str]) -> tuple[str, str]:
        if bulk_send_id not in composers:
            composers[bulk_send_id] = Composer(BulkSend.objects.get(pk=bulk_send_id))
        return composers[bulk_send_id].describe(email, variables)

    return ledger.take_over_expired(describe)
