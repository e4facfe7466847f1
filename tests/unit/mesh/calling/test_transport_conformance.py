"""Calls behave the same on every transport: unary calls and lanes, plain and over TLS.

Each test runs over each of them, against a real server behind real sockets.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from deploy.local.secrets.certificates import make_authority, now_utc
from mesh.calling.unary import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES
from mesh.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unimplemented,
)
from tests.unit.mesh.calling.transport_link import Link, Way
from tests.unit.mesh.echo import (
    ECHO,
    PLAYERS_ECHO,
    REFUSAL,
    USER_ID,
)
from tests.unit.registry.running import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def tls_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    make_authority(now_utc()).issue(directory, "gacha_svc", ["127.0.0.1"], now_utc())
    return directory


@pytest.fixture(params=["unary", "lane", "unary-tls", "lane-tls"])
def way(request: pytest.FixtureRequest, tls_directory: Path) -> Way:
    kind, _, tls = str(request.param).partition("-")
    return Way(kind, tls_directory if tls else None)


@pytest.fixture
async def link(way: Way) -> AsyncIterator[Link]:
    link = Link(way)
    await link.server.start()
    yield link
    await link.close()


async def test_a_call_is_answered(link: Link) -> None:
    assert await link.call(b"hi") == b"echo hi"
    assert await link.call(b"") == b"echo "


async def test_an_empty_response_is_a_response(link: Link) -> None:
    assert await link.call(b"large 0") == b""


async def test_metadata_reaches_the_method(link: Link) -> None:
    metadata = {**link.callers.metadata, "traceparent": TRACEPARENT}
    await link.call(b"hi", metadata=metadata)
    (call,) = link.echo.calls
    assert (call.path, call.trace_id) == (ECHO, TRACE_ID)


async def test_a_refusal_arrives_with_all_its_details(link: Link) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await link.call(b"refuse")
    error = caught.value
    assert (error.message, error.reason) == (REFUSAL.message, REFUSAL.reason)
    assert error.metadata == REFUSAL.metadata
    assert error.fields == REFUSAL.fields
    assert error.retry_after_seconds == REFUSAL.retry_after_seconds


async def test_a_bug_is_reported_by_its_trace_id_and_nothing_else(link: Link) -> None:
    with pytest.raises(Internal) as caught:
        await link.call(b"fail", metadata={**link.callers.metadata, "traceparent": TRACEPARENT})
    assert caught.value.message == f"Internal error; quote trace id {TRACE_ID}."


async def test_an_unknown_method_is_unimplemented(link: Link) -> None:
    with pytest.raises(Unimplemented):
        await link.call(b"hi", method="/echo.v1.EchoService/Nothing")


async def test_each_call_shows_its_own_token(link: Link) -> None:
    await link.call(b"hi")
    with pytest.raises(Unauthenticated) as unauthenticated:
        await link.call(b"hi", metadata={})
    assert unauthenticated.value.reason == "TOKEN_MISSING"
    with pytest.raises(PermissionDenied) as denied:
        await link.call(b"hi", metadata=link.callers.player_metadata())
    assert denied.value.reason == "WRONG_CALLER"


async def test_a_players_call_is_the_players(link: Link) -> None:
    player = link.callers.player_metadata()
    await link.call(b"hi", method=PLAYERS_ECHO, metadata=player)
    assert link.echo.calls[0].user_id == USER_ID
    with pytest.raises(PermissionDenied):
        await link.call(b"hi", method=PLAYERS_ECHO)


async def test_the_deadline_travels_and_shrinks(link: Link) -> None:
    await link.transport.connect(link.address, 5.0)
    await link.call(b"hi", seconds=2.0)
    (call,) = link.echo.calls
    # gRPC rounds a timeout up.
    assert 0.0 < call.deadline.remaining_seconds() < 2.1


async def test_no_answer_in_time_is_reported_and_ends_the_method(link: Link) -> None:
    await link.transport.connect(link.address, 5.0)
    began = monotonic()
    with pytest.raises(DeadlineExceeded):
        await link.call(b"wait", seconds=0.2)
    assert 0.15 < monotonic() - began < 5.0
    await asyncio.wait_for(link.echo.cancelled.wait(), 5.0)


async def test_cancelling_the_caller_cancels_the_method(link: Link) -> None:
    calling = link.begin(b"wait", seconds=30.0)
    await until(lambda: bool(link.echo.calls))
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.wait_for(link.echo.cancelled.wait(), 5.0)
    assert await link.call(b"hi") == b"echo hi"


async def test_a_call_cancelled_before_it_left_runs_nowhere(link: Link) -> None:
    await link.transport.connect(link.address, 5.0)
    calling = link.begin(b"wait")
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait((calling,))
    assert await link.call(b"hi") == b"echo hi"
    await until(lambda: len(link.echo.calls) == 1 or link.echo.cancelled.is_set())


async def test_the_largest_messages_arrive(link: Link) -> None:
    request = b"y" * MAX_REQUEST_BYTES
    assert (await link.call(request, seconds=20.0)).endswith(request)
    response = await link.call(b"large %d" % MAX_RESPONSE_BYTES, seconds=20.0)
    assert len(response) == MAX_RESPONSE_BYTES


async def test_many_large_requests_at_once_arrive(link: Link) -> None:
    request = b"y" * (MAX_REQUEST_BYTES - 1)
    calls = [link.begin(request) for _ in range(5)]
    for answer in await asyncio.gather(*calls):
        assert answer.endswith(request)


async def test_a_call_that_is_too_large_fails_alone(link: Link) -> None:
    neighbour = link.begin(b"wait")
    with pytest.raises(ResourceExhausted):
        await link.call(b"y" * (MAX_REQUEST_BYTES + 1))
    with pytest.raises(ResourceExhausted):
        await link.call(b"large %d" % (MAX_RESPONSE_BYTES + 1))
    link.echo.release.set()
    assert await neighbour == b"echo wait"


async def test_large_calls_among_many_all_arrive(link: Link) -> None:
    requests = [b"%d " % i + b"z" * (200_000 if i % 5 == 0 else 10) for i in range(40)]
    answers = await asyncio.gather(*(link.call(r, seconds=30.0) for r in requests))
    assert answers == [b"echo " + request for request in requests]


async def test_a_call_that_waits_holds_up_no_other(link: Link) -> None:
    requests = [b"wait %d" % n if n % 2 else b"hi %d" % n for n in range(60)]
    calls = [link.begin(request, seconds=30.0) for request in requests]
    assert await asyncio.gather(*calls[::2]) == [b"echo " + each for each in requests[::2]]
    assert not any(call.done() for call in calls[1::2])
    link.echo.release.set()
    assert await asyncio.gather(*calls[1::2]) == [b"echo " + each for each in requests[1::2]]


async def test_calls_beyond_the_servers_bound_are_shed_at_once(way: Way) -> None:
    link = Link(way, max_calls_of_a_kind=2)
    await link.server.start()
    waiting = [link.begin(b"wait") for _ in range(2)]
    await until(lambda: len(link.echo.calls) == 2)
    with pytest.raises(ResourceExhausted) as caught:
        await link.call(b"hi")
    assert (caught.value.reason, caught.value.retry_after_seconds) == ("OVERLOADED", 1.0)
    link.echo.release.set()
    await asyncio.gather(*waiting)
    assert await link.call(b"hi") == b"echo hi"
    await link.close()
