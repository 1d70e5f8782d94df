"""What becomes of a delivery: decided once by its address, shown according to the clock.

Special addresses (for people who try the product): `+rebota`, `+blanda`, `+invalida`, `+bloqueada` in the local part.
"""

from enum import IntEnum
from hashlib import blake2b

from relay_sandbox.answers import Json


class Fate(IntEnum):
    SENT = 0
    REJECTED = 1
    """Hard bounce."""
    INVALID = 2
    DROPPED = 3
    """On a block list, never attempted."""
    RETRIED = 4
    """A soft bounce, then sent."""


_SPECIAL = {
    "+rebota": Fate.REJECTED,
    "+blanda": Fate.RETRIED,
    "+invalida": Fate.INVALID,
    "+bloqueada": Fate.DROPPED,
}
# thousandths of all addresses, in this order
_SHARES = ((10, Fate.REJECTED), (15, Fate.INVALID), (20, Fate.DROPPED), (30, Fate.RETRIED))

RETRY_FACTOR = 3
"""A retried delivery is sent after so many times the delivery seconds; opens and clicks come after twice."""
OPEN_FACTOR = 2


def outcome(address: str) -> tuple[Fate, int, int]:
    """Fate, opens and clicks of an address: always the same ones."""
    text = address.lower()
    digest = blake2b(text.encode(), digest_size=4).digest()
    fate = _fate(text, int.from_bytes(digest[:2]) % 1000)
    if fate not in (Fate.SENT, Fate.RETRIED) or digest[2] >= 115:  # 45 % of the others are opened
        return fate, 0, 0
    return fate, 1 + digest[2] % 3, 1 + digest[3] % 2 if digest[3] < 64 else 0


def _fate(address: str, number: int) -> Fate:
    if "+" in address:
        local = address.partition("@")[0]
        for mark, fate in _SPECIAL.items():
            if mark in local:
                return fate
    return next((fate for limit, fate in _SHARES if number < limit), Fate.SENT)


def visible_state(fate: int, opens: int, clicks: int, age: int, delivery_ms: int) -> Json:
    """Status, bounce type, opens and clicks at an age in milliseconds (statuses: relay API notes §4.2)."""
    if age < delivery_ms:
        return {"status": "queued", "opens": 0, "clicks": 0}
    if fate == Fate.RETRIED and age < RETRY_FACTOR * delivery_ms:
        return {"status": "retrying", "bounceType": "soft", "opens": 0, "clicks": 0}
    if fate in _FINAL:
        status, bounce = _FINAL[fate]
        state: Json = {"status": status, "opens": 0, "clicks": 0}
        return {**state, "bounceType": bounce} if bounce else state
    seen_after = (RETRY_FACTOR if fate == Fate.RETRIED else 1) * delivery_ms * OPEN_FACTOR
    seen = age >= seen_after
    return {"status": "sent", "opens": opens if seen else 0, "clicks": clicks if seen else 0}


_FINAL: dict[int, tuple[str, str | None]] = {
    Fate.REJECTED: ("rejected", "hard"),
    Fate.INVALID: ("invalid", "hard"),
    Fate.DROPPED: ("dropped", None),
}
