"""Finds the player of a request: the subject of a verified token.

The token is read and verified by the same code as in the services, so neither another spelling
of the header nor another token of the player gives a new quota, also while all calls fail. A
token that does not verify names nobody: a stranger can use up no player's quota with a forged
or an expired token. Until the first keys were fetched, no token verifies.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mesh.calls import AUTHORIZATION
from mesh.contract.access import OF_PLAYERS
from mesh.errors import MeshError
from mesh.identity.auth import Authenticator, Player, Verified
from mesh.identity.keys import KnownKeys, fixed_service_keys

SCHEME = "Bearer"
MAX_TOKENS = 65_536
"""How many verified tokens are remembered. A token that is forgotten is verified again."""


class _Known(NamedTuple):
    """A token that was verified, and the key of its player."""

    verified: Verified
    player: str


class TokenKeys:
    """The rate limit key of each token. For one event loop."""

    def __init__(
        self,
        player_keys: KnownKeys,
        *,
        clock: Callable[[], float] = time.time,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        """`clock` gives seconds since 1970."""
        self._player_keys = player_keys
        self._clock = clock
        self._max_tokens = max_tokens
        self._known: OrderedDict[str, _Known] = OrderedDict()

        async def find(kid: str) -> Ed25519PublicKey | None:
            return player_keys(kid)

        self._authenticator = Authenticator(
            "gateway_http",
            player_keys=find,
            service_keys=fixed_service_keys({}),
            clock=clock,
        )

    def known(self, authorization: str) -> str | None:
        """The key of the player whose token this Authorization header has, if the token was
        verified before and is valid still; None if it must be verified."""
        known = self._known.get(authorization)
        if known is None:
            return None
        verified = known.verified
        if verified.expires_at <= self._clock():
            return None
        return known.player if self._player_keys(verified.kid) is verified.key else None

    async def of(self, authorization: str) -> str | None:
        """The key of the player whose token this Authorization header has; None if it has no
        valid token of a player."""
        return self.known(authorization) or await self._verify(authorization)

    async def _verify(self, authorization: str) -> str | None:
        try:
            verified = await self._authenticator.verify({AUTHORIZATION: authorization}, OF_PLAYERS)
        except MeshError:
            return None
        assert isinstance(verified.identity, Player), "the rule admits players only"
        player = f"player:{verified.identity.user_id}"
        # One spelling alone, so that a token is one entry. The authenticator knows the others.
        scheme, _, token = authorization.partition(" ")
        if scheme == SCHEME and token == token.strip():
            self._known[authorization] = _Known(verified, player)
            if len(self._known) > self._max_tokens:
                self._known.popitem(last=False)
        return player
