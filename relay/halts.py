"""Why a whole bulk send must stop: the account, a quota, the template, a window that closes, too many losses."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from relay import quotas, reasons
from relay.models import BulkSend, WrongState
from relay_client import RelayMisconfigured, RelayNotFound, RelayQuotaExceeded

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Halt:
    reason: str
    params: dict[str, Any]
    pause: bool = False
    resume_at: datetime | None = None

    def apply(self, bulk_send_id: int) -> None:
        bulk_send = BulkSend.objects.get(pk=bulk_send_id)
        try:
            if self.pause:
                bulk_send.pause(self.reason, self.resume_at, **self.params)
            else:
                bulk_send.stop_with_error(self.reason, **self.params)
        except WrongState:
            # Somebody paused or cancelled it, or another worker met the same answer first: it stands still already.
            log.info("halt_left_to_another", bulk_send=bulk_send_id, reason=self.reason, status=bulk_send.status)


def halt_for(error: RelayQuotaExceeded | RelayNotFound | RelayMisconfigured, *, now: datetime | None = None) -> Halt:
    """What an answer that is about the account or the template does to the bulk send; `now` by the database's clock."""
    code = error.code or str(error.status or "")
    if isinstance(error, RelayQuotaExceeded):
        resume_at = quotas.in_our_time(error.reset_at, error.told_at, now)
        return Halt(reasons.QUOTA, {"period": error.period}, pause=True, resume_at=resume_at)
    if isinstance(error, RelayNotFound):
        return Halt(reasons.TEMPLATE_MISSING, {"code": code})
    return Halt(reasons.MISCONFIGURED, {"code": code})
