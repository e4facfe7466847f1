"""Who is calling: EdDSA tokens (RFC 8037, RFC 7519) of players and of services.

A token is accepted if its key id names a known key, its signature holds, it has
not expired, and its audience is the kind of caller that the method is for. No
other algorithm is accepted, `none` included. A token that was verified is
remembered until it expires, for a verification costs about 100 microseconds.
"""

import hashlib
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from mesh.calls import AUTHORIZATION, Metadata
from mesh.errors import InvalidArgument, PermissionDenied, Unauthenticated
from mesh.identifiers import checked_uuid
from mesh.methods import Access

ALGORITHM = "EdDSA"
ISSUER = "gacha-mesh"
PLAYER_AUDIENCE = "gacha-mesh/player"
SERVICE_AUDIENCE = "gacha-mesh/service"
SERVICE_TOKEN_SECONDS = 60
MAX_TOKEN_LENGTH = 4096
REMEMBERED_TOKENS = 20_000


@dataclass(frozen=True, slots=True)
class Player:
    """A player, by the id that Register gave."""

    user_id: str


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the mesh, by the name of its service."""

    name: str


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Somebody who showed no token, on a method that needs none."""


Identity = Player | Service | Anonymous
PublicKeys = Callable[[str], Awaitable[Ed25519PublicKey | None]]
"""Finds a public key by its id; None when there is none of that id."""


def key_id(key: Ed25519PublicKey) -> str:
    """The RFC 7638 thumbprint of a public key."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{public_octets(key)}"}}'
    return _base64url(hashlib.sha256(canonical.encode()).digest())


def public_octets(key: Ed25519PublicKey) -> str:
    """The key as JSON Web Keys write it: base64url without padding."""
    return _base64url(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def load_private_key(pem: bytes) -> Ed25519PrivateKey:
    """Reads a PKCS8 PEM. Raises ValueError when it is no Ed25519 private key."""
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the key is not an Ed25519 private key")
    return key


class TokenSigner:
    """Signs tokens of one audience with one key."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        audience: str,
        lifetime_seconds: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._audience = audience
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock
        self.public_key = key.public_key()
        self.key_id = key_id(self.public_key)

    def sign(self, subject: str) -> str:
        """A token for `subject`, valid from now on."""
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "aud": self._audience,
            "sub": subject,
            "iat": now,
            "exp": now + self._lifetime_seconds,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self.key_id})


class ServiceIdentity:
    """What a process of the mesh shows to others of its kind."""

    def __init__(
        self, key: Ed25519PrivateKey, name: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._signer = TokenSigner(key, SERVICE_AUDIENCE, SERVICE_TOKEN_SECONDS, clock)
        self._name = name
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """A token with at least half of its life before it."""
        if self._clock() >= self._renew_at:
            self._token = self._signer.sign(self._name)
            self._renew_at = self._clock() + SERVICE_TOKEN_SECONDS / 2
        return self._token

    def metadata(self) -> Metadata:
        """The metadata of a call that this process makes in its own name."""
        return {AUTHORIZATION: f"Bearer {self.token()}"}


def fixed_keys(*keys: Ed25519PublicKey) -> PublicKeys:
    """A source of keys that never change."""
    by_id = {key_id(key): key for key in keys}

    async def find(kid: str) -> Ed25519PublicKey | None:
        return by_id.get(kid)

    return find


class Authenticator:
    """Turns a call's metadata into the identity that its method asks for."""

    def __init__(
        self,
        *,
        player_keys: PublicKeys,
        service_keys: PublicKeys,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys: Mapping[Access, tuple[PublicKeys, str]] = {
            Access.PLAYER: (player_keys, PLAYER_AUDIENCE),
            Access.SERVICE: (service_keys, SERVICE_AUDIENCE),
        }
        self._clock = clock
        self._verified: OrderedDict[tuple[Access, str], tuple[Identity, float]] = OrderedDict()

    async def authenticate(self, metadata: Metadata, access: Access) -> Identity:
        """Who is calling a method of that access.

        Raises Unauthenticated with TOKEN_MISSING, TOKEN_EXPIRED or TOKEN_INVALID,
        and PermissionDenied when the method is closed to everybody or the token is
        of another kind.
        """
        if access is Access.PUBLIC:
            return Anonymous()
        if access is Access.NOBODY:
            raise PermissionDenied("Nobody may call this method.")
        token = _bearer(metadata)
        remembered = self._verified.get((access, token))
        if remembered is not None and remembered[1] > self._clock():
            return remembered[0]
        identity, expires_at = await self._verify(token, access)
        self._verified[access, token] = (identity, expires_at)
        if len(self._verified) > REMEMBERED_TOKENS:
            self._verified.popitem(last=False)
        return identity

    async def _verify(self, token: str, access: Access) -> tuple[Identity, float]:
        find_key, audience = self._keys[access]
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            claimed = jwt.decode(token, options={"verify_signature": False}).get("aud")
        except jwt.PyJWTError as error:
            raise _invalid() from error
        if claimed in (PLAYER_AUDIENCE, SERVICE_AUDIENCE) and claimed != audience:
            raise PermissionDenied(
                "This method is not for the kind of caller that the token is for.",
                reason="WRONG_CALLER",
            )
        key = await find_key(kid) if isinstance(kid, str) else None
        if key is None:
            raise _invalid()
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                # The expiry is checked below, by the clock that was handed in; a signer whose
                # clock is a little ahead is no reason to refuse.
                options={
                    "require": ["exp", "iat", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise _invalid() from error
        expires_at, subject = claims["exp"], claims["sub"]
        if not isinstance(expires_at, int):
            raise _invalid()
        if expires_at <= self._clock():
            raise Unauthenticated("The token has expired; log in again.", reason="TOKEN_EXPIRED")
        identity = Player(_user_id(subject)) if access is Access.PLAYER else Service(subject)
        return identity, float(expires_at)


def _bearer(metadata: Metadata) -> str:
    scheme, _, token = metadata.get(AUTHORIZATION, "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated(
            "A bearer token is missing: send 'Authorization: Bearer <token>' as Login gave it.",
            reason="TOKEN_MISSING",
        )
    if len(token) > MAX_TOKEN_LENGTH:
        raise _invalid()
    return token


def _user_id(subject: str) -> str:
    """The player's id in its canonical form, as everything is stored by."""
    try:
        return checked_uuid("sub", subject)
    except InvalidArgument as error:
        raise _invalid() from error


def _invalid() -> Unauthenticated:
    return Unauthenticated("The token is not valid here; log in again.", reason="TOKEN_INVALID")


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
