"""A webhook makes the saga of its charge due, on a real PostgreSQL, and does nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import orjson
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.payments.sandbox import SIGNATURE_TOLERANCE_SECONDS, SandboxProvider
from account_svc.domain.payments import BadSignature
from account_svc.use_cases.payment_events import PaymentEvents
from mesh.errors import InvalidArgument
from mesh.postgres.database import Database
from mesh.saga import rows, turns
from mesh.saga.definition import NewSaga, Saga
from tests.storage.conftest import MakeDatabase, empty
from tests.unit.payments.running import WEBHOOK_SECRET, signature

SAGA_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
LATER_SECONDS = 3600.0


class EventReceiver:
    """The use case with the real parser of the sandbox's webhooks, and one saga."""

    def __init__(self, database: Database, provider: SandboxProvider) -> None:
        self.database = database
        self.events = PaymentEvents(database, provider)

    async def has_saga(self, *, pause_seconds: float | None = LATER_SECONDS) -> None:
        """Adds a saga without a lease: due after that time, or parked."""
        saga = await self.has_leased_saga()
        await self.database.autocommit(
            lambda cursor: rows.postpone(cursor, saga, "PENDING", 1, pause_seconds)
        )

    async def has_leased_saga(self) -> Saga:
        sagas = await self.database.autocommit(
            lambda cursor: rows.insert(
                cursor, "purchase", "CHARGING", [NewSaga(SAGA_ID, "mira")], LATER_SECONDS
            )
        )
        return sagas[SAGA_ID]

    async def is_due(self) -> bool:
        """Whether a runner would run it now."""
        due = await self.database.autocommit(
            lambda cursor: turns.lease_due(
                cursor, ["purchase"], 10, LATER_SECONDS, driven={}, max_of_owner=10
            )
        )
        return [saga.saga_id for saga in due] == [SAGA_ID]

    async def rows(self) -> list[tuple[object, ...]]:
        def select(cursor: Cursor) -> list[tuple[object, ...]]:
            cursor.execute("SELECT * FROM saga")
            return cursor.fetchall()

        return await self.database.autocommit(select)


@pytest.fixture(scope="module")
def schema(shared_database: MakeDatabase) -> Database:
    return shared_database("payment_events", rows.SCHEMA + turns.SCHEMA)


@pytest.fixture
async def receiver(schema: Database) -> AsyncIterator[EventReceiver]:
    await empty(schema)
    provider = SandboxProvider("http://127.0.0.1:1", secret_key="sk", webhook_secret=WEBHOOK_SECRET)
    yield EventReceiver(schema, provider)
    await provider.close()


def event(key: str = SAGA_ID) -> bytes:
    charge = {"id": "ch_1", "key": key, "state": "succeeded", "decline_code": ""}
    return orjson.dumps({"id": "evt_1", "data": {"charge": charge}})


async def test_an_event_makes_its_waiting_saga_due_however_often_it_comes(
    receiver: EventReceiver,
) -> None:
    await receiver.has_saga()
    for _ in range(3):
        assert await receiver.events.receive(event(), signature(event()))
    assert await receiver.is_due()


@pytest.mark.parametrize("key", [SAGA_ID.upper(), f"urn:uuid:{SAGA_ID}"])
async def test_an_event_finds_its_saga_by_any_spelling_of_the_key(
    receiver: EventReceiver, key: str
) -> None:
    await receiver.has_saga()
    body = event(key)
    assert await receiver.events.receive(body, signature(body))


async def test_events_that_come_at_once_wake_their_sagas_in_few_transactions(
    receiver: EventReceiver,
) -> None:
    ids = [str(uuid4()) for _ in range(64)]

    def pause_all(cursor: Cursor) -> None:
        new = [NewSaga(saga_id, "mira") for saga_id in ids]
        rows.insert(cursor, "purchase", "CHARGING", new, None)
        cursor.execute("UPDATE saga SET due_at = now() + interval '1 hour'")

    def woken(cursor: Cursor) -> tuple[int, int]:
        """How many are due, and how many transactions made them so."""
        cursor.execute(
            "SELECT count(*), count(DISTINCT xmin::text) FROM saga WHERE due_at <= now()"
        )
        ((due_count, transaction_count),) = cursor.fetchall()
        return due_count, transaction_count

    await receiver.database.transaction(pause_all)
    unknown = [str(uuid4()) for _ in range(8)]
    events = [event(saga_id) for saga_id in [*ids, *ids, *unknown]]
    answers = await asyncio.gather(
        *(receiver.events.receive(body, signature(body)) for body in events)
    )
    assert answers == [True] * (2 * len(ids)) + [False] * len(unknown)
    due_count, transaction_count = await receiver.database.autocommit(woken)
    assert due_count == len(ids)
    assert transaction_count <= 4


FORGERIES: dict[str, Callable[[bytes], str]] = {
    "another secret": lambda body: signature(body, secret="another"),
    "another body": lambda body: signature(body + b" "),
    "stale": lambda body: signature(body, age_seconds=SIGNATURE_TOLERANCE_SECONDS + 60),
    "none": lambda _body: "",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_event_is_refused_and_wakes_nothing(
    receiver: EventReceiver, forgery: str
) -> None:
    await receiver.has_saga()
    with pytest.raises(BadSignature):
        await receiver.events.receive(event(), FORGERIES[forgery](event()))
    assert not await receiver.is_due()


async def test_a_signed_body_that_is_no_event_is_invalid(receiver: EventReceiver) -> None:
    with pytest.raises(InvalidArgument):
        await receiver.events.receive(b"{}", signature(b"{}"))


NOT_OURS = ["7f1f4b0e-6a3b-4c53-9a38-0d1c6d1f2a10", "order-7", "", "\0", "é" * 1000]


@pytest.mark.parametrize("key", NOT_OURS)
async def test_an_event_about_nothing_of_ours_is_taken_and_wakes_nothing(
    receiver: EventReceiver, key: str
) -> None:
    await receiver.has_saga()
    assert not await receiver.events.receive(event(key), signature(event(key)))
    assert not await receiver.is_due()


async def parked(receiver: EventReceiver) -> None:
    await receiver.has_saga(pause_seconds=None)


async def paid(receiver: EventReceiver) -> None:
    await receiver.has_saga()
    await receiver.database.autocommit(
        lambda cursor: cursor.execute("UPDATE saga SET state = 'PAID'")
    )


async def ended(receiver: EventReceiver) -> None:
    saga = await receiver.has_leased_saga()
    await receiver.database.autocommit(
        lambda cursor: cursor.execute(
            "UPDATE saga SET state = 'CREDITED', due_at = NULL WHERE lease = %s", (saga.lease,)
        )
    )


@pytest.mark.parametrize("state", [parked, paid, ended], ids=lambda state: state.__name__)
async def test_a_saga_that_does_not_wait_is_left_as_it_is(
    receiver: EventReceiver, state: Callable[[EventReceiver], Awaitable[None]]
) -> None:
    await state(receiver)
    before = await receiver.rows()
    assert not await receiver.events.receive(event(), signature(event()))
    assert await receiver.rows() == before
