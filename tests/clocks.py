"""Processes whose clocks are set apart: by libfaketime where it is installed (Debian: libfaketime), else by a shim.

libfaketime moves what the system calls answer. The shim (`tests/clock_shim`) is Python's own `sitecustomize`: it moves
`time.time` and `datetime.now` in the process, before Django is imported, which is all that our code could read. In
both cases the monotonic clock is left alone, as on real hosts.
"""

from pathlib import Path

SHIM = Path(__file__).resolve().parent / "clock_shim"


def apart(seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is wrong by so much."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        return {"PYTHONPATH": str(SHIM), "RELAY_TEST_CLOCK_APART": str(seconds)}
    unmoved = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+d}", **unmoved}
