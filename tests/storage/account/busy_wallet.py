"""A wallet that is never free at any moment, as that of a player who pulls all the time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.database import Database
from tests.storage.holding import held

HOLD_SECONDS = 0.03


@asynccontextmanager
async def busy_wallet(database: Database, user_id: str) -> AsyncIterator[None]:
    """Within the context two transactions take turns to hold the wallet, without a gap: each
    waits for the lock while the other has it."""

    def lock(cursor: Cursor) -> None:
        cursor.execute("SELECT 1 FROM wallet WHERE user_id = %s FOR UPDATE", (user_id,))

    async def keep_holding() -> None:
        while not is_over:
            async with held(database, lock):
                is_held.set()
                await asyncio.sleep(HOLD_SECONDS)

    is_over, is_held = False, asyncio.Event()
    holders = [asyncio.create_task(keep_holding()) for _ in range(2)]
    try:
        await is_held.wait()
        yield
    finally:
        is_over = True
        await asyncio.gather(*holders)
