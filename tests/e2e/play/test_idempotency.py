"""A retry is free: the same key gives the first answer, byte for byte, and changes nothing."""

import httpx
import pytest

from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.players import PASSWORD, NewPlayer, unique_name

REUSED = ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED")


def pull(rest: RestClient, token: str, key: str | None = None) -> httpx.Response:
    """Pulls once from the standard banner; `key` is the raw header value."""
    headers = {"authorization": f"Bearer {token}"}
    if key is not None:
        headers["idempotency-key"] = key
    return rest.http.post("/gacha/pull/standard", headers=headers)


@pytest.mark.parametrize("count", [1, 10])
def test_repeated_pull_gives_the_first_answer(
    client: Client, new_player: NewPlayer, count: int
) -> None:
    token = new_player(gems=4000).token
    first = client.pull(token, "standard", count, key="once")
    assert first.ok, first
    for _ in range(3):
        again = client.pull(token, "standard", count, key="once")
        assert again.raw == first.raw
    assert client.currency(token).body["currencyBalance"] == 4000 - 160 * count
    assert len(client.pulls(token).body["pulls"]) == 1


def test_repeated_pull_gives_the_first_answer_when_nothing_is_left_to_pay(
    client: Client, new_player: NewPlayer
) -> None:
    token = new_player(gems=160).token
    first = client.pull(token, key="last")
    assert client.pull(token, key="last").raw == first.raw
    assert client.pull(token, key="next").reason == "INSUFFICIENT_CURRENCY"


def test_repeated_purchase_gives_the_first_answer_and_credits_once(
    client: Client, new_player: NewPlayer
) -> None:
    token = new_player().token
    first = client.buy_currency(token, 100, key="once")
    assert client.buy_currency(token, 11, key="other").body["newBalance"] == 111
    assert client.buy_currency(token, 100, key="once").raw == first.raw
    assert client.currency(token).body["currencyBalance"] == 111


def test_repeated_registration_gives_the_same_player(client: Client) -> None:
    name = unique_name()
    arguments = (name, PASSWORD, f"{name}@example.com")
    first = client.register(*arguments, key=f"key-{name}")
    assert client.register(*arguments, key=f"key-{name}").raw == first.raw
    for other in (
        (name, PASSWORD, f"{name}x@example.com"),
        (name, "another password", arguments[2]),
    ):
        answer = client.register(*other, key=f"key-{name}")
        assert (answer.code, answer.reason) == REUSED
    assert client.register(f"{name}x", PASSWORD, f"{name}x@example.com", key=f"key-{name}").ok


def test_key_of_a_pull_is_refused_for_another_pull(client: Client, new_player: NewPlayer) -> None:
    token = new_player(gems=4000).token
    assert client.pull(token, "standard", 1, key="k").ok
    for banner_id, count in [("standard", 10), ("lamplighter", 1)]:
        answer = client.pull(token, banner_id, count, key="k")
        assert (answer.code, answer.reason) == REUSED
    assert client.currency(token).body["currencyBalance"] == 4000 - 160


def test_key_of_a_purchase_is_refused_for_another_purchase(
    client: Client, new_player: NewPlayer
) -> None:
    token = new_player().token
    assert client.buy_currency(token, 100, "credit_card", key="k").ok
    for amount, payment_method in [(101, "credit_card"), (100, "paypal")]:
        answer = client.buy_currency(token, amount, payment_method, key="k")
        assert (answer.code, answer.reason) == REUSED
    assert client.currency(token).body["currencyBalance"] == 100


def test_rest_answers_422_to_a_reused_key(rest: RestClient, new_player: NewPlayer) -> None:
    headers = {"authorization": f"Bearer {new_player().token}", "idempotency-key": "k"}
    body = {"amount": 1, "paymentMethod": "credit_card"}
    assert rest.http.post("/buy-currency", json=body, headers=headers).status_code == 200
    body["amount"] = 2
    refused = rest.http.post("/buy-currency", json=body, headers=headers)
    assert refused.status_code == 422
    error = refused.json()
    assert (error["reason"], error["idempotencyKey"]) == ("IDEMPOTENCY_KEY_REUSED", "k")


def test_a_key_that_the_gateway_made_up_repeats_the_pull(
    rest: RestClient, new_player: NewPlayer
) -> None:
    token = new_player(gems=1600).token
    first = pull(rest, token)
    assert first.status_code == 200
    for _ in range(2):
        again = pull(rest, token, first.headers["idempotency-key"])
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["idempotency-key"] == first.headers["idempotency-key"]
    assert rest.currency(token).body["currencyBalance"] == 1600 - 160
    assert pull(rest, token).headers["idempotency-key"] != first.headers["idempotency-key"]


def test_both_spellings_are_one_key(rest: RestClient, new_player: NewPlayer) -> None:
    token = new_player(gems=1600).token
    bare, quoted = pull(rest, token, "k"), pull(rest, token, '"k"')
    assert (bare.status_code, bare.content) == (200, quoted.content)
    assert bare.headers["idempotency-key"] == quoted.headers["idempotency-key"] == '"k"'
    assert rest.currency(token).body["currencyBalance"] == 1600 - 160


def test_an_error_names_the_key_to_repeat_with(client: Client, new_player: NewPlayer) -> None:
    """Also when the server made the key."""
    token = new_player().token
    key = client.pull(token).body["idempotencyKey"]
    assert client.pull(token).body["idempotencyKey"] != key
    assert client.pull(token, key="mine").body["idempotencyKey"] == "mine"
    assert client.buy_currency(token, 320).ok
    first = client.pull(token, key=key)
    assert first.ok, first
    assert client.pull(token, key=key).raw == first.raw
    assert client.currency(token).body["currencyBalance"] == 160


def test_keys_are_of_one_player_and_one_kind(client: Client, new_player: NewPlayer) -> None:
    tokens = [new_player().token, new_player().token]
    for token in tokens:
        assert client.buy_currency(token, 160, key="k").body["newBalance"] == 160
        assert client.pull(token, key="k").ok
        assert client.currency(token).body["currencyBalance"] == 0


def test_pull_is_the_same_by_get_and_by_post(rest: RestClient, new_player: NewPlayer) -> None:
    token = new_player(gems=1600).token
    headers = {"authorization": f"Bearer {token}", "idempotency-key": "either"}
    path = "/gacha/pull/lamplighter"
    posted = rest.http.post(path, json={"count": 10}, headers=headers)
    got = rest.http.get(path, params={"count": 10}, headers=headers)
    assert posted.status_code == got.status_code == 200
    assert posted.content == got.content
    assert rest.currency(token).body["currencyBalance"] == 0


def test_key_may_stand_in_the_body_instead_of_the_header(
    rest: RestClient, new_player: NewPlayer
) -> None:
    token = new_player(gems=320).token
    headers = {"authorization": f"Bearer {token}"}
    in_body = rest.http.post("/gacha/pull/standard", json={"idempotencyKey": "k"}, headers=headers)
    assert in_body.status_code == 200
    assert rest.pull(token, key="k").raw == in_body.content


def test_both_instances_know_a_pull_that_one_of_them_did(
    first_instance: Client, second_instance: Client, new_player: NewPlayer
) -> None:
    token = new_player(gems=1600).token
    first = first_instance.pull(token, "lamplighter", 10, key="shared")
    assert first.ok, first
    assert second_instance.pull(token, "lamplighter", 10, key="shared").raw == first.raw
    assert second_instance.pull(token, "standard", 10, key="shared").reason == REUSED[1]
    assert first_instance.pulls(token).raw == second_instance.pulls(token).raw


def test_both_instances_know_a_purchase_that_one_of_them_did(
    first_instance: Client, second_instance: Client, new_player: NewPlayer
) -> None:
    token = new_player().token
    first = second_instance.buy_currency(token, 9, key="shared")
    assert first_instance.buy_currency(token, 9, key="shared").raw == first.raw
    assert first_instance.currency(token).body["currencyBalance"] == 9


def test_repeat_is_the_same_answer_through_rest_and_through_grpc(
    rest: RestClient, first_instance: Client, new_player: NewPlayer
) -> None:
    token = new_player(gems=160).token
    by_rest = rest.pull(token, "standard", 1, key="both")
    assert first_instance.pull(token, "standard", 1, key="both").body == by_rest.body
