"""A wait says what it waits for, and goes on; and gachactl does while it stops a mesh."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.layout import REPOSITORY, Layout
from deploy.local.waiting import reported

RUNNER = """\
import pathlib, signal, sys, time
from deploy.local.layout import Layout
from deploy.local.supervision import run_lock
signal.signal(signal.SIGTERM, lambda *_: None)
with run_lock.hold(Layout(pathlib.Path(sys.argv[1])).lock):
    print("holds", flush=True)
    signal.pause()
    time.sleep(4)
"""


async def test_a_long_wait_is_reported_more_than_once_and_a_short_one_not_at_all() -> None:
    said: list[str] = []
    missing = ["one", "two"]
    wait = reported(asyncio.sleep(0.5, "result"), lambda: missing, said.append,
                    first_seconds=0.1, next_seconds=0.3)  # fmt: skip
    assert await wait == "result"
    assert said == ["Waiting: one; two."] * 2
    assert await reported(asyncio.sleep(0, "result"), lambda: missing, said.append) == "result"
    assert len(said) == 2


async def test_a_cancelled_wait_cancels_the_work_and_a_failure_is_raised() -> None:
    async def fail() -> None:
        raise OSError("the reason why")

    with pytest.raises(OSError, match="the reason why"):
        await reported(fail(), lambda: [], print)
    work = asyncio.ensure_future(asyncio.sleep(60))
    waiting = asyncio.create_task(reported(work, lambda: [], print))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert work.cancelled()


def test_down_says_which_processes_it_waits_for(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, tmp_path], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == "holds\n"
        processes = [
            {
                "name": name,
                "role": "gacha_svc",
                "pid": pid,
                "address": "127.0.0.1:1",
                "metrics": None,
            }
            for name, pid in (("slow-1", runner.pid), ("dead-1", None))
        ]
        mesh = dict.fromkeys(("gateway", "registries", "databases", "readers", "tls"))
        layout.mesh.write_text(json.dumps({**mesh, "processes": processes}))
        began_at = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-m", "deploy.gachactl", "down", "--folder", tmp_path],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert time.monotonic() - began_at > 3
    said = [line.partition(" ")[2] for line in ended.stderr.splitlines()[:-1]]
    assert said == [f"Stopping the mesh in {tmp_path}.", "Waiting: slow-1 not ended yet."]
    assert ended.stderr.endswith("\nEverything is stopped.\n")
    assert ended.returncode == 0
