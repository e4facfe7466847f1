"""PostgreSQL reads an array literal as the values that were written."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from hypothesis import example, given, settings
from hypothesis.strategies import booleans, characters, integers, lists, text
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.postgres.sql_arrays import array_of_plain, array_of_text
from proof.postgres_server import PostgresServer

STORABLE = characters(exclude_characters="\0", exclude_categories=["Cs"])
AWKWARD = ['"', "\\", '\\"', "{}", ",", '","', "NULL", " a ", "\n", ""]


@pytest.fixture(scope="module")
def cursor(postgres_server: PostgresServer) -> Iterator[Cursor]:
    with closing(psycopg2.connect(postgres_server.url)) as connection, connection.cursor() as open:
        yield open


def read(cursor: Cursor, kind: str, literal: str) -> object:
    cursor.execute(f"SELECT %s::{kind}[]", (literal,))
    row = cursor.fetchone()
    assert row is not None
    return row[0]


@settings(max_examples=50)
@given(texts=lists(text(STORABLE, max_size=4), max_size=5))
@example(texts=[])
@example(texts=[""])
@example(texts=["", ""])
@example(texts=AWKWARD)
def test_texts_are_read_as_they_were_written(cursor: Cursor, texts: list[str]) -> None:
    assert read(cursor, "text", array_of_text(texts)) == texts


@settings(max_examples=25)
@given(numbers=lists(integers(-(2**63), 2**63 - 1), max_size=5), flags=lists(booleans()))
def test_plain_values_are_read_as_they_were_written(
    cursor: Cursor, numbers: list[int], flags: list[bool]
) -> None:
    assert read(cursor, "bigint", array_of_plain(numbers)) == numbers
    assert read(cursor, "boolean", array_of_plain(flags)) == flags


def test_a_text_with_nul_is_refused() -> None:
    with pytest.raises(AssertionError):
        array_of_text(["a\0b", "c"])
