"""gRPC reads and writes in the thread in which grpc.aio waits (docs/adr/0046)."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.mesh.echo_process import EchoProcess
from tests.unit.mesh.echo import ECHO, Callers

CALL_COUNT = 200
RESTED_CALL_COUNT = 8
REST_SECONDS = 0.5
SETTLING_SECONDS = 3.0
"""gRPC's threads look for more work for so long after the opening of a connection."""
OWN_THREADS = "event_engine"

CHOICE_AT_THE_IMPORT = """
import importlib, os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc._cython.cygrpc":
            print(os.environ.get("GRPC_EXPERIMENTS"))

sys.meta_path.insert(0, Watch())
importlib.import_module(sys.argv[1] + ".__main__")
"""


def without_choice() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}


@pytest.mark.parametrize("program", ["account_svc", "gacha_svc", "registry", "gateway_http"])
def test_a_program_chooses_before_it_imports_grpc(program: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CHOICE_AT_THE_IMPORT, program],
        env=without_choice(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "-event_engine_client,-event_engine_listener"


def switches(pid: int) -> int:
    """How often gRPC's own threads of a process have waited."""
    return sum(
        int(line.split()[1])
        for thread in Path(f"/proc/{pid}/task").iterdir()
        if (thread / "comm").read_text().startswith(OWN_THREADS)
        for line in (thread / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


@pytest.mark.parametrize("kind", ["lane", "unary"])
async def test_a_message_does_not_pass_through_threads_of_grpc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.delenv("GRPC_EXPERIMENTS", raising=False)
    callers = Callers()
    server = EchoProcess(callers, tmp_path)
    transport = callers.transport(kind)
    try:
        await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
        before = switches(server.process.pid)
        for _ in range(CALL_COUNT):
            await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
        assert switches(server.process.pid) - before < CALL_COUNT / 2
    finally:
        await transport.close()
        server.kill()


async def test_an_answer_after_a_rest_leaves_the_threads_of_grpc_asleep(tmp_path: Path) -> None:
    callers = Callers()
    server = EchoProcess(callers, tmp_path)
    transport = callers.transport("lane")
    try:
        await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
        await asyncio.sleep(SETTLING_SECONDS)
        before = switches(os.getpid())
        for _ in range(RESTED_CALL_COUNT):
            await asyncio.sleep(REST_SECONDS)
            await transport.call(server.address, ECHO, b"hi", callers.metadata, 5.0)
        assert switches(os.getpid()) - before < 10 * RESTED_CALL_COUNT
    finally:
        await transport.close()
        server.kill()
