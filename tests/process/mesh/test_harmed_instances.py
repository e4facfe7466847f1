"""Three real servers, of which one fails while callers continue to call.

The callers see no error while one instance is healthy. The failing one is skipped within
seconds, and is used again within seconds after it has recovered.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import protos.account.v1.account_pb2  # noqa: F401 (puts the method into the descriptor pool)
from mesh.calling.client import AllInstancesUnavailable, ServiceClient
from mesh.contract.instances import Instance
from mesh.deadlines import Deadline
from mesh.errors import Internal, MeshError, ResourceExhausted
from tests.process.mesh.echo_process import EchoProcess
from tests.unit.mesh.echo import READ, Callers

CALLERS = 16
DEADLINE_SECONDS = 10.0
SKIPPED_WITHIN_SECONDS = 6.0
"""A frozen one costs an attempt's two seconds; the rest is for a busy machine."""
BACK_WITHIN_SECONDS = 12.0
"""The longest cool-down is five seconds, and a probe of a frozen one takes two."""
AT_ONCE_SECONDS = 1.0


class FixedList:
    """A list of instances that does not change."""

    def __init__(self, instances: tuple[Instance, ...]) -> None:
        self._instances = instances

    def instances(self, service: str) -> tuple[Instance, ...]:
        return self._instances

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


class Trio:
    """Three servers; faults are injected into the first."""

    def __init__(self, folder: Path) -> None:
        self.callers = Callers()
        self._folder = folder
        self.processes = [EchoProcess(self.callers, folder) for _ in range(3)]

    @property
    def first(self) -> EchoProcess:
        return self.processes[0]

    def replace_first(self, word: str = "") -> None:
        """Replaces the first server with one that does `word`, at the same address."""
        self.first.kill()
        address = self.first.address
        self.processes[0] = EchoProcess(self.callers, self._folder, address, word)

    @asynccontextmanager
    async def called(self) -> AsyncIterator["Calling"]:
        """Callers call until the context ends; then none has seen an error."""
        instances = tuple(
            Instance(f"echo-{number}", "account_svc", process.address)
            for number, process in enumerate(self.processes, 1)
        )
        client = ServiceClient(
            "account_svc", FixedList(instances), transport=self.callers.transport("lane")
        )
        calling = Calling(client, self.callers)
        tasks = [asyncio.create_task(calling.keep_calling()) for _ in range(CALLERS)]
        try:
            yield calling
        finally:
            calling.is_over = True
            await asyncio.wait(tasks)
            await client.close()
        for task in tasks:
            task.result()


class Calling:
    """A client, and the results of its callers."""

    def __init__(self, client: ServiceClient, callers: Callers) -> None:
        self.client = client
        self._metadata = callers.credential.metadata
        self.is_over = False
        self.call_count = 0
        self.errors: list[MeshError] = []

    async def call(self) -> bytes:
        return await self.client.call(
            READ, b"hi", self._metadata(), Deadline.after(DEADLINE_SECONDS)
        )

    async def keep_calling(self) -> None:
        while not self.is_over:
            try:
                await self.call()
            except MeshError as error:
                self.errors.append(error)
            self.call_count += 1
            await asyncio.sleep(0.002)

    async def go_on(self, calls: int = 200) -> None:
        """Waits for that many more calls."""
        wanted = self.call_count + calls
        async with asyncio.timeout(DEADLINE_SECONDS * 2):
            while self.call_count < wanted:
                await asyncio.sleep(0.005)

    async def until_out(self, *ids: str) -> float:
        """Waits until exactly these instances are skipped; returns the seconds."""
        began_at = time.monotonic()
        async with asyncio.timeout(SKIPPED_WITHIN_SECONDS if ids else BACK_WITHIN_SECONDS):
            while self.client.open_instances() != ids:
                await asyncio.sleep(0.005)
        return time.monotonic() - began_at


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    trio = Trio(tmp_path)
    yield trio
    for process in trio.processes:
        os.kill(process.process.pid, signal.SIGCONT)
        process.kill()


def kill(trio: Trio) -> Callable[[], None]:
    """Kills it: connections are refused."""
    trio.first.process.kill()
    return lambda: trio.replace_first()


def freeze(trio: Trio) -> Callable[[], None]:
    """Freezes it: it accepts and does nothing."""
    trio.first.process.send_signal(signal.SIGSTOP)
    return lambda: trio.first.process.send_signal(signal.SIGCONT)


def go_mute(trio: Trio) -> Callable[[], None]:
    """Connections are accepted, but no call is ever answered."""
    trio.first.process.kill()
    trio.first.process.wait()
    host, _, port = trio.first.address.rpartition(":")
    listener = socket.create_server((host, int(port)))

    def repair() -> None:
        listener.close()
        trio.replace_first()

    return repair


def be_unavailable(trio: Trio) -> Callable[[], None]:
    """It answers UNAVAILABLE to everything."""
    trio.replace_first("unavailable")
    return lambda: trio.replace_first()


Harm = Callable[[Trio], Callable[[], None]]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("harm", [kill, freeze, go_mute, be_unavailable])
async def test_a_harmed_instance_is_skipped_unseen_and_comes_back(
    trio: Trio, harm: Harm, record_property: Callable[[str, object], None]
) -> None:
    async with trio.called() as calling:
        await calling.go_on()
        repair = await asyncio.to_thread(harm, trio)
        record_property("skipped_after_seconds", await calling.until_out("echo-1"))
        await calling.go_on()
        await asyncio.to_thread(repair)
        record_property("back_after_seconds", await calling.until_out())
        await calling.go_on()
    assert calling.errors == []


@pytest.mark.timeout(90)
@pytest.mark.parametrize("word", ["slow", "deadline", "overloaded"])
async def test_an_instance_that_is_only_slow_or_busy_costs_no_error_and_stays_in(
    trio: Trio, word: str
) -> None:
    trio.replace_first(word)
    async with trio.called() as calling:
        for _ in range(3):
            await calling.go_on()
            assert calling.client.open_instances() == ()
    assert calling.errors == []


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("word", "kind"), [("internal", Internal), ("exhausted", ResourceExhausted)]
)
async def test_an_error_of_the_request_reaches_its_caller_and_takes_no_instance_out(
    trio: Trio, word: str, kind: type[MeshError]
) -> None:
    trio.replace_first(word)
    async with trio.called() as calling:
        await calling.go_on()
        assert calling.client.open_instances() == ()
    assert calling.errors
    assert {type(error) for error in calling.errors} == {kind}
    share = len(calling.errors) / calling.call_count
    assert share == pytest.approx(1 / 3, abs=0.1), "each has its turn"


@pytest.mark.timeout(90)
async def test_where_all_are_gone_calls_fail_at_once_and_say_when_to_return(trio: Trio) -> None:
    async with trio.called() as calling:
        await calling.go_on()
        for process in trio.processes:
            process.process.kill()
        await calling.until_out("echo-1", "echo-2", "echo-3")
        for _ in range(20):
            began_at = time.monotonic()
            with pytest.raises(AllInstancesUnavailable) as caught:
                await calling.call()
            assert time.monotonic() - began_at < AT_ONCE_SECONDS
            assert caught.value.retry_after_seconds is not None
    assert {type(error) for error in calling.errors} == {AllInstancesUnavailable}
