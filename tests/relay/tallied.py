"""What the tallies say, and what they should say: counted row by row, in another language than that of the triggers."""

from collections import Counter

from relay.models import Recipient, Tally
from relay.models.tallies import NO_MOMENT

State = Recipient.State


def counted() -> Counter:
    found: Counter = Counter()
    for row in Recipient.objects.all():
        called = row.sending_since if row.state in {State.REFUSED, State.UNKNOWN} else None
        moment = row.accepted_at if row.state == State.ACCEPTED else called or NO_MOMENT
        code = row.reason_detail if row.state == State.REFUSED else ""
        stuck = row.state == State.UNKNOWN and row.look_at is None
        found[row.bulk_send_id, row.state, row.reason, code, stuck, moment.replace(second=0, microsecond=0)] += 1
    return found


def told() -> Counter:
    found: Counter = Counter()
    for *key, n in Tally.objects.values_list("bulk_send_id", "state", "reason", "code", "for_a_person", "at", "n"):
        found[tuple(key)] += n
    assert min(found.values(), default=0) >= 0
    return +found


def by_hour(counts: Counter) -> Counter:
    """Folding leaves no minutes."""
    found: Counter = Counter()
    for (*key, at), n in counts.items():
        found[*key, at.replace(minute=0)] += n
    return found
