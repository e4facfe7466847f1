"""Which runs are carried out, and what they send."""

import pytest
import typer

from bench.__main__ import connection_counts_of, plan_of
from bench.scenarios import SINGLE_PULL, request_head, request_of


def test_connection_counts_keep_their_order_and_count_once() -> None:
    assert connection_counts_of("16, 1,64,16") == [16, 1, 64]


@pytest.mark.parametrize("text", ["", "a", "1,,2", "0", "1,-4", "1.5"])
def test_connection_counts_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="whole numbers"):
        connection_counts_of(text)


def test_every_connection_has_a_player_of_its_own() -> None:
    assert plan_of("1,64", 8, 3, 64).player_count == 64
    with pytest.raises(typer.BadParameter, match="--players"):
        plan_of("1,64", 8, 3, 63)


def test_a_run_that_outlives_its_tokens_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="minutes"):
        plan_of("1,16,64", 60, 20, 64)


def test_a_pull_is_one_request_with_its_key() -> None:
    head = request_head(SINGLE_PULL, "127.0.0.1:8080", "a.b.c")
    assert request_of(head.encode(), "key-1", SINGLE_PULL.body.encode()) == (
        b"POST /gacha/pull/standard HTTP/1.1\r\n"
        b"host: 127.0.0.1:8080\r\n"
        b"authorization: Bearer a.b.c\r\n"
        b"content-type: application/json\r\n"
        b"content-length: 11\r\n"
        b"idempotency-key: key-1\r\n"
        b"\r\n"
        b'{"count":1}'
    )


def test_without_a_key_and_a_body_the_head_just_ends() -> None:
    request = request_of(b"GET /items HTTP/1.1\r\nhost: a\r\n", "", b"")
    assert request == b"GET /items HTTP/1.1\r\nhost: a\r\n\r\n"
