"""What `status` says of a process whose pid in mesh.json is of the past."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from deploy.local.mesh_file import Mesh
from deploy.local.observing.health import HEALTHY, NOT_RUNNING, health_of


async def _answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    writer.close()


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


@pytest.mark.parametrize(
    ("pid_of", "word"), [(os.getpid, HEALTHY), (lambda: 1, HEALTHY), (_dead_pid, NOT_RUNNING)]
)
async def test_a_process_that_has_died_is_not_healthy_because_its_address_answers(
    pid_of: Callable[[], int], word: str
) -> None:
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        mesh: Mesh = {
            "gateway": "http://127.0.0.1:1",
            "registries": [],
            "databases": {},
            "readers": {},
            "tls": None,
            "processes": [
                {
                    "name": "payment_sandbox",
                    "role": "payment_sandbox",
                    "pid": pid_of(),
                    "address": f"127.0.0.1:{port}",
                    "metrics": None,
                }
            ],
        }
        assert await health_of(mesh) == {"payment_sandbox": word}
