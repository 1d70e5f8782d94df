"""A client of the raw relay, and the account for the contract suite."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from raw_relay import KEY, ClientMaker, RawRelay, RelayAccount

from relay_client import RelayClient, TemplateDraft


@pytest.fixture
async def raw_relay() -> AsyncIterator[RawRelay]:
    relay = RawRelay()
    server = await asyncio.start_server(relay.handle, "127.0.0.1", 0)
    relay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield relay
    server.close()
    await relay.stop()


@pytest.fixture
async def make_client(raw_relay: RawRelay) -> AsyncIterator[ClientMaker]:
    """An open client of the raw relay, impatient, that asks once; keywords replace any of it."""
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> RelayClient:
            usual = {
                "api_key": KEY,
                "account": "example",
                "base_url": raw_relay.url,
                "timeout_seconds": 5.0,
                "connect_timeout_seconds": 5.0,
                "read_attempts": 1,
            }
            return await stack.enter_async_context(RelayClient(**(usual | options)))

        yield make


@pytest.fixture
async def client(make_client: ClientMaker) -> RelayClient:
    return await make_client()


# --- the contract suite ---------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "relay_account" in metafunc.fixturenames:
        kinds = ["sandbox"]
        if os.environ.get("DOPPLER_RELAY_LIVE_TESTS") == "1":
            kinds.append("live")
        metafunc.parametrize("relay_account", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def relay_account(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayAccount]:
    if request.param == "live":
        yield from _live_account()
    else:
        yield from _sandbox_account(tmp_path_factory.mktemp("sandbox") / "store.sqlite3")


def _sandbox_account(store: Path) -> Iterator[RelayAccount]:
    command = [
        *(sys.executable, "-m", "relay_sandbox", "--port", "0", "--store", str(store)),
        *("--report-seconds", "0.2"),
    ]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            yield RelayAccount(
                ready["url"],
                ready["api_key"],
                ready["account"],
                ready["template_ids"][0],
                "ana@example.com",
            )
        finally:
            process.terminate()


def _live_account() -> Iterator[RelayAccount]:
    """The real relay, with a template of our own that is deleted at the end."""
    key, account = os.environ["DOPPLER_RELAY_API_KEY"], os.environ["DOPPLER_RELAY_ACCOUNT_ID"]
    recipient = os.environ["DOPPLER_RELAY_LIVE_TO"]
    base_url = "https://api.dopplerrelay.com/"

    async def create() -> str:
        async with RelayClient(api_key=key, account=account, base_url=base_url) as relay:
            template_id = await relay.create_template(TemplateDraft("Contract suite", recipient, subject="Contract"))
            await relay.put_template_body(template_id, "<p>Hello {{name}}</p>")
            return template_id

    async def delete(template_id: str) -> None:
        async with RelayClient(api_key=key, account=account, base_url=base_url) as relay:
            await relay.delete_template(template_id)

    template_id = asyncio.run(create())
    yield RelayAccount(base_url, key, account, template_id, recipient)
    asyncio.run(delete(template_id))
