"""When to ask the relay again about a report, and when to stop. Seconds, by the settings of DOPPLER_REPORTS_POLL_…"""

import random

from django.conf import settings

from relay.account import CONNECT_SECONDS

# The relay or its file host may be away for so long beyond the patience with a report: that says nothing about it.
OUTAGE_SECONDS = 24 * 3600.0
# A relay that is away is left alone for so long before another run asks.
AWAY_SECONDS = 60.0
SHORTEST_PAUSE = 0.05


def first_pause() -> float:
    """From the request until its report is asked after for the first time."""
    return float(min(settings.DOPPLER_REPORTS_POLL_INITIAL_DELAY, settings.DOPPLER_REPORTS_POLL_MAX_DELAY))


def pause_after(waited: float) -> float:
    """Until it is asked after again, when it has been waited for that long.

    As long again as it took so far: so each pause is twice the one before, also when another process goes on. Shorter
    by chance, lest all reports of a day are asked after at once; and never beyond the end of the patience.
    """
    pause = min(waited + first_pause(), settings.DOPPLER_REPORTS_POLL_MAX_DELAY)
    pause *= random.uniform(0.8, 1.0)  # noqa: S311  (spreads load, guards nothing)
    left = settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT - waited
    return max(min(pause, left), SHORTEST_PAUSE)


def is_over(waited: float) -> bool:
    return bool(waited >= settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT)


def outage_is_over(waited: float) -> bool:
    return bool(waited >= settings.DOPPLER_REPORTS_POLL_TOTAL_TIMEOUT + OUTAGE_SECONDS)


def looks() -> tuple[float, float, float]:
    """When the relay's list is searched for a request whose answer was lost, counted from the request: by default
    after 5, 30 and 120 seconds.

    Only the last look may call it absent. It comes after the last moment at which a process that was taken for dead
    could still have asked: its lease, a connection, and the time-out of a call.
    """
    longest = settings.DOPPLER_REPORTS_POLL_MAX_DELAY
    timeout = settings.DOPPLER_REPORTS_TIMEOUT
    possible = settings.RELAY_LEASE_SECONDS + min(CONNECT_SECONDS, timeout) + timeout
    return first_pause(), 2.0 * longest, max(8.0 * longest, possible)
