"""The client's reaction to each outcome of an attempt, over a scripted transport."""

import asyncio

import pytest

import protos.account.v1.account_pb2
import protos.tx.v1.participant_pb2  # noqa: F401 (puts the methods into the descriptor pool)
from mesh.calling.balancer import ATTEMPTS_ON_AN_INSTANCE
from mesh.calling.client import (
    PAUSES_SECONDS,
    AllInstancesUnavailable,
)
from mesh.calling.transport import NoAnswer
from mesh.contract.idempotency import IdempotencyKeyInUse
from mesh.contract.instances import Instance
from mesh.errors import (
    Aborted,
    DeadlineExceeded,
    DependencyAway,
    FailedPrecondition,
    InDoubt,
    Internal,
    InvalidArgument,
    MeshError,
    ResourceExhausted,
    Unavailable,
)
from mesh.tracing import begin_trace
from tests.unit.mesh.calling.scripted_instances import (
    READ,
    WRITE,
    WRITE_ONCE,
    A,
    B,
    Scene,
    Script,
    broken,
)

UNKNOWN = "/nobody.v1.Knows/This"


def test_there_is_a_pause_for_every_attempt() -> None:
    assert list(PAUSES_SECONDS) == list(range(2, ATTEMPTS_ON_AN_INSTANCE + 1))


async def test_an_idempotent_call_survives_a_broken_connection_on_its_instance() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [broken(), broken(), b"b"]})
    assert await scene.call() == b"b"
    assert scene.transport.calls == ["host:2"] * 3


async def test_a_key_in_use_is_retried_at_the_next_instance_and_then_reported() -> None:
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
