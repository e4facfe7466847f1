"""An intent has one purchase or gift, also in a database that stored several attempts at one."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg2.errors import UniqueViolation
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.storage import purchases
from gacha_svc.storage import gifts
from mesh.postgres.database import Database
from mesh.postgres.schema.migrations import migrate

INTENT = "00000000-0000-4000-8000-000000000001"
FIRST = "00000000-0000-4000-8000-00000000000a"
LAST = "00000000-0000-4000-8000-00000000000b"
ANOTHER = "00000000-0000-4000-8000-00000000000c"
MIRA = "00000000-0000-4000-8000-0000000000aa"
NOOR = "00000000-0000-4000-8000-0000000000bb"
# In both cases the last attempt is stored first, so that the order of the rows does not help.
PURCHASES = f"""
INSERT INTO player (user_id, username, username_key, email, email_key, password_hash,
                    registration_id, registration_digest)
VALUES ('{MIRA}', 'mira', 'mira', 'm@x', 'm@x', 'h', '{MIRA}', decode(repeat('00', 32), 'hex'));
INSERT INTO purchase (purchase_id, intent_id, attempt, user_id, amount, price_minor, currency,
                      payment_method, provider)
SELECT id::uuid, '{INTENT}', attempt, '{MIRA}', 5, 495, 'USD', 'credit_card', 'sandbox'
FROM (VALUES ('{LAST}', 2), ('{FIRST}', 1)) AS made (id, attempt);
INSERT INTO purchase_outcome (purchase_id, outcome, reason)
VALUES ('{FIRST}', 'failed', 'PAYMENT_DECLINED'), ('{LAST}', 'credited', '');
"""
GIFTS = f"""
INSERT INTO gift (gift_id, intent_id, attempt, sender_id, sender_name, receiver_id, receiver_name,
                  item_id, count, fee, item_name, item_rarity)
SELECT id::uuid, '{INTENT}', attempt, '{MIRA}', 'mira', '{NOOR}', 'noor', 1, 1, 20, 'Sword', 'rare'
FROM (VALUES ('{LAST}', 2), ('{FIRST}', 1)) AS made (id, attempt);
INSERT INTO gift_outcome (gift_id, delivered, reason, sender_id, receiver_id, number)
SELECT gift_id, attempt = 2, CASE attempt WHEN 1 THEN 'INVENTORY_FULL' ELSE '' END, sender_id,
       receiver_id, number FROM gift;
"""


ANOTHER_PURCHASE = f"""
INSERT INTO purchase (purchase_id, intent_id, user_id, amount, price_minor, currency,
                      payment_method, provider)
SELECT '{ANOTHER}', intent_id, user_id, amount, price_minor, currency, payment_method, provider
FROM purchase WHERE purchase_id = '{LAST}'
"""
ANOTHER_GIFT = f"""
INSERT INTO gift (gift_id, intent_id, sender_id, sender_name, receiver_id, receiver_name,
                  item_id, count, fee, item_name, item_rarity)
SELECT '{ANOTHER}', intent_id, sender_id, sender_name, receiver_id, receiver_name,
       item_id, count, fee, item_name, item_rarity
FROM gift WHERE gift_id = '{LAST}'
"""
States = Mapping[str, str]


def purchases_of_the_intent(cursor: Cursor) -> States:
    found = purchases.find_by_intents(cursor, {INTENT}).values()
    return {each.purchase.purchase_id: str(each.state) for each in found}


def all_purchases(cursor: Cursor) -> States:
    found = purchases.find_purchases(cursor, {FIRST, LAST})
    return {purchase_id: str(each.state) for purchase_id, each in found.items()}


def gifts_of_the_intent(cursor: Cursor) -> States:
    found = gifts.find_by_intents(cursor, {INTENT}).values()
    return {each.gift.gift_id: str(each.state) for each in found}


def all_gifts(cursor: Cursor) -> States:
    found = gifts.find_gifts(cursor, {FIRST, LAST})
    return {gift_id: str(each.state) for gift_id, each in found.items()}


@dataclass(frozen=True)
class Case:
    """`file` is the migration that removes the attempts, without its number. `attempts` stores two
    of one intent before it, of which the last one ended in `end`; `another` stores one more
    after it."""

    service: str
    file: str
    attempts: str
    another: str
    of_the_intent: Callable[[Cursor], States]
    all_states: Callable[[Cursor], States]
    refusal: str
    end: str


CASES = [
    Case(
        "account_svc",
        "one_purchase_of_an_intent",
        PURCHASES,
        ANOTHER_PURCHASE,
        purchases_of_the_intent,
        all_purchases,
        "failed",
        "credited",
    ),
    Case(
        "gacha_svc",
        "one_gift_of_an_intent",
        GIFTS,
        ANOTHER_GIFT,
        gifts_of_the_intent,
        all_gifts,
        "returned",
        "delivered",
    ),
]


@pytest.fixture(params=CASES, ids=lambda case: case.service)
async def case(
    request: pytest.FixtureRequest, database: Database, repository: Path, tmp_path: Path
) -> Case:
    """The database has two attempts of one intent, and then all migrations."""
    case: Case = request.param
    migrations = repository / case.service / "migrations"
    for path in sorted(migrations.glob("*.sql")):
        if path.stem.partition("_")[2] == case.file:
            break
        shutil.copy(path, tmp_path)
    await migrate(database, tmp_path)
    await database.transaction(lambda cursor: cursor.execute(case.attempts))
    assert await migrate(database, migrations), "the attempts were stored before the last file"
    return case


async def test_the_last_attempt_keeps_the_intent(case: Case, database: Database) -> None:
    assert await database.autocommit(case.of_the_intent) == {LAST: case.end}


async def test_an_earlier_attempt_stays_stored(case: Case, database: Database) -> None:
    stored = await database.autocommit(case.all_states)
    assert stored == {FIRST: case.refusal, LAST: case.end}


async def test_a_second_one_of_an_intent_is_refused(case: Case, database: Database) -> None:
    with pytest.raises(UniqueViolation, match="intent_unique"):
        await database.autocommit(lambda cursor: cursor.execute(case.another))
