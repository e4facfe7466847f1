"""A real etcd cluster of three members that can be killed, frozen and restarted."""

import base64
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local.servers import etcd
from deploy.local.servers.ports import free_ports

MEMBERS = ("etcd-1", "etcd-2", "etcd-3")
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
START_ATTEMPTS = 3
POLL_SECONDS = 0.05


class EtcdCluster:
    """Made by `start_etcd`. Use it from one thread: the members end when the thread that started
    them ends."""

    def __init__(self, cluster: etcd.Cluster) -> None:
        self.cluster = cluster
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def addresses(self) -> list[str]:
        """host:port of every member."""
        return [self.cluster.address(name) for name in MEMBERS]

    def start(self, *names: str) -> None:
        """Starts these members with their existing data."""
        for name in names:
            with (self.cluster.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    self.cluster.command(name),
                    cwd="/",
                    env=etcd.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def kill(self, *names: str) -> None:
        """Sends SIGKILL, and returns when they have ended. Idempotent."""
        for name in names:
            self._processes[name].kill()
        for name in names:
            self._processes[name].wait(STOP_TIMEOUT_SECONDS)

    def freeze(self, name: str) -> None:
        """Sends SIGSTOP: its connections stay open and silent."""
        os.kill(self._processes[name].pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        os.kill(self._processes[name].pid, signal.SIGCONT)

    def revive(self) -> None:
        """Makes every member run again, without waiting until it answers. Idempotent."""
        for name, process in self._processes.items():
            if process.poll() is None:
                self.thaw(name)
            else:
                self.start(name)

    def heal(self) -> None:
        """Makes every member run, and waits until all answer. Idempotent."""
        self.revive()
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        """Raises AssertionError when a member is not healthy in time."""
        give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
        for name in MEMBERS:
            while not self._is_healthy(name):
                assert self._processes[name].poll() is None, f"{name} ended"
                assert time.monotonic() < give_up_at, f"{name} is not healthy"
                time.sleep(POLL_SECONDS)

    def leader(self) -> str:
        """The name of the leader. All members must answer."""
        leaders = {
            int(self.ask(name, "maintenance/status", {})["leader"]): name for name in MEMBERS
        }
        (leader,) = leaders
        return next(name for name in MEMBERS if self._member_id(name) == leader)

    def compact(self) -> int:
        """Compacts the history to the last revision, and returns that revision."""
        name = self._any_running()
        header = self.ask(name, "kv/range", {"key": _text(b"none")})["header"]
        revision = int(header["revision"])
        self.ask(name, "kv/compaction", {"revision": revision, "physical": True})
        return revision

    def put(self, key: bytes, value: bytes) -> None:
        question = {"key": _text(key), "value": _text(value)}
        self.ask(self._any_running(), "kv/put", question)

    def ask(self, name: str, path: str, question: dict[str, Any]) -> Any:
        """Calls etcd's JSON gateway, so that the test does not use the client under test."""
        request = urllib.request.Request(
            f"http://{self.cluster.address(name)}/v3/{path}", json.dumps(question).encode()
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def _any_running(self) -> str:
        return next(name for name in MEMBERS if self._processes[name].poll() is None)

    def _member_id(self, name: str) -> int:
        return int(self.ask(name, "maintenance/status", {})["header"]["member_id"])

    def _is_healthy(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(
                f"http://{self.cluster.address(name)}/health", timeout=2
            ) as answer:
                return bool(json.load(answer)["health"] == "true")
        except OSError:
            return False

    def forget(self) -> None:
        """Kills all members and starts them without data, as after a disaster."""
        self.kill(*MEMBERS)
        for name in MEMBERS:
            shutil.rmtree(self.cluster.data(name))
        self.start(*MEMBERS)


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@contextmanager
def start_etcd(folder: Path) -> Iterator[EtcdCluster]:
    """Three healthy members with their data in `folder`; takes about a second. Raises
    LocalRunError on a machine without etcd."""
    program = etcd.binary()
    ports = free_ports(random.Random())
    for attempt in itertools.count(1):
        made = EtcdCluster(
            etcd.Cluster(
                folder / f"attempt-{attempt}",
                program,
                client_ports={name: next(ports) for name in MEMBERS},
                peer_ports={name: next(ports) for name in MEMBERS},
                is_durable=False,
            )
        )
        made.cluster.prepare()
        made.start(*MEMBERS)
        try:
            made.wait_until_healthy()
        except AssertionError:
            # Another process may have taken a port between the check and the start.
            made.kill(*MEMBERS)
            if attempt == START_ATTEMPTS:
                raise
            continue
        try:
            yield made
        finally:
            made.kill(*MEMBERS)
        return
