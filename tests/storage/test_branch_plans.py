"""The functions that a branch calls keep their plans, make none for the values of a call, and do
not compare the rows of a batch with one another."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.debits import Debit
from account_svc.storage import debits
from gacha_svc.domain.banners import Item
from gacha_svc.domain.draw import DrawnItem
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.pulls import Draw, Pull
from gacha_svc.domain.rarities import Rarity
from gacha_svc.storage import pulls
from proof.postgres_server import PostgresServer
from tests.storage.conftest import MakeDatabase, migrations_of

PLAYER, OPERATION = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
PITY = (PLAYER, "standard")
PLAYERS = [f"aaaaaaaa-0000-4000-8000-{number:012}" for number in range(1, 51)]
PULL_IDS = [f"bbbbbbbb-0000-4000-8000-{number:012}" for number in range(1, 51)]
PITIES = [(player, "standard") for player in PLAYERS]
ITEM = Item(id=1, name="Sword", rarity=Rarity.RARE)
SHOW_PLANS = """
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
SET auto_explain.log_level = notice; SET auto_explain.log_parameter_max_length = 0;
"""


def take(cursor: Cursor) -> None:
    debits.take_gems(cursor, {OPERATION: Debit(PLAYER, 1)}, [OPERATION])


def lock(cursor: Cursor) -> None:
    pulls.lock(cursor, [OPERATION], [PITY], [])


def record(cursor: Cursor) -> None:
    pulls.record(cursor, [], {})


def draw_batch(cursor: Cursor) -> None:
    locked = pulls.lock(cursor, PULL_IDS, PITIES, [])
    drawn = DrawnItem(ITEM, False, 1, False, False)
    pulls.record(
        cursor,
        [
            Pull(id, Draw(pity[0], "b", 1, 1, "o"), pity[1], locked.seeds[pity], Pity(1), (drawn,))
            for id, pity in zip(PULL_IDS, PITIES, strict=True)
        ],
        {},
    )


def plans_in(notices: Iterable[str]) -> list[str]:
    return [notice for notice in notices if "Query Text" in notice]


@pytest.mark.parametrize(
    ("service", "call", "function"),
    [
        ("account_svc", take, "take_gems"),
        ("gacha_svc", lock, "lock_draws"),
        ("gacha_svc", record, "record_drawn"),
    ],
)
def test_a_call_for_one_player_uses_plans_for_any_player(
    shared_database: MakeDatabase,
    postgres_server: PostgresServer,
    repository: Path,
    service: str,
    call: Callable[[Cursor], None],
    function: str,
) -> None:
    name = f"plans_of_{service}"
    shared_database(name, migrations_of(repository, service))
    with closing(psycopg2.connect(postgres_server.cluster.superuser_url_of(name))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            if service == "gacha_svc":
                pulls.make_rows(cursor, [PITY], [])
            cursor.execute(SHOW_PLANS)
            call(cursor)
    plans = plans_in(connection.notices)
    of_function = [plan for plan in plans if function not in plan]
    assert any("unnest" in plan for plan in of_function), "the plans within the function are shown"
    assert not [plan for plan in of_function if "-0000-4000-8000-" in plan]


def test_a_batch_is_not_joined_pair_by_pair(
    shared_database: MakeDatabase, postgres_server: PostgresServer, repository: Path
) -> None:
    name = "plans_of_gacha_svc"
    shared_database(name, migrations_of(repository, "gacha_svc"))
    with closing(psycopg2.connect(postgres_server.cluster.superuser_url_of(name))) as connection:
        connection.autocommit = True
        notices: deque[str] = deque()
        connection.notices = notices  # type: ignore[assignment]
        with connection.cursor() as cursor:
            pulls.make_rows(cursor, PITIES, [])
            cursor.execute(f"{SHOW_PLANS} SET auto_explain.log_analyze = on;")
            draw_batch(cursor)
    plans = plans_in(notices)
    assert any("Update on pity" in plan for plan in plans), "the plans are of the batch"
    assert not [plan for plan in plans if "Rows Removed by Join Filter" in plan]
