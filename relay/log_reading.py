"""Reading the relay's log of deliveries: whole windows of time, page by page and side by side, or what names somebody.

Nothing is kept here: whoever reads is handed every entry and keeps what matters, so that a log of millions fits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from relay_client import Delivery, RelayClient

LONGEST_FILTER = 100  # characters (relay API notes §4.1)
# Windows are read in slices of so many seconds, several at once: pages of one listing come one after the other.
SLICE_SECONDS = 60

Keep = Callable[[Delivery], None]


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """`[start, end)` in whole seconds: dates of the log have no finer ones."""

    start: datetime
    end: datetime

    @classmethod
    def around(cls, start: datetime, end: datetime, before: float, after: float) -> "Window":
        first = (start - timedelta(seconds=before)).astimezone(UTC).replace(microsecond=0)
        last = (end + timedelta(seconds=after + 1)).astimezone(UTC).replace(microsecond=0)
        return cls(first, last + timedelta(seconds=1))


def merged(windows: Iterable[Window]) -> list[Window]:
    """Without overlaps, in order."""
    found: list[Window] = []
    for window in sorted(windows):
        if found and window.start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(found[-1].end, window.end))
        else:
            found.append(window)
    return found


async def read_whole(client: RelayClient, windows: Iterable[Window], keep: Keep) -> None:
    """Every entry of the windows. Raises the errors of `relay_client`."""

    async def read(window: Window) -> None:
        async for delivery in client.deliveries(start=window.start, end=window.end):
            keep(delivery)

    await _side_by_side(read, _slices(merged(windows)))


async def read_about(client: RelayClient, questions: Iterable[tuple[str, Window]], keep: Keep) -> None:
    """What the relay finds for each text in its window. What it searches is not known: check what comes."""

    async def ask(question: tuple[str, Window]) -> None:
        text, window = question
        async for delivery in client.deliveries(text=text, start=window.start, end=window.end):
            keep(delivery)

    await _side_by_side(ask, questions)


def _slices(windows: Iterable[Window]) -> Iterator[Window]:
    now = datetime.now(UTC)
    for window in windows:
        start = window.start
        while start < window.end:
            end = min(start + timedelta(seconds=SLICE_SECONDS), window.end)
            if end > now:
                end = window.end  # an end in the future means "until now": one slice, or entries would come twice
            yield Window(start, end)
            start = end


async def _side_by_side[T](work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    left = iter(items)

    async def take_turns() -> None:
        for item in left:
            await work(item)

    tasks = [asyncio.create_task(take_turns()) for _ in range(settings.RELAY_MAX_CONNECTIONS)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
