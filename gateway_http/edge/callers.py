"""Whom a request counts for: the player of a verified token, or an address.

player      a call of a player's route, by the subject of a verified token
unverified  a call of a player's route without such a token, by the client's address
address     a call of a public route, by the client's address
"""

from enum import StrEnum
from typing import NamedTuple

from gateway_http.edge.token_keys import TokenKeys
from gateway_http.exchange import LimitClass


class Kind(StrEnum):
    """What is known of a caller."""

    PLAYER = "player"
    UNVERIFIED = "unverified"
    ADDRESS = "address"


class Caller(NamedTuple):
    """`player` is the player's key, empty unless `kind` is PLAYER."""

    kind: Kind
    address: str
    player: str = ""


class Callers:
    """Finds the caller of each request."""

    def __init__(self, token_keys: TokenKeys) -> None:
        self._token_keys = token_keys

    def known(
        self, limit_class: LimitClass, address: str, authorization: str | None
    ) -> Caller | None:
        """The caller of a route of that class, with its Authorization header; None if the header
        must be checked first."""
        if limit_class is not LimitClass.PLAYER:
            return Caller(Kind.ADDRESS, address)
        player = self._token_keys.known(authorization) if authorization else None
        return None if player is None else Caller(Kind.PLAYER, address, player)

    async def of(self, limit_class: LimitClass, address: str, authorization: str | None) -> Caller:
        """The caller of a route of that class. `authorization` is a header that can be a token.
        Tokens that public routes get are not verified."""
        if limit_class is not LimitClass.PLAYER:
            return Caller(Kind.ADDRESS, address)
        player = await self._token_keys.of(authorization) if authorization else None
        if player is None:
            return Caller(Kind.UNVERIFIED, address)
        return Caller(Kind.PLAYER, address, player)
