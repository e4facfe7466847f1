"""What one instance has put in force, every other knows at once: no refusal, list or price is
older than the call."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.banners import Banner
from gacha_svc.domain.catalog import Catalog
from gacha_svc.domain.errors import BannerNotFound, InsufficientCurrency
from gacha_svc.domain.pulls import Draw, PulledItem
from gacha_svc.rpc.catalog import CatalogRpc
from gacha_svc.storage import catalog as catalog_storage
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import (
    READ_PAUSE_SECONDS,
    CatalogCache,
)
from gacha_svc.use_cases.pulls import Pulls
from mesh.deadlines import Deadline
from mesh.errors import InvalidArgument, MeshError
from mesh.postgres.database import Database, DatabaseAway
from mesh.txn.model import No, Operation
from mesh.txn.sides import Answer, Committed, OperationPair
from protos.gacha.v1 import catalog_pb2 as pb
from tests.storage.conftest import MakeDatabase, as_owner, empty, migrations_of
from tests.storage.gacha.drawing import Instance, changed

SECONDS = 5.0
BALANCE_GEMS = 100
CALL: Any = None
"""What the methods of the catalog do not look at."""


class Counted:
    """The database, with a count of what is read, that can be made unreachable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.read_count = 0
        self.is_away = False

    async def autocommit(self, work: Callable[[Cursor], Any]) -> Any:
        self.read_count += 1
        if self.is_away:
            raise DatabaseAway("It is away.")
        return await self._database.autocommit(work)


@dataclass
class GroupCommit:
    """The gacha's branch, after an account in which everybody has BALANCE_GEMS."""

    instance: Instance
    balance_gems: int = BALANCE_GEMS

    async def submit(self, pair: OperationPair, deadline: Deadline) -> Answer:
        assert isinstance(pair.second, Draw)
        if pair.second.cost_gems > self.balance_gems:
            return No(InsufficientCurrency.REASON, "Insufficient currency")
        (vote,) = await self.instance.apply(Operation(pair.id, pair.second))
        return vote if isinstance(vote, No) else Committed(None, vote.result)


@dataclass
class GachaInstance:
    """An instance: its cache, what it shows, and its pulls."""

    database: Database
    catalog: Catalog
    counted: Counted = field(init=False)
    cache: CatalogCache = field(init=False)
    shown: Catalogs = field(init=False)
    pulls: Pulls = field(init=False)

    def __post_init__(self) -> None:
        self.counted = Counted(self.database)
        database: Any = self.counted
        self.cache = CatalogCache(database)
        self.shown = Catalogs(self.database, self.cache, lambda: self.catalog)
        group_commit: Any = GroupCommit(
            Instance.of(self.database, secrets.token_bytes, CatalogCache(self.database))
        )
        self.pulls = Pulls(self.database, self.cache, group_commit)

    async def introduce(self, catalog: Catalog) -> None:
        self.catalog = catalog
        await self.shown.introduce()

    async def pull(self, banner_id: str, count: int = 1) -> tuple[PulledItem, ...]:
        return await self.pulls.pull(
            str(uuid4()), banner_id, count, uuid4().hex, Deadline.after(SECONDS)
        )

    async def pity(self, banner_id: str) -> object:
        return await self.pulls.pity(str(uuid4()), banner_id)

    async def history(self, banner_id: str) -> object:
        return await self.shown.history(banner_id, 0, "")


async def shown_banners(instance: GachaInstance) -> tuple[Banner, ...]:
    return tuple(published.banner for published in await instance.shown.banners())


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase, repository: Path) -> Database:
    return shared_database("catalog_of_instances", migrations_of(repository, "gacha_svc"))


@pytest.fixture
def catalog(repository: Path) -> Catalog:
    path = repository / "gacha_svc" / "catalog.yaml"
    shipped = parse_catalog(path.read_bytes(), path.name)
    return changed(shipped, price_gems=BALANCE_GEMS // 10)


@pytest.fixture
async def pair(schema: Database, catalog: Catalog) -> tuple[GachaInstance, GachaInstance]:
    """Two instances that both have read the catalog; the first then changes it."""
    await empty(schema)
    await as_owner(
        schema, lambda cursor: cursor.execute("INSERT INTO catalog_revision DEFAULT VALUES")
    )
    first, second = (GachaInstance(schema, catalog) for _ in range(2))
    await first.introduce(catalog)
    assert await shown_banners(second) == catalog.banners
    return first, second


def renamed(catalog: Catalog, banner_id: str) -> Catalog:
    return changed(catalog, id=banner_id)


async def test_a_new_banner_is_pulled_and_shown_at_another_instance_at_once(
    pair: tuple[GachaInstance, GachaInstance], catalog: Catalog
) -> None:
    first, second = pair
    for number in range(5):
        banner_id = f"new-{number}"
        await first.introduce(renamed(catalog, banner_id))
        assert len(await second.pull(banner_id)) == 1
        await first.introduce(renamed(catalog, f"{banner_id}-shown"))
        assert (await second.shown.banner(f"{banner_id}-shown")).banner.id == f"{banner_id}-shown"
        assert (await shown_banners(second))[0].id == f"{banner_id}-shown"
        assert await second.shown.chances_percent(f"{banner_id}-shown")


def with_item_named(catalog: Catalog, name: str) -> Catalog:
    first, *others = catalog.items
    return Catalog(
        items=(first.model_copy(update={"name": name}), *others), banners=catalog.banners
    )


async def test_a_renamed_item_has_its_new_name_in_every_banner_at_once(
    pair: tuple[GachaInstance, GachaInstance], catalog: Catalog
) -> None:
    first, _ = pair
    item_id = catalog.items[0].id
    for name in ("First name", "Second name"):
        await first.introduce(with_item_named(catalog, name))
        for instance in pair:
            shown = CatalogRpc(instance.shown)
            listed = await shown.list_banners(pb.ListBannersRequest(), CALL)
            names = {
                item.name
                for banner in listed.banners
                for odds in banner.odds
                for item in odds.items
                if item.item_id == item_id
            }
            assert names == {name}


BEFORE_AND_AFTER: dict[str, tuple[dict[str, object], type[MeshError], dict[str, object], int]] = {
    "its price fell to what the player has": (
        {"price_gems": BALANCE_GEMS + 1},
        InsufficientCurrency,
        {"price_gems": BALANCE_GEMS},
        1,
    ),
    "it offers ten since": (
        {"pull_counts": (1,)},
        InvalidArgument,
        {"pull_counts": (1, 10), "price_gems": 1},
        10,
    ),
}


@pytest.mark.parametrize(
    ("before", "refusal", "after", "count"), BEFORE_AND_AFTER.values(), ids=BEFORE_AND_AFTER
)
async def test_another_instance_refuses_by_the_banner_in_force_alone(
    pair: tuple[GachaInstance, GachaInstance],
    catalog: Catalog,
    before: dict[str, object],
    refusal: type[MeshError],
    after: dict[str, object],
    count: int,
) -> None:
    first, second = pair
    await first.introduce(changed(catalog, **before))
    with pytest.raises(refusal):
        await second.pull("standard", count)
    await first.introduce(changed(catalog, **after))
    assert len(await second.pull("standard", count)) == count


BY_BANNER: dict[str, Callable[[GachaInstance, str], Awaitable[object]]] = {
    "pull": lambda instance, banner_id: instance.pull(banner_id),
    "banner": lambda instance, banner_id: instance.shown.banner(banner_id),
    "chances": lambda instance, banner_id: instance.shown.chances_percent(banner_id),
    "pity": lambda instance, banner_id: instance.pity(banner_id),
    "history": lambda instance, banner_id: instance.history(banner_id),
}


@pytest.mark.parametrize("ask", BY_BANNER.values(), ids=BY_BANNER)
async def test_no_refusal_is_older_than_its_call(
    pair: tuple[GachaInstance, GachaInstance],
    catalog: Catalog,
    ask: Callable[[GachaInstance, str], Awaitable[object]],
) -> None:
    """Not even of a catalog that was put in force just now, and of which no call has returned."""
    _, second = pair

    def put_in_force(banner_id: str) -> Callable[[Cursor], object]:
        return lambda cursor: catalog_storage.write_catalog(cursor, renamed(catalog, banner_id))

    for banner_id in ("just-now", "and-now"):
        await second.cache.in_force()
        await second.database.transaction(put_in_force(banner_id))
        await ask(second, banner_id)
    await second.cache.in_force()
    await second.database.transaction(put_in_force("later"))
    with pytest.raises(BannerNotFound) as unknown:
        await ask(second, "unknown")
    assert "later" in unknown.value.message


class Interrupted:
    """A cursor; something happens between its reading of the catalog and what follows."""

    def __init__(self, cursor: Cursor, meanwhile: Callable[[], object]) -> None:
        self._cursor = cursor
        self._meanwhile = meanwhile
        self._row: Any = None

    def execute(self, statement: str) -> None:
        self._cursor.execute(statement)
        self._row = self._cursor.fetchone()
        if "json_agg" in statement:
            self._meanwhile()

    def fetchone(self) -> Any:
        return self._row


async def test_a_slow_read_puts_no_older_catalog_over_a_newer_one(
    pair: tuple[GachaInstance, GachaInstance], catalog: Catalog
) -> None:
    first, second = pair
    await first.introduce(renamed(catalog, "older"))

    def read_slowly(cursor: Cursor) -> int:
        def read_newer() -> None:
            catalog_storage.write_catalog(cursor, renamed(catalog, "newer"))
            second.cache.refreshed(cursor)

        slow: Any = Interrupted(cursor, read_newer)
        return second.cache.refreshed(slow).revision

    older = await second.database.autocommit(read_slowly)
    assert second.cache.latest.revision == older + 1
    assert second.cache.latest.banners[0].id == "newer"


async def test_a_catalog_that_the_database_has_lost_is_forgotten(
    pair: tuple[GachaInstance, GachaInstance],
) -> None:
    """As a standby that took over may have lost it."""
    _, second = pair
    known = await second.cache.in_force()
    await as_owner(
        second.database,
        lambda cursor: cursor.execute("UPDATE catalog_revision SET revision = revision - 1"),
    )
    assert (await second.cache.in_force()).revision == known.revision - 1
    assert second.cache.latest.revision == known.revision - 1


async def refused(asked: Awaitable[object]) -> None:
    with pytest.raises(BannerNotFound):
        await asked


async def test_a_flood_of_unknown_banners_reads_the_catalog_at_a_bounded_rate(
    pair: tuple[GachaInstance, GachaInstance],
) -> None:
    _, second = pair
    for ask in (
        second.pull,
        second.shown.banner,
        second.shown.chances_percent,
        second.pity,
        second.history,
    ):
        loop = asyncio.get_running_loop()
        before, began = second.counted.read_count, loop.time()
        for _ in range(30):
            unknown = (f"made-up-{number}" for number in range(50))
            await asyncio.gather(*(refused(ask(banner_id)) for banner_id in unknown))
        took_seconds = loop.time() - began
        # The first call may read the catalog to show besides.
        most = 2 + took_seconds / READ_PAUSE_SECONDS
        assert 30 <= second.counted.read_count - before <= most


async def test_while_the_database_is_away_the_catalog_that_was_read_last_is_shown(
    pair: tuple[GachaInstance, GachaInstance], catalog: Catalog
) -> None:
    _, second = pair
    second.counted.is_away = True
    assert await shown_banners(second) == catalog.banners
    assert (await second.shown.banner("standard")).banner.id == "standard"
