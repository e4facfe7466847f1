"""A kind of saga for tests, over one database."""

import asyncio
from collections.abc import Callable

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.deadlines import Deadline
from mesh.postgres.database import Database
from mesh.saga import rows, turns
from mesh.saga.definition import (
    Definition,
    Move,
    NewSaga,
    PlainMove,
    Saga,
    State,
    Transition,
)
from mesh.saga.runner import SagaLimits, SagaRunner

OWNER = "mira"
SAGA_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
QUICK = SagaLimits(
    step_seconds=0.5,
    lease_seconds=0.3,
    first_pause_seconds=0.01,
    longest_pause_seconds=0.02,
    max_attempts=3,
)
SCHEMA = f"{rows.SCHEMA}{turns.SCHEMA}CREATE TABLE effect (name text PRIMARY KEY)"


class OrderSaga:
    """A saga that calls an outside service, and then makes its own change."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.asked: list[str] = []
        self.outside: Callable[[], object] = lambda: None
        self.definition = Definition(
            "order",
            "ASKING",
            {
                "ASKING": State(self.ask, {"AGREED", "REFUSED"}),
                "AGREED": State(self.settle, {"SETTLED", "UNDOING"}),
                "UNDOING": State(self.undo, {"UNDONE"}),
            },
        )

    async def ask(self, saga: Saga, deadline: Deadline) -> PlainMove:
        self.asked.append(saga.saga_id)
        self.outside()
        await asyncio.sleep(0)
        return PlainMove("AGREED", {"answer": len(self.asked)})

    async def settle(self, saga: Saga, deadline: Deadline) -> Move:
        def apply(cursor: Cursor) -> str:
            if saga.body.get("impossible"):
                return "UNDOING"
            cursor.execute("INSERT INTO effect VALUES ('settled')")
            return "SETTLED"

        return Move(apply)

    async def undo(self, saga: Saga, deadline: Deadline) -> PlainMove:
        return PlainMove("UNDONE")

    def runner(self, **options: object) -> SagaRunner:
        return SagaRunner(self.database, [self.definition], limits=QUICK, **options)  # type: ignore[arg-type]

    async def begun(self, runner: SagaRunner, **body: object) -> Saga:
        saga = await self.database.transaction(
            lambda cursor: runner.begin(cursor, "order", NewSaga(SAGA_ID, OWNER, body))
        )
        assert saga is not None
        return saga

    def transition(self, saga: Saga, state: str = "AGREED") -> Callable[[Cursor], Saga]:
        return lambda cursor: rows.move(
            cursor, self.definition, Transition(saga, state), lease_seconds=60.0
        )

    async def effects(self) -> int:
        def count(cursor: Cursor) -> int:
            cursor.execute("SELECT count(*) FROM effect")
            return int((cursor.fetchone() or (0,))[0])

        return await self.database.autocommit(count)

    async def state(self, runner: SagaRunner) -> Saga:
        saga = await runner.find(SAGA_ID)
        assert saga is not None
        return saga

    async def until(self, runner: SagaRunner, reached: Callable[[Saga], bool]) -> Saga:
        """Runs due sagas until the saga has the expected state."""
        async with asyncio.timeout(5):
            while not reached(saga := await self.state(runner)):
                await runner.run_once()
                await asyncio.sleep(0.01)
        return saga
