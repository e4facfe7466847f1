"""Authenticates calls by EdDSA tokens (RFC 8037, RFC 7519) of players and services.

A token is accepted if all of these hold:

- its key id names a known key, and the signature is valid; no algorithm other than EdDSA is
  accepted, in particular not `none`;
- it has not expired;
- for a player: the session that it names (`sid`) has not ended, as far as is known here,
  unless the method takes those too;
- its audience is players, for a method of players; or this very service, for one of services;
- for a service: the key belongs to the service that the token names, and the method's rule
  admits that service.

A verification takes about 100 microseconds, so a verified token is cached until it expires,
but only for as long as its key is known.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mesh.calls import AUTHORIZATION, Metadata
from mesh.contract.access import ADMIN, ANY_SERVICE, Access, Rule, of_services
from mesh.contract.identifiers import checked_uuid
from mesh.errors import InvalidArgument, MeshError, PermissionDenied, Unauthenticated
from mesh.identity.keys import PublicKeys, ServiceKeys
from mesh.identity.tokens import (
    ALGORITHM,
    ISSUER,
    PLAYER_AUDIENCE,
    SERVICE_AUDIENCE_PREFIX,
    SERVICE_TOKEN_SECONDS,
    service_audience,
)

MAX_CLOCK_SKEW_SECONDS = 60
"""By how much a calling service's clock may be ahead of the called one's."""
MAX_TOKEN_LENGTH = 4096
REMEMBERED_TOKENS = 20_000


@dataclass(frozen=True, slots=True)
class Player:
    """A player, by the id that Register returned."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Service:
    """A service, by name; an operator has the name mesh.contract.access.ADMIN."""

    name: str


@dataclass(frozen=True, slots=True)
class Anonymous:
    """A caller of a method that needs no token."""


Identity = Player | Service | Anonymous
HasEnded = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified token. `key` verified it; `expires_at` is in seconds since 1970. `session_id`
    is empty for a service."""

    identity: Identity
    session_id: str
    expires_at: float
    kid: str
    key: Ed25519PublicKey


class Authenticator:
    """Finds the identity of a caller in a call's metadata."""

    def __init__(
        self,
        service: str,
        *,
        player_keys: PublicKeys,
        service_keys: ServiceKeys,
        has_ended: HasEnded = lambda session_id: False,
        clock: Callable[[], float] = time.time,
        max_remembered: int = REMEMBERED_TOKENS,
    ) -> None:
        """`service` is the name of the service that is called. `has_ended` returns whether a
        player's session has ended; it runs on every authentication, and may raise NoKeysYet.
        `max_remembered` bounds the verified tokens that are cached."""
        self._service = service
        self._audiences = {
            Access.PLAYER: PLAYER_AUDIENCE,
            Access.SERVICE: service_audience(service),
        }
        self._player_keys = player_keys
        self._service_keys = service_keys
        self._has_ended = has_ended
        self._clock = clock
        self._max_remembered = max_remembered
        self._verified: OrderedDict[tuple[Access, str], Verified] = OrderedDict()

    async def authenticate(self, metadata: Metadata, rule: Rule) -> Identity:
        """The identity of the caller of a method with that rule.

        Raises Unauthenticated with TOKEN_MISSING, TOKEN_EXPIRED, TOKEN_INVALID, SESSION_ENDED
        or WRONG_AUDIENCE, and PermissionDenied with WRONG_CALLER when the rule does not admit the
        caller.
        """
        if rule.access is Access.PUBLIC:
            return Anonymous()
        if rule.access is Access.NOBODY:
            raise PermissionDenied("No caller may use this method.", reason="WRONG_CALLER")
        token = _bearer(metadata, self._service, rule)
        verified = self._verified.get((rule.access, token))
        if verified is None or not await self._is_valid_still(verified, rule.access):
            verified = await self._verified_now(token, rule)
        must_live = verified.session_id and not rule.takes_ended_sessions
        if must_live and self._has_ended(verified.session_id):
            raise Unauthenticated(
                "The session of this token has ended; log in again.", reason="SESSION_ENDED"
            )
        identity = verified.identity
        if isinstance(identity, Service) and not rule.admits(identity.name):
            raise _wrong_caller(rule, identity.name)
        return identity

    async def verify(self, metadata: Metadata, rule: Rule) -> Verified:
        """The token of the caller of a method with that rule, verified anew. Raises as
        `authenticate` does, but checks neither the session nor who the rule admits."""
        return await self._verify(_bearer(metadata, self._service, rule), rule)

    async def is_member(self, metadata: Metadata) -> bool:
        """Whether a known service or an operator calls a method that is open to all."""
        if AUTHORIZATION not in metadata:
            return False
        try:
            await self.authenticate(metadata, _MEMBERS)
        except MeshError:
            return False
        return True

    async def _is_valid_still(self, verified: Verified, access: Access) -> bool:
        """Whether a token that was verified before has not expired, and its key is known."""
        if verified.expires_at <= self._clock():
            return False
        if access is Access.PLAYER:
            return await self._player_keys(verified.kid) is verified.key
        found = self._service_keys(verified.kid)
        return found is not None and found.key is verified.key

    async def _verified_now(self, token: str, rule: Rule) -> Verified:
        verified = await self._verify(token, rule)
        self._verified[rule.access, token] = verified
        if len(self._verified) > self._max_remembered:
            self._verified.popitem(last=False)
        return verified

    async def _find_key(self, kid: str, access: Access) -> tuple[Ed25519PublicKey, str] | None:
        """The key, and the service that it belongs to, empty for players' keys."""
        if access is Access.PLAYER:
            key = await self._player_keys(kid)
            return None if key is None else (key, "")
        found = self._service_keys(kid)
        return None if found is None else (found.key, found.service)

    async def _verify(self, token: str, rule: Rule) -> Verified:
        audience = self._audiences[rule.access]
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            claimed = jwt.decode(token, options={"verify_signature": False}).get("aud")
        except jwt.PyJWTError as error:
            raise _invalid() from error
        if claimed != audience:
            raise _wrong_audience(self._service, rule, claimed)
        found = await self._find_key(kid, rule.access) if isinstance(kid, str) else None
        if not isinstance(kid, str) or found is None:
            raise _invalid()
        key, service = found
        subject, session_id, expires_at = self._claims(token, key, audience)
        if rule.access is Access.PLAYER:
            player = Player(_uuid("sub", subject))
            return Verified(player, _uuid("sid", session_id), expires_at, kid, key)
        lives_too_long = expires_at > self._clock() + SERVICE_TOKEN_SECONDS + MAX_CLOCK_SKEW_SECONDS
        if subject != service or lives_too_long:
            raise _invalid()
        return Verified(Service(service), "", expires_at, kid, key)

    def _claims(
        self, token: str, key: Ed25519PublicKey, audience: str
    ) -> tuple[str, object, float]:
        """The subject, the session and the expiry (seconds since 1970) of a token with a valid
        signature."""
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                # The expiry is checked below, against the injected clock. `iat` is not checked:
                # a signer's clock may be slightly ahead.
                options={
                    "require": ["exp", "iat", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise _invalid() from error
        subject, expires_at = claims["sub"], claims["exp"]
        if not isinstance(expires_at, int):
            raise _invalid()
        if expires_at <= self._clock():
            raise Unauthenticated(
                "The token has expired; refresh it or log in again (a service signs a new one).",
                reason="TOKEN_EXPIRED",
            )
        return subject, claims.get("sid"), float(expires_at)


_MEMBERS = of_services((ANY_SERVICE, ADMIN))


def _wrong_audience(
    service: str, rule: Rule, claimed: object
) -> PermissionDenied | Unauthenticated:
    """The error for a token that claims to be for another kind of method or another service."""
    is_of_service = isinstance(claimed, str) and claimed.startswith(SERVICE_AUDIENCE_PREFIX)
    if rule.access is Access.PLAYER:
        return _wrong_caller(rule, "a service") if is_of_service else _invalid()
    if claimed == PLAYER_AUDIENCE:
        return _wrong_caller(rule, "a player")
    if not is_of_service:
        return _invalid()
    meant = str(claimed).removeprefix(SERVICE_AUDIENCE_PREFIX)
    return Unauthenticated(
        f"The token is for {meant or 'no service'}, and this is {service}; use "
        f"{_own_token(service, rule)}.",
        reason="WRONG_AUDIENCE",
    )


def _own_token(service: str, rule: Rule) -> str:
    """The token that the method of this service takes, and how it is had."""
    if rule.access is Access.PLAYER:
        return "Login's token"
    if ADMIN in rule.callers:
        return f"an operator's token (gachactl admin-token --for {service})"
    return f"a token that the calling service signs for {service}"


def _wrong_caller(rule: Rule, caller: str) -> PermissionDenied:
    if rule.access is Access.PLAYER:
        who = "players"
    elif ANY_SERVICE in rule.callers:
        who = "services"
    else:
        who = " and ".join(sorted(rule.callers)) or "no caller"
    return PermissionDenied(
        f"This method is only for {who}, but the token belongs to {caller}.",
        reason="WRONG_CALLER",
        metadata={"callers": ",".join(sorted(rule.callers))} if rule.callers else None,
    )


def _bearer(metadata: Metadata, service: str, rule: Rule) -> str:
    scheme, _, token = metadata.get(AUTHORIZATION, "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(
            "A bearer token is missing: send 'Authorization: Bearer <token>' with "
            f"{_own_token(service, rule)}.",
            reason="TOKEN_MISSING",
        )
    if len(token) > MAX_TOKEN_LENGTH:
        raise _invalid()
    return token


def _uuid(claim: str, value: object) -> str:
    """The id in the canonical form in which it is stored."""
    try:
        return checked_uuid(claim, value if isinstance(value, str) else "")
    except InvalidArgument as error:
        raise _invalid() from error


def _invalid() -> Unauthenticated:
    return Unauthenticated("The token is not valid here; log in again.", reason="TOKEN_INVALID")
