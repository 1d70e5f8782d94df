"""How many recipients are in which state, kept by the database itself: see `relay.tallies`."""

from datetime import UTC, datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q

from relay.models.bulk_sends import BulkSend

# Of states that say nothing of a time: pending, sending, excluded.
NO_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)


class Tally(models.Model):
    """So many more, or fewer, recipients of one bulk send that look alike. Only sums mean anything.

    Written by triggers on `relay_recipient`, in the transaction that changes it, and folded by `relay.tallies.compact`.
    Nobody else writes it. Each key is a function of the recipient's row alone, so that a row which leaves a state
    takes itself out of the very bucket into which it had been counted.
    """

    class Span(models.IntegerChoices):
        """What `at` is the beginning of, in minutes."""

        CHANGE = 0  # the minute, of one statement: PostgreSQL appends, for workers never to wait for one another
        MINUTE = 1
        HOUR = 60
        DAY = 1440  # of the installation's time zone

    # No foreign key in the database: it would lock the bulk send with each change of a recipient.
    bulk_send = models.ForeignKey(BulkSend, models.DO_NOTHING, db_index=False, db_constraint=False, related_name="+")
    state = models.CharField(max_length=8)
    reason = models.CharField(max_length=30)
    # Of refused recipients: the relay's code.
    code = models.CharField(max_length=500)
    # Unknown, and the relay's log is asked no more.
    for_a_person = models.BooleanField()
    # accepted: when; refused, unknown: when the call was due; others: NO_MOMENT.
    at = models.DateTimeField()
    span = models.PositiveSmallIntegerField(choices=Span)
    n = models.IntegerField()

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            # What is folded meets here: of changes there may be any number.
            models.UniqueConstraint(
                fields=["bulk_send", "state", "reason", "code", "for_a_person", "at", "span"],
                name="tally_folded_once",
                condition=Q(span__gt=0),
            ),
        ]
        indexes: ClassVar = [
            # The counts of a page of bulk sends.
            models.Index(fields=["bulk_send", "state"], name="tally_of_bulk_send"),
            # The days of all of them, and what is to be folded.
            models.Index(fields=["span", "at"], name="tally_by_moment"),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.n:+d} {self.at:%Y-%m-%d %H:%M}"
