"""The tables of bulk sends."""

from relay.models.account_limits import Pace, Quota
from relay.models.activities import Activity
from relay.models.bulk_sends import BulkSend, BulkSendQuerySet, Decision, WrongState
from relay.models.ledger_rows import Attempt, Lease, Recipient, RecipientQuerySet, Settlement
from relay.models.lists import Attachment, Sender, SendingWindow, Suppression
from relay.models.mail_templates import MailTemplate, MailTemplateQuerySet
from relay.models.people import Approval, GroupGrant, UserPreferences
from relay.models.preparations import Preparation, PreparationQuerySet, RememberedMapping
from relay.models.tallies import Tally
from relay.models.test_sends import TestSend

__all__ = [
    "Activity",
    "Approval",
    "Attachment",
    "Attempt",
    "BulkSend",
    "BulkSendQuerySet",
    "Decision",
    "GroupGrant",
    "Lease",
    "MailTemplate",
    "MailTemplateQuerySet",
    "Pace",
    "Preparation",
    "PreparationQuerySet",
    "Quota",
    "Recipient",
    "RecipientQuerySet",
    "RememberedMapping",
    "Sender",
    "SendingWindow",
    "Settlement",
    "Suppression",
    "Tally",
    "TestSend",
    "UserPreferences",
    "WrongState",
]
