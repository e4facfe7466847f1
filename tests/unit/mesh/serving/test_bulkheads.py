"""Bulkheads: a flood of one kind of work leaves room for others; the retry hints of refusals."""

import asyncio
from collections import Counter

import pytest

import protos.account.v1.account_pb2
import protos.gacha.v1.gacha_pb2
import protos.tx.v1.participant_pb2  # noqa: F401 (puts the methods into the descriptor pool)
from mesh.calls import AUTHORIZATION
from mesh.contract.method_config import BOUNDS, MethodConfig, WorkKind, config_of_path
from mesh.contract.methods import Method
from mesh.contract.retry_hints import LONGEST_HINT_SECONDS, SHORTEST_HINT_SECONDS
from mesh.deadlines import Deadline
from mesh.errors import MeshError, Overloaded
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.lanes.limits import MAX_HELD_CALLS
from mesh.serving.bulkheads import Bulkhead
from mesh.serving.dispatch import Call, Dispatcher
from tests.unit.mesh.echo import OF_GACHA, Callers


class Timed:
    """A bulkhead for four calls, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.bulkhead = Bulkhead(4, clock=lambda: self.now)

    def hint_seconds(self) -> float | None:
        with pytest.raises(Overloaded) as caught:
            self.bulkhead.enter()
        return caught.value.retry_after_seconds

    def fill(self) -> None:
        for _ in range(4):
            self.bulkhead.enter()

    def turn_over(self, seconds: float) -> None:
        self.now += seconds
        self.bulkhead.leave()
        self.bulkhead.enter()


def test_a_hint_is_the_time_in_which_half_of_the_calls_leave() -> None:
    timed = Timed()
    timed.fill()
    assert timed.hint_seconds() == 1.0, "nothing is known yet"
    for _ in range(100):
        timed.turn_over(0.3)
    assert timed.hint_seconds() == pytest.approx(0.6)
    for _ in range(100):
        timed.turn_over(60.0)
    assert timed.hint_seconds() == LONGEST_HINT_SECONDS
    for _ in range(200):
        timed.turn_over(0.0001)
    assert timed.hint_seconds() == SHORTEST_HINT_SECONDS


def test_idle_time_is_no_pace() -> None:
    timed = Timed()
    for _ in range(50):
        timed.now += 1000.0
        timed.bulkhead.enter()
        timed.now += 0.2
        timed.bulkhead.leave()
    timed.fill()
    assert timed.hint_seconds() == pytest.approx(0.4)


def test_a_finished_call_makes_room_for_one() -> None:
    timed = Timed()
    timed.fill()
    timed.bulkhead.leave()
    timed.bulkhead.enter()
    timed.hint_seconds()


def test_all_kinds_together_are_fewer_than_a_lane_holds() -> None:
    assert set(BOUNDS) == set(WorkKind)
    assert sum(BOUNDS.values()) < MAX_HELD_CALLS


@pytest.mark.parametrize(
    ("path", "config"),
    [
        ("/account.v1.AccountService/Login", (WorkKind.HASHING, 5.0, 10.0)),
        ("/account.v1.AccountService/Register", (WorkKind.HASHING, 5.0, 10.0)),
        ("/account.v1.AccountService/GetCurrency", (WorkKind.READING, 5.0, 10.0)),
        ("/account.v1.AccountService/BuyCurrency", (WorkKind.WRITING, 10.0, 60.0)),
        ("/gacha.v1.GachaService/Pull", (WorkKind.WRITING, 10.0, 60.0)),
        ("/tx.v1.ParticipantService/Commit", (WorkKind.SETTLING, 10.0, 60.0)),
        ("/nobody.v1.Knows/This", (WorkKind.WRITING, 10.0, 60.0)),
    ],
)
def test_protos_declare_the_work_kind_and_time_limit_of_a_method(
    path: str, config: tuple[WorkKind, float, float]
) -> None:
    declared = config_of_path(path)
    assert (declared.work_kind, declared.default_seconds, declared.max_seconds) == config
    assert declared.seconds_for(None) == declared.default_seconds
    assert declared.seconds_for(1e6) == declared.max_seconds
    assert declared.seconds_for(0.5) == 0.5


def test_protos_declare_the_methods_whose_calls_are_kept_together() -> None:
    kept, spread = ["/gacha.v1.GachaService/Pull"], ["/gacha.v1.GachaService/GetInventory"]
    kept += [f"/tx.v1.ParticipantService/{name}" for name in ("Prepare", "Commit")]
    spread += ["/account.v1.AccountService/Login", "/nobody.v1.Knows/This"]
    assert all(config_of_path(path).is_kept_together for path in kept)
    assert not any(config_of_path(path).is_kept_together for path in spread)


class Flooded:
    """A server with a method of each kind, whose calls wait to be released."""

    def __init__(self, room: int) -> None:
        self.callers = Callers()
        self.release = asyncio.Event()
        self.gate_error: Overloaded | None = None
        self.ahead_counts: list[int] = []
        self.refusals: Counter[WorkKind] = Counter()
        service_keys = fixed_service_keys({"gacha_svc": self.callers.key.public_key()})

        async def wait(request: bytes, call: Call) -> bytes:
            await self.release.wait()
            return b"done"

        self.dispatcher = Dispatcher(
            [
                Method(f"/{kind.name}", OF_GACHA, False, bytes, wait, bytes, MethodConfig(kind))
                for kind in WorkKind
            ],
            Authenticator("echo_svc", player_keys=fixed_keys(), service_keys=service_keys),
            bounds=dict.fromkeys(WorkKind, room),
            gates={WorkKind.HASHING: self._gate},
            count_refusal=lambda kind: self.refusals.update([kind]),
        )

    def _gate(self, deadline: Deadline, ahead_count: int) -> None:
        self.ahead_counts.append(ahead_count)
        if self.gate_error is not None:
            raise self.gate_error

    def begin(
        self, kind: WorkKind, metadata: dict[str, str] | None = None
    ) -> "asyncio.Task[bytes]":
        return asyncio.create_task(
            self.dispatcher.handle(
                f"/{kind.name}",
                b"",
                self.callers.metadata if metadata is None else metadata,
                Deadline.after(30.0),
            )
        )


@pytest.mark.parametrize("flooded", WorkKind)
async def test_a_flood_of_one_kind_leaves_the_others_their_room(flooded: WorkKind) -> None:
    server = Flooded(room=3)
    running = [server.begin(flooded) for _ in range(3)]
    await asyncio.sleep(0)
    for _ in range(200):
        with pytest.raises(Overloaded) as caught:
            await server.begin(flooded)
        assert caught.value.metadata == {"method": f"/{flooded.name}"}
    others = [server.begin(kind) for kind in WorkKind if kind is not flooded for _ in range(3)]
    await asyncio.sleep(0)
    server.release.set()
    assert await asyncio.gather(*running, *others) == [b"done"] * 12
    assert server.refusals == {flooded: 200}


async def test_a_call_without_room_is_refused_before_its_token_is_checked() -> None:
    server = Flooded(room=1)
    running = server.begin(WorkKind.READING)
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await server.begin(WorkKind.READING, {AUTHORIZATION: "Bearer nonsense"})
    server.gate_error = Overloaded("no room", retry_after_seconds=0.5)
    with pytest.raises(MeshError) as caught:
        await server.begin(WorkKind.HASHING, {AUTHORIZATION: "Bearer nonsense"})
    assert caught.value is server.gate_error
    assert caught.value.metadata == {"method": "/HASHING"}
    server.gate_error = None
    server.release.set()
    assert await server.begin(WorkKind.HASHING) == b"done", "who was refused holds no room"
    assert server.ahead_counts == [0, 0]
    await running
