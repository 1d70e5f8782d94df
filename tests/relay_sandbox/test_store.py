"""What was accepted is in the file, whatever happens then."""

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path

import aiohttp

from tests.relay_sandbox.harness import Relay, message, running, start


def test_a_restart_goes_on_with_what_was_there(tmp_path: Path) -> None:
    store = tmp_path / "sandbox.sqlite3"
    with running(store=store) as relay:
        first = relay.send("ana@example.com").json
        href = relay.call("POST", "/accounts/1/templates", {"name": "Mía", "from_email": "a@example.com"})
        relay.call("PUT", "/_sandbox/faults", {"recipients": {"luis@example.com": "429"}})
        relay.send("luis@example.com")
    with running(store=store) as relay:
        second = relay.send("rosa@example.com").json
        items = relay.messages()
        assert [item["message_id"] for item in items] == [first["createdResourceId"], second["createdResourceId"]]
        assert [item["id"] for item in items] == [1, 2]
        assert relay.get(first["_links"][1]["href"]).json["recipientAddress"] == "ana@example.com"
        assert relay.get(href.headers["location"]).json["name"] == "Mía"
        stats = relay.get("/_sandbox/stats").json
        assert (stats["calls"], stats["accepted"], stats["by_fault"]) == (3, 2, {"429": 1})
        assert len(relay.get("/accounts/1/templates").json["items"]) == 5


async def send_all(relay: Relay, numbers: range) -> Counter[int | str]:
    """Send at once; how often each status came back, or the name of the error."""
    seen: Counter[int | str] = Counter()
    headers = {"Authorization": "token sandbox-key"}
    connector = aiohttp.TCPConnector(limit=50)
    async with aiohttp.ClientSession(relay.url, headers=headers, connector=connector) as session:

        async def send(number: int) -> None:
            try:
                body = message(f"p{number}@example.com")
                async with session.post("/accounts/1/messages", json=body) as answer:
                    await answer.read()
                    seen[answer.status] += 1
            except aiohttp.ClientError as error:
                seen[type(error).__name__] += 1

        await asyncio.gather(*(send(number) for number in numbers))
    return seen


async def test_of_a_thousand_sends_at_once_each_is_there_once(relay: Relay) -> None:
    relay.faults(seed=1, rates={"reset_after": 0.05, "500_after": 0.05, "429": 0.05, "reset_before": 0.05})
    await send_all(relay, range(1000))
    calls = relay.get("/_sandbox/calls.csv").body.decode().splitlines()[1:]
    accepted = [line.split(",")[2] for line in calls if line.split(",")[4] == "1"]
    kept = [line.split(",")[0] for line in relay.get("/_sandbox/messages.csv").body.decode().splitlines()[1:]]
    assert sorted(kept) == sorted(accepted)
    assert 780 < len(kept) < 970
    assert relay.get("/_sandbox/stats").json["max_in_flight"] > 1


async def test_after_kill_9_nothing_that_was_answered_is_missing(tmp_path: Path) -> None:
    store = tmp_path / "sandbox.sqlite3"
    with running(store=store) as relay:
        sending = asyncio.create_task(send_all(relay, range(5000)))
        while relay_calls(store) < 200_000:
            await asyncio.sleep(0.01)
        relay.process.kill()
        seen = await sending
    assert 0 < seen[201] < 5000
    with running(store=store) as relay:
        assert relay.get("/_sandbox/stats").json["accepted"] >= seen[201]


def relay_calls(store: Path) -> int:
    """Bytes written so far."""
    wal = Path(f"{store}-wal")
    return wal.stat().st_size if wal.exists() else 0


def test_the_store_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = tmp_path / "sandbox.sqlite3"
    with running(store=store):
        assert os.stat(store).st_mode & 0o077 == 0


def refused(*arguments: str) -> tuple[int, str]:
    with start(*arguments) as process:
        output, errors = process.communicate(timeout=10)
    assert output == ""
    return process.returncode, errors


def test_a_store_in_use_or_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    store = tmp_path / "sandbox.sqlite3"
    with running(store=store):
        code, errors = refused("--port", "0", "--store", str(store))
    assert (code, errors.count("\n")) == (1, 1)
    assert "locked" in errors
    junk = tmp_path / "junk"
    junk.write_text("not a database" * 100)
    assert refused("--port", "0", "--store", str(junk))[0] == 1


def test_a_port_in_use_is_one_clear_line(relay: Relay) -> None:
    code, errors = refused("--port", str(relay.address[1]), "--store", ":memory:")
    assert (code, errors.count("\n")) == (1, 1)
    assert f"127.0.0.1:{relay.address[1]}" in errors


def test_other_machines_are_let_in_only_when_that_is_meant() -> None:
    code, errors = refused("--host", "0.0.0.0", "--port", "0", "--store", ":memory:")
    assert code == 2
    assert "--allow-remote" in errors
    with running("--host", "0.0.0.0", "--allow-remote") as relay:
        assert relay.call("GET", "/", headers={"Host": "relay.example.com"}).status == 200


def test_bad_faults_at_start_are_refused_by_name() -> None:
    code, errors = refused("--faults", '{"rates": {"418": 1}}', "--store", ":memory:")
    assert code == 2
    assert "rates.418" in errors


def test_the_first_line_says_where_and_how(relay: Relay) -> None:
    assert relay.said == {
        "url": relay.url,
        "account": "sandbox",
        "account_id": "1",
        "api_key": "sandbox-key",
        "template_ids": [relay.payment, relay.newsletter, relay.welcome, relay.draft],
        "inbox": f"{relay.url}/",
    }


def test_signals_end_it_cleanly_and_nothing_else_is_on_standard_output(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with start("--port", "0", "--store", str(tmp_path / "s.sqlite3")) as process:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            process.send_signal(number)
            output, _ = process.communicate(timeout=5)
            assert (process.returncode, output) == (0, "")
