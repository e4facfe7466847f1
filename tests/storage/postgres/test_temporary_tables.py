"""A rule reads the real tables, also when its role has made temporary ones of the same names."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg2
import pytest
from psycopg2.errors import IntegrityConstraintViolation
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.local.servers.databases import OWNER, SERVICE
from proof.postgres_server import PostgresServer
from tests.storage.conftest import MakeDatabase, migrations_of

ID = "00000000-0000-4000-8000-000000000001"
PLAYER = f"""
INSERT INTO player (user_id, username, username_key, email, email_key, password_hash,
                    registration_id, registration_digest)
VALUES ('{ID}', 'mira', 'mira', 'm@x', 'm@x', 'h', '{ID}', decode(repeat('00', 32), 'hex'));
INSERT INTO wallet (user_id) VALUES ('{ID}');
"""
LEDGER = f"""
CREATE TEMPORARY TABLE ledger AS SELECT '{ID}'::uuid AS user_id, 1 AS number,
    1000::bigint AS balance_after, 0::bigint AS debt_after;
"""
WALLET = f"CREATE TEMPORARY TABLE wallet AS SELECT '{ID}'::uuid AS user_id, 2 AS entry_count;"
ENTRY = """
INSERT INTO public.ledger (user_id, number, operation_id, kind, amount, balance_after)
VALUES ('{id}', {number}, '{id}', 'purchase', 900, {balance_after})
"""


class Forgery(NamedTuple):
    """Statements of the service's role, of which the last breaks a rule."""

    service: str
    before: str
    statement: str
    refusal: str


FORGERIES = {
    "a wallet without an entry": Forgery(
        "account_svc",
        PLAYER + LEDGER,
        "UPDATE public.wallet SET balance = 1000, entry_count = 1",
        "a balance less its debt is what the newest entry left",
    ),
    "an entry without a wallet": Forgery(
        "account_svc",
        PLAYER + WALLET,
        ENTRY.format(id=ID, number=1, balance_after=900),
        "an entry needs its wallet to move",
    ),
    "an entry after none": Forgery(
        "account_svc",
        PLAYER + LEDGER + WALLET,
        ENTRY.format(id=ID, number=2, balance_after=1900),
        "an entry follows from the one before it",
    ),
    "gems taken back for nothing": Forgery(
        "account_svc",
        f"""
        {PLAYER}
        INSERT INTO purchase (purchase_id, intent_id, user_id, amount, price_minor, currency,
                              payment_method, provider)
        VALUES ('{ID}', '{ID}', '{ID}', 5, 5, 'USD', 'card', 'p');
        INSERT INTO purchase_outcome (purchase_id, outcome, reason) VALUES ('{ID}', 'failed', 'r');
        CREATE TEMPORARY TABLE purchase_outcome AS
            SELECT '{ID}'::uuid AS purchase_id, 'credited' AS outcome;
        """,
        "INSERT INTO clawback_total (purchase_id, amount, price_minor, given_back_minor, taken)"
        f" VALUES ('{ID}', 5, 5, 0, 0)",
        "no purchase was credited like that",
    ),
    "an item without a pull": Forgery(
        "gacha_svc",
        f"CREATE TEMPORARY TABLE pull AS SELECT '{ID}'::uuid AS pull_id;",
        f"""
        INSERT INTO pull_item (pull_id, position, item_id, name, rarity, featured,
                               featured_guaranteed, ten_pull_guaranteed, pity)
        VALUES ('{ID}', 1, 101, 'n', 'rare', false, false, false, 1)
        """,
        "an item needs its pull",
    ),
}


@pytest.fixture
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cursor(
    shared_database: MakeDatabase, postgres_server: PostgresServer, repository: Path, service: str
) -> Iterator[Cursor]:
    """A transaction of the service's role, which may make temporary tables. It is not kept."""
    kind = service.removesuffix("_svc")
    name = f"temporary_{kind}"
    shared_database(name, migrations_of(repository, service))
    with closing(psycopg2.connect(postgres_server.role_url(name, kind, OWNER))) as owner, owner:
        owner.cursor().execute(f"GRANT TEMPORARY ON DATABASE {name} TO {kind}_service")
    url = postgres_server.role_url(name, kind, SERVICE)
    with closing(psycopg2.connect(url)) as connection:
        yield connection.cursor()


@pytest.mark.parametrize(
    ("service", "forgery"),
    [pytest.param(each.service, each, id=name) for name, each in FORGERIES.items()],
    indirect=["service"],
)
def test_a_temporary_table_gets_around_no_rule(cursor: Cursor, forgery: Forgery) -> None:
    cursor.execute(forgery.before)
    with pytest.raises(IntegrityConstraintViolation, match=forgery.refusal):
        cursor.execute(forgery.statement)


@pytest.mark.parametrize("service", ["account_svc", "gacha_svc"], indirect=True)
def test_each_rule_and_each_function_of_the_owner_names_its_tables(cursor: Cursor) -> None:
    """By their schema, or by a search path of its own."""
    cursor.execute(
        """
        SELECT proname, prosecdef, prosrc FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
          AND (prosecdef OR prorettype = 'trigger'::regtype)
          AND NOT coalesce('search_path=public, pg_temp' = ANY(proconfig), false)
        """
    )
    rules = cursor.fetchall()
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    names = "|".join(name for (name,) in cursor.fetchall())
    unnamed = re.compile(rf"(?:FROM|JOIN|INTO|UPDATE)\s+(?:{names})\b")
    assert rules
    assert [name for name, is_owners, text in rules if is_owners or unnamed.search(text)] == []
