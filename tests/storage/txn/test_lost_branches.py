"""A branch is lost outside the protocol, and its debit is redone exactly once.

The first side is the real account side, with wallets and a ledger. The test rolls back its
branch after the decision. A failover to a standby that lacks the branch has the same effect.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)
from structlog.testing import capture_logs
from structlog.typing import EventDict

from account_svc.domain.accounts import NewPlayer, Registration
from account_svc.domain.debits import PULL, Debit
from account_svc.domain.wallets import BalanceChange
from account_svc.storage import accounts, wallets
from account_svc.use_cases.debits import apply_debits
from mesh.deadlines import Deadline
from mesh.errors import Aborted, DataLoss, InDoubt
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.coordinator import Committed, Coordinator, OperationPair
from mesh.txn.decisions import MAX_LISTED, DecisionLog
from mesh.txn.model import No, Operation, RedoRefused
from mesh.txn.participant import Participant
from mesh.txn.recovery import MAX_ALARMS, BranchRecovery, DecisionRecovery
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.txn.transaction_cluster import TABLE, Local, Wire, WiredLog, apply

GEMS, PRICE = 200, 160


class Account(Local):
    """The account's participant, whose operations are debits."""

    def written(self, operations: Sequence[Operation[object]]) -> bytes:
        debits = [(each.id, each.body) for each in operations]
        return json.dumps(
            [[key, debit.user_id, debit.amount_gems] for key, debit in debits]  # type: ignore[attr-defined]
        ).encode()

    async def redo(self, gid: str, written: bytes, deadline: Deadline) -> None:
        debits = [Operation(key, Debit(user, gems)) for key, user, gems in json.loads(written)]
        await self._wire.carry("redo", lambda: self._participant.redo(gid, debits))  # type: ignore[arg-type]


class DebitCluster:
    """Players who pay in one database for pulls in the other."""

    def __init__(self, account: Database, gacha: Database) -> None:
        self.account, self.gacha = account, gacha
        self.first = Participant(account, "first", apply_debits)
        self.second = Participant(gacha, "second", apply)
        self.decisions = DecisionLog(gacha)

    def coordinator(self, wire: Wire) -> Coordinator:
        first, second = Account("first", self.first, wire), Local("second", self.second, wire)  # type: ignore[arg-type]
        return Coordinator("coordinator-1", first, second, WiredLog(self.gacha, wire))

    def recovery(
        self,
        min_age_seconds: float = 0,
        *,
        max_alarms: int = MAX_ALARMS,
        max_listed: int = MAX_LISTED,
    ) -> DecisionRecovery:
        wire = Wire()
        first, second = Account("first", self.first, wire), Local("second", self.second, wire)  # type: ignore[arg-type]
        return DecisionRecovery(
            self.coordinator(wire),
            DecisionLog(self.gacha, max_listed=max_listed),
            first,
            second,
            min_age_seconds=min_age_seconds,
            max_alarms=max_alarms,
        )

    async def new_player(self, gems: int = GEMS) -> str:
        user_id = str(uuid4())
        name = f"player-{user_id[:8]}"

        def insert(cursor: Cursor) -> None:
            player = NewPlayer(name, f"{name}@x")
            request = Registration(str(uuid4()), player.username, player.email)
            accounts.insert_player(cursor, user_id, request, player, "hash")
            if gems:
                bought = BalanceChange(str(uuid4()), user_id, "purchase", gems)
                wallets.change_balances(cursor, [bought])

        await self.account.transaction(insert)
        return user_id

    async def decide_and_die(self, *works: OperationPair) -> str:
        """Runs a transaction whose coordinator dies when the decision is durable."""
        wire = Wire(strike_at=3, strike="ended after")
        running = asyncio.create_task(self.coordinator(wire).run(works, Deadline.after(5)))
        await wire.ended.wait()
        running.cancel()
        (branch,) = await self.first.branches(0)
        return branch.gid

    async def lose(self, gid: str) -> None:
        await self.account.autocommit(
            lambda cursor: cursor.execute("ROLLBACK PREPARED %s", (f"first/{gid}",))
        )

    async def spend(self, user_id: str, gems: int) -> None:
        spent = BalanceChange(str(uuid4()), user_id, PULL, -gems)
        await self.account.transaction(lambda cursor: wallets.change_balances(cursor, [spent]))

    async def balance(self, user_id: str) -> int | None:
        found = await self.account.autocommit(
            lambda cursor: wallets.find_wallets(cursor, [user_id])
        )
        return found[user_id].balance_gems if user_id in found else None

    async def debits(self, user_id: str) -> list[tuple[str, int]]:
        entries = await self.account.autocommit(
            lambda cursor: wallets.list_ledger(cursor, user_id, None, 100)
        )
        return [(each.operation_id, each.amount_gems) for each in entries if each.kind == PULL]

    async def given(self) -> set[str]:
        def select(cursor: Cursor) -> set[str]:
            cursor.execute("SELECT id::text FROM applied")
            return {operation_id for (operation_id,) in cursor.fetchall()}

        return await self.gacha.autocommit(select)

    async def open_gids(self) -> list[str]:
        return await self.decisions.open_gids()


@pytest.fixture
def databases(shared_database: MakeDatabase, repository: Path) -> tuple[Database, Database]:
    return (
        shared_database("lost_account", migrations_of(repository, "account_svc")),
        shared_database("lost_gacha", branches.SCHEMA + TABLE + decision_log.SCHEMA),
    )


@pytest.fixture
async def cluster(databases: tuple[Database, Database]) -> DebitCluster:
    for database in databases:
        await empty(database)
    return DebitCluster(*databases)


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


def errors(logs: list[EventDict]) -> list[str]:
    return [entry["event"] for entry in logs if entry["log_level"] == "error"]


def pull(user_id: str, gems: int = PRICE) -> OperationPair:
    return OperationPair(str(uuid4()), user_id, Debit(user_id, gems), user_id)


async def test_a_lost_branch_is_redone_from_its_decision_and_then_the_second_commits(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    users = [await cluster.new_player() for _ in range(3)]
    works = [pull(user_id) for user_id in users]
    gid = await cluster.decide_and_die(*works)
    await cluster.lose(gid)
    await cluster.recovery().run_once()
    for user_id, work in zip(users, works, strict=True):
        assert await cluster.balance(user_id) == GEMS - PRICE
        assert await cluster.debits(user_id) == [(work.id, -PRICE)]
    assert await cluster.given() == {work.id for work in works}
    assert await cluster.open_gids() == []
    assert errors(logs) == ["redo_lost_branch"], "a person wants to know what the database forgot"


async def test_the_decision_keeps_the_operations_until_it_is_done(cluster: DebitCluster) -> None:
    gid = await cluster.decide_and_die(pull(await cluster.new_player()))
    assert await cluster.decisions.operations(gid)
    await cluster.recovery().run_once()
    assert await cluster.decisions.operations(gid) is None


async def test_only_funded_operations_are_redone(cluster: DebitCluster) -> None:
    rich, poor = await cluster.new_player(), await cluster.new_player(gems=0)
    paid, unpaid = pull(rich), pull(poor)
    gid = await cluster.decide_and_die(paid, unpaid)
    await cluster.lose(gid)
    await cluster.recovery().run_once()
    assert await cluster.given() == {paid.id}
    assert await cluster.debits(poor) == []


async def test_a_redo_that_is_repeated_takes_nothing_twice(cluster: DebitCluster) -> None:
    user_id = await cluster.new_player(gems=10 * PRICE)
    work = pull(user_id)
    gid = await cluster.decide_and_die(work)
    await cluster.lose(gid)
    debit = Operation(work.id, Debit(user_id, PRICE))
    for _ in range(3):
        await cluster.first.redo(gid, [debit])
    assert await cluster.debits(user_id) == [(work.id, -PRICE)]


async def test_any_number_of_recoverers_may_redo_at_the_same_time(cluster: DebitCluster) -> None:
    users = [await cluster.new_player(gems=10 * PRICE) for _ in range(4)]
    works = [pull(user_id) for user_id in users]
    gid = await cluster.decide_and_die(*works)
    await cluster.lose(gid)
    await asyncio.gather(*(cluster.recovery().run_once() for _ in range(5)))
    await cluster.recovery().run_once()
    for user_id, work in zip(users, works, strict=True):
        assert await cluster.debits(user_id) == [(work.id, -PRICE)]
    assert await cluster.given() == {work.id for work in works}
    assert await cluster.open_gids() == []


async def test_spent_money_is_not_taken_and_the_redo_changes_nothing(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    broke, other = await cluster.new_player(), await cluster.new_player()
    works = [pull(broke), pull(other)]
    gid = await cluster.decide_and_die(*works)
    await cluster.lose(gid)
    await cluster.spend(broke, GEMS)
    for _ in range(2):
        await cluster.recovery().run_once()
    assert await cluster.balance(other) == GEMS, "all of the branch or nothing"
    assert await cluster.given() == set(), "nobody sees the second before the first"
    assert await cluster.open_gids() == [gid], "it stays on the list"
    complaints = [entry for entry in logs if entry["event"] == "fail_decision_recovery"]
    assert len(complaints) == 2, "once in each round"
    assert complaints[0]["reason"] == "REDO_REFUSED"
    assert f"{works[0].id} INSUFFICIENT_CURRENCY" in complaints[0]["message"]
    assert works[1].id not in complaints[0]["message"]

    with pytest.raises(RedoRefused) as refused:
        await cluster.first.redo(gid, [Operation(works[0].id, Debit(broke, PRICE))])
    assert refused.value.metadata == {works[0].id: "INSUFFICIENT_CURRENCY"}

    # A person gives the player the gems, and recovery completes the pull.
    given = BalanceChange(str(uuid4()), broke, "purchase", PRICE)
    await cluster.account.transaction(lambda cursor: wallets.change_balances(cursor, [given]))
    await cluster.recovery().run_once()
    assert await cluster.given() == {work.id for work in works}
    assert (await cluster.balance(broke), await cluster.balance(other)) == (0, GEMS - PRICE)


async def test_a_wallet_that_another_pull_holds_postpones_the_redo(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    user_id = await cluster.new_player(gems=2 * PRICE)
    gid = await cluster.decide_and_die(pull(user_id))
    await cluster.lose(gid)
    holding = await cluster.decide_and_die(pull(user_id))
    with pytest.raises(Aborted, match="holds what a lost branch needs"):
        await cluster.first.redo(gid, [Operation(str(uuid4()), Debit(user_id, PRICE))])
    await cluster.recovery().run_once()
    await cluster.recovery().run_once()
    assert await cluster.balance(user_id) == 0
    assert await cluster.open_gids() == []
    assert holding not in await cluster.open_gids()
    assert errors(logs) == ["redo_lost_branch"], "to wait for a lock is no alarm"


async def test_a_branch_that_is_still_prepared_is_not_redone_beside_itself(
    cluster: DebitCluster,
) -> None:
    user_id = await cluster.new_player(gems=2 * PRICE)
    work = pull(user_id)
    gid = await cluster.decide_and_die(work)
    with pytest.raises(Aborted):
        await cluster.first.redo(gid, [Operation(work.id, Debit(user_id, PRICE))])
    await cluster.recovery().run_once()
    assert await cluster.debits(user_id) == [(work.id, -PRICE)]


async def test_an_aborted_transaction_is_never_redone(cluster: DebitCluster) -> None:
    user_id = await cluster.new_player()
    work = pull(user_id)
    gid = await cluster.decide_and_die(work)
    await cluster.first.abort(gid)
    with pytest.raises(DataLoss):
        await cluster.first.redo(gid, [Operation(work.id, Debit(user_id, PRICE))])
    assert await cluster.debits(user_id) == []


async def test_a_gid_that_was_forgotten_after_its_branch_took_effect_is_found_applied(
    cluster: DebitCluster,
) -> None:
    user_id = await cluster.new_player(gems=10 * PRICE)
    work = pull(user_id)
    gid = await cluster.decide_and_die(work)
    await cluster.first.commit(gid)
    await cluster.account.autocommit(lambda cursor: cursor.execute("DELETE FROM tx_branch"))
    await cluster.recovery().run_once()
    assert await cluster.debits(user_id) == [(work.id, -PRICE)]
    assert await cluster.given() == {work.id}
    assert await cluster.open_gids() == []


async def test_a_coordinator_that_finds_its_branch_lost_promises_nothing(
    cluster: DebitCluster,
) -> None:
    user_id = await cluster.new_player()
    work = pull(user_id)

    class Forgetful(Wire):
        async def carry(self, name: str, deliver: Callable[[], object]) -> object:
            if name == "commit first":
                (branch,) = await cluster.first.branches(0)
                await cluster.lose(branch.gid)
            return await super().carry(name, deliver)

    with pytest.raises(InDoubt):
        await cluster.coordinator(Forgetful()).run([work], Deadline.after(5))
    await cluster.recovery().run_once()
    again = await cluster.coordinator(Wire()).run([work], Deadline.after(5))
    assert again[work.id] == No("DUPLICATE"), "the same idempotency key tells that it was done"
    assert await cluster.debits(user_id) == [(work.id, -PRICE)]


async def test_a_second_branch_that_is_missing_is_an_alarm_and_is_not_redone(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    work = pull(await cluster.new_player())
    gid = await cluster.decide_and_die(work)
    await cluster.gacha.autocommit(
        lambda cursor: cursor.execute("ROLLBACK PREPARED %s", (f"second/{gid}",))
    )
    await cluster.recovery().run_once()
    assert errors(logs) == ["lose_branch"]
    assert await cluster.open_gids() == [gid]
    assert await cluster.given() == set()


async def test_a_redo_that_fails_is_logged_a_bounded_number_of_times_and_delays_no_other(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    lost = []
    for _ in range(4):
        user_id = await cluster.new_player()
        lost.append(await cluster.decide_and_die(pull(user_id)))
        await cluster.lose(lost[-1])
        await cluster.spend(user_id, GEMS)
    behind = pull(await cluster.new_player())
    await cluster.decide_and_die(behind)
    recovering = cluster.recovery(max_alarms=2, max_listed=3)
    await recovering.run_once()
    assert errors(logs) == [*["fail_decision_recovery"] * 2, "fail_more_decision_recoveries"]
    assert await cluster.given() == set()
    await recovering.run_once()
    assert await cluster.given() == {behind.id}, "four that are stuck fill a page, but not the next"


async def test_branch_recovery_leaves_a_lost_branch_to_the_decisions_recovery(
    cluster: DebitCluster,
) -> None:
    work = pull(await cluster.new_player())
    gid = await cluster.decide_and_die(work)
    await cluster.lose(gid)
    for participant, commits in ((cluster.first, True), (cluster.second, False)):
        await BranchRecovery(
            participant, cluster.decisions, commits=commits, min_age_seconds=0
        ).run_once()
    assert [branch.gid for branch in await cluster.second.branches(0)] == [gid]
    await cluster.recovery().run_once()
    assert await cluster.given() == {work.id}


async def test_a_transaction_that_is_whole_leaves_no_operations_behind(
    cluster: DebitCluster,
) -> None:
    user_id = await cluster.new_player()
    coordinator = cluster.coordinator(Wire())
    answers = await coordinator.run([pull(user_id)], Deadline.after(5))
    assert [type(answer) for answer in answers.values()] == [Committed]
    await cluster.decisions.mark_done(coordinator.take_done())

    def kept(cursor: Cursor) -> list[tuple[object, ...]]:
        cursor.execute("SELECT first_operations FROM tx_decision")
        return cursor.fetchall()

    assert await cluster.gacha.autocommit(kept) == [(None,)]
