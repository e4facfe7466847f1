"""Two plain local commits: a lower bound for the cost of a commit to two databases.

`python -m proof.bench.load.plain_commits` reads its settings as one line of JSON from
standard input. Each client is a thread with a connection to each server. An operation is one
UPDATE and COMMIT on the first server, then one on the second, with plain psycopg2 and without
coordination. The measurement has its own tables; no two clients use the same row.
"""

import itertools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import orjson
import psycopg2
from psycopg2.extensions import connection as PostgresConnection  # noqa: N812 (it is a class)

from proof.bench.load.window import Window, write_result

ROWS_OF_A_CLIENT = 64
CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_OPTION = "-c statement_timeout=10000"

_CREATE = """
DROP TABLE IF EXISTS bench_commit;
CREATE TABLE bench_commit (id integer PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 50);
INSERT INTO bench_commit SELECT id, 0 FROM generate_series(0, %s - 1) AS id;
"""
_DROP = "DROP TABLE IF EXISTS bench_commit"
_UPDATE = "UPDATE bench_commit SET value = value + 1 WHERE id = %s"


@dataclass(frozen=True, slots=True)
class PlainCommitSettings:
    """One point of measurement. `urls` are the databases, as psycopg2 takes them."""

    urls: Sequence[str]
    client_count: int
    warm_up_seconds: float
    window_seconds: float


def connect(url: str) -> PostgresConnection:
    """A connection whose statements cannot hang. Raises psycopg2.OperationalError."""
    return psycopg2.connect(
        url, connect_timeout=CONNECT_TIMEOUT_SECONDS, options=STATEMENT_TIMEOUT_OPTION
    )


@contextmanager
def commit_tables(urls: Sequence[str], client_count: int) -> Iterator[None]:
    """The tables that as many clients need, for as long as the context lasts."""
    try:
        for url in urls:
            _execute(url, _CREATE, (client_count * ROWS_OF_A_CLIENT,))
        yield
    finally:
        for url in urls:
            _execute(url, _DROP)


def _execute(url: str, statements: str, parameters: tuple[object, ...] = ()) -> None:
    with closing(connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statements, parameters)


def _keep_committing(
    settings: PlainCommitSettings, number: int, window: Window, stop: threading.Event
) -> None:
    connections = [connect(url) for url in settings.urls]
    first_row = number * ROWS_OF_A_CLIENT
    rows = itertools.cycle(range(first_row, first_row + ROWS_OF_A_CLIENT))
    try:
        while not stop.is_set():
            row = next(rows)
            began_at = time.perf_counter()
            for connection in connections:
                with connection.cursor() as cursor:
                    cursor.execute(_UPDATE, (row,))
                connection.commit()
            window.record(time.perf_counter() - began_at)
    except psycopg2.Error as error:
        # Stop the client, because the database error is not temporary.
        window.record_error(f"{type(error).__name__}: {error}")
    finally:
        for connection in connections:
            connection.close()


def run(settings: PlainCommitSettings, window: Window) -> None:
    """Returns when standard input ends."""
    stop = threading.Event()
    clients = [
        threading.Thread(target=_keep_committing, args=(settings, number, window, stop))
        for number in range(settings.client_count)
    ]
    for client in clients:
        client.start()
    time.sleep(settings.warm_up_seconds)
    window.open()
    time.sleep(settings.window_seconds)
    window.close()
    sys.stdin.read()
    stop.set()
    for client in clients:
        client.join()


def main() -> None:
    settings = PlainCommitSettings(**orjson.loads(sys.stdin.readline()))
    window = Window()
    run(settings, window)
    write_result(window.result())


if __name__ == "__main__":
    main()
