"""Refresh tokens: their format, and how the next one is derived."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.refresh_tokens import MAX_GENERATION, RefreshToken, parse

SALT = bytes(range(32))
WRITTEN = "gmr_AAECAwQFBgcICQoLDA0ODwAAAAcAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHw"

tokens = st.builds(
    RefreshToken,
    st.uuids().map(str),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
)


def test_a_token_is_written_as_clients_keep_it() -> None:
    token = RefreshToken(str(UUID(bytes=bytes(range(16)))), 7, bytes(range(32)))
    assert token.text == WRITTEN
    assert parse(WRITTEN) == token


@given(tokens)
def test_a_token_is_parsed_as_it_was_written(token: RefreshToken) -> None:
    assert len(token.text) == 74
    assert parse(token.text) == token


@given(st.one_of(st.text(), st.text(alphabet="gmr_AZaz09-=", min_size=70, max_size=78)))
def test_every_readable_token_has_one_spelling(text: str) -> None:
    token = parse(text)
    assert token is None or token.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gmr_",
        WRITTEN[:-1],
        f"{WRITTEN}A",
        f"{WRITTEN}\n",
        f" {WRITTEN}",
        WRITTEN.replace("gmr_", "gmx_"),
        WRITTEN.upper(),
        WRITTEN.replace("A", "+"),
        WRITTEN.replace("A", "é"),
        # The last character has four unused bits, which must be zero.
        f"{WRITTEN[:-1]}x",
        f"{WRITTEN[:-1]}=",
    ],
)
def test_a_malformed_refresh_token_is_refused(text: str) -> None:
    assert parse(text) is None


@given(tokens)
def test_a_token_never_shows_itself_unasked(token: RefreshToken) -> None:
    shown = f"{token} {token!r}"
    assert token.text not in shown
    assert repr(token.secret) not in shown


@given(tokens.filter(lambda token: token.generation < MAX_GENERATION), st.data())
def test_a_token_leads_to_all_that_follow_and_they_to_none_before(
    token: RefreshToken, data: st.DataObject
) -> None:
    steps = data.draw(st.integers(1, min(5, MAX_GENERATION - token.generation)))
    later = token.forward(SALT, token.generation + steps)
    assert later.session_id == token.session_id
    assert later.generation == token.generation + steps
    assert later.secret != token.secret
    assert later == token.successor(SALT).forward(SALT, later.generation)
    assert later.secret_hash != token.forward(bytes(32), later.generation).secret_hash
