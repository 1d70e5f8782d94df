"""Keys, accounts, problems and content types (relay API notes §1.2–1.5, §6)."""

import pytest

from tests.relay_sandbox.harness import Relay


@pytest.mark.parametrize("auth", ["token sandbox-key", "Token sandbox-key", "Bearer sandbox-key", "BEARER sandbox-key"])
def test_both_schemes_open_the_account_in_any_case(relay: Relay, auth: str) -> None:
    assert relay.call("GET", "/accounts/sandbox/domains", auth=auth).status == 200


def test_the_key_may_travel_as_a_query_parameter(relay: Relay) -> None:
    assert relay.call("GET", "/accounts/1/domains?api_key=sandbox-key", auth=None).status == 200


def test_the_key_of_the_query_is_not_repeated_in_links(relay: Relay) -> None:
    answer = relay.call("GET", "/accounts/1/templates?api_key=sandbox-key", auth=None)
    assert b"sandbox-key" not in answer.body


@pytest.mark.parametrize(
    ("auth", "code"), [(None, "401.0"), ("token nadie", "401.1"), ("Basic sandbox-key", "401.1"), ("token", "401.1")]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/accounts/1/domains"), ("POST", "/accounts/1/messages")])
def test_without_a_good_key_nothing_opens(relay: Relay, auth: str | None, code: str, method: str, path: str) -> None:
    answer = relay.call(method, path, {} if method == "POST" else None, auth=auth)
    assert answer.code == code
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("account", ["otra", "2"])
def test_the_key_of_one_account_does_not_open_another(relay: Relay, account: str) -> None:
    assert relay.call("GET", f"/accounts/{account}/templates").code == "403.1"
    assert relay.call("POST", f"/accounts/{account}/messages", {}).code == "403.1"
    assert relay.call("GET", f"/accounts/{account}/templates", auth="token otra-key").status == 200


def test_what_is_not_there_is_told_apart_from_where_nothing_can_be(relay: Relay) -> None:
    assert relay.get("/accounts/nadie/templates").code == "404.1"
    assert relay.get("/accounts/1/nothing").code == "404.0"
    assert relay.get("/accounts/1/deliveries/0b7c6a34-6d0f-4f0e-8a1b-2f9a4f1f7c01").code == "404.1"
    assert relay.get("/accounts/1/templates/0b7c6a34-6d0f-4f0e-8a1b-2f9a4f1f7c01").code == "404.1"


def test_answers_name_their_schema_in_the_content_type(relay: Relay) -> None:
    content_type = relay.get("/accounts/1/domains").headers["content-type"]
    assert content_type.startswith("application/json; charset=utf-8; profile=https://")
    assert content_type.endswith("/schemas/domains.json")


def test_problems_have_the_shape_of_the_relay_and_their_own_type_on_request(relay: Relay) -> None:
    problem = relay.get("/accounts/otra/domains")
    assert problem.json["type"] == "/docs/errors/403.1-forbidden-account"
    assert problem.headers["content-type"].startswith("application/json;")
    asked = relay.call("GET", "/accounts/otra/domains", headers={"Accept": "application/problem+json"})
    assert asked.headers["content-type"].startswith("application/problem+json")


def test_who_am_i(relay: Relay) -> None:
    assert relay.get("/user").json["account_name"] == "sandbox"
    assert relay.get("/user/apikeys").json["api_keys"] == [{"api_key": "sandbox-key"}]
    assert relay.call("GET", "/user", auth=None).code == "401.0"


def test_domains_and_plan(relay: Relay) -> None:
    domains = relay.get("/accounts/sandbox/domains").json
    assert domains["default"] == "example.com"
    assert all(domain["dkim_ready"] for domain in domains["domains"])
    assert relay.get("/accounts/sandbox/domains/example.com").json["dkim_selector"]
    relay.send()
    assert relay.get("/accounts/sandbox/status/plan").json["deliveriesCount"] == 1


def test_pages_of_another_site_cannot_read_the_inbox_by_its_own_name(relay: Relay) -> None:
    for host, status in (("evil.example.com", 403), ("[", 403), ("localhost:1", 200), ("127.0.0.1", 200)):
        assert relay.call("GET", "/", headers={"Host": host}).status == status
