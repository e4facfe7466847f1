"""Finds the player of a request: the subject of a verified token.

The token is read and verified by the same code as in the services, so neither another spelling
of the header nor another token of the player gives a new quota, also while all calls fail. A
token that does not verify names nobody: a stranger can use up no player's quota with a forged
or an expired token. Until the first keys were fetched, no token verifies.
"""

import time
from collections.abc import Callable

from mesh.calls import AUTHORIZATION
from mesh.contract.access import OF_PLAYERS
from mesh.errors import MeshError
from mesh.identity.auth import Authenticator, Player
from mesh.identity.keys import PublicKeys, fixed_service_keys

MAX_TOKENS = 65_536
"""How many verified tokens are remembered. A token that is forgotten is verified again."""


class TokenKeys:
    """The rate limit key of each token. For one event loop."""

    def __init__(
        self,
        player_keys: PublicKeys,
        *,
        clock: Callable[[], float] = time.time,
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        """`player_keys` must answer at once, because every request waits for it. `clock` gives
        seconds since 1970."""
        self._authenticator = Authenticator(
            "gateway_http",
            player_keys=player_keys,
            service_keys=fixed_service_keys({}),
            clock=clock,
            max_remembered=max_tokens,
        )

    async def of(self, authorization: str) -> str | None:
        """The key of the player whose token this Authorization header has; None if it has no
        valid token of a player."""
        try:
            identity = await self._authenticator.authenticate(
                {AUTHORIZATION: authorization}, OF_PLAYERS
            )
        except MeshError:
            return None
        assert isinstance(identity, Player), "the rule admits players only"
        return f"player:{identity.user_id}"
