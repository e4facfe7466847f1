"""What bodies the gateway reads, how much of them, and for how long."""

import asyncio
from dataclasses import replace

import pytest

from mesh.errors import (
    Overloaded,
)
from tests.unit.gateway.fakes import (
    LIMITS,
    FakeCaller,
    FakeProtocol,
    FakeScope,
)
from tests.unit.gateway.requests import ask, error_of, gateway


async def test_a_get_ignores_a_body() -> None:
    protocol = await ask(FakeCaller(), "GET", "/items", b"nonsense")
    assert (protocol.status, protocol.read_count) == (200, 0)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json;charset=UTF-8",
        'Application/JSON; Charset="utf-8"',
        "application/json; version=1",
    ],
)
async def test_json_is_taken_by_any_of_its_names(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    protocol = await ask(FakeCaller(), "POST", "/login", b"{}", headers=headers)
    assert protocol.status == 200


async def test_an_empty_body_needs_no_media_type() -> None:
    protocol = await ask(FakeCaller(), "POST", "/login", headers={"content-type": "text/plain"})
    assert protocol.status == 200


async def test_a_body_that_is_too_large_is_read_no_further_than_a_client_may_hope() -> None:
    chunks = [b" " * 64 * 1024] * 1000
    for headers in ({}, {"content-length": "65536000"}):
        protocol = await ask(FakeCaller(), "POST", "/login", *chunks, headers=headers)
        assert protocol.status == 413
        assert 64 <= protocol.read_count <= 66


async def test_a_client_that_asks_before_it_sends_too_much_is_answered_at_once() -> None:
    headers = {"content-length": "2000", "expect": "100-continue"}
    protocol = await ask(FakeCaller(), "POST", "/login", b" " * 2000, headers=headers)
    assert (protocol.status, protocol.read_count) == (413, 0)


async def test_what_is_refused_for_its_head_has_its_body_taken_off_the_connection() -> None:
    chunks = [b" " * 64 * 1024] * 1000
    for headers in ({"content-length": "65536000"}, {"transfer-encoding": "chunked"}):
        protocol = await ask(FakeCaller(), "POST", "/nope", *chunks, headers=headers)
        assert (protocol.status, protocol.read_count) == (404, 65)
    few = await ask(FakeCaller(), "PUT", "/items", b"{}", headers={"content-length": "2"})
    assert (few.status, few.read_count) == (405, 1)


@pytest.mark.parametrize(
    "headers", [{"content-length": "2", "expect": "100-continue"}, {"content-length": "0"}, {}]
)
async def test_where_there_is_no_body_yet_nothing_is_read(headers: dict[str, str]) -> None:
    protocol = await ask(FakeCaller(), "POST", "/nope", b"{}", headers=headers)
    assert (protocol.status, protocol.read_count) == (404, 0)


async def test_a_body_of_exactly_the_bound_is_taken() -> None:
    body = b'{"username":"u"}'.ljust(1024)
    for headers in ({}, {"content-length": "1024"}):
        assert (await ask(FakeCaller(), "POST", "/login", body, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, (408, "REQUEST_TIMEOUT")),
        ({"grpc-timeout": "10m"}, (504, "DEADLINE_EXCEEDED")),
    ],
)
async def test_a_body_that_does_not_come_is_not_waited_for_beyond_the_deadline(
    headers: dict[str, str], told: tuple[int, str]
) -> None:
    class Silent(FakeProtocol):
        async def __call__(self) -> bytes:
            await asyncio.sleep(30)
            return b""

    protocol = Silent()
    scope = FakeScope("POST", "/login", "", {"content-length": "5", **headers})
    await gateway(FakeCaller(), limits=replace(LIMITS, deadline_seconds=0.02)).__rsgi__(
        scope, protocol
    )
    assert (protocol.status, error_of(protocol)["reason"]) == told


async def test_what_would_be_refused_for_want_of_room_is_refused_before_its_body_is_read() -> None:
    caller = FakeCaller(refusal=Overloaded("Come back.", retry_after_seconds=1.2))
    answer = await ask(caller, "POST", "/login", b"not even JSON")
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert error_of(answer)["reason"] == "OVERLOADED"
    assert (caller.calls, answer.read_count) == ([], 0)
