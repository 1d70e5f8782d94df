"""The console: Django's admin in Unfold's clothes. One module per thing that is looked at.

The ledger is for looking: bulk sends and recipients are never added, edited or deleted here. What a person may do to
a bulk send (start, pause, resume, cancel) is a decision of `relay.admin.decisions`, always confirmed by a POST.
"""

from relay.admin import (  # noqa: F401  (each registers its models)
    activities,
    attachments,
    bulk_sends,
    lists,
    mail_templates,
    overview,
    preparations,
    recipients,
    users,
)
