"""The ids in a server's answers: the idempotency key and the trace."""

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from mesh.contract.access import Access, Rule
from mesh.contract.methods import Method
from mesh.deadlines import Deadline
from mesh.errors import InDoubt, Internal, MeshError
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.serving.dispatch import Call, Dispatcher
from mesh.tracing import current_traceparent
from protos.gacha.v1 import gacha_pb2

PULL = "/gacha.v1.GachaService/Pull"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Pulls:
    """A method that records its requests, and may fail."""

    def __init__(self, failure: Exception | None = None, seconds: float = 0.0) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self._failure = failure
        self._seconds = seconds
        key = Ed25519PrivateKey.generate().public_key()
        method = Method(
            PULL,
            Rule(Access.PUBLIC),
            False,
            gacha_pb2.PullRequest.FromString,
            self._pull,
            gacha_pb2.PullResponse.SerializeToString,
            takes_key=True,
        )
        self._dispatcher = Dispatcher(
            [method],
            Authenticator(
                "echo_svc",
                player_keys=fixed_keys(key),
                service_keys=fixed_service_keys({"gacha_svc": key}),
            ),
        )

    async def call(self, key: str = "", **metadata: str) -> bytes:
        request = gacha_pb2.PullRequest(banner_id="b", idempotency_key=key)
        return await self._dispatcher.handle(
            PULL, request.SerializeToString(), metadata, Deadline.after(0.2)
        )

    async def _pull(self, request: Any, call: Call) -> gacha_pb2.PullResponse:
        self.asked.append((request.idempotency_key, call.trace_id, current_traceparent()))
        await asyncio.sleep(self._seconds)
        if self._failure is not None:
            raise self._failure
        return gacha_pb2.PullResponse()


FAILURES = {
    "a refusal": Pulls(InDoubt()),
    "a bug": Pulls(ValueError("secret")),
    "no time left": Pulls(seconds=5),
}


@pytest.mark.parametrize("given", ["", "mine"])
@pytest.mark.parametrize("pulls", FAILURES.values(), ids=FAILURES.keys())
async def test_an_error_names_the_key_to_repeat_with(pulls: Pulls, given: str) -> None:
    with pytest.raises(MeshError) as caught:
        await pulls.call(given)
    key = pulls.asked[-1][0]
    assert caught.value.metadata["idempotency_key"] == key == (given or key)
    assert len(key) == (len(given) or 32)


async def test_a_request_without_a_key_is_given_another_each_time() -> None:
    pulls = Pulls()
    await pulls.call()
    await pulls.call()
    keys = {key for key, _, _ in pulls.asked}
    assert len(keys - {""}) == 2


@pytest.mark.parametrize("given", ["a b", "k" * 129, "k\n", "\u00e9"])
async def test_a_key_that_is_none_is_not_named(given: str) -> None:
    with pytest.raises(MeshError) as caught:
        await Pulls(InDoubt()).call(given)
    assert "idempotency_key" not in caught.value.metadata


async def test_a_call_keeps_its_callers_trace() -> None:
    pulls = Pulls()
    await pulls.call(traceparent=TRACEPARENT)
    assert pulls.asked[0][1:] == (TRACE_ID, TRACEPARENT)


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01"])
async def test_a_call_without_a_valid_trace_begins_one(given: str) -> None:
    pulls = Pulls()
    for _ in range(2):
        await pulls.call(traceparent=given)
    traces = {trace_id for _, trace_id, _ in pulls.asked}
    assert len(traces) == 2
    assert all(len(trace_id) == 32 for trace_id in traces)


async def test_an_error_is_logged_by_the_trace_id_and_the_clients_own_id() -> None:
    with capture_logs() as logs, pytest.raises(Internal, match=f"quote trace id {TRACE_ID}"):
        await Pulls(ValueError("secret")).call(
            **{"traceparent": TRACEPARENT, "x-request-id": "mine"}
        )
    (line,) = logs
    assert (line["event"], line["trace_id"], line["request_id"]) == ("fail_call", TRACE_ID, "mine")
