"""The HTTP API of Doppler Relay: async, typed, and exact about what may have been sent and what was not."""

from .client import RelayClient
from .errors import (
    RelayError,
    RelayMisconfigured,
    RelayNotFound,
    RelayQuotaExceeded,
    RelayRejected,
    RelayUnavailable,
    RelayUnknown,
)
from .types import (
    Accepted,
    Address,
    Attachment,
    Delivery,
    Limit,
    Limits,
    Link,
    Message,
    Recipient,
    ReportRequest,
    Template,
    TemplateBody,
    TemplateDraft,
    TemplateMessage,
)

__all__ = [
    "Accepted",
    "Address",
    "Attachment",
    "Delivery",
    "Limit",
    "Limits",
    "Link",
    "Message",
    "Recipient",
    "RelayClient",
    "RelayError",
    "RelayMisconfigured",
    "RelayNotFound",
    "RelayQuotaExceeded",
    "RelayRejected",
    "RelayUnavailable",
    "RelayUnknown",
    "ReportRequest",
    "Template",
    "TemplateBody",
    "TemplateDraft",
    "TemplateMessage",
]
