"""The client's reaction to refusals before dispatch: overload, missing keys, full lanes."""

from collections.abc import Callable

import pytest

import protos.account.v1.account_pb2
import protos.tx.v1.participant_pb2  # noqa: F401 (puts the methods into the descriptor pool)
from mesh.calling.client import (
    AllInstancesUnavailable,
    ServiceOverloaded,
)
from mesh.calling.transport import NoAnswer
from mesh.errors import (
    InDoubt,
    MeshError,
    NoKeysYet,
    ResourceExhausted,
    Unavailable,
)
from mesh.lanes.limits import LaneFull, MessageTooLarge
from tests.unit.mesh.calling.scripted_instances import (
    READ,
    WRITE,
    WRITE_ONCE,
    A,
    Scene,
    Script,
    broken,
)


def overloaded(method: str, seconds: float = 1.0) -> MeshError:
    return ResourceExhausted(
        "no room", reason="OVERLOADED", metadata={"method": method}, retry_after_seconds=seconds
    )


def without_keys(method: str) -> MeshError:
    return NoKeysYet("who are you", metadata={"method": method})


@pytest.mark.parametrize("method", [READ, WRITE, WRITE_ONCE])
@pytest.mark.parametrize("refusal", [overloaded, without_keys])
async def test_a_call_refused_before_dispatch_goes_to_the_next_instance(
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


async def test_callers_get_an_error_when_no_instance_has_keys() -> None:
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


async def test_an_overload_further_behind_holds_no_caller_off() -> None:
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
    assert not away.is_about_instance


async def test_a_full_lane_says_nothing_and_leaves_the_call_to_the_next() -> None:
    scene = Scene({"host:1": [b"a"], "host:2": [LaneFull()]})
    for method in (READ, WRITE, WRITE_ONCE):
        assert await scene.call(method) == b"a"
    scene = Scene({"host:1": [LaneFull()], "host:2": [LaneFull()]})
    with pytest.raises(LaneFull):
        await scene.call()


async def test_a_call_that_was_not_sent_does_not_change_a_breakers_count() -> None:
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
    slow = NoAnswer(was_sent=True, showed_no_life=False)
    scene = Scene({"host:1": [b"a"], "host:2": [slow]})

    def pass_time() -> None:
        scene.now += 2.0

    scene.transport.on_call = pass_time
    for _ in range(20):
        assert await scene.call() == b"a"
    assert scene.client.open_instances() == ()
