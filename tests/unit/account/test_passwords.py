"""The queue of the hashing process: its bounds, and its refusals."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from account_svc.adapters.hashing_process import HashingProcess
from account_svc.adapters.passwords import (
    FIRST_GUESS_SECONDS,
    MAX_WAIT_SECONDS,
    MAX_WAITING,
    Passwords,
)
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, Overloaded
from tests.unit.registry.running import until

LONG = 60.0


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

    def begin(self, count: int) -> "list[asyncio.Task[str]]":
        return [asyncio.create_task(self.passwords.hash(str(n))) for n in range(count)]

    def deadline(self, seconds: float = LONG) -> Deadline:
        return Deadline.after(seconds, lambda: self.now)


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.process.release.set()
    scene.passwords.close()


async def test_the_number_of_waiters_is_bounded(scene: Scene) -> None:
    waiting = scene.begin(MAX_WAITING)
    await until(lambda: bool(scene.process.asked))
    with pytest.raises(Overloaded) as caught:
        await scene.passwords.hash("one more")
    assert caught.value.retry_after_seconds is not None
    scene.process.release.set()
    assert await asyncio.gather(*waiting) == ["hash"] * MAX_WAITING


async def test_a_login_that_would_wait_too_long_is_refused_at_once(
    scene: Scene,
) -> None:
    check = scene.passwords.check_room
    most = int(MAX_WAIT_SECONDS / FIRST_GUESS_SECONDS)
    check(scene.deadline(), most)
    with pytest.raises(Overloaded) as caught:
        check(scene.deadline(), most + 1)
    assert caught.value.retry_after_seconds == pytest.approx((most + 1) / 2 * FIRST_GUESS_SECONDS)
    with pytest.raises(DeadlineExceeded):
        check(scene.deadline(0.3), 6)
    check(scene.deadline(0.4), 6)


async def test_a_hash_that_takes_longer_than_others_did_says_how_it_is_now(scene: Scene) -> None:
    (waiting,) = scene.begin(1)
    await until(lambda: bool(scene.process.asked))
    scene.passwords.check_room(scene.deadline(), 6)
    scene.now += MAX_WAIT_SECONDS / 5
    with pytest.raises(Overloaded):
        scene.passwords.check_room(scene.deadline(), 6)
    scene.process.release.set()
    await waiting


async def test_a_caller_who_has_gone_costs_no_hash(scene: Scene) -> None:
    waiting = scene.begin(5)
    await until(lambda: bool(scene.process.asked))
    for task in waiting[1:4]:
        task.cancel()
    await asyncio.gather(*waiting[1:4], return_exceptions=True)
    scene.process.release.set()
    assert [await waiting[0], await waiting[4]] == ["hash", "hash"]
    assert scene.process.asked == ["0", "4"]
