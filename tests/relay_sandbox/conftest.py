from collections.abc import Iterator

import pytest

from tests.relay_sandbox.harness import Relay, running


@pytest.fixture(scope="session")
def _relay_process() -> Iterator[Relay]:
    with running("--delivery-seconds", "60", "--report-seconds", "30") as relay:
        yield relay


@pytest.fixture
def relay(_relay_process: Relay) -> Relay:
    """A sandbox without messages, faults or limits; time passes in it by `shift_clock`."""
    _relay_process.reset()
    return _relay_process
