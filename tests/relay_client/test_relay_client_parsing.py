"""Parsing, against arbitrary bytes and arbitrary JSON: only our own errors, and values any database takes."""

import contextlib
import inspect
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_client import RelayError, RelayMisconfigured, parsing
from relay_client.parsing import Answer, Unreadable

# Every name the parsers look for, so that arbitrary JSON gets past the first look.
NAMES = st.sampled_from(
    sorted(set(re.findall(r'\.get\("(\w+)"\)', inspect.getsource(parsing))))
    + ["createdResourceId", "reportRequestId", "id", "detail", "title"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["2025-03-01T00:00:00Z", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
    | st.sampled_from(["/docs/rels/get-delivery", "next", "/errors/400.1", "//[", "http://[x", "\ud800", "\0", "²"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(), inner, max_size=6)
)
BODIES = (
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass"))
)
HEADERS = st.dictionaries(st.sampled_from(["Retry-After", "Location"]), st.text())
PARSERS = [
    parsing.accepted,
    parsing.created_id,
    parsing.page,
    parsing.template,
    parsing.template_body,
    parsing.delivery,
    parsing.limits,
    parsing.report_request,
    parsing.requested_report_id,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(status=st.integers(200, 299), headers=HEADERS, raw=BODIES)
def test_no_success_crashes_the_parser(parse: Any, status: int, headers: dict[str, str], raw: bytes) -> None:
    with contextlib.suppress(Unreadable):
        parse(Answer(status, headers, raw))


@given(status=st.integers(100, 599), headers=HEADERS, raw=BODIES, reading=st.booleans())
def test_every_failure_becomes_one_of_our_errors(
    status: int, headers: dict[str, str], raw: bytes, reading: bool
) -> None:
    error = parsing.failure(Answer(status, headers, raw), reading=reading)
    assert isinstance(error, RelayError | RelayMisconfigured)
    assert error.status == status
    assert len(error.detail) <= 500
    assert error.code == "" or error.code.startswith(f"{status}.")


@given(JSON.map(lambda value: {"id": "t", "subject": value, "body": value, "name": value, "created_at": value}))
def test_texts_hold_nothing_that_a_database_refuses(value: dict[str, Any]) -> None:
    template = parsing.template(Answer(200, {}, json.dumps(value).encode()))
    for text in (template.subject, template.name, template.body or ""):
        assert "\0" not in text
        text.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-03-01T14:00:05Z", datetime(2025, 3, 1, 14, 0, 5, tzinfo=UTC)),
        ("2025-03-01T14:00:05+00:00", datetime(2025, 3, 1, 14, 0, 5, tzinfo=UTC)),
        ("2025-03-01T14:00:05.1234567Z", datetime(2025, 3, 1, 14, 0, 5, 123456, tzinfo=UTC)),
        ("2025-03-01T14:00:05.5-05:00", datetime(2025, 3, 1, 19, 0, 5, 500000, tzinfo=UTC)),
        ("2025-03-01 14:00:05", datetime(2025, 3, 1, 14, 0, 5, tzinfo=UTC)),
        (" 2025-03-01T14:00:05Z ", datetime(2025, 3, 1, 14, 0, 5, tzinfo=UTC)),
        ("0001-01-01T00:00:00+05:00", None),
        ("soon", None),
        ("", None),
        (None, None),
        (1740837605, None),
    ],
)
def test_moments_are_aware_and_in_utc_or_none(text: object, expected: datetime | None) -> None:
    assert parsing.moment(text) == expected
