"""A repeated key gives its first answer, whatever has changed in the catalog since."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.catalog import Catalog
from gacha_svc.domain.errors import BannerNotFound, BannerPullLimit, InsufficientCurrency
from gacha_svc.domain.pulls import Draw, PulledItem
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from gacha_svc.use_cases.pulls import PULL, Pulls
from mesh.contract.idempotency import IdempotencyKeyReused, operation_id
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.txn.model import No, Operation
from mesh.txn.sides import Answer, Committed, OperationPair
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import Instance, changed

PAUSE_SECONDS = 0.1
SECONDS = 5.0


class GachaAlone:
    """A group commit without an account: the gacha's branch alone. Counts what it is asked."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.submitted_count = 0
        self.refusal: No | None = None
        """The account's answer, if any."""

    async def submit(self, pair: OperationPair, deadline: Deadline) -> Answer:
        self.submitted_count += 1
        if self.refusal is not None:
            return self.refusal
        assert isinstance(pair.second, Draw)
        (vote,) = await self.instance.apply(Operation(pair.id, pair.second))
        return vote if isinstance(vote, No) else Committed(None, vote.result)


@dataclass
class House:
    database: Database
    catalog: Catalog
    group_commit: GachaAlone
    pulls: Pulls
    cache: CatalogCache
    player: str

    async def put_in_force(self, catalog: Catalog) -> None:
        await Catalogs(self.database, self.cache, lambda: catalog).introduce()

    async def pull(self, key: str, count: int = 10) -> tuple[PulledItem, ...]:
        return await self.pulls.pull(self.player, "standard", count, key, Deadline.after(SECONDS))


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("repeated_pulls", migrations_of(repository, "gacha_svc"))


@pytest.fixture
async def house(schema: Database, repository: Path) -> House:
    await empty(schema)
    await as_owner(
        schema, lambda cursor: cursor.execute("INSERT INTO catalog_revision DEFAULT VALUES")
    )
    path = repository / "gacha_svc" / "catalog.yaml"
    catalog = parse_catalog(path.read_bytes(), path.name)
    cache = CatalogCache(schema)
    group_commit: Any = GachaAlone(Instance.of(schema, bytes, cache))
    pulls = Pulls(schema, cache, group_commit)
    house = House(schema, catalog, group_commit, pulls, cache, str(uuid4()))
    await house.put_in_force(catalog)
    return house


def without_first_banner(catalog: Catalog) -> Catalog:
    return Catalog(items=catalog.items, banners=catalog.banners[1:])


CHANGES: dict[str, Callable[[Catalog], Catalog]] = {
    "the banner was removed": without_first_banner,
    "it offers no ten any more": lambda catalog: changed(catalog, pull_counts=(1,)),
    "its limit is used up": lambda catalog: changed(catalog, pull_limit=10),
    "its price was changed": lambda catalog: changed(catalog, price_gems=1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_repeat_gives_the_first_answer_though(
    house: House, change: Callable[[Catalog], Catalog]
) -> None:
    first = await house.pull("key")
    await house.put_in_force(change(house.catalog))
    assert await house.pull("key") == first


async def test_a_key_that_made_nothing_learns_of_the_change(house: House) -> None:
    await house.pull("key")
    await house.put_in_force(without_first_banner(house.catalog))
    with pytest.raises(BannerNotFound):
        await house.pull("other")
    with pytest.raises(IdempotencyKeyReused):
        await house.pull("key", count=1)


async def test_a_repeat_of_a_pull_whose_debit_was_lost_gives_the_first_answer(house: House) -> None:
    first = await house.pull("key")
    house.group_commit.refusal = No(InsufficientCurrency.REASON)
    assert await house.pull("key") == first
    with pytest.raises(IdempotencyKeyReused):
        await house.pull("key", count=1)
    with pytest.raises(InsufficientCurrency):
        await house.pull("other")


async def test_what_the_limit_refuses_is_not_submitted(house: House) -> None:
    await house.put_in_force(changed(house.catalog, pull_limit=10))
    await house.pull("key")
    with pytest.raises(BannerPullLimit):
        await house.pull("other", count=1)
    assert house.group_commit.submitted_count == 1


@pytest.mark.parametrize("outcome", ["commit", "abort"])
async def test_a_repeat_waits_while_the_first_is_under_way_on_a_removed_banner(
    house: House, outcome: str
) -> None:
    banner = house.catalog.banners[0]
    pull_id = operation_id(PULL, house.player, "key")
    draw = Draw(house.player, banner.id, 10, 10 * banner.price_gems, banner.odds_version)
    instance = house.group_commit.instance
    gid, _ = await instance.prepare(Operation(pull_id, draw))
    await house.put_in_force(without_first_banner(house.catalog))
    repeating = asyncio.create_task(house.pull("key"))
    await asyncio.sleep(PAUSE_SECONDS)
    assert not repeating.done()
    await getattr(instance.participant, outcome)(gid)
    if outcome == "commit":
        assert len(await repeating) == 10
    else:
        with pytest.raises(BannerNotFound):
            await repeating
