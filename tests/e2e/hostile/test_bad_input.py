"""Bad bodies and fields get the right status and the field's name, and do no harm."""

import json
from typing import Any, NamedTuple

import httpx
import pytest

from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.players import PASSWORD, NewPlayer, Player, unique_name
from tests.e2e.hostile.refusals import refusal

pytestmark = pytest.mark.usefixtures("unharmed_mesh", "answers_afterwards")

REGISTRATION = {"username": "somebody", "password": PASSWORD, "email": "somebody@example.com"}
PURCHASE = {"amount": 5, "paymentMethod": "credit_card"}
RIGHT: dict[str, dict[str, Any]] = {
    "/register": REGISTRATION,
    "/login": {"username": "somebody", "password": PASSWORD},
    "/refresh": {"refresh_token": "gmr_"},
    "/logout": {"refresh_token": "gmr_"},
    "/password": {"current_password": "not the password", "new_password": PASSWORD},
    "/buy-currency": PURCHASE,
    "/gacha/pull/standard": {},
}


class Field(NamedTuple):
    """A request with one invalid field. `value` is JSON; None leaves the field out."""

    route: str
    field: str
    value: str | None

    def __str__(self) -> str:
        value = "left out" if self.value is None else self.value
        return f"{self.route[1:]} {self.field} {value[:24].encode('unicode_escape').decode()}"


def text(value: str) -> str:
    return json.dumps(value)


NOT_TEXT = ["7", "true", "[]", "{}", "1.5"]
NOT_AMOUNTS = [None, "0", "-1", "1.5", "1000000001", "9007199254740993", "1e19", "1e400"]
NOT_AMOUNTS += ["9223372036854775808", "1" + "0" * 400, "true", "null", "[]", "{}"]
NOT_AMOUNTS += [text(value) for value in ["", "five", "5 ", "0x5", "1e400", "1e999999999", "NaN"]]
NOT_USERNAMES = [None, "null", text("ab"), text("x" * 65), text("a b"), text("a\0b"), text("é-é")]
NOT_PASSWORDS = [None, "null", text("short"), text("x" * 129), text("pass\0word")]
NOT_EMAILS = [None, "null", text("nobody"), text("a@"), text("@b.c"), text("a b@example.com")]
NOT_EMAILS += [text("x" * 250 + "@example.com"), text("a\0@example.com")]
NOT_METHODS = [None, "null", text(""), text("x" * 65), text("a\0b"), text("a\nb")]
NOT_COUNTS = ["0", "2", "-1", "11", "1.5", "true", "[]", "2147483648", text("ten")]
NOT_KEYS = [text("a b"), text("x" * 129), text("ключ"), "0", "false", *NOT_TEXT]

WRONG_FIELDS = [
    *(Field("/register", "username", value) for value in [*NOT_USERNAMES, *NOT_TEXT]),
    *(Field("/register", "password", value) for value in [*NOT_PASSWORDS, *NOT_TEXT]),
    *(Field("/register", "email", value) for value in [*NOT_EMAILS, *NOT_TEXT]),
    *(Field("/login", "username", value) for value in [None, text("a\0b"), "7", text("x" * 999)]),
    *(Field("/login", "password", value) for value in [None, text("a\0b"), "7", text("x" * 129)]),
    *(Field("/buy-currency", "amount", value) for value in NOT_AMOUNTS),
    *(Field("/buy-currency", "paymentMethod", value) for value in [*NOT_METHODS, *NOT_TEXT]),
    *(Field("/gacha/pull/standard", "count", value) for value in NOT_COUNTS),
    *(Field("/gacha/pull/standard", "bannerId", value) for value in ["7", text("beginner")]),
    *(Field("/buy-currency", "idempotencyKey", value) for value in NOT_KEYS),
    *(Field("/refresh", "refresh_token", value) for value in [None, '""', *NOT_TEXT]),
    *(Field("/logout", "refresh_token", value) for value in [None, '""', '"gmr_"', *NOT_TEXT]),
    *(Field("/password", "current_password", value) for value in [None, text("a\0b"), *NOT_TEXT]),
    *(Field("/password", "current_password", value) for value in ['""', text("x" * 129)]),
    *(Field("/password", "new_password", value) for value in [None, text("a\0b"), *NOT_TEXT]),
    *(Field("/password", "new_password", value) for value in ['"short"', text("x" * 129)]),
    *(Field(route, "admin", "true") for route in ["/register", "/login", "/buy-currency"]),
]


def body_of(case: Field) -> bytes:
    """The JSON, written by hand, because json.dumps cannot write all of these values."""
    right = RIGHT[case.route]
    fields = {name: json.dumps(value) for name, value in right.items() if name != case.field}
    if case.value is not None:
        fields[case.field] = case.value
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}").encode()


def post(rest: RestClient, route: str, content: bytes, player: Player) -> httpx.Response:
    headers = {"authorization": f"Bearer {player.token}", "content-type": "application/json"}
    return rest.http.post(route, content=content, headers=headers)


@pytest.mark.parametrize("case", WRONG_FIELDS, ids=str)
def test_wrong_field_is_named(rest: RestClient, bystander: Player, case: Field) -> None:
    response = post(rest, case.route, body_of(case), bystander)
    error = refusal(response, 400, "INVALID_ARGUMENT", "INVALID_FIELD")
    assert [each["field"] for each in error["fields"]] == [case.field]
    assert error["message"].startswith(f"{case.field} ")


ALL_WRONG = [
    ("account.v1.AccountService/Register", {"username": "a", "password": "b", "email": "c"}),
    ("account.v1.AccountService/Login", {"username": "", "password": "x" * 129}),
    ("account.v1.AccountService/BuyCurrency", {"amount": 0, "paymentMethod": ""}),
    ("account.v1.AccountService/ListLedger", {"pageSize": 101, "pageToken": "x"}),
    ("account.v1.SessionService/ChangePassword", {"current_password": "", "new_password": "x"}),
    ("account.v1.PurchaseService/ListPurchases", {"pageSize": 101, "pageToken": "x"}),
    ("gacha.v1.GachaService/GetInventory", {"pageSize": 501, "pageToken": "x"}),
    ("gacha.v1.GachaService/ListPulls", {"pageSize": 101, "pageToken": "x"}),
    ("gacha.v1.GiftService/SendGift", {"itemId": 0, "to": "", "count": 101}),
    ("gacha.v1.GiftService/ListGifts", {"pageSize": 101, "pageToken": "x"}),
]


@pytest.mark.parametrize(("method", "request_"), ALL_WRONG, ids=lambda each: str(each)[-24:])
def test_every_wrong_field_is_named_at_once(
    rest: RestClient, bystander: Player, method: str, request_: dict[str, Any]
) -> None:
    answer = rest.call(method, request_, bystander.token)
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert list(answer.fields) == list(request_)
    assert [part.split()[0] for part in answer.message.split("; ")] == list(request_)


@pytest.mark.parametrize(("method", "request_"), ALL_WRONG, ids=lambda each: str(each)[-24:])
def test_every_wrong_field_is_named_in_the_same_words_beside_an_unknown_one(
    rest: RestClient, bystander: Player, method: str, request_: dict[str, Any]
) -> None:
    alone = rest.call(method, request_, bystander.token)
    beside = rest.call(method, {**request_, "colour": 1}, bystander.token)
    unknown = {"field": "colour", "message": "is not a field of this request"}
    assert beside.body["fields"] == [unknown, *alone.body["fields"]]


def test_every_value_of_a_wrong_type_is_named_at_once(rest: RestClient, bystander: Player) -> None:
    body = b'{"amount": "five", "paymentMethod": 7, "coupon": true}'
    error = refusal(
        post(rest, "/buy-currency", body, bystander), 400, "INVALID_ARGUMENT", "INVALID_FIELD"
    )
    assert [each["field"] for each in error["fields"]] == ["amount", "paymentMethod", "coupon"]


def test_values_of_a_wrong_type_do_not_hide_other_wrong_fields(
    rest: RestClient, bystander: Player
) -> None:
    body = b'{"username": 7, "password": "short", "email": "nobody"}'
    error = refusal(
        post(rest, "/register", body, bystander), 400, "INVALID_ARGUMENT", "INVALID_FIELD"
    )
    assert [each["field"] for each in error["fields"]] == ["username", "password", "email"]


@pytest.mark.parametrize("amount", ["5", '"5"', "5.0", '"5.0"', "5e0", "0.5e1", "50e-1"])
def test_every_spelling_of_five_buys_five(
    rest: RestClient, new_player: NewPlayer, amount: str
) -> None:
    response = post(
        rest, "/buy-currency", body_of(Field("/buy-currency", "amount", amount)), (new_player())
    )
    assert response.json() == {"message": "Currency purchased successfully", "newBalance": 5}


def test_count_may_be_text_and_names_may_be_the_protos(
    rest: RestClient, new_player: NewPlayer
) -> None:
    player = new_player()
    bought = post(
        rest, "/buy-currency", b'{"amount": 1600, "payment_method": "credit_card"}', player
    )
    assert bought.status_code == 200
    pulled = post(rest, "/gacha/pull/standard", b'{"count": "10"}', player)
    assert len(pulled.json()["pulled_items"]) == 10


NESTED = b'{"amount": 5, "paymentMethod": "credit_card", "x": ' + b"[" * 90 + b"]" * 90 + b"}"
MALFORMED_BODIES = {
    "an array": b"[]",
    "a text": b'"amount"',
    "a number": b"5",
    "null": b"null",
    "not JSON": b"amount=5",
    "cut off": b'{"amount": 5, "paymentMethod": "ca',
    "two objects": b"{}{}",
    "a trailing comma": b'{"amount": 5,}',
    "NaN": b'{"amount": NaN, "paymentMethod": "credit_card"}',
    "not UTF-8": b'{"amount": 5, "paymentMethod": "\xff\xfe"}',
    "a lone surrogate": b'{"amount": 5, "paymentMethod": "\\ud800"}',
    "a byte order mark": b'\xef\xbb\xbf{"amount": 5, "paymentMethod": "credit_card"}',
    "nested 90 deep": NESTED,
    "nested 20,000 deep": NESTED.replace(b"[", b"[" * 222).replace(b"]", b"]" * 222),
    "a raw NUL": b'{"amount": 5, "paymentMethod": "a\x00b"}',
}


@pytest.mark.parametrize("content", MALFORMED_BODIES.values(), ids=MALFORMED_BODIES.keys())
def test_malformed_body_is_refused(rest: RestClient, bystander: Player, content: bytes) -> None:
    response = post(rest, "/buy-currency", content, bystander)
    refusal(response, 400, "INVALID_ARGUMENT", "MALFORMED_BODY")


@pytest.mark.parametrize(
    "content",
    [
        b'{"amount": 5, "amount": 6, "paymentMethod": "credit_card"}',
        b'{"amount": 5, "paymentMethod": "credit_card", "payment_method": "credit_card"}',
        b'{"amount": 5, "amount": 5, "paymentMethod": "a:b"}',
    ],
)
def test_field_given_twice_is_refused(rest: RestClient, bystander: Player, content: bytes) -> None:
    error = refusal(
        post(rest, "/buy-currency", content, bystander), 400, "INVALID_ARGUMENT", "INVALID_FIELD"
    )
    assert "must be given once" in error["message"]


def test_body_that_is_too_large_is_refused(rest: RestClient, bystander: Player) -> None:
    for size in (70_000, 3_000_000):
        content = b'{"amount": 5, "paymentMethod": "' + b"x" * size + b'"}'
        response = post(rest, "/buy-currency", content, bystander)
        refusal(response, 413, "OUT_OF_RANGE", "REQUEST_TOO_LARGE")


def test_body_that_is_too_large_is_refused_when_its_size_is_not_declared(
    rest: RestClient, bystander: Player
) -> None:
    headers = {"authorization": f"Bearer {bystander.token}", "content-type": "application/json"}
    chunks = (b" " * 10_000 for _ in range(50))
    response = rest.http.post("/buy-currency", content=chunks, headers=headers)
    refusal(response, 413, "OUT_OF_RANGE", "REQUEST_TOO_LARGE")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_wrong_media_type_is_refused(
    rest: RestClient, bystander: Player, headers: dict[str, str]
) -> None:
    response = rest.http.post(
        "/buy-currency",
        content=json.dumps(PURCHASE),
        headers={"authorization": f"Bearer {bystander.token}", **headers},
    )
    refusal(response, 415, "INVALID_ARGUMENT", "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("spelling", [str, str.upper, str.title])
def test_username_is_taken_in_every_case(
    client: Client, new_player: NewPlayer, spelling: Any
) -> None:
    answer = client.register(spelling(new_player().username), PASSWORD, "other@example.com")
    assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "USERNAME_TAKEN")


def test_email_is_taken_in_every_case(client: Client, new_player: NewPlayer) -> None:
    taken = f"{new_player().username}@EXAMPLE.com".upper()
    answer = client.register(unique_name(), PASSWORD, taken)
    assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "EMAIL_TAKEN")


def test_duplicates_are_conflicts_in_rest(rest: RestClient, new_player: NewPlayer) -> None:
    name = new_player().username
    body = {"username": name, "password": PASSWORD, "email": f"{name}@example.org"}
    refusal(rest.http.post("/register", json=body), 409, "ALREADY_EXISTS", "USERNAME_TAKEN")
    body = {"username": f"{name}-2", "password": PASSWORD, "email": f"{name}@example.com"}
    refusal(rest.http.post("/register", json=body), 409, "ALREADY_EXISTS", "EMAIL_TAKEN")
