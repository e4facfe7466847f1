import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mesh.contract.access import OF_PLAYERS, OPEN, Access, Rule, of_services
from mesh.errors import PermissionDenied, Unauthenticated
from mesh.identity.auth import Anonymous, Authenticator, Player, Service
from mesh.identity.keys import fixed_keys, fixed_service_keys, key_id
from mesh.identity.service_identity import Credential, ServiceIdentity
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner, service_audience

HOUR = 3600
PLAYER_ID = "0d5c3a52-6a3c-4b8a-9d0e-2f5a7c1b9e44"
SESSION_ID = "3f9a6b1e-52c4-4a7e-9d0c-0b1f2e3d4c5b"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> TokenSigner:
    return TokenSigner(Ed25519PrivateKey.generate(), PLAYER_AUDIENCE, HOUR, clock)


@pytest.fixture
def service(clock: Clock) -> tuple[Ed25519PrivateKey, Credential]:
    key = Ed25519PrivateKey.generate()
    return key, ServiceIdentity(key, "gacha_svc", clock).towards("account_svc")


@pytest.fixture
def authenticator(
    clock: Clock, signer: TokenSigner, service: tuple[Ed25519PrivateKey, Credential]
) -> Authenticator:
    return Authenticator(
        "account_svc",
        player_keys=fixed_keys(signer.public_key),
        service_keys=fixed_service_keys({"gacha_svc": service[0].public_key()}),
        clock=clock,
    )


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def forged(token: str, **claims: object) -> str:
    """The token with other claims under its old signature."""
    header, payload, signature = token.split(".")
    old = json.loads(urlsafe_b64decode(payload + "=="))
    new = urlsafe_b64encode(json.dumps(old | claims).encode()).rstrip(b"=").decode()
    return f"{header}.{new}.{signature}"


def unsigned(signer: TokenSigner, clock: Clock) -> str:
    claims = {"sub": "u", "aud": PLAYER_AUDIENCE, "iss": "gacha-mesh", "iat": 1, "exp": 2**40}
    return jwt.encode(claims, "", algorithm="none", headers={"kid": signer.key_id})


async def test_a_player_is_known_by_the_token_that_was_signed_for_them(
    authenticator: Authenticator, signer: TokenSigner
) -> None:
    token = signer.sign(PLAYER_ID, sid=SESSION_ID)
    for _ in range(2):
        identity = await authenticator.authenticate(bearer(token), OF_PLAYERS)
        assert identity == Player(PLAYER_ID)


async def test_a_token_is_refused_from_the_second_it_expires_though_it_was_remembered(
    authenticator: Authenticator, signer: TokenSigner, clock: Clock
) -> None:
    token = signer.sign(PLAYER_ID, sid=SESSION_ID)
    clock.now += HOUR - 1
    await authenticator.authenticate(bearer(token), OF_PLAYERS)
    clock.now += 1
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(bearer(token), OF_PLAYERS)
    assert caught.value.reason == "TOKEN_EXPIRED"


async def test_public_methods_ask_for_nothing(authenticator: Authenticator) -> None:
    assert await authenticator.authenticate(bearer("x"), OPEN) == Anonymous()


async def test_a_method_without_a_rule_is_closed_to_everybody(
    authenticator: Authenticator, signer: TokenSigner
) -> None:
    with pytest.raises(PermissionDenied):
        await authenticator.authenticate(
            bearer(signer.sign(PLAYER_ID, sid=SESSION_ID)), Rule(Access.NOBODY)
        )


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [
        (OF_PLAYERS, "with Login's token."),
        (of_services(["admin"]), "an operator's token (gachactl admin-token --for account_svc)."),
        (of_services(["gacha_svc"]), "a token that the calling service signs for account_svc."),
    ],
)
async def test_the_token_that_is_missing_is_named(
    authenticator: Authenticator, rule: Rule, remedy: str
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate({}, rule)
    assert caught.value.message.endswith(remedy)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dXNlcg==", "token-without-a-scheme"]
)
async def test_a_missing_token_is_reported(authenticator: Authenticator, header: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate({"authorization": header}, OF_PLAYERS)
    assert caught.value.reason == "TOKEN_MISSING"


@pytest.mark.parametrize(
    "name", ["malformed", "empty parts", "huge", "forged", "foreign key", "alg none", "no kid"]
)
async def test_every_token_that_is_not_ours_is_refused(
    authenticator: Authenticator, signer: TokenSigner, clock: Clock, name: str
) -> None:
    good = signer.sign(PLAYER_ID, sid=SESSION_ID)
    stranger = Ed25519PrivateKey.generate()
    claims = jwt.decode(good, options={"verify_signature": False})
    tokens = {
        "malformed": "not-a-token",
        "empty parts": "..",
        "huge": good + "A" * 5000,
        "forged": forged(good, sub="user-2"),
        "foreign key": jwt.encode(claims, stranger, "EdDSA", headers={"kid": signer.key_id}),
        "alg none": unsigned(signer, clock),
        "no kid": jwt.encode(claims, stranger, "EdDSA"),
    }
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(bearer(tokens[name]), OF_PLAYERS)
    assert caught.value.reason == "TOKEN_INVALID"


async def test_players_and_services_cannot_stand_in_for_one_another(
    authenticator: Authenticator,
    signer: TokenSigner,
    service: tuple[Ed25519PrivateKey, Credential],
) -> None:
    with pytest.raises(PermissionDenied):
        await authenticator.authenticate(
            bearer(signer.sign(PLAYER_ID, sid=SESSION_ID)), of_services(["gacha_svc"])
        )
    with pytest.raises(PermissionDenied):
        await authenticator.authenticate(service[1].metadata(), OF_PLAYERS)
    identity = await authenticator.authenticate(service[1].metadata(), of_services(["gacha_svc"]))
    assert identity == Service("gacha_svc")


def test_a_service_renews_its_token_before_it_expires(
    service: tuple[Ed25519PrivateKey, Credential], clock: Clock
) -> None:
    first = service[1].token()
    clock.now += 29
    assert service[1].token() == first
    clock.now += 1
    assert service[1].token() != first


def test_a_key_id_is_the_thumbprint_of_the_standard() -> None:
    """RFC 8037, appendix A.3."""
    octets = urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    key = Ed25519PublicKey.from_public_bytes(octets)
    assert key_id(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("signer_of", ["own", "victim"])
async def test_a_service_cannot_sign_in_the_name_of_another(clock: Clock, signer_of: str) -> None:
    own, victim = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    authenticator = Authenticator(
        "account_svc",
        player_keys=fixed_keys(),
        service_keys=fixed_service_keys(
            {"gateway_http": own.public_key(), "gacha_svc": victim.public_key()}
        ),
        clock=clock,
    )
    claims = jwt.decode(
        ServiceIdentity(own, "gacha_svc", clock).towards("account_svc").token(),
        options={"verify_signature": False},
    )
    kid = key_id((own if signer_of == "own" else victim).public_key())
    token = jwt.encode(claims, own, "EdDSA", headers={"kid": kid})
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(bearer(token), of_services(["gacha_svc"]))
    assert caught.value.reason == "TOKEN_INVALID"


async def test_a_refused_service_learns_which_ones_are_allowed(
    authenticator: Authenticator, service: tuple[Ed25519PrivateKey, Credential]
) -> None:
    for rule, named in (
        (of_services(["account_svc", "admin"]), "account_svc and admin"),
        (of_services([]), "no caller"),
    ):
        # Twice: the token is cached, but its access is checked each time.
        await authenticator.authenticate(service[1].metadata(), of_services(["gacha_svc"]))
        with pytest.raises(PermissionDenied) as caught:
            await authenticator.authenticate(service[1].metadata(), rule)
        assert caught.value.reason == "WRONG_CALLER"
        assert f"only for {named}" in caught.value.message
        assert "gacha_svc" in caught.value.message


async def test_a_token_for_one_service_is_refused_by_another(
    service: tuple[Ed25519PrivateKey, Credential], clock: Clock
) -> None:
    keys = fixed_service_keys({"gacha_svc": service[0].public_key()})
    shown = service[1].metadata()
    intended, other = (
        Authenticator(callee, player_keys=fixed_keys(), service_keys=keys, clock=clock)
        for callee in ("account_svc", "registry")
    )
    rule = of_services(["gacha_svc"])
    assert await intended.authenticate(shown, rule) == Service("gacha_svc")
    with pytest.raises(Unauthenticated) as caught:
        await other.authenticate(shown, rule)
    assert caught.value.reason == "WRONG_AUDIENCE"
    assert caught.value.message.startswith("The token is for account_svc, and this is registry;")
    with pytest.raises(Unauthenticated) as caught:
        await other.authenticate(shown, of_services(["admin"]))
    assert "gachactl admin-token --for registry" in caught.value.message


@pytest.mark.parametrize(
    "audience",
    [
        "gacha-mesh/service",
        "gacha-mesh/service/",
        "gacha-mesh/service/account_svc2",
        ["gacha-mesh/service/account_svc"],
        ["gacha-mesh/service/account_svc", "gacha-mesh/service/registry"],
        None,
    ],
)
async def test_a_service_token_has_exactly_one_audience(
    authenticator: Authenticator,
    service: tuple[Ed25519PrivateKey, Credential],
    audience: object,
) -> None:
    claims = jwt.decode(service[1].token(), options={"verify_signature": False})
    kid = key_id(service[0].public_key())
    token = jwt.encode({**claims, "aud": audience}, service[0], "EdDSA", headers={"kid": kid})
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(bearer(token), of_services(["gacha_svc"]))
    assert caught.value.reason in ("TOKEN_INVALID", "WRONG_AUDIENCE")


async def test_a_service_token_that_lives_for_long_is_refused(
    authenticator: Authenticator,
    service: tuple[Ed25519PrivateKey, Credential],
    clock: Clock,
) -> None:
    signer = TokenSigner(service[0], service_audience("account_svc"), HOUR, clock)
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(
            bearer(signer.sign("gacha_svc")), of_services(["gacha_svc"])
        )
    assert caught.value.reason == "TOKEN_INVALID"


async def test_a_players_token_is_refused_once_its_key_is_gone_though_it_was_remembered(
    signer: TokenSigner, clock: Clock
) -> None:
    known = {signer.key_id: signer.public_key}

    async def find(kid: str) -> Ed25519PublicKey | None:
        return known.get(kid)

    authenticator = Authenticator(
        "account_svc", player_keys=find, service_keys=fixed_service_keys({}), clock=clock
    )
    shown = bearer(signer.sign(PLAYER_ID, sid=SESSION_ID))
    for _ in range(2):
        assert await authenticator.authenticate(shown, OF_PLAYERS) == Player(PLAYER_ID)
    known.clear()
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(shown, OF_PLAYERS)
