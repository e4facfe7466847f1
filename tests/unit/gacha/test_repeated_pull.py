"""A repeated pull waits for the first pull's answer, until its caller's deadline."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest

from gacha_svc.domain.catalog import LiveCatalog
from gacha_svc.use_cases.pulls import Pulls
from mesh.contract.idempotency import IdempotencyKeyInUse
from mesh.deadlines import Deadline
from mesh.txn.model import DUPLICATE, No
from tests.unit.gacha.catalogs import SR, UR, banner_of, rule


class Catalog:
    """A catalog with one banner."""

    banner = banner_of(rule(UR, 10_000), rule(SR, 10_000))
    latest = LiveCatalog(1, (), (banner,), {banner.id: banner.odds_version})


class Duplicates:
    """A group commit in which every pull is a duplicate."""

    async def submit(self, work: object, deadline: Deadline) -> No:
        return No(DUPLICATE)


class Database:
    """A database without the pull."""

    read_count = 0

    async def autocommit(self, work: object) -> list[object]:
        self.read_count += 1
        return []


async def test_it_says_that_the_first_is_under_way_before_its_own_deadline() -> None:
    database: Any = Database()
    catalog: Any = Catalog()
    group_commit: Any = Duplicates()
    pulls = Pulls(database, catalog, group_commit)
    began, deadline = time.monotonic(), Deadline.after(0.6)
    with pytest.raises(IdempotencyKeyInUse):
        await asyncio.wait_for(pulls.pull(str(uuid4()), "test", 1, "k", deadline), 5)
    assert database.read_count > 1, "it waits for the first to be done"
    assert time.monotonic() - began >= 0.25
    assert not deadline.is_over()
