"""The list of ended sessions at a verifier: what it learns, keeps and forgets."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mesh.contract.access import OF_PLAYERS, Access, Rule
from mesh.errors import NoKeysYet, Unauthenticated, Unavailable
from mesh.identity.auth import Authenticator, Player
from mesh.identity.ended_sessions import KEPT_SECONDS, MAX_ENDED, EndedList, EndedSessions
from mesh.identity.keys import fixed_keys, fixed_service_keys
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner

USER, SESSION, OTHER = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(3))


class Account:
    """Answers with what the test sets; records what it was asked."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ended: Sequence[str] | Exception = ()
        self.asked: list[datetime | None] = []

    async def fetch(self, since: datetime | None) -> EndedList:
        self.asked.append(since)
        if isinstance(self.ended, Exception):
            raise self.ended
        return EndedList(self.ended, datetime.fromtimestamp(self.now, UTC))

    def verifier(self, max_ended: int = 10) -> EndedSessions:
        return EndedSessions(self.fetch, lambda: self.now, max_ended=max_ended)


async def test_only_what_is_new_is_asked_for_and_the_old_is_kept() -> None:
    account = Account()
    verifier = account.verifier()
    account.ended = [SESSION]
    await verifier.fetch_once()
    account.now += 1
    account.ended = [OTHER]
    await verifier.fetch_once()
    await verifier.fetch_once()
    assert account.asked == [None, *(datetime.fromtimestamp(each, UTC) for each in (100, 101))]
    assert verifier.contain(SESSION)
    assert verifier.contain(OTHER)
    assert not verifier.contain(USER)


@pytest.mark.parametrize("failure", [Unavailable("away"), ValueError("no id")])
async def test_while_fetches_fail_the_list_stands_and_the_next_asks_for_all_it_missed(
    failure: Exception,
) -> None:
    account = Account()
    verifier = account.verifier()
    account.ended = [SESSION]
    await verifier.fetch_once()
    account.ended = failure
    account.now += 600
    await verifier.fetch_once()
    assert verifier.contain(SESSION)
    account.ended = [OTHER]
    await verifier.fetch_once()
    assert account.asked[-1] == datetime.fromtimestamp(100, UTC)
    assert verifier.contain(OTHER)


async def test_nobody_is_admitted_before_the_first_list() -> None:
    account = Account()
    verifier = account.verifier()
    account.ended = Unavailable("away")
    await verifier.fetch_once()
    with pytest.raises(NoKeysYet):
        verifier.contain(SESSION)


async def test_an_id_is_forgotten_when_no_token_of_it_can_be_valid() -> None:
    account = Account()
    verifier = account.verifier()
    account.ended = [SESSION]
    await verifier.fetch_once()
    account.now += KEPT_SECONDS - 1
    await verifier.fetch_once()
    assert verifier.contain(SESSION)
    account.ended = ()
    account.now += 1
    await verifier.fetch_once()
    assert len(verifier) == 0


@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=12))
def test_the_list_is_bounded_and_keeps_those_that_ended_last(
    fetched: list[list[int]],
) -> None:
    """Each list has the last ended first."""

    async def run() -> None:
        account = Account()
        verifier = account.verifier(max_ended=5)
        order: list[int] = []
        for ids in fetched:
            account.ended = [str(each) for each in ids]
            await verifier.fetch_once()
            order += [each for each in dict.fromkeys(reversed(ids)) if each not in order]
            order = order[-5:]
            assert [each for each in range(31) if verifier.contain(str(each))] == sorted(order)

    asyncio.run(run())


@pytest.mark.parametrize("expires", [True, False], ids=["they expire", "they exceed the bound"])
async def test_a_full_list_is_forgotten_without_holding_up_the_process(expires: bool) -> None:
    account = Account()
    verifier = account.verifier(max_ended=MAX_ENDED)
    account.ended = [f"first {number}" for number in range(MAX_ENDED)]
    await verifier.fetch_once()
    account.now += KEPT_SECONDS if expires else 1
    account.ended = [f"second {number}" for number in range(MAX_ENDED)]
    began = time.thread_time()
    await verifier.fetch_once()
    assert time.thread_time() - began < 2, "seconds of CPU; it takes about 0.1"
    assert len(verifier) == MAX_ENDED
    assert verifier.contain("second 0")
    assert not verifier.contain("first 0")


async def test_only_ids_that_could_be_valid_are_counted_as_dropped() -> None:
    account = Account()
    verifier = account.verifier(max_ended=3)
    account.ended = ["3", "2", "1"]
    with capture_logs() as logs:
        await verifier.fetch_once()
        account.now += KEPT_SECONDS
        account.ended = ["5", "4"]
        await verifier.fetch_once()
        assert logs == []
        account.ended = ["7", "6"]
        await verifier.fetch_once()
    assert [(each["event"], each["dropped_count"]) for each in logs] == [("drop_ended_sessions", 1)]
    assert [each for each in "1234567" if verifier.contain(each)] == ["5", "6", "7"]


async def test_a_token_of_an_ended_session_is_refused_though_it_was_remembered() -> None:
    account = Account()
    verifier = account.verifier()
    await verifier.fetch_once()
    signer = TokenSigner(Ed25519PrivateKey.generate(), PLAYER_AUDIENCE, 900)
    authenticator = Authenticator(
        "gacha_svc",
        player_keys=fixed_keys(signer.public_key),
        service_keys=fixed_service_keys({}),
        has_ended=verifier.contain,
    )
    ended, other = (
        {"authorization": f"Bearer {signer.sign(USER, sid=sid)}"} for sid in (SESSION, OTHER)
    )
    assert await authenticator.authenticate(ended, OF_PLAYERS) == Player(USER)
    account.ended = [SESSION]
    await verifier.fetch_once()
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(ended, OF_PLAYERS)
    assert caught.value.reason == "SESSION_ENDED"
    assert await authenticator.authenticate(other, OF_PLAYERS) == Player(USER)
    lenient = Rule(Access.PLAYER, takes_ended_sessions=True)
    assert await authenticator.authenticate(ended, lenient) == Player(USER)


async def test_it_fetches_without_a_caller() -> None:
    account = Account()
    verifier = EndedSessions(account.fetch, fetch_seconds=0.01)
    keeping = asyncio.create_task(verifier.keep_fetching())
    try:
        async with asyncio.timeout(10):
            await verifier.first()
            account.ended = [SESSION]
            while not verifier.contain(SESSION):
                await asyncio.sleep(0.005)
    finally:
        keeping.cancel()
