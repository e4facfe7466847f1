"""A first branch is lost outside the protocol, and its debit is redone exactly once.

The first side is the real account side, with wallets and a ledger. The test rolls back its
branch after the decision. A failover to a standby that lacks the branch has the same effect.
The items are given by then, so gems that were spent meanwhile become a debt.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict

from account_svc.domain.debits import OWED_PULL, PULL, Debit
from account_svc.domain.wallets import WALLET_IN_DEBT, Wallet
from mesh.deadlines import Deadline
from mesh.errors import Aborted, DataLoss
from mesh.postgres.database import Database
from mesh.txn import decisions as decision_log
from mesh.txn import participant as branches
from mesh.txn.model import No, Operation, RedoRefused
from mesh.txn.recovery import BranchRecovery
from mesh.txn.sides import Committed
from tests.storage.conftest import MakeDatabase, empty, migrations_of
from tests.storage.txn.debit_cluster import GEMS, PRICE, DebitCluster, pull
from tests.storage.txn.transaction_cluster import TABLE, Wire


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


async def test_a_lost_branch_is_redone_from_its_decision(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    users = [await cluster.new_player() for _ in range(3)]
    works = [pull(user_id) for user_id in users]
    gid = await cluster.decide_and_die(*works)
    assert await cluster.given() == {work.id for work in works}, "the decision gives the items"
    await cluster.lose(gid)
    await cluster.recovery().run_once()
    for user_id, work in zip(users, works, strict=True):
        assert await cluster.wallet(user_id) == Wallet(GEMS - PRICE, 0)
        assert await cluster.debits(user_id) == [(OWED_PULL, work.id, -PRICE)]
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
    assert await cluster.debits(rich) == [(OWED_PULL, paid.id, -PRICE)]
    assert await cluster.debits(poor) == []
    assert await cluster.wallet(poor) == Wallet(0, 0)


async def test_a_redo_that_is_repeated_takes_nothing_twice(cluster: DebitCluster) -> None:
    user_id = await cluster.new_player(gems=10 * PRICE)
    work = pull(user_id)
    gid = await cluster.decide_and_die(work)
    await cluster.lose(gid)
    debit = Operation(work.id, Debit(user_id, PRICE))
    for _ in range(3):
        await cluster.first.redo(gid, [debit])
    assert await cluster.debits(user_id) == [(OWED_PULL, work.id, -PRICE)]


async def test_any_number_of_recoverers_may_redo_at_the_same_time(cluster: DebitCluster) -> None:
    users = [await cluster.new_player() for _ in range(4)]
    works = [pull(user_id) for user_id in users]
    gid = await cluster.decide_and_die(*works)
    await cluster.lose(gid)
    await cluster.change(users[0], PULL, -GEMS)
    await asyncio.gather(*(cluster.recovery().run_once() for _ in range(5)))
    await cluster.recovery().run_once()
    for user_id, work in zip(users, works, strict=True):
        assert (OWED_PULL, work.id, -PRICE) in await cluster.debits(user_id)
    assert await cluster.wallet(users[0]) == Wallet(0, PRICE), "it owes the price once"
    assert await cluster.wallet(users[1]) == Wallet(GEMS - PRICE, 0)
    assert await cluster.open_gids() == []


@pytest.mark.parametrize("spent", [GEMS, GEMS - 30], ids=["all is spent", "a part is spent"])
async def test_spent_gems_become_a_debt_that_the_next_purchase_pays(
    cluster: DebitCluster, spent: int
) -> None:
    broke, other = await cluster.new_player(), await cluster.new_player()
    works = [pull(broke), pull(other)]
    gid = await cluster.decide_and_die(*works)
    await cluster.lose(gid)
    await cluster.change(broke, PULL, -spent)
    await cluster.recovery().run_once()
    debt = PRICE + spent - GEMS
    assert await cluster.wallet(broke) == Wallet(0, debt)
    assert (await cluster.debits(broke))[0] == (OWED_PULL, works[0].id, -PRICE)
    assert await cluster.wallet(other) == Wallet(GEMS - PRICE, 0)
    assert await cluster.open_gids() == []

    # A wallet that owes pays for nothing else.
    again = pull(broke, gems=1)
    refused = (await cluster.coordinator(Wire()).run([again], Deadline.after(5)))[again.id]
    assert isinstance(refused, No)
    assert (refused.reason, refused.metadata) == (WALLET_IN_DEBT, {"debt_gems": str(debt)})
    # What comes in pays the debt first.
    await cluster.change(broke, "purchase", debt - 1)
    assert await cluster.wallet(broke) == Wallet(0, 1)
    await cluster.change(broke, "purchase", 1 + PRICE)
    assert await cluster.wallet(broke) == Wallet(PRICE, 0)
    again = pull(broke)
    answers = await cluster.coordinator(Wire()).run([again], Deadline.after(5))
    assert answers == {again.id: Committed(0, broke)}


async def test_a_debit_of_a_player_who_is_lost_too_is_left_to_a_person(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    gone, other = await cluster.new_player(), await cluster.new_player()
    works = [pull(gone), pull(other)]
    gid = await cluster.decide_and_die(*works)
    await cluster.lose(gid)
    await cluster.lose_player(gone)
    for _ in range(2):
        await cluster.recovery().run_once()
    assert await cluster.wallet(other) == Wallet(GEMS, 0), "all of the branch or nothing"
    assert await cluster.open_gids() == [gid], "it stays on the list"
    complaints = [entry for entry in logs if entry["event"] == "fail_decision_recovery"]
    assert len(complaints) == 2, "once in each round"
    assert complaints[0]["reason"] == "REDO_REFUSED"
    assert f"{works[0].id} USER_NOT_FOUND" in complaints[0]["message"]
    assert works[1].id not in complaints[0]["message"]

    with pytest.raises(RedoRefused) as refused:
        await cluster.first.redo(gid, [Operation(works[0].id, Debit(gone, PRICE))])
    assert refused.value.metadata == {works[0].id: "USER_NOT_FOUND"}

    # A person brings the player back, and recovery ends the transaction.
    await cluster.new_player(gems=0, user_id=gone)
    await cluster.recovery().run_once()
    assert await cluster.open_gids() == []
    assert await cluster.wallet(gone) == Wallet(0, PRICE)
    assert await cluster.wallet(other) == Wallet(GEMS - PRICE, 0)


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
    assert await cluster.wallet(user_id) == Wallet(0, 0)
    assert holding not in await cluster.open_gids()
    assert await cluster.open_gids() == []
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
    assert await cluster.debits(user_id) == [(PULL, work.id, -PRICE)]


async def test_a_first_branch_that_was_aborted_against_the_decision_is_an_alarm_and_not_redone(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    user_id = await cluster.new_player()
    work = pull(user_id)
    gid = await cluster.decide_and_die(work)
    await cluster.first.abort(gid)
    with pytest.raises(DataLoss):
        await cluster.first.redo(gid, [Operation(work.id, Debit(user_id, PRICE))])
    await cluster.recovery().run_once()
    assert errors(logs) == ["lose_branch"]
    assert await cluster.open_gids() == [gid]
    assert await cluster.debits(user_id) == []

    # A person removes the tombstone, and recovery makes the debit again.
    await cluster.account.autocommit(
        lambda cursor: cursor.execute("DELETE FROM tx_branch WHERE gid = %s AND aborted", (gid,))
    )
    await cluster.recovery().run_once()
    assert await cluster.debits(user_id) == [(OWED_PULL, work.id, -PRICE)]
    assert await cluster.open_gids() == []


async def test_a_gid_that_was_forgotten_after_its_branch_took_effect_is_found_applied(
    cluster: DebitCluster,
) -> None:
    user_id = await cluster.new_player(gems=10 * PRICE)
    work = pull(user_id)
    gid = await cluster.decide_and_die(work)
    await cluster.first.commit(gid)
    await cluster.account.autocommit(lambda cursor: cursor.execute("DELETE FROM tx_branch"))
    await cluster.recovery().run_once()
    assert await cluster.debits(user_id) == [(PULL, work.id, -PRICE)]
    assert await cluster.open_gids() == []


async def test_a_coordinator_that_finds_the_first_branch_lost_answers_by_the_decision(
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

    answers = await cluster.coordinator(Forgetful()).run([work], Deadline.after(5))
    assert answers == {work.id: Committed(GEMS - PRICE, user_id)}
    await cluster.recovery().run_once()
    again = await cluster.coordinator(Wire()).run([work], Deadline.after(5))
    assert again[work.id] == No("DUPLICATE"), "the same idempotency key tells that it was done"
    assert await cluster.debits(user_id) == [(OWED_PULL, work.id, -PRICE)]


async def test_a_second_branch_that_is_lost_before_the_decision_makes_an_abort_and_a_new_start(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    user_id = await cluster.new_player()
    work = pull(user_id)

    class Forgetful(Wire):
        async def carry(self, name: str, deliver: Callable[[], object]) -> object:
            if name == "commit second" and name not in self.seen:
                (branch,) = await cluster.second.branches(0)
                await cluster.gacha.autocommit(
                    lambda cursor: cursor.execute("ROLLBACK PREPARED %s", (f"second/{branch.gid}",))
                )
            return await super().carry(name, deliver)

    wire = Forgetful()
    answers = await cluster.coordinator(wire).run([work], Deadline.after(5))
    assert answers == {work.id: Committed(GEMS - PRICE, user_id)}
    assert wire.seen.count("commit first") == 1
    assert await cluster.debits(user_id) == [(PULL, work.id, -PRICE)]
    assert await cluster.first.branches(0) == []
    assert errors(logs) == []


async def test_a_redo_that_fails_is_logged_a_bounded_number_of_times_and_delays_no_other(
    cluster: DebitCluster, logs: list[EventDict]
) -> None:
    for _ in range(4):
        user_id = await cluster.new_player()
        await cluster.lose(await cluster.decide_and_die(pull(user_id)))
        await cluster.lose_player(user_id)
    behind = await cluster.new_player()
    await cluster.decide_and_die(pull(behind))
    recovering = cluster.recovery(max_alarms=2, max_listed=3)
    await recovering.run_once()
    assert errors(logs) == [*["fail_decision_recovery"] * 2, "fail_more_decision_recoveries"]
    assert await cluster.debits(behind) == []
    await recovering.run_once()
    assert len(await cluster.debits(behind)) == 1, "four that are stuck fill a page, not the next"


async def test_branch_recovery_leaves_a_lost_branch_to_the_decisions_recovery(
    cluster: DebitCluster,
) -> None:
    user_id = await cluster.new_player()
    gid = await cluster.decide_and_die(pull(user_id))
    await cluster.lose(gid)
    for participant, follows in ((cluster.first, True), (cluster.second, False)):
        await BranchRecovery(
            participant, cluster.decisions, follows=follows, min_age_seconds=0
        ).run_once()
    assert await cluster.open_gids() == [gid]
    assert await cluster.debits(user_id) == []
    await cluster.recovery().run_once()
    assert len(await cluster.debits(user_id)) == 1


async def test_a_transaction_that_is_whole_leaves_no_operations_behind(
    cluster: DebitCluster,
) -> None:
    user_id = await cluster.new_player()
    coordinator = cluster.coordinator(Wire())
    answers = await coordinator.run([pull(user_id)], Deadline.after(5))
    assert [type(answer) for answer in answers.values()] == [Committed]
    done = coordinator.take_done()
    assert set(await cluster.open_gids()) == done
    await cluster.decisions.mark_done(done)
    assert await cluster.open_gids() == []
