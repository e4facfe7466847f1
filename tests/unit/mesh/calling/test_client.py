"""What the client does with each way an attempt may end, over a scripted transport."""

import asyncio
from collections.abc import Callable, Iterable

import pytest

import protos.account.v1.account_pb2
import protos.tx.v1.participant_pb2  # noqa: F401 (puts the methods into the descriptor pool)
from mesh.calling.balancer import ATTEMPTS_ON_AN_INSTANCE
from mesh.calling.client import (
    PAUSES_SECONDS,
    AllInstancesUnavailable,
    ServiceClient,
    ServiceOverloaded,
)
from mesh.calling.transport import ConnectionBroken, NoAnswer
from mesh.calls import Metadata
from mesh.contract.idempotency import IdempotencyKeyInUse
from mesh.contract.instances import Instance
from mesh.deadlines import Deadline
from mesh.errors import (
    Aborted,
    DeadlineExceeded,
    DependencyAway,
    FailedPrecondition,
    InDoubt,
    Internal,
    InvalidArgument,
    MeshError,
    NoKeysYet,
    ResourceExhausted,
    Unavailable,
)
from mesh.lanes.limits import LaneFull, MessageTooLarge
from mesh.tracing import begin_trace

READ = "/account.v1.AccountService/GetCurrency"
WRITE = "/account.v1.AccountService/BuyCurrency"
WRITE_ONCE = "/tx.v1.ParticipantService/Prepare"
UNKNOWN = "/nobody.v1.Knows/This"
A = Instance("a", "account_svc", "host:1")
B = Instance("b", "account_svc", "host:2")

Script = dict[str, list[bytes | BaseException]]


class ScriptedTransport:
    """Answers each address's calls from its script; the last entry repeats for ever."""

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


def test_there_is_a_pause_for_every_attempt() -> None:
    assert len(PAUSES_SECONDS) == ATTEMPTS_ON_AN_INSTANCE


async def test_an_idempotent_call_survives_a_broken_connection_on_its_instance() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [broken(), broken(), b"b"]})
    assert await scene.call() == b"b"
    assert scene.transport.calls == ["host:2"] * 3


async def test_a_key_in_use_is_asked_of_the_next_instance_and_then_told() -> None:
    in_use = IdempotencyKeyInUse()
    scene = Scene({"host:1": [b"the first answer"], "host:2": [in_use]})
    assert await scene.call() == b"the first answer"
    scene = Scene({"host:1": [in_use], "host:2": [in_use]})
    with pytest.raises(Aborted) as caught:
        await scene.call()
    assert (caught.value.reason, caught.value.retry_after_seconds) == (in_use.reason, 1.0)
    assert scene.transport.calls == ["host:2", "host:1"]


async def test_a_call_within_a_call_carries_its_trace() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [b"b"]})
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    async def within_a_call() -> None:
        begin_trace(traceparent)
        await scene.call()

    await asyncio.create_task(within_a_call())
    await scene.call()
    assert scene.transport.metadata == [{"traceparent": traceparent}, {}]


async def test_an_idempotent_call_moves_on_after_three_attempts() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [broken()]})
    assert await scene.call() == b"a"
    assert scene.transport.calls == ["host:2"] * 3 + ["host:1"]
    assert scene.client.open_instances() == ("b",)


async def test_the_next_calls_skip_an_instance_that_is_out() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [broken()]})
    await scene.call()
    scene.transport.calls.clear()
    for _ in range(5):
        assert await scene.call() == b"a"
    assert scene.transport.calls == ["host:1"] * 5


async def test_when_all_instances_are_out_the_call_says_so_and_when_to_return() -> None:
    scene = Scene({"host:1": [broken()], "host:2": [broken()]})
    with pytest.raises(AllInstancesUnavailable) as caught:
        await scene.call()
    assert caught.value.reason == "ALL_INSTANCES_UNAVAILABLE"
    assert caught.value.metadata == {
        "service": "account_svc",
        "cause": "CONNECTION_BROKEN",
        "instance": "serves",
    }
    assert caught.value.retry_after_seconds is not None
    assert len(scene.transport.calls) == 6


async def test_without_any_instance_the_call_fails_at_once() -> None:
    scene = Scene({}, Instance("x", "another_svc", "host:9"))
    with pytest.raises(AllInstancesUnavailable):
        await scene.call()


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgument("wrong"),
        FailedPrecondition("not now"),
        ResourceExhausted("too much"),
        Aborted("lost a race"),
        Internal("our bug"),
        DependencyAway("behind it all are out"),
        AllInstancesUnavailable("behind it all are out"),
    ],
)
async def test_an_error_of_the_request_is_passed_on_and_takes_no_instance_out(
    error: MeshError,
) -> None:
    scene = Scene({"host:1": [error], "host:2": [error]})
    for _ in range(20):
        with pytest.raises(type(error)) as caught:
            await scene.call()
        assert caught.value is error
    assert len(scene.transport.calls) == 20
    assert scene.client.open_instances() == ()


async def test_a_server_that_says_unavailable_is_tried_three_times_and_left() -> None:
    away = Unavailable("the database is away", reason="DATABASE_AWAY")
    scene = Scene({"host:1": [b"a"], "host:2": [away]})
    assert await scene.call() == b"a"
    assert scene.transport.calls == ["host:2"] * 3 + ["host:1"]


async def test_a_call_that_is_not_idempotent_is_never_sent_twice() -> None:
    for method in (WRITE_ONCE, UNKNOWN):
        for error in (broken(), NoAnswer(was_sent=True), Unavailable("away")):
            scene = Scene({"host:1": [b"a"], "host:2": [error]})
            with pytest.raises(MeshError) as caught:
                await scene.call(method)
            assert caught.value is error
            assert scene.transport.calls == ["host:2"]


async def test_a_call_that_is_not_idempotent_moves_on_while_it_was_not_sent() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [b"b"]}, refusing=["host:2"])
    assert await scene.call(WRITE_ONCE) == b"a"
    assert scene.transport.connects == ["host:2"] * 3 + ["host:1"]
    assert scene.transport.calls == ["host:1"]


async def test_an_idempotent_call_does_not_wait_for_a_connection_first() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [b"b"]})
    await scene.call()
    assert scene.transport.connects == []


async def test_a_silent_instance_leaves_time_for_the_next() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [NoAnswer(was_sent=True)]})
    assert await scene.call(seconds=10.0) == b"a"
    assert scene.transport.calls == ["host:2", "host:1"]
    assert scene.transport.timeouts == [2.0, 10.0]


async def test_a_refusal_is_not_the_outcome_while_an_earlier_attempt_may_be_alive() -> None:
    refusal = FailedPrecondition("too few", reason="INSUFFICIENT_CURRENCY")
    unanswered = (NoAnswer(was_sent=True), broken(), DeadlineExceeded("late"), Unavailable("away"))
    for error in unanswered:
        script: Script = {"host:1": [refusal], "host:2": [error]}
        with pytest.raises(InDoubt):
            await Scene(script).call(WRITE)
        with pytest.raises(FailedPrecondition):
            await Scene(script).call(READ)
    script = {"host:1": [refusal], "host:2": [NoAnswer(was_sent=False)]}
    with pytest.raises(FailedPrecondition):
        await Scene(script).call(WRITE)


async def test_a_short_deadline_is_shared_between_the_instances() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [NoAnswer(was_sent=True)]})
    await scene.call(seconds=1.0)
    assert scene.transport.timeouts == [0.5, 1.0]


async def test_a_lone_instance_gets_all_the_time_there_is() -> None:
    scene = Scene({"host:1": [b"a"]}, A)
    await scene.call(seconds=7.0)
    assert scene.transport.timeouts == [7.0]


async def test_a_call_that_is_not_idempotent_gets_all_the_time_there_is() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [b"b"]})
    await scene.call(WRITE_ONCE, seconds=7.0)
    assert scene.transport.timeouts == [7.0]


async def test_a_server_that_ran_out_of_the_attempts_time_is_left_for_the_next() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [DeadlineExceeded("too slow")]})
    assert await scene.call() == b"a"
    assert scene.client.open_instances() == ()


async def test_nothing_is_tried_after_the_deadline() -> None:
    scene = Scene({"host:1": [broken()], "host:2": [broken()]})

    def pass_time() -> None:
        scene.now += 3.0

    scene.transport.on_call = pass_time
    with pytest.raises(DeadlineExceeded):
        await scene.call(seconds=5.0)
    assert len(scene.transport.calls) == 2
    with pytest.raises(DeadlineExceeded):
        await scene.call(seconds=0.0)
    assert len(scene.transport.calls) == 2


async def test_three_silences_take_an_instance_out() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [NoAnswer(was_sent=True)]})

    def pass_time() -> None:
        scene.now += 2.0

    scene.transport.on_call = pass_time
    for _ in range(6):
        assert await scene.call() == b"a"
    assert scene.client.open_instances() == ("b",)


async def test_a_cancelled_call_says_nothing_about_its_instance() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [asyncio.CancelledError()]})
    for _ in range(8):
        try:
            assert await scene.call() == b"a"
        except asyncio.CancelledError:
            continue
    assert scene.client.open_instances() == ()


async def test_a_change_of_the_list_is_followed() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [b"b"]}, A)
    assert scene.transport.retained == {"host:1"}
    scene.list.change_to(B)
    assert scene.transport.retained == {"host:2"}
    assert await scene.call() == b"b"


async def test_a_closed_client_closes_its_connections() -> None:
    scene = Scene({"host:1": [b"a"]}, A)
    await scene.client.close()
    scene.list.change_to(B)
    assert scene.transport.is_closed
    assert scene.transport.retained == {"host:1"}


def overloaded(method: str, seconds: float = 1.0) -> MeshError:
    return ResourceExhausted(
        "no room", reason="OVERLOADED", metadata={"method": method}, retry_after_seconds=seconds
    )


def without_keys(method: str) -> MeshError:
    return NoKeysYet("who are you", metadata={"method": method})


@pytest.mark.parametrize("method", [READ, WRITE, WRITE_ONCE])
@pytest.mark.parametrize("refusal", [overloaded, without_keys])
async def test_what_an_instance_refuses_at_its_door_goes_to_the_next(
    refusal: Callable[[str], MeshError], method: str
) -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [refusal(method)]})
    assert await scene.call(method) == b"a"
    assert scene.transport.calls == ["host:2", "host:1"]


@pytest.mark.parametrize("refusal", [overloaded(WRITE), without_keys(WRITE), LaneFull()])
async def test_a_refusal_at_the_door_is_not_the_outcome_while_an_attempt_may_be_alive(
    refusal: MeshError,
) -> None:
    scene = Scene({"host:1": [refusal], "host:2": [NoAnswer(was_sent=True)]})
    with pytest.raises(InDoubt):
        await scene.call(WRITE)
    assert scene.transport.calls == ["host:2", "host:1"]


async def test_an_instance_without_keys_is_asked_again_at_once() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [without_keys(READ), b"b"]})
    assert await scene.call() == b"a"
    assert b"b" in [await scene.call() for _ in range(2)]
    assert scene.client.open_instances() == ()


async def test_where_nobody_has_keys_callers_are_told() -> None:
    scene = Scene({"host:1": [without_keys(READ)], "host:2": [without_keys(READ)]})
    with pytest.raises(NoKeysYet):
        await scene.call()
    assert len(scene.transport.calls) == 2


async def test_an_overloaded_instance_is_not_asked_again_before_its_hint_has_passed() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [overloaded(READ), b"b"]})
    for _ in range(5):
        assert await scene.call() == b"a"
    assert scene.transport.calls == ["host:2"] + ["host:1"] * 5
    assert b"b" in [await scene.call(WRITE) for _ in range(2)], "other kinds of work go on"
    scene.now += 1.0
    assert b"b" in [await scene.call() for _ in range(2)]
    assert scene.client.open_instances() == ()


async def test_where_all_are_overloaded_nothing_is_sent_until_the_first_hint_has_passed() -> None:
    scene = Scene({"host:1": [overloaded(READ, 0.5)], "host:2": [overloaded(READ, 2.0)]})
    for _ in range(3):
        with pytest.raises(ServiceOverloaded) as caught:
            await scene.call()
        assert caught.value.retry_after_seconds == pytest.approx(0.5)
    assert len(scene.transport.calls) == 2
    with pytest.raises(ServiceOverloaded):
        scene.client.refuse_early(READ)
    scene.client.refuse_early(WRITE)
    scene.now += 0.5
    scene.client.refuse_early(READ)


async def test_an_overload_further_behind_holds_nobody_off() -> None:
    for metadata in ({}, {"method": WRITE}):
        error = ResourceExhausted("no room", reason="OVERLOADED", metadata=metadata)
        scene = Scene({"host:1": [error], "host:2": [error]})
        for _ in range(4):
            with pytest.raises(ResourceExhausted) as caught:
                await scene.call(READ)
            assert caught.value is error
        scene.client.refuse_early(READ)


async def test_an_outcome_that_is_not_known_takes_no_instance_out() -> None:
    unknown = InDoubt()
    scene = Scene({"host:1": [b"a"], "host:2": [unknown]})
    for _ in range(10):
        assert await scene.call(WRITE) == b"a"
    assert scene.client.open_instances() == ()
    scene = Scene({"host:1": [unknown], "host:2": [unknown]})
    with pytest.raises(InDoubt):
        await scene.call(WRITE)
    assert sorted(scene.transport.calls) == ["host:1", "host:2"]


async def test_unavailability_of_an_instance_is_not_passed_on_as_ones_own() -> None:
    away = Unavailable("away")
    scene = Scene({"host:1": [away], "host:2": [away]})
    with pytest.raises(Unavailable) as caught:
        await scene.call(WRITE_ONCE)
    assert caught.value is away
    assert not away.speaks_of_instance


async def test_a_full_lane_says_nothing_and_leaves_the_call_to_the_next() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [LaneFull()]})
    for method in (READ, WRITE, WRITE_ONCE):
        assert await scene.call(method) == b"a"
    scene = Scene({"host:1": [LaneFull()], "host:2": [LaneFull()]})
    with pytest.raises(LaneFull):
        await scene.call()


async def test_what_is_not_carried_neither_ends_nor_begins_a_breakers_count() -> None:
    script: Script = {"host:1": [broken(), broken(), MessageTooLarge("request", 9, 1), broken()]}
    scene = Scene(script, A)
    with pytest.raises(MessageTooLarge):
        await scene.call()
    with pytest.raises(AllInstancesUnavailable):
        await scene.call()
    assert scene.client.open_instances() == ("a",)
    # Two breaks and the pill; then the third break, which opens it, and one forced probe.
    assert len(scene.transport.calls) == 5


async def test_slow_calls_on_an_instance_that_gives_signs_of_life_never_take_it_out() -> None:
    slow = NoAnswer(was_sent=True, was_silent=False)
    scene = Scene({"host:1": [b"a"], "host:2": [slow]})

    def pass_time() -> None:
        scene.now += 2.0

    scene.transport.on_call = pass_time
    for _ in range(20):
        assert await scene.call() == b"a"
    assert scene.client.open_instances() == ()
