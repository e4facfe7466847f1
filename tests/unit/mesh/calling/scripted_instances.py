"""Instances that answer by a script, and a client that calls them."""

from collections.abc import Callable, Iterable

import protos.account.v1.account_pb2
import protos.tx.v1.participant_pb2  # noqa: F401 (puts the methods into the descriptor pool)
from mesh.calling.client import (
    ServiceClient,
)
from mesh.calling.transport import ConnectionBroken
from mesh.calls import Metadata
from mesh.contract.instances import Instance
from mesh.deadlines import Deadline

READ = "/account.v1.AccountService/GetCurrency"


WRITE = "/account.v1.AccountService/BuyCurrency"


WRITE_ONCE = "/tx.v1.ParticipantService/Prepare"


A = Instance("a", "account_svc", "host:1")


B = Instance("b", "account_svc", "host:2")


Script = dict[str, list[bytes | BaseException]]


class ScriptedTransport:
    """Answers the calls of each address from its script; the last entry repeats."""

    def __init__(self, script: Script, refusing: Iterable[str] = ()) -> None:
        self.script = script
        self.refusing = set(refusing)
        self.calls: list[str] = []
        self.connects: list[str] = []
        self.metadata: list[Metadata] = []
        self.timeouts: list[float] = []
        self.retained: set[str] = set()
        self.is_closed = False
        self.on_call: Callable[[], None] = lambda: None

    async def connect(self, address: str, timeout_seconds: float) -> None:
        self.connects.append(address)
        if address in self.refusing:
            raise ConnectionBroken(was_sent=False)

    async def call(
        self,
        address: str,
        method: str,
        request: bytes,
        metadata: Metadata,
        timeout_seconds: float,
    ) -> bytes:
        self.calls.append(address)
        self.metadata.append(metadata)
        self.timeouts.append(timeout_seconds)
        self.on_call()
        steps = self.script[address]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, BaseException):
            raise step
        return step

    def retain(self, addresses: Iterable[str]) -> None:
        self.retained = set(addresses)

    async def close(self) -> None:
        self.is_closed = True


class ListedInstances:
    """A list that the test changes."""

    def __init__(self, *instances: Instance) -> None:
        self._instances = instances
        self._subscribers: list[Callable[[], None]] = []

    def instances(self, service: str) -> tuple[Instance, ...]:
        return tuple(i for i in self._instances if i.service == service)

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    def change_to(self, *instances: Instance) -> None:
        self._instances = instances
        for changed in self._subscribers:
            changed()


class Scene:
    """A client of account_svc over a script. The first call goes to instance b."""

    def __init__(self, script: Script, *instances: Instance, refusing: Iterable[str] = ()) -> None:
        self.now = 100.0
        self.transport = ScriptedTransport(script, refusing)
        self.list = ListedInstances(*(instances or (A, B)))
        self.client = ServiceClient(
            "account_svc",
            self.list,
            transport=self.transport,
            clock=lambda: self.now,
            jitter=lambda: 0.0,
        )

    async def call(self, method: str = READ, seconds: float = 10.0) -> bytes:
        deadline = Deadline.after(seconds, lambda: self.now)
        return await self.client.call(method, b"request", {}, deadline)


def broken() -> ConnectionBroken:
    return ConnectionBroken(was_sent=True)
