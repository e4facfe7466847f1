"""Calls that send one gift at the same moment, on a real PostgreSQL."""

from pathlib import Path

import pytest

from gacha_svc.domain.gifts import GiftState, Parties, PlayerNotFound
from mesh.contract.idempotency import IdempotencyKeyReused
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.gacha.gifts.gift_service import (
    FEE_GEMS,
    MIRA,
    NOOR,
    OLE,
    SWORD,
    Account,
    GiftService,
    send,
)


@pytest.fixture
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("gifts", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def service(schema: Database) -> GiftService:
    """Mira and Ole own three swords each."""
    await empty(schema)
    await schema.autocommit(
        lambda cursor: cursor.execute("INSERT INTO item VALUES (1, 'Sword', 'rare', 1)")
    )
    service = GiftService(schema)
    await service.owns(MIRA, SWORD, 3)
    await service.owns(OLE, SWORD, 3)
    return service


class SlowAccount(Account):
    """Looks for the players only after another call has sent the gift with the key `k`."""

    def __init__(self, service: GiftService, *, forgets_receiver: bool) -> None:
        super().__init__(service.account.balances)
        self._other_call = service.instance()[0]
        self._forgets_receiver = forgets_receiver

    async def find_players(
        self, to: str, sender_id: str, fee_gems: int, deadline: Deadline
    ) -> Parties:
        await send(self._other_call)
        if self._forgets_receiver:
            self.players = (MIRA,)
        return await super().find_players(to, sender_id, fee_gems, deadline)


@pytest.mark.parametrize("forgets_receiver", [False, True], ids=["fee spent", "receiver gone"])
async def test_a_call_that_would_be_refused_answers_with_the_gift_that_its_key_has_meanwhile(
    service: GiftService, forgets_receiver: bool
) -> None:
    service.account.balances[MIRA.user_id] = FEE_GEMS
    service.account = SlowAccount(service, forgets_receiver=forgets_receiver)
    gifts, _ = service.instance()
    sent = await send(gifts)
    assert sent.state is GiftState.DELIVERED
    assert sent.gift == (await service.gift_of(MIRA)).gift
    assert (await service.held(MIRA), await service.held(NOOR)) == (2, 1)
    assert service.account.balances[MIRA.user_id] == 0


async def test_a_call_that_would_be_refused_may_not_take_the_gift_of_another_request(
    service: GiftService,
) -> None:
    service.account.balances[MIRA.user_id] = FEE_GEMS
    service.account = SlowAccount(service, forgets_receiver=True)
    gifts, _ = service.instance()
    with pytest.raises(IdempotencyKeyReused):
        await send(gifts, count=2)
    with pytest.raises(PlayerNotFound):
        await send(gifts, key="k2")
