"""Fixtures of the tests in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import running_chromium
from tests.browser.console import running_console
from tests.browser.visitor import Visitor, visiting
from tests.browser.world import World, rich_world
from tests.installation import Installation, new_database
from tests.sandbox import Sandbox

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


# For this folder, not for the session: Playwright keeps an event loop running in this thread, which Django and the
# asynchronous tests of other folders would stumble over.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory, _sandbox_process: Sandbox) -> Iterator[World]:
    """The console with something of everything in it, for tests that only look."""
    folder = tmp_path_factory.mktemp("world")
    with new_database(folder) as database:
        installation = Installation(
            folder, {**database, **_sandbox_process.environment(), "SECRET_KEY": "of the tests in a browser " * 3}
        )
        told = rich_world(installation, _sandbox_process.template)
        with running_console(installation) as console:
            yield World(console=console, installation=installation, **told)


@pytest.fixture
def visitor(chromium: Browser, world: World) -> Iterator[Visitor]:
    """Lucía, who may do everything, in the rich world; what troubled her fails the test."""
    with visiting(chromium, world.console) as visitor:
        visitor.enter(world.sessions["lucia"])
        yield visitor
        visitor.assert_untroubled()
