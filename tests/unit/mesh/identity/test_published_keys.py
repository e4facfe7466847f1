"""Keys that another service publishes: how often they are fetched, and their validity between."""

import asyncio
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mesh.contract.access import OF_PLAYERS
from mesh.contract.methods import Method
from mesh.deadlines import Deadline
from mesh.errors import NoKeysYet, Unavailable
from mesh.identity.auth import Authenticator
from mesh.identity.keys import fixed_service_keys
from mesh.identity.published_keys import FIRST_FETCH_SECONDS, RETRY_SECONDS, PublishedKeys
from mesh.serving.dispatch import Dispatcher
from tests.unit.mesh.echo import PLAYERS_ECHO, Callers, Echo

KEY = Ed25519PrivateKey.generate().public_key()
Keys = Mapping[str, Ed25519PublicKey]


class Publisher:
    """Answers when the test allows it, with the keys that the test sets."""

    def __init__(self) -> None:
        self.keys: Keys | Exception = {"a": KEY}
        self.asked_count = 0
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def fetch(self) -> Keys:
        self.asked_count += 1
        await self.is_open.wait()
        if isinstance(self.keys, Exception):
            raise self.keys
        return self.keys


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(publisher: Publisher, clock: Clock) -> PublishedKeys:
    return PublishedKeys(publisher.fetch, clock)


async def test_many_callers_at_once_are_one_fetch(
    keys: PublishedKeys, publisher: Publisher
) -> None:
    publisher.is_open.clear()
    callers = [asyncio.create_task(keys.find("a")) for _ in range(100)]
    await asyncio.sleep(0)
    publisher.is_open.set()
    assert await asyncio.gather(*callers) == [KEY] * 100
    assert publisher.asked_count == 1


async def test_keys_that_were_fetched_are_found_without_a_fetch(
    keys: PublishedKeys, publisher: Publisher, clock: Clock
) -> None:
    assert keys.find_fetched("a") is None
    assert publisher.asked_count == 0
    assert await keys.find("a") == KEY
    publisher.keys, clock.now = Unavailable("away"), clock.now + RETRY_SECONDS
    assert keys.find_fetched("a") == KEY
    assert keys.find_fetched("made-up") is None
    assert publisher.asked_count == 1


async def test_a_cancelled_caller_does_not_cancel_the_shared_fetch(
    keys: PublishedKeys, publisher: Publisher
) -> None:
    publisher.is_open.clear()
    first, second = (asyncio.create_task(keys.find("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    publisher.is_open.set()
    assert await second == KEY
    assert publisher.asked_count == 1


async def test_a_caller_that_waits_for_the_first_keys_continues_when_they_arrive(
    keys: PublishedKeys, publisher: Publisher
) -> None:
    publisher.is_open.clear()
    fetching = asyncio.create_task(keys.keep_fetching())
    waiting = asyncio.create_task(keys.first())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    publisher.is_open.set()
    await waiting
    fetching.cancel()


async def test_a_flood_of_made_up_key_ids_is_one_fetch_a_second(
    keys: PublishedKeys, publisher: Publisher, clock: Clock
) -> None:
    assert await keys.find("a") == KEY
    for second in range(1, 4):
        clock.now += RETRY_SECONDS
        for number in range(50):
            assert await keys.find(f"made-up-{number}") is None
        assert publisher.asked_count == 1 + second


async def test_an_unknown_key_that_is_published_by_now_is_found_at_once(
    keys: PublishedKeys, publisher: Publisher, clock: Clock
) -> None:
    await keys.find("a")
    publisher.keys = {"a": KEY, "b": KEY}
    clock.now += RETRY_SECONDS
    assert await keys.find("b") == KEY


async def test_a_key_that_is_published_no_longer_is_not_known_after_the_next_answer(
    keys: PublishedKeys, publisher: Publisher, clock: Clock
) -> None:
    await keys.find("a")
    publisher.keys = {"b": KEY}
    assert await keys.find("a") == KEY
    clock.now += RETRY_SECONDS
    assert await keys.find("b") == KEY
    assert await keys.find("a") is None


BAD_ANSWERS = {
    "nobody answers": Unavailable("nobody is there"),
    "no key": {},
    "no key set": ValueError("what is this"),
    "a bug": RuntimeError("a bug"),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_fetched_keys_stay_valid_until_the_next_good_answer(
    keys: PublishedKeys, publisher: Publisher, clock: Clock, answer: Keys | Exception
) -> None:
    await keys.find("a")
    publisher.keys = answer
    for _ in range(5):
        clock.now += 1e6
        assert await keys.find("made-up") is None
        assert await keys.find("a") == KEY
    assert publisher.asked_count == 6


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_before_the_first_good_answer_a_caller_may_come_again(
    keys: PublishedKeys, publisher: Publisher, clock: Clock, answer: Keys | Exception
) -> None:
    publisher.keys = answer
    for _ in range(10):
        with pytest.raises(NoKeysYet):
            await keys.find("a")
    assert publisher.asked_count == 1
    publisher.keys = {"a": KEY}
    clock.now += FIRST_FETCH_SECONDS
    assert await keys.find("a") == KEY


async def test_a_server_without_keys_names_the_method_that_it_refused(
    keys: PublishedKeys, publisher: Publisher
) -> None:
    publisher.keys = Unavailable("nobody is there")
    callers = Callers()
    authenticator = Authenticator(
        "account_svc",
        player_keys=keys.find,
        service_keys=fixed_service_keys({"gacha_svc": callers.key.public_key()}),
    )
    method = Method(PLAYERS_ECHO, OF_PLAYERS, False, bytes, Echo().answer, bytes)
    dispatcher = Dispatcher([method], authenticator)
    with pytest.raises(NoKeysYet) as caught:
        await dispatcher.handle(PLAYERS_ECHO, b"hi", callers.player_metadata(), Deadline.after(5.0))
    assert caught.value.metadata["method"] == PLAYERS_ECHO
    assert not caught.value.is_about_instance


async def test_it_fetches_without_a_caller(publisher: Publisher) -> None:
    keys = PublishedKeys(publisher.fetch, fetch_seconds=0.01)
    keeping = asyncio.create_task(keys.keep_fetching())
    try:
        async with asyncio.timeout(10):
            while publisher.asked_count < 3:
                await asyncio.sleep(0.005)
            publisher.keys = {"b": KEY}
            while await keys.find("b") is None:
                await asyncio.sleep(0.005)
        assert await keys.find("a") is None
    finally:
        keeping.cancel()
