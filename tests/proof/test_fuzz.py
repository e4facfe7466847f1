"""A short run of `make fuzz`, and a check that it detects bugs."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from proof.fuzz.grpc_fuzzer import PLAYER, Endpoint, GrpcFuzzer
from proof.fuzz.messages import Requests
from proof.fuzz.report import Reporter
from proof.fuzz.runs import Size, fuzz
from proof.fuzz.slow_clients import SlowClients
from protos.account.v1 import account_pb2

SEED = 11
SHORT = Size(message_count=5_000, rest_seconds=20, slow_connections=300, slow_seconds=1.0)
LOGIN = account_pb2.DESCRIPTOR.services_by_name["AccountService"].methods_by_name["Login"]


@pytest.mark.timeout(240)
def test_random_input_harms_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert fuzz(tmp_path, SHORT, SEED, Reporter())


async def fail_on_long_ones(request: bytes, context: Any) -> bytes:
    if len(request) > 50:
        raise RuntimeError("a bug")
    return b""


async def judged(handler: "grpc.RpcMethodHandler[bytes, bytes]") -> list[str]:
    """The findings at a server whose Login is `handler`."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("account.v1.AccountService", {"Login": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        endpoint = Endpoint("account_svc-1", f"127.0.0.1:{port}", LOGIN)
        randomness = Random(SEED)
        fuzzer = GrpcFuzzer(
            [endpoint], {PLAYER: lambda callee: "token"}, Requests(randomness), randomness
        )
        await fuzzer.send(200)
    finally:
        await server.stop(None)
    return fuzzer.verdict.findings


async def test_a_bug_of_a_method_is_noticed() -> None:
    findings = await judged(grpc.unary_unary_rpc_method_handler(fail_on_long_ones))
    assert findings
    assert all("/account.v1.AccountService/Login UNKNOWN" in each for each in findings)


async def test_an_error_without_our_details_is_noticed() -> None:
    async def abort(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        raise AssertionError("abort raises")

    assert len(await judged(grpc.unary_unary_rpc_method_handler(abort))) == 200


def test_the_same_seed_gives_the_same_requests() -> None:
    one, other = (Requests(Random(SEED)) for _ in range(2))
    made = [one.of(LOGIN.input_type) for _ in range(50)]
    assert made == [other.of(LOGIN.input_type) for _ in range(50)]
    assert len(set(made)) > 20


async def test_a_gateway_that_slow_clients_keep_busy_is_noticed() -> None:
    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # it reads on, and answers nobody
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    url, crowd = f"http://{host}:{port}", 10
    slow = SlowClients(url, ["t"], connection_count=crowd, seconds=0.1, patience_seconds=0.1)
    [result] = [each async for each in slow.run(["slow head"])]
    server.close()
    assert result.open_count == crowd
    assert [each for each in result.findings if "a probe got None" in each]
    assert [each for each in result.findings if "a pull got None" in each]
