"""A round of recovery, when what it needs fails."""

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from mesh.errors import DeadlineExceeded, MeshError
from mesh.txn.model import Branch, Outcome
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery

NOW = datetime.now(UTC)


class Branches:
    """A participant with old branches, which notes what becomes of them."""

    def __init__(self, *gids: str) -> None:
        self.gids = gids
        self.cleanups: list[Collection[str]] = []

    async def branches(self, min_age_seconds: float) -> list[Branch]:
        return [Branch(gid, NOW) for gid in self.gids]

    def forgettable_before(self) -> datetime:
        return NOW

    async def forget_old_gids(self, before: datetime, open_gids: Collection[str]) -> None:
        self.cleanups.append(open_gids)

    async def abort(self, gid: str) -> None:
        self.gids = tuple(each for each in self.gids if each != gid)


class LogFrozenFor:
    """The decision log, when the database does not answer for one gid."""

    def __init__(self, gid: str) -> None:
        self._gid = gid
        self.asked: list[str] = []

    async def resolve(self, gid: str) -> Outcome:
        self.asked.append(gid)
        if gid == self._gid:
            raise DeadlineExceeded("it is frozen")
        return Outcome.ABORT

    async def open_gids(self) -> list[str]:
        return []


class FrozenLog:
    """The decision log of a database that is frozen."""

    def __init__(self) -> None:
        self.listed_count = 0

    async def resolve(self, gid: str) -> Outcome:
        raise DeadlineExceeded("it is frozen")

    async def open_gids(self) -> list[str]:
        self.listed_count += 1
        raise DeadlineExceeded("it is frozen")


def recovery(branches: Branches, log: Any, *, follows: bool) -> BranchRecovery:
    participant = cast(Participant[Any, Any], branches)
    return BranchRecovery(participant, log, follows=follows, rounds_between_cleanups=3)


async def run(rounds: BranchRecovery, count: int) -> None:
    for _ in range(count):
        with suppress(MeshError):
            await rounds.run_once()


@pytest.mark.parametrize("follows", [True, False])
async def test_a_cleanup_that_fails_waits_for_its_next_turn(follows: bool) -> None:
    branches, log = Branches(), FrozenLog()
    await run(recovery(branches, log, follows=follows), 7)
    expected = (3, 0) if follows else (0, 3)
    assert (log.listed_count, len(branches.cleanups)) == expected


async def test_a_frozen_log_is_waited_for_once_a_round() -> None:
    log = LogFrozenFor("a")
    branches = Branches("a", "b", "c")
    rounds = recovery(branches, log, follows=True)
    with pytest.raises(DeadlineExceeded):
        await rounds.run_once()
    assert log.asked == ["a"]


async def test_a_branch_that_ends_each_round_does_not_starve_the_others() -> None:
    branches = Branches("a", "b", "c")
    rounds = recovery(branches, LogFrozenFor("a"), follows=True)
    await run(rounds, 2)
    assert branches.gids == ("a",)
