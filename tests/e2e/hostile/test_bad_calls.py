"""Bad requests directly over gRPC, without the gateway."""

from typing import Any

import pytest

from proof.clients.client import ACCOUNT, GACHA
from proof.clients.grpc_client import GrpcClient
from proof.players import PASSWORD, Player

pytestmark = pytest.mark.usefixtures("unharmed_mesh", "answers_afterwards")

REGISTRATION = {"username": "somebody", "password": PASSWORD, "email": "somebody@example.com"}
PURCHASE = {"amount": 5, "paymentMethod": "credit_card"}
WRONG_CALLS: list[tuple[str, dict[str, Any], str]] = [
    (f"{ACCOUNT}/Register", {**REGISTRATION, "username": "a\0b"}, "username"),
    (f"{ACCOUNT}/Register", {**REGISTRATION, "username": ""}, "username"),
    (f"{ACCOUNT}/Register", {**REGISTRATION, "username": "x" * 100_000}, "username"),
    (f"{ACCOUNT}/Register", {**REGISTRATION, "password": "short"}, "password"),
    (f"{ACCOUNT}/Register", {**REGISTRATION, "email": "nobody"}, "email"),
    (f"{ACCOUNT}/Register", {**REGISTRATION, "idempotencyKey": "a b"}, "idempotency_key"),
    (f"{ACCOUNT}/Login", {"username": "a\0b", "password": PASSWORD}, "username"),
    (f"{ACCOUNT}/Login", {"username": "somebody", "password": ""}, "password"),
    (f"{ACCOUNT}/BuyCurrency", {**PURCHASE, "amount": 0}, "amount"),
    (f"{ACCOUNT}/BuyCurrency", {**PURCHASE, "amount": -(2**63)}, "amount"),
    (f"{ACCOUNT}/BuyCurrency", {**PURCHASE, "amount": 2**63 - 1}, "amount"),
    (f"{ACCOUNT}/BuyCurrency", {"amount": 5}, "payment_method"),
    (f"{ACCOUNT}/BuyCurrency", {**PURCHASE, "paymentMethod": "a\0b"}, "payment_method"),
    (f"{ACCOUNT}/BuyCurrency", {**PURCHASE, "idempotencyKey": "x" * 129}, "idempotency_key"),
    (f"{GACHA}/Pull", {"bannerId": "a\0b"}, "banner_id"),
    (f"{GACHA}/Pull", {"bannerId": "standard", "idempotencyKey": "a\0b"}, "idempotency_key"),
    ("gacha.v1.CatalogService/GetOdds", {"oddsVersion": "\0"}, "odds_version"),
    ("gacha.v1.CatalogService/ListBannerHistory", {"bannerId": "\0"}, "banner_id"),
    (f"{GACHA}/Pull", {"bannerId": "standard", "count": 0}, "count"),
    (f"{GACHA}/Pull", {"bannerId": "standard", "count": -1}, "count"),
    (f"{GACHA}/Pull", {"bannerId": "standard", "count": 2**31 - 1}, "count"),
    (f"{GACHA}/Pull", {"bannerId": "standard", "idempotencyKey": "a\nb"}, "idempotency_key"),
    (f"{GACHA}/ListPulls", {"pageToken": "\0"}, "page_token"),
    (f"{GACHA}/GetInventory", {"pageSize": -1}, "page_size"),
]


@pytest.mark.parametrize(("method", "request_fields", "field"), WRONG_CALLS)
def test_wrong_field_is_named_over_grpc(
    first_instance: GrpcClient,
    bystander: Player,
    method: str,
    request_fields: dict[str, Any],
    field: str,
) -> None:
    answer = first_instance.call(method, request_fields, bystander.token)
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert answer.fields == (field,)
    assert answer.message.startswith(f"{field} ")


def test_bytes_that_are_no_message_are_refused(
    first_instance: GrpcClient, bystander: Player
) -> None:
    answer = first_instance.send(f"{ACCOUNT}/BuyCurrency", b"\xff\xff\xff\xff", bystander.token)
    assert not isinstance(answer, bytes)
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")


def test_message_that_is_too_large_is_refused(
    first_instance: GrpcClient, bystander: Player
) -> None:
    answer = first_instance.send(f"{GACHA}/Pull", b"\x0a" * 5_000_000, bystander.token)
    assert not isinstance(answer, bytes)
    assert answer.code == "RESOURCE_EXHAUSTED"


def test_unknown_method_is_unimplemented(first_instance: GrpcClient, bystander: Player) -> None:
    answer = first_instance.send(f"{GACHA}/PullForFree", b"", bystander.token)
    assert not isinstance(answer, bytes)
    assert answer.code == "UNIMPLEMENTED"


@pytest.mark.parametrize("banner_id", ["", "x" * 100_000, "standard ", "STANDARD", "🎁"])
def test_odd_banner_is_not_found_over_grpc(
    first_instance: GrpcClient, bystander: Player, banner_id: str
) -> None:
    answer = first_instance.pull(bystander.token, banner_id)
    assert (answer.code, answer.reason) == ("NOT_FOUND", "BANNER_NOT_FOUND")
