"""Turns at the hashing process: who waits, who is refused, and who costs no hash."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from account_svc.adapters.hashing_process import HashingProcess
from account_svc.adapters.passwords import FIRST_GUESS_SECONDS, TURNS_AT_ONCE, Passwords
from account_svc.domain.hashing_queue import SHORTEST_QUEUE, HashingBusy, Urgency
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded
from tests.unit.registry.running import until

LONG = 60.0
SLOW_SECONDS = 2.0
LOGIN_SECONDS = 5.0
HOME = "192.0.2.1"
KNOWN, STRANGER, REGISTRATION = Urgency


class HeldProcess(HashingProcess):
    """Does not answer until it is released; records its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()
        self.asked: list[str] = []

    def ask(self, request: list[str]) -> str | bool:
        self.asked.append(request[0])
        assert self.release.wait(LONG)
        return "hash"


class Scene:
    """Passwords with a held process and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.process = HeldProcess()
        self.passwords = Passwords(clock=lambda: self.now, process=self.process)

    async def begin(
        self, count: int, urgency: Urgency = STRANGER, address: str = HOME, name: str = ""
    ) -> "list[asyncio.Task[str]]":
        async def hash_one(password: str) -> str:
            async with self.passwords.admit(urgency, address):
                return await self.passwords.hash(password)

        tasks = [asyncio.create_task(hash_one(f"{name}{n}")) for n in range(count)]
        await asyncio.sleep(0)
        return tasks

    def deadline(self, seconds: float) -> Deadline:
        return Deadline.after(seconds, lambda: self.now)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.process.release.set()
    scene.passwords.close()


async def ends(tasks: "list[asyncio.Task[str]]") -> list[str]:
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [each if isinstance(each, str) else type(each).__name__ for each in outcomes]


@pytest.mark.parametrize("urgency", Urgency)
async def test_the_number_of_waiters_is_bounded(scene: Scene, urgency: Urgency) -> None:
    room = TURNS_AT_ONCE + urgency.queue_length(FIRST_GUESS_SECONDS, TURNS_AT_ONCE)
    waiting = await scene.begin(room, urgency)
    with pytest.raises(HashingBusy, match="logging in or registering") as caught:
        await (await scene.begin(1, urgency))[0]
    assert caught.value.retry_after_seconds is not None
    assert caught.value.retry_after_seconds > 0
    scene.process.release.set()
    assert await ends(waiting) == ["hash"] * room
    assert await ends(await scene.begin(3)) == ["hash"] * 3


@pytest.mark.parametrize("flooded", [STRANGER, REGISTRATION])
async def test_a_flood_of_ten_addresses_does_not_delay_known_players(
    scene: Scene, flooded: Urgency
) -> None:
    flood = []
    for number in range(10):
        flood += await scene.begin(10, flooded, f"198.51.100.{number}", name="flood ")
    known = await scene.begin(4, KNOWN, name="known ")
    scene.process.release.set()
    assert await ends(known) == ["hash"] * 4
    order = [each.partition(" ")[0] for each in scene.process.asked[TURNS_AT_ONCE:]]
    assert order.index("known") <= 1
    assert order[:9].count("known") == 4
    assert "HashingBusy" in await ends(flood)


async def test_a_stranger_gets_a_turn_beside_a_flood_of_one_network(scene: Scene) -> None:
    flood = []
    for number in range(200):
        flood += await scene.begin(1, STRANGER, f"2001:db8:1:{number:x}::1", name="flood ")
    (stranger,) = await scene.begin(1, STRANGER, "2001:db8:2::1", name="stranger ")
    scene.process.release.set()
    assert await stranger == "hash"
    assert scene.process.asked.index("stranger 0") <= TURNS_AT_ONCE + 2
    assert "HashingBusy" in await ends(flood)


async def test_a_hash_that_takes_long_makes_the_queue_shorter(scene: Scene) -> None:
    running = await scene.begin(TURNS_AT_ONCE + 2)
    await until(lambda: bool(scene.process.asked))
    scene.now += LONG
    refused = await scene.begin(1)
    assert await ends(refused) == ["HashingBusy"]
    scene.process.release.set()
    assert await ends(running) == ["hash"] * (TURNS_AT_ONCE + 2)


async def test_registrations_do_not_keep_a_known_player_out_where_hashes_are_slow(
    scene: Scene,
) -> None:
    running = await scene.begin(1, REGISTRATION, name="running ")
    await until(lambda: bool(scene.process.asked))
    scene.now += SLOW_SECONDS
    flood = []
    for number in range(8):
        flood += await scene.begin(1, REGISTRATION, f"198.51.100.{number}", name="flood ")
    (known,) = await scene.begin(1, KNOWN, name="known ")
    scene.process.release.set()
    assert await known == "hash"
    assert scene.process.asked.index("known 0") == len(running)
    assert (await ends(flood)).count("HashingBusy") == 8 - SHORTEST_QUEUE


async def test_turns_are_given_again_when_hashes_become_fast(scene: Scene) -> None:
    running = await scene.begin(1)
    await until(lambda: bool(scene.process.asked))
    scene.now += SLOW_SECONDS
    waiting = await scene.begin(SHORTEST_QUEUE)
    scene.process.release.set()
    assert await ends([*running, *waiting]) == ["hash"] * (1 + SHORTEST_QUEUE)
    for _ in range(20):
        assert await ends(await scene.begin(1)) == ["hash"]
    scene.process.release.clear()
    at_once = await scene.begin(TURNS_AT_ONCE)
    busy = await scene.begin(2, REGISTRATION, name="next ")
    (known,) = await scene.begin(1, KNOWN, name="known ")
    scene.process.release.set()
    assert await ends([*at_once, *busy, known]) == ["hash"] * (TURNS_AT_ONCE + 3)
    assert scene.process.asked[-3:] == ["known 0", "next 0", "next 1"]


async def test_a_caller_without_the_time_for_a_hash_is_told_so(scene: Scene) -> None:
    scene.passwords.check_time(scene.deadline(FIRST_GUESS_SECONDS * 1.01), 100)
    with pytest.raises(DeadlineExceeded):
        scene.passwords.check_time(scene.deadline(FIRST_GUESS_SECONDS / 2), 0)


async def test_a_process_that_stood_still_refuses_nobody_who_has_the_time_of_a_login(
    scene: Scene,
) -> None:
    for _ in range(20):
        scene.process.asked.clear()
        scene.process.release.clear()
        running = await scene.begin(1)
        await until(lambda: bool(scene.process.asked))
        scene.now += LONG
        scene.process.release.set()
        await asyncio.gather(*running)
    scene.passwords.check_time(scene.deadline(LOGIN_SECONDS), 0)


async def test_a_caller_who_has_gone_costs_no_hash_and_keeps_no_turn(scene: Scene) -> None:
    waiting = await scene.begin(TURNS_AT_ONCE + 4)
    await until(lambda: bool(scene.process.asked))
    gone = waiting[1:-1]
    for task in gone:
        task.cancel()
    assert await ends(gone) == ["CancelledError"] * len(gone)
    scene.process.release.set()
    assert await ends([waiting[0], waiting[-1]]) == ["hash", "hash"]
    assert scene.process.asked == ["0", str(len(waiting) - 1)]
    assert await ends(await scene.begin(TURNS_AT_ONCE + 1)) == ["hash"] * (TURNS_AT_ONCE + 1)


async def test_a_turn_that_is_given_while_its_caller_leaves_is_passed_on(scene: Scene) -> None:
    async with AsyncExitStack() as others:
        for _ in range(TURNS_AT_ONCE - 1):
            await others.enter_async_context(scene.passwords.admit(KNOWN, HOME))
        async with scene.passwords.admit(KNOWN, HOME):
            (leaving,) = await scene.begin(1)
        # The turn was given just now, and the task has not run since.
        leaving.cancel()
        assert await ends([leaving]) == ["CancelledError"]
        async with asyncio.timeout(5), scene.passwords.admit(STRANGER, HOME):
            assert scene.process.asked == []
