"""Removes old rows in the background, a bounded number in each transaction and each round.

Any number of instances may run it at once: the statements skip rows that others are removing.
"""

import time
from collections.abc import Callable, Sequence

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database

SECONDS_BETWEEN_ROUNDS = 60.0
ROWS_A_TRANSACTION = 500
TRANSACTIONS_A_ROUND = 20
Forget = Callable[[Cursor, int], int]
"""Removes up to that many old rows, and returns how many. It runs in a transaction of its own."""


class Retention:
    """Runs some removals periodically."""

    def __init__(
        self,
        database: Database,
        removals: Sequence[Forget],
        *,
        clock: Callable[[], float] = time.monotonic,
        rows_a_transaction: int = ROWS_A_TRANSACTION,
        transactions_a_round: int = TRANSACTIONS_A_ROUND,
    ) -> None:
        """`clock` is in seconds. Both bounds apply to each removal."""
        self._database = database
        self._removals = tuple(removals)
        self._clock = clock
        self._rows_a_transaction = rows_a_transaction
        self._transactions_a_round = transactions_a_round
        self._next_round_at = clock()

    async def run_once(self) -> None:
        """Runs a round, unless one began within SECONDS_BETWEEN_ROUNDS. Call it about every
        second. Raises MeshError; the next round goes on."""
        now = self._clock()
        if now < self._next_round_at:
            return
        self._next_round_at = now + SECONDS_BETWEEN_ROUNDS
        for removal in self._removals:
            await self._run(removal)

    async def _run(self, removal: Forget) -> None:
        for _ in range(self._transactions_a_round):
            removed_count = await self._database.autocommit(
                lambda cursor: removal(cursor, self._rows_a_transaction)
            )
            if removed_count < self._rows_a_transaction:
                return
