"""Calls with invalid tokens, and without a token."""

import re
import statistics
import time
from collections.abc import Callable
from uuid import uuid4

import pytest

from proof.clients.answers import Answer
from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.players import PASSWORD, NewPlayer, Player, unique_name
from proof.stack import Mesh
from proof.tokens import Forge
from tests.e2e.hostile.refusals import refusal, without_ids

pytestmark = pytest.mark.usefixtures("unharmed_mesh", "answers_afterwards")

LOGINS = 5
"""No more than may fail on one account before the next one waits."""
LIKENESS = 3.0
"""The work of a hash is some thirty times that of everything else in a login."""

PLAYERS_ROUTES = [
    ("GET", "/currency"),
    ("POST", "/buy-currency"),
    ("GET", "/ledger"),
    ("GET", "/gacha/pull/standard"),
    ("POST", "/gacha/pull/standard"),
    ("GET", "/inventory"),
    ("GET", "/pulls"),
    ("POST", "/logout-everywhere"),
    ("POST", "/password"),
]


@pytest.fixture(scope="module")
def forge(mesh: Mesh, bystander: Player) -> Forge:
    return Forge.of(mesh, bystander.token)


def calls_with(client: Client, token: str) -> list[Callable[[], Answer]]:
    """One read and one mutation at each of the two services."""
    return [
        lambda: client.currency(token),
        lambda: client.buy_currency(token, 5),
        lambda: client.inventory(token),
        lambda: client.pull(token),
    ]


@pytest.mark.parametrize(("verb", "route"), PLAYERS_ROUTES)
@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Basic YTpi", "token"])
def test_missing_token_is_reported(
    rest: RestClient, verb: str, route: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    response = rest.http.request(verb, route, headers=headers)
    error = response.json()
    assert (response.status_code, error["code"]) == (401, "UNAUTHENTICATED")
    assert error["reason"] in {"TOKEN_MISSING", "TOKEN_INVALID"}
    assert response.headers["www-authenticate"] == "Bearer"


def test_missing_token_has_a_reason_of_its_own(client: Client) -> None:
    for answer in (client.currency(""), client.pull("")):
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")


def test_token_that_this_forge_makes_unchanged_is_accepted(client: Client, forge: Forge) -> None:
    assert client.currency(forge.signed()).ok


def test_expired_token_is_reported_as_expired(client: Client, forge: Forge) -> None:
    for call in calls_with(client, forge.expired()):
        answer = call()
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


def test_invalid_tokens_are_refused_by_both_services(client: Client, forge: Forge) -> None:
    for name, token in forge.invalid().items():
        for answer in (client.currency(token), client.pull(token)):
            assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID"), name


def test_invalid_tokens_are_401_in_rest(rest: RestClient, forge: Forge) -> None:
    for token in forge.invalid().values():
        headers = {"authorization": f"Bearer {token}"}
        response = rest.http.get("/inventory", headers=headers)
        refusal(response, 401, "UNAUTHENTICATED", "TOKEN_INVALID")


def test_service_token_is_no_players(rest: RestClient, client: Client, forge: Forge) -> None:
    for token in (forge.of_a_service(), forge.of_a_service_signed_by_the_player_key()):
        for call in calls_with(client, token):
            answer = call()
            assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "WRONG_CALLER")
        headers = {"authorization": f"Bearer {token}"}
        response = rest.http.get("/currency", headers=headers)
        refusal(response, 403, "PERMISSION_DENIED", "WRONG_CALLER")


def test_token_of_an_unknown_player_finds_no_player(client: Client, forge: Forge) -> None:
    token = forge.signed(sub=str(uuid4()))
    for answer in (client.currency(token), client.buy_currency(token, 5), client.pull(token)):
        assert (answer.code, answer.reason) == ("NOT_FOUND", "USER_NOT_FOUND")


def test_wrong_password_and_unknown_user_get_the_same_answer(
    client: Client, rest: RestClient, new_player: NewPlayer
) -> None:
    known = client.login(new_player().username, "a wrong password")
    unknown = client.login(unique_name(), "a wrong password")
    assert (known.code, known.reason) == ("UNAUTHENTICATED", "INVALID_CREDENTIALS")
    assert without_ids(known.body) == without_ids(unknown.body)


def test_rest_answers_401_to_a_wrong_password(rest: RestClient, new_player: NewPlayer) -> None:
    body = {"username": new_player().username, "password": "a wrong password"}
    response = rest.http.post("/login", json=body)
    refusal(response, 401, "UNAUTHENTICATED", "INVALID_CREDENTIALS")


def test_wrong_password_and_unknown_user_take_the_same_time(
    rest: RestClient, new_player: NewPlayer
) -> None:
    known, unknown = new_player().username, unique_name()
    seconds: dict[str, list[float]] = {known: [], unknown: []}
    for _ in range(LOGINS):
        # In turns, so that other work of the machine affects both equally.
        for username, taken in seconds.items():
            began = time.perf_counter()
            assert rest.login(username, "a wrong password").code == "UNAUTHENTICATED"
            taken.append(time.perf_counter() - began)
    medians = [statistics.median(taken) for taken in seconds.values()]
    assert max(medians) < LIKENESS * min(medians), medians


def test_password_is_exact(client: Client, new_player: NewPlayer) -> None:
    username = new_player().username
    for password in (PASSWORD.upper(), f"{PASSWORD} ", PASSWORD[:-1]):
        assert client.login(username, password).reason == "INVALID_CREDENTIALS"


def test_no_error_tells_a_token_or_a_password(rest: RestClient, forge: Forge) -> None:
    for token in forge.invalid().values():
        if len(token) > 100:
            answer = rest.currency(token)
            assert token[:60] not in answer.raw.decode()
    secret = "a password that nobody may see"
    for answer in (rest.login(unique_name(), secret), rest.register("a b", secret, "x@y.example")):
        assert not re.search(secret, answer.raw.decode())
