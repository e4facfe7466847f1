"""All kinds of callers of a method, with their tokens."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.secrets.credentials import IDENTITIES
from mesh.identity.keys import key_id
from mesh.identity.tokens import ALGORITHM, ISSUER, PLAYER_AUDIENCE, service_audience
from proof.players import Player
from proof.stack import Mesh
from proof.tokens import key_of, token_of
from tests.authorization import PLAYERS, Line

SERVERS = ("account_svc", "gacha_svc", "registry")
REFUSALS = {"TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "WRONG_AUDIENCE", "WRONG_CALLER"}
"""What is said to those who may not call; anything else comes from the method itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`who` they are if the token is good: "player", or a service's name; `kind` is what the
    token says that it is of; `fault` is what is wrong with it."""

    name: str
    token: str
    kind: str = ""
    who: str = ""
    fault: str = ""

    def metadata(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def expected(self, line: Line, *, is_opened: bool) -> str:
        """The reason of the expected refusal; empty if the caller is allowed."""
        if line.admits("" if self.fault else self.who, is_opened=is_opened):
            return ""
        if not self.kind:
            return self.fault
        is_for = "player" if line.who == PLAYERS else "service"
        return "WRONG_CALLER" if self.kind != is_for else self.fault or "WRONG_CALLER"


def callers(mesh: Mesh, player: Player, another: Player, callee: str) -> list[Caller]:
    """All callers of the service `callee`; the keys are the mesh's own, except a stranger's."""
    elsewhere = next(name for name in SERVERS if name != callee)
    return [
        Caller("nobody", "", fault="TOKEN_MISSING"),
        Caller("garbage", "not.a.token", fault="TOKEN_INVALID"),
        Caller("a player", player.token, "player", "player"),
        Caller("another player", another.token, "player", "player"),
        *(Caller(name, token_of(mesh, name, callee), "service", name) for name in IDENTITIES),
        *(
            Caller(
                f"{name} with a token for {elsewhere}",
                token_of(mesh, name, elsewhere),
                "service",
                fault="WRONG_AUDIENCE",
            )
            for name in IDENTITIES
        ),
        *_expired(mesh, player, service_audience(callee)),
        *_impostors(mesh, player, service_audience(callee)),
    ]


def _expired(mesh: Mesh, player: Player, audience: str) -> Iterator[Caller]:
    token = _signed(mesh.player_key(), PLAYER_AUDIENCE, player.user_id, seconds=-60)
    yield Caller("an expired player", token, "player", fault="TOKEN_EXPIRED")
    for name in IDENTITIES:
        token = _signed(key_of(mesh, name), audience, name, seconds=-60)
        yield Caller(f"an expired {name}", token, "service", fault="TOKEN_EXPIRED")


def _impostors(mesh: Mesh, player: Player, audience: str) -> Iterator[Caller]:
    keys = {name: key_of(mesh, name) for name in IDENTITIES}
    stranger = Ed25519PrivateKey.generate()
    signers = keys | {"the players' key": mesh.player_key(), "a stranger": stranger}
    for victim, victims_key in keys.items():
        for signer, key in signers.items():
            if signer == victim:
                continue
            for whose, kid_of in (("its own", key), ("the other's", victims_key)):
                token = _signed(key, audience, victim, kid_of=kid_of)
                name = f"{signer} as {victim} under {whose} key id"
                yield Caller(name, token, "service", fault="TOKEN_INVALID")
        token = _signed(victims_key, audience, victim, seconds=3600)
        yield Caller(f"{victim} for too long", token, "service", fault="TOKEN_INVALID")
        token = _signed(victims_key, PLAYER_AUDIENCE, player.user_id)
        yield Caller(f"{victim} as a player", token, "player", fault="TOKEN_INVALID")


def _signed(
    key: Ed25519PrivateKey,
    audience: str,
    subject: str,
    *,
    seconds: int = 60,
    kid_of: Ed25519PrivateKey | None = None,
) -> str:
    """A token that expires in that many seconds, under the key's own id or another."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": audience, "sub": subject, "iat": now, "exp": now + seconds}
    headers = {"kid": key_id((kid_of or key).public_key())}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers=headers)
