"""The same sentences for any relay: our sandbox always, the live one when its variables are set (see conftest).

On the live relay every mail goes to DOPPLER_RELAY_LIVE_TO, and what the suite makes it deletes.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from raw_relay import RelayAccount

from relay_client import (
    Address,
    Attachment,
    Message,
    Recipient,
    RelayClient,
    RelayMisconfigured,
    RelayNotFound,
    RelayRejected,
    TemplateDraft,
    TemplateMessage,
)

STATUSES = {"queued", "sent", "rejected", "retrying", "invalid", "dropped"}


@pytest.fixture
async def relay(relay_account: RelayAccount) -> AsyncIterator[RelayClient]:
    async with RelayClient(
        api_key=relay_account.key, account=relay_account.account, base_url=relay_account.base_url
    ) as client:
        yield client


async def message_to(relay_account: RelayAccount, relay: RelayClient, *attachments: Attachment) -> Message:
    """From the template's sender: an address that may be used on this account."""
    template = await relay.get_template(relay_account.template_id)
    return Message(
        from_email=template.from_email,
        from_name="Contract",
        recipients=[Recipient(relay_account.recipient, "Ana Núñez")],
        subject=f"Contract {datetime.now(UTC):%H:%M:%S.%f}",
        html="<p>Año nuevo</p>",
        text="Año nuevo",
        reply_to=Address(template.from_email),
        attachments=attachments,
    )


async def test_a_message_is_accepted_with_an_id_and_a_link_per_recipient(
    relay_account: RelayAccount, relay: RelayClient
) -> None:
    message = await message_to(relay_account, relay)
    accepted = await relay.send_message(message)
    assert accepted.message_id
    assert len(accepted.deliveries) == 1
    delivery = await relay.get_delivery(accepted.deliveries[0])
    assert delivery.recipient.lower() == relay_account.recipient.lower()
    assert delivery.subject == message.subject
    assert delivery.status in STATUSES
    assert delivery.date is not None
    assert abs(datetime.now(UTC) - delivery.date) < timedelta(minutes=5)


async def test_a_message_with_files_is_accepted(relay_account: RelayAccount, relay: RelayClient) -> None:
    file = Attachment("año.txt", "text/plain", "QcOxbwo=")
    larger = Attachment("larger.bin", "application/octet-stream", "QUJD" * 50_000)
    assert (await relay.send_message(await message_to(relay_account, relay, file, larger))).message_id


async def test_a_template_message_is_accepted_without_naming_a_sender(
    relay_account: RelayAccount, relay: RelayClient
) -> None:
    message = TemplateMessage([Recipient(relay_account.recipient)], {"name": "Ana", "user": {"name": "Ana"}})
    accepted = await relay.send_template_message(relay_account.template_id, message)
    assert accepted.message_id
    assert len(accepted.deliveries) == 1


async def test_two_sends_are_two_messages(relay_account: RelayAccount, relay: RelayClient) -> None:
    message = await message_to(relay_account, relay)
    assert (await relay.send_message(message)).message_id != (await relay.send_message(message)).message_id


@pytest.mark.parametrize("scheme", ["token", "Bearer"])
async def test_both_schemes_are_taken(scheme: str, relay_account: RelayAccount) -> None:
    async with RelayClient(
        api_key=relay_account.key,
        account=relay_account.account,
        base_url=relay_account.base_url,
        auth_scheme=scheme,
    ) as client:
        assert await client.limits()


async def test_a_wrong_key_is_a_misconfiguration(relay_account: RelayAccount) -> None:
    async with RelayClient(
        api_key="no-key-of-anyone", account=relay_account.account, base_url=relay_account.base_url
    ) as client:
        with pytest.raises(RelayMisconfigured) as caught:
            await client.limits()
    assert caught.value.status == 401


async def test_another_account_is_not_open_to_the_key(relay_account: RelayAccount) -> None:
    async with RelayClient(
        api_key=relay_account.key, account="nobodys-account-0", base_url=relay_account.base_url
    ) as client:
        with pytest.raises((RelayMisconfigured, RelayNotFound)):
            await client.limits()


async def test_an_address_that_is_none_is_rejected_with_the_reason(
    relay_account: RelayAccount, relay: RelayClient
) -> None:
    message = TemplateMessage([Recipient("not-an-address")], {})
    with pytest.raises(RelayRejected) as caught:
        await relay.send_template_message(relay_account.template_id, message)
    assert caught.value.code == "400.1"
    assert caught.value.errors


async def test_an_unknown_template_is_not_found(relay_account: RelayAccount, relay: RelayClient) -> None:
    message = TemplateMessage([Recipient(relay_account.recipient)], {})
    with pytest.raises(RelayNotFound) as caught:
        await relay.send_template_message("00000000-0000-4000-8000-000000000000", message)
    assert caught.value.code == "404.1"


async def test_the_template_is_listed_and_has_a_body(relay_account: RelayAccount, relay: RelayClient) -> None:
    listed = {template.id async for template in relay.templates()}
    assert relay_account.template_id in listed
    template = await relay.get_template(relay_account.template_id)
    assert template.name
    assert "{{" in (await relay.get_template_body(template)).html


async def test_a_template_is_created_filled_changed_and_deleted(
    relay_account: RelayAccount, relay: RelayClient
) -> None:
    sender = (await relay.get_template(relay_account.template_id)).from_email
    template_id = await relay.create_template(TemplateDraft("Contract: made", sender, "Contract", "One"))
    try:
        await relay.put_template_body(template_id, "<p>{{ñandú}}</p>")
        await relay.update_template(template_id, TemplateDraft("Contract: changed", sender, "Contract", "Two"))
        template = await relay.get_template(template_id)
        assert (template.name, template.subject) == ("Contract: changed", "Two")
        assert "{{ñandú}}" in (await relay.get_template_body(template)).html
    finally:
        await relay.delete_template(template_id)
    with pytest.raises(RelayNotFound):
        await relay.get_template(template_id)


async def test_the_log_shows_what_was_sent_page_by_page(relay_account: RelayAccount, relay: RelayClient) -> None:
    start = datetime.now(UTC) - timedelta(minutes=5)  # the clocks need not agree to the second
    message = await message_to(relay_account, relay)
    for _ in range(7):
        await relay.send_message(message)
    for _ in range(30):  # the log may lag behind
        found = [one async for one in relay.deliveries(start=start, per_page=5)]
        ours = [one for one in found if one.subject == message.subject]
        if len(ours) >= 7:
            break
        await asyncio.sleep(1)
    assert len({one.href for one in ours}) in (1, 7)  # the log need not give links (relay API notes §4.1)
    assert {one.recipient.lower() for one in ours} == {relay_account.recipient.lower()}
    assert {one.status for one in ours} <= STATUSES


async def test_the_end_of_a_period_is_exclusive_and_the_future_is_harmless(
    relay_account: RelayAccount, relay: RelayClient
) -> None:
    await relay.send_message(await message_to(relay_account, relay))
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    assert [one async for one in relay.deliveries(start=long_ago, end=long_ago + timedelta(days=1))] == []
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async for one in relay.deliveries(start=datetime.now(UTC) - timedelta(hours=1), end=tomorrow):
        assert one.recipient
        break


async def test_limits_are_told_in_utc(relay: RelayClient) -> None:
    limits = await relay.limits()
    for limit in (limits.monthly, limits.daily, limits.hourly):
        if limit is not None:
            assert limit.remaining <= limit.limit
            assert limit.reset is None or limit.reset > datetime.now(UTC) - timedelta(minutes=5)


async def test_a_report_is_requested_found_again_and_becomes_ready_or_empty(relay: RelayClient) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    request_id = await relay.request_report(end - timedelta(hours=1), end)
    assert request_id
    for _ in range(60):
        report = await relay.report_request(request_id)
        if report.processed:
            break
        await asyncio.sleep(0.5)
    assert report.file_url is None or report.file_url.startswith("http")
    listed = await relay.report_requests()
    assert any(one.start == end - timedelta(hours=1) and one.end == end for one in listed)
