"""Recognizes members by their token, for pages that show them more. Members are operators and
services."""

from gateway_http.exchange import Headers
from mesh.calls import AUTHORIZATION
from mesh.contract.access import ADMIN, ANY_SERVICE, Access, Rule
from mesh.errors import PermissionDenied
from mesh.identity.auth import Authenticator
from mesh.identity.keys import ServiceKeys

_MEMBERS = Rule(Access.SERVICE, frozenset({ADMIN, ANY_SERVICE}))


class Members:
    """Judges the tokens in Authorization headers."""

    def __init__(self, service_keys: ServiceKeys | None) -> None:
        """`service_keys` are the public keys of services and operators; without them nobody is
        a member here."""
        self._authenticator = (
            None
            if service_keys is None
            else Authenticator("gateway_http", player_keys=_no_player, service_keys=service_keys)
        )

    async def show_everything_to(self, headers: Headers) -> bool:
        """Whether the request comes from a member.

        A request without a token, and a player's, does not. Raises Unauthenticated for a token
        that is expired or unknown, so that an operator learns why less is shown.
        """
        token = headers.get("authorization")
        if token is None or self._authenticator is None:
            return False
        try:
            await self._authenticator.authenticate({AUTHORIZATION: token}, _MEMBERS)
        except PermissionDenied:
            return False
        return True


async def _no_player(_kid: str) -> None:
    return None
