"""A coordinator over the real account database and one for items; the test can lose branches."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import NewPlayer, Registration
from account_svc.domain.debits import OWED_PULL, PULL, Debit
from account_svc.domain.wallets import BalanceChange, Wallet
from account_svc.storage import accounts, wallets
from account_svc.use_cases.debits import apply_debits, apply_owed_debits
from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.txn.coordinator import Coordinator
from mesh.txn.decisions import DecisionLog
from mesh.txn.model import MAX_LISTED, Operation
from mesh.txn.participant import Participant
from mesh.txn.recovery import MAX_ALARMS, DecisionRecovery
from mesh.txn.sides import OperationPair
from tests.storage.conftest import as_owner
from tests.storage.txn.transaction_cluster import (
    Wire,
    WiredFirst,
    WiredSecond,
    apply,
    run_until_killed,
)

GEMS, PRICE = 200, 160


class Account(WiredFirst):
    """The account's participant, whose operations are debits."""

    def written(self, operations: Sequence[Operation[Any]]) -> bytes:
        return json.dumps(
            [[each.id, each.body.user_id, each.body.amount_gems] for each in operations]
        ).encode()

    def read(self, written: bytes) -> list[Operation[Any]]:
        return [Operation(key, Debit(user, gems)) for key, user, gems in json.loads(written)]


class WireOfTheDying(Wire):
    """Kills the coordinator when the decision is durable."""

    async def carry(self, name: str, deliver: Callable[[], object]) -> object:
        answer = await super().carry(name, deliver)
        if name == "commit second":
            await self.end()
        return answer


class DebitCluster:
    """Players who pay in one database for pulls in the other."""

    def __init__(self, account: Database, gacha: Database) -> None:
        self.account, self.gacha = account, gacha
        self.first = Participant(account, "first", apply_debits, apply_again=apply_owed_debits)
        self.second = Participant(gacha, "second", apply, decides=True)
        self.decisions = DecisionLog(gacha, self.second)

    def coordinator(self, wire: Wire) -> Coordinator:
        first, second = Account(self.first, wire), WiredSecond(self.second, wire)
        return Coordinator("coordinator-1", first, second)

    def recovery(
        self,
        min_age_seconds: float = 0,
        *,
        max_alarms: int = MAX_ALARMS,
        max_listed: int = MAX_LISTED,
    ) -> DecisionRecovery:
        wire = Wire()
        return DecisionRecovery(
            self.coordinator(wire),
            DecisionLog(self.gacha, self.second, max_listed=max_listed),
            Account(self.first, wire),
            min_age_seconds=min_age_seconds,
            max_alarms=max_alarms,
        )

    async def new_player(self, gems: int = GEMS, user_id: str = "") -> str:
        user_id = user_id or str(uuid4())
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
        before = await self.decisions.open_gids()
        wire = WireOfTheDying()
        running = asyncio.create_task(self.coordinator(wire).run(works, Deadline.after(5)))
        await run_until_killed(running, wire)
        (gid,) = set(await self.decisions.open_gids()) - set(before)
        return gid

    async def lose(self, gid: str) -> None:
        await self.account.autocommit(
            lambda cursor: cursor.execute("ROLLBACK PREPARED %s", (f"first/{gid}",))
        )

    async def lose_player(self, user_id: str) -> None:
        """As a restored backup that is older than the player."""

        def delete(cursor: Cursor) -> None:
            cursor.execute("BEGIN")
            for table in ("wallet", "ledger", "player"):
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
                cursor.execute(f"DELETE FROM {table} WHERE user_id = %s", (user_id,))
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            cursor.execute("COMMIT")

        await as_owner(self.account, delete)

    async def change(self, user_id: str, kind: str, gems: int) -> None:
        change = BalanceChange(str(uuid4()), user_id, kind, gems)
        await self.account.transaction(lambda cursor: wallets.change_balances(cursor, [change]))

    async def wallet(self, user_id: str) -> Wallet:
        found = await self.account.autocommit(
            lambda cursor: wallets.find_wallets(cursor, [user_id])
        )
        return found[user_id]

    async def debits(self, user_id: str) -> list[tuple[str, str, int]]:
        """The player's debits of pulls, newest first: kind, operation and gems."""
        entries = await self.account.autocommit(
            lambda cursor: wallets.list_ledger(cursor, user_id, None, 100)
        )
        return [
            (each.kind, each.operation_id, each.amount_gems)
            for each in entries
            if each.kind in (PULL, OWED_PULL)
        ]

    async def given(self) -> set[str]:
        def select(cursor: Cursor) -> set[str]:
            cursor.execute("SELECT id::text FROM applied")
            return {operation_id for (operation_id,) in cursor.fetchall()}

        return await self.gacha.autocommit(select)

    async def open_gids(self) -> list[str]:
        return await self.decisions.open_gids()


def pull(user_id: str, gems: int = PRICE) -> OperationPair:
    return OperationPair(str(uuid4()), user_id, Debit(user_id, gems), user_id)
