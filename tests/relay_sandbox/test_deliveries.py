"""The log of deliveries and the statistics (relay API notes §4)."""

from datetime import UTC, datetime, timedelta

import pytest

from relay_sandbox.outcomes import Fate, outcome
from tests.relay_sandbox.harness import Answer, Relay

LOG = "/accounts/sandbox/deliveries"


def addresses(answer: Answer) -> list[str]:
    return [item["recipientAddress"] for item in answer.json["items"]]


def next_href(answer: Answer) -> str | None:
    return next((link["href"] for link in answer.json["_links"] if "next" in link["rel"].split()), None)


def test_the_log_has_no_message_id_but_a_link_of_each_delivery(relay: Relay) -> None:
    created = relay.send().json
    [item] = relay.get(LOG).json["items"]
    assert created["createdResourceId"] not in str(item)
    [link] = item["_links"]
    assert link["href"] == created["_links"][1]["href"]
    assert "/docs/rels/get-delivery" in link["rel"].split()
    assert relay.get(link["href"]).json == item
    assert item["senderAddress"] == "avisos@example.com"
    assert item["subject"] == "Hola"


def test_the_log_is_followed_by_next_links_newest_first(relay: Relay) -> None:
    for number in range(12):
        relay.send(f"p{number}@example.com")
    page = relay.get(LOG, per_page=5, filter="example.com")
    seen = addresses(page)
    assert (page.json["itemsCount"], page.json["pagesCount"], page.json["pageSize"]) == (12, 3, 5)
    assert {link["rel"] for link in page.json["_links"]} == {"first self", "next", "last"}
    while href := next_href(page):
        page = relay.get(href)
        seen += addresses(page)
    assert seen == [f"p{number}@example.com" for number in range(11, -1, -1)]
    assert {link["rel"] for link in page.json["_links"]} == {"first", "last self", "previous"}
    assert relay.get(LOG, per_page=5, page=9).json["items"] == []


def test_one_page_is_first_last_and_self(relay: Relay) -> None:
    assert [link["rel"] for link in relay.get(LOG).json["_links"]] == ["first last self"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["juana@example.com", "ana@example.com"]),
        ("ANA@", ["juana@example.com", "ana@example.com"]),
        ("juan", ["juana@example.com"]),
        ("factura 1", ["ana@example.com"]),
        ("cobros@", ["juana@example.com"]),
        ("100%", ["ana@example.com"]),
        ("_", []),
        ("%", ["ana@example.com"]),
        ("nadie", []),
    ],
)
def test_the_filter_looks_into_subject_sender_and_recipient(relay: Relay, text: str, expected: list[str]) -> None:
    relay.send("ana@example.com", subject="Factura 1: 100%")
    relay.send("juana@example.com", subject="Factura 2", from_email="cobros@example.com")
    assert addresses(relay.get(LOG, filter=text)) == expected


def test_from_is_inclusive_and_to_is_exclusive(relay: Relay) -> None:
    relay.send()
    moment = datetime.fromisoformat(relay.messages()[0]["received_at"])
    just_after = moment + timedelta(milliseconds=1)

    def found(**period: datetime) -> int:
        texts = {name.rstrip("_"): value.isoformat() for name, value in period.items()}
        return int(relay.get(LOG, **texts).json["itemsCount"])

    assert found(from_=moment) == 1
    assert found(from_=just_after) == 0
    assert found(to=moment) == 0
    assert found(to=just_after) == 1
    assert found(from_=moment, to=just_after) == 1


@pytest.mark.parametrize(
    "moment",
    ["2025-03-01T00:00:00Z", "2025-03-01T00:00:00.1234567+05:30", "2025-03-01 00:00:00-05", "2025-03-01Z"]
    + ["2025-03-01T00:00Z", "2025-03-01+00:00"],
)
def test_dates_with_an_offset_are_understood(relay: Relay, moment: str) -> None:
    assert relay.get(LOG, **{"from": moment}).status == 200


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ({"from": "2025-03-01T00:00:00"}, "from"),
        ({"to": "2025-03-01"}, "to"),
        ({"to": "tomorrow"}, "to"),
        ({"to": "2025-13-01T00:00:00Z"}, "to"),
        ({"per_page": 4}, "per_page"),
        ({"per_page": 201}, "per_page"),
        ({"per_page": "x"}, "per_page"),
        ({"page": 0}, "page"),
        ({"filter": "x" * 101}, "filter"),
    ],
)
def test_a_bad_parameter_is_named(relay: Relay, query: dict[str, object], key: str) -> None:
    answer = relay.get(LOG, **query)
    assert answer.code == "400.1"
    assert [error["key"] for error in answer.json["errors"]] == [key]


def test_a_period_that_ends_before_it_begins_is_400_2(relay: Relay) -> None:
    query = {"from": "2025-03-02T00:00:00Z", "to": "2025-03-01T00:00:00Z"}
    assert relay.get(LOG, **query).code == "400.2"


def test_accounts_do_not_see_each_other(relay: Relay) -> None:
    href = relay.send().json["_links"][1]["href"]
    other = relay.call("GET", "/accounts/otra/deliveries", auth="token otra-key")
    assert other.json["items"] == []
    hidden = relay.call("GET", href.replace("/accounts/1/", "/accounts/2/"), auth="token otra-key")
    assert hidden.code == "404.1"


@pytest.mark.parametrize(
    ("mark", "states"),
    [
        ("+rebota", ["queued", "rejected hard", "rejected hard"]),
        ("+blanda", ["queued", "retrying soft", "sent"]),
        ("+invalida", ["queued", "invalid hard", "invalid hard"]),
        ("+bloqueada", ["queued", "dropped", "dropped"]),
        ("", ["queued", "sent", "sent"]),
    ],
)
def test_a_delivery_moves_with_the_clock(relay: Relay, mark: str, states: list[str]) -> None:
    href = relay.send(f"ana{mark}@example.com").json["_links"][1]["href"]
    seen = []
    for seconds in (0, 90, 1000):
        relay.shift_clock(seconds)
        item = relay.get(href).json
        seen.append(f"{item['status']} {item.get('bounceType', '')}".strip())
    assert seen == states


def test_a_small_share_of_addresses_fails_always_the_same_ones() -> None:
    fates = [outcome(f"persona{number}@example.com")[0] for number in range(5000)]
    assert fates == [outcome(f"PERSONA{number}@example.com")[0] for number in range(5000)]
    assert 0.95 < fates.count(Fate.SENT) / 5000 < 0.985
    assert all(fates.count(fate) > 0 for fate in Fate)


def test_opens_and_clicks_come_later(relay: Relay) -> None:
    email = next(f"p{n}@example.com" for n in range(100) if outcome(f"p{n}@example.com")[2] > 0)
    href = relay.send(email).json["_links"][1]["href"]
    relay.shift_clock(90)
    assert relay.get(href).json["opens"] == 0
    relay.shift_clock(130)
    item = relay.get(href).json
    assert item["opens"] > 0
    assert item["clicks"] > 0


def test_statistics_add_up_by_hour_and_by_day(relay: Relay) -> None:
    for mark in ("+rebota", "+invalida", "+bloqueada", "+blanda", ""):
        relay.send(f"ana{mark}@example.com")
    relay.shift_clock(90)
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    query = {"from": start.isoformat(), "to": (start + timedelta(hours=4)).isoformat(), "per_page": 200}
    hours = relay.get("/accounts/1/statistics/deliveries/by_hour", **query).json["items"]
    assert [item["hours"] for item in hours] == [1, 1, 1, 1]
    total = {name: sum(item[name] for item in hours) for name in hours[0] if name not in ("from", "hours")}
    assert total == {
        "total": 5,
        "sent": 1,
        "hard_bounced": 2,
        "soft_bounced": 1,
        "dropped": 1,
        "opened": 0,
        "clicked": 0,
    }
    relay.shift_clock(2000)
    days = relay.get("/accounts/1/statistics/events/by_day").json["items"]
    opens = outcome("ana@example.com")[1] + outcome("ana+blanda@example.com")[1]
    assert sum(item["opens"] for item in days) == opens
    assert all(item["hours"] == 24 for item in days)
    assert relay.get("/accounts/1/statistics/events/by_week").code == "404.0"


def set_log(relay: Relay, **config: object) -> Answer:
    return relay.call("PUT", "/_sandbox/log", config)


def test_the_log_can_be_made_to_search_only_subjects_or_nothing(relay: Relay) -> None:
    relay.send("ana@example.com")
    relay.send("luis@example.com", subject="Para ana@example.com")
    assert set_log(relay, filter="subject").status == 200
    assert addresses(relay.get(LOG, filter="ana@example.com")) == ["luis@example.com"]
    set_log(relay, filter="ignored")
    assert len(addresses(relay.get(LOG, filter="nobody"))) == 2
    set_log(relay)
    assert addresses(relay.get(LOG, filter="nobody")) == []


def test_the_log_can_lag_and_hide_its_links(relay: Relay) -> None:
    relay.send("ana@example.com")
    set_log(relay, lag_seconds=60)
    assert relay.get(LOG).json["itemsCount"] == 0
    relay.shift_clock(61)
    assert addresses(relay.get(LOG)) == ["ana@example.com"]
    set_log(relay, hide_links=True)
    assert relay.get(LOG).json["items"][0]["_links"] == []
    assert relay.get("/_sandbox/log").json == {"filter": "all", "lag_seconds": 0, "hide_links": True}


@pytest.mark.parametrize(
    "config",
    [{"filter": "x"}, {"lag_seconds": "1"}, {"lag_seconds": True}, {"hide_links": 1}, {"lags": 1}, {"filter": []}],
)
def test_wrong_settings_of_the_log_change_nothing(relay: Relay, config: dict[str, object]) -> None:
    assert set_log(relay, **config).status == 400
    assert relay.get("/_sandbox/log").json["filter"] == "all"
