"""Counters of the send calls, for `/_sandbox/stats`."""

from relay_sandbox.answers import Json
from relay_sandbox.store import Store


class Stats:
    def __init__(self, store: Store) -> None:
        self.reset(store)

    def reset(self, store: Store) -> None:
        """Take what a former run left in the store; calls in flight stay counted."""
        rows = store.rows("SELECT fault, count(*), sum(accepted) FROM calls GROUP BY fault")
        self.calls = sum(row[1] for row in rows)
        self.accepted = sum(row[2] for row in rows)
        self.by_fault: dict[str, int] = {row[0]: row[1] for row in rows if row[0] != "ok"}
        self.in_flight = getattr(self, "in_flight", 0)
        self.max_in_flight = self.in_flight
        self.max_calls_per_second = 0
        self._second = 0
        self._in_second = 0

    def begin(self, milliseconds: int) -> None:
        self.calls += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        second = milliseconds // 1000
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        self.max_calls_per_second = max(self.max_calls_per_second, self._in_second)

    def decided(self, fault: str, accepted: bool) -> None:
        self.accepted += accepted
        if fault != "ok":
            self.by_fault[fault] = self.by_fault.get(fault, 0) + 1

    def as_json(self) -> Json:
        return {
            "calls": self.calls,
            "accepted": self.accepted,
            "by_fault": self.by_fault,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "max_calls_per_second": self.max_calls_per_second,
        }
