"""What can go wrong, by what the caller has to do about it.

```
RelayError
├── RelayUnavailable    never left, or told to wait (429), or a question (GET) without a usable answer: ask again later
├── RelayUnknown        a change (send, create, …) that may have arrived, no usable answer: never repeat it unasked
├── RelayQuotaExceeded  402: nothing more is accepted until `reset_at`
├── RelayNotFound       404: the template, delivery or request named in the call does not exist
└── RelayRejected       any other 4xx: refused, and it will be refused again
RelayMisconfigured      401, 403: key or account refused: stop, tell a person
                        (outside the tree, so that no `except RelayError` can hide it)
RelayCallWithdrawn           the caller's own `may_leave` said no when there was a connection: nothing left
```

Decide on the class; the text is for people. `str()` and `repr()` are sentences of ours and never hold an address, a
value, the key, a body or a URL. The relay's own words may hold any of them: they are in `detail` (and `errors`), for
the database, and nowhere else.
"""

from datetime import datetime
from typing import Any


class _Fault(Exception):
    """Facts common to both branches. Everything but the sentence has a default and lives in `__dict__`:
    that is what makes the exceptions survive pickle and copy."""

    def __init__(self, sentence: str = "", *, status: int | None = None, code: str = "", detail: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        """HTTP status, None when there was no answer."""
        self.code = code
        """Status and error number as the relay documents them, "400.1"; "" when not known."""
        self.detail = detail
        """The relay's own words, at most 500 characters. Not for logs."""


class RelayError(_Fault):
    """Base of everything a single call may answer with."""


class RelayUnavailable(RelayError):
    """Asking again later does no harm: nothing left, or the relay said "later", or it was only a question.

    `retry_after` is in seconds (0 to 3600) when the relay named a delay; `throttled` is True for a 429."""

    def __init__(
        self,
        sentence: str = "",
        *,
        retry_after: float | None = None,
        throttled: bool = False,
        **facts: Any,
    ) -> None:
        super().__init__(sentence, **facts)
        self.retry_after = retry_after
        self.throttled = throttled


class RelayUnknown(RelayError):
    """The request may have been carried out, and no answer says so. Look before repeating it."""


class RelayQuotaExceeded(RelayError):
    """402.1: a monthly, daily or hourly quota is used up (relay API notes §6.2). Nothing was accepted."""

    def __init__(
        self,
        sentence: str = "",
        *,
        limit: int | None = None,
        deliveries_count: int | None = None,
        period: str = "",
        reset_at: datetime | None = None,
        told_at: datetime | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(sentence, **facts)
        self.told_at = told_at
        """The relay's own clock when it said so: `reset_at` counts from there."""
        self.limit = limit
        self.deliveries_count = deliveries_count
        self.period = period
        self.reset_at = reset_at


class RelayNotFound(RelayError):
    """404. About the template or the link in the call, not about a recipient: hence no `RelayRejected`."""


class RelayRejected(RelayError):
    """Refused for ever. `errors` are the relay's (field, reason) pairs; like `detail`, not for logs."""

    def __init__(self, sentence: str = "", *, errors: tuple[tuple[str, str], ...] = (), **facts: Any) -> None:
        super().__init__(sentence, **facts)
        self.errors = errors


class RelayMisconfigured(_Fault):
    """The relay refuses this key for this account: no call will work until a person changes something."""


class RelayCallWithdrawn(Exception):
    """The change was stopped just before its first byte, because `RelayClient.may_leave` said no. Nothing left."""
