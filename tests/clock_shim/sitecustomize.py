"""Moves this process's clock by RELAY_TEST_CLOCK_APART seconds: see `tests/clocks.py`."""

import datetime
import os
import time

_APART = float(os.environ["RELAY_TEST_CLOCK_APART"])
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime


class _AnyDatetime(type):
    """Moments made by C code are of the real class."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _datetime)


class _MovedDatetime(_datetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "_MovedDatetime":
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> "_MovedDatetime":
        return cls.now(datetime.UTC).replace(tzinfo=None)


time.time = lambda: _time() + _APART
time.time_ns = lambda: _time_ns() + int(_APART * 1_000_000_000)
datetime.datetime = _MovedDatetime  # type: ignore[misc]
