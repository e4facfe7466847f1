"""The OpenAPI document describes what the gateway does."""

import re
from typing import Any

import orjson
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway_http.describing.openapi import openapi_document
from gateway_http.describing.own_routes import OWN_PATHS
from gateway_http.edge.headers import idempotency_key_of
from gateway_http.errors import STATUS_BY_CODE, STATUS_BY_REASON
from gateway_http.exchange import Headers, LimitClass
from mesh.errors import Code, InvalidArgument
from tests.unit.gateway.fakes import FakeCaller, contracts, router_for


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document as it is served, after a round trip through JSON."""
    read: dict[str, Any] = orjson.loads(orjson.dumps(openapi_document(contracts(), 65536)))
    return read


def test_the_gateways_own_pages_name_the_refusal_of_their_limit(document: dict[str, Any]) -> None:
    router = router_for(FakeCaller({}))
    for path in OWN_PATHS:
        target, _ = router.match("GET", path)
        is_limited = target.endpoint.limit_class is not LimitClass.UNLIMITED
        assert ("429" in document["paths"][path]["get"]["responses"]) is is_limited, path


GIFT = [
    *("giftId", "state", "reason", "sender", "to"),
    *("itemId", "name", "rarity", "count", "fee", "createdAt"),
]

PURCHASE = [
    *("purchaseId", "state", "reason", "amount", "priceMinor", "currency"),
    *("paymentMethod", "createdAt", "endedAt", "takenBack"),
]

TOKENS = ["token", "refresh_token", "expires_in"]
BOUGHT = ["message", "newBalance", "purchaseId", "state"]
PROMISED = [
    ("get", "/initdb", [], ["message", "itemCount", "bannerCount"], True),
    ("post", "/register", ["username", "password", "email"], ["message", "userId"], False),
    ("post", "/login", ["username", "password"], ["message", *TOKENS], False),
    ("post", "/refresh", ["refresh_token"], TOKENS, False),
    ("post", "/logout", ["refresh_token"], ["message"], False),
    ("post", "/logout-everywhere", [], ["message"], True),
    ("post", "/password", ["current_password", "new_password"], ["message", *TOKENS], True),
    (
        "post",
        "/buy-currency",
        ["amount", "paymentMethod"],
        ["message", "newBalance", "purchaseId", "state"],
        True,
    ),
    ("get", "/currency", [], ["userId", "currencyBalance", "debtGems"], True),
    ("get", "/items", [], ["items"], False),
    ("get", "/chances", [], ["chances"], False),
    ("get", "/gacha/pull/{bannerId}", [], ["pulled_items"], True),
    ("post", "/gacha/pull/{bannerId}", ["count"], ["pulled_items"], True),
    ("get", "/banners", [], ["banners"], False),
    ("get", "/inventory", [], ["items", "nextPageToken"], True),
    ("get", "/pulls", [], ["pulls", "nextPageToken"], True),
    ("get", "/purchases/{purchaseId}", [], PURCHASE, True),
    ("get", "/purchases", [], ["purchases", "nextPageToken"], True),
    ("post", "/gifts", ["itemId", "to", "count"], GIFT, True),
    ("get", "/gifts/{giftId}", [], GIFT, True),
    ("get", "/gifts", [], ["gifts", "nextPageToken"], True),
    ("get", "/ledger", [], ["entries", "nextPageToken"], True),
]

NESTED = [
    ("gacha.v1.Item", ["id", "name", "rarity"], "string"),
    ("gacha.v1.PulledItem", ["item_id", "name", "rarity"], "integer"),
    ("gacha.v1.Chances", ["rare", "super_rare", "ultra_rare"], "number"),
]


def properties(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    found: dict[str, Any] = schema["properties"]
    return found


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


@pytest.mark.parametrize(("verb", "path", "takes", "gives", "needs_token"), PROMISED)
def test_every_promised_route_is_described(
    document: dict[str, Any],
    verb: str,
    path: str,
    takes: list[str],
    gives: list[str],
    needs_token: bool,
) -> None:
    operation = document["paths"][path][verb]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(properties(document, answer)) == gives
    assert ("security" in operation) is needs_token
    assert ("401" in operation["responses"]) is (needs_token or path in ("/login", "/refresh"))
    assert ("requestBody" in operation) is (verb == "post")
    if verb == "post":
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert [name for name in properties(document, body) if name != "idempotencyKey"] == takes


@pytest.mark.parametrize(("name", "keys", "kind"), NESTED)
def test_the_promised_keys_of_nested_objects_are_exact(
    document: dict[str, Any], name: str, keys: list[str], kind: str
) -> None:
    schema = document["components"]["schemas"][name]
    assert list(schema["properties"]) == schema["required"] == keys
    assert schema["properties"][keys[0]]["type"] == kind


def test_each_operation_has_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(names) == len(set(names)) > 15


def test_every_element_has_the_description_of_its_proto(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for key, value in schema["properties"].items():
            assert name == "Error" or value["description"], f"{name}.{key}"
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert all(each["description"] for each in operation.get("parameters", []))


def test_the_idempotency_key_is_described_where_it_counts(document: dict[str, Any]) -> None:
    with_key = {
        (verb, path)
        for path, operations in document["paths"].items()
        for verb, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "Idempotency-Key"
    }
    assert with_key == {
        ("post", "/register"),
        ("post", "/refresh"),
        ("post", "/password"),
        ("post", "/buy-currency"),
        ("post", "/gifts"),
        ("get", "/gacha/pull/{bannerId}"),
        ("post", "/gacha/pull/{bannerId}"),
    }


def test_every_answer_to_a_request_with_a_key_may_return_it(document: dict[str, Any]) -> None:
    pull = document["paths"]["/gacha/pull/{bannerId}"]["post"]["responses"]["200"]["headers"]
    items = document["paths"]["/items"]["get"]["responses"]["200"]["headers"]
    assert set(pull) == {"x-request-id", "Idempotency-Key"}
    assert set(items) == {"x-request-id", "ETag", "Cache-Control"}
    for response in document["components"]["responses"].values():
        assert set(response["headers"]) == {"x-request-id", "Idempotency-Key"}
    error = document["components"]["schemas"]["Error"]
    assert {"requestId", "traceId", "idempotencyKey"} <= set(error["properties"])
    assert "idempotencyKey" not in error["required"]


@pytest.mark.parametrize(
    ("key", "is_fit"),
    [
        *(("k", True), ("k" * 128, True), ('a"b', True), ('"k"', True), (r'"a\"\\b"', True)),
        *(("", False), ("k" * 129, False), ("a b", False), ('"k', False), ('""', False)),
        *(('"' + "k" * 129 + '"', False), ('"a b"', False)),
    ],
)
def test_the_pattern_of_a_key_matches_the_gateways_check(
    document: dict[str, Any], key: str, is_fit: bool
) -> None:
    (parameter,) = (
        each
        for each in document["paths"]["/register"]["post"]["parameters"]
        if each["name"] == "Idempotency-Key"
    )
    assert bool(re.search(parameter["schema"]["pattern"], key)) is is_fit
    headers = Headers([("idempotency-key", key)])
    if is_fit:
        assert idempotency_key_of(headers)
    else:
        with pytest.raises(InvalidArgument, match=r"^Idempotency-Key must"):
            idempotency_key_of(headers)


def test_errors_that_a_proto_names_are_described(document: dict[str, Any]) -> None:
    assert {"409", "422", "413", "415"} <= set(document["paths"]["/register"]["post"]["responses"])
    assert "404" in document["paths"]["/banners/{bannerId}"]["get"]["responses"]
    assert "413" not in document["paths"]["/items"]["get"]["responses"]


def test_a_raw_body_and_its_headers_are_described(document: dict[str, Any]) -> None:
    operation = document["paths"]["/webhooks/payments"]["post"]
    assert list(operation["requestBody"]["content"]) == ["*/*"]
    parameters = [(each["name"], each["in"]) for each in operation["parameters"]]
    assert parameters == [("stripe-signature", "header"), ("sandbox-signature", "header")]
    assert {"401", "413", "415"} <= set(operation["responses"])


def bodies(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The schema of each JSON body, by its operation."""
    return {
        operation["operationId"]: operation["requestBody"]["content"]["application/json"]["schema"]
        for path in document["paths"].values()
        for operation in path.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }


def test_every_body_has_an_example_that_its_schema_allows(document: dict[str, Any]) -> None:
    assert len(bodies(document)) > 7
    for name, schema in bodies(document).items():
        fields = properties(document, schema)
        example = {key: field["examples"][0] for key, field in fields.items()}
        validator = OAS31Validator({**schema, "components": document["components"]})
        assert list(validator.iter_errors(example)) == [], name


def test_no_idempotency_key_is_filled_in(document: dict[str, Any]) -> None:
    """A key in the example would make the second request a repeat of the first."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "Idempotency-Key":
                    assert not {"example", "examples", "default"} & parameter.keys()
                    assert not {"example", "examples", "default"} & parameter["schema"].keys()


def test_every_error_has_examples_of_its_own_status(document: dict[str, Any]) -> None:
    shared = document["components"]["responses"]
    checked = 0
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    continue
                response = shared[status] if "$ref" in response else response
                examples = response["content"]["application/json"]["examples"]
                assert examples
                for reason, example in examples.items():
                    value = example["value"]
                    assert value["reason"] == reason
                    by_code = STATUS_BY_CODE[Code[value["code"]]]
                    assert STATUS_BY_REASON.get(reason, by_code) == int(status)
                    checked += 1
    assert checked > 100


def test_an_operation_names_its_own_errors(document: dict[str, Any]) -> None:
    pull = document["paths"]["/gacha/pull/{bannerId}"]["post"]["responses"]
    named = pull["400"]["content"]["application/json"]["examples"]
    assert {"INSUFFICIENT_CURRENCY", "INVALID_FIELD"} <= set(named)
    assert named["INSUFFICIENT_CURRENCY"]["value"]["message"] == "Insufficient currency"
    assert set(pull["404"]["content"]["application/json"]["examples"]) == {"BANNER_NOT_FOUND"}


def test_calls_of_operators_and_machines_are_apart_from_those_of_players(
    document: dict[str, Any],
) -> None:
    order = [tag["name"] for tag in document["tags"]]
    assert order[-3:] == ["Gateway", "Operators", "PaymentEvent"]
    assert len(order) == len(set(order))
    used: set[str] = set()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            (tag,) = operation["tags"]
            used.add(tag)
            needs_operator = {"admin": []} in operation.get("security", [])
            assert (tag == "Operators") is needs_operator, path
    assert used == set(order)


def test_conditional_requests_are_described_where_answers_have_tags(
    document: dict[str, Any],
) -> None:
    described = set()
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            names = {each["name"] for each in operation.get("parameters", [])}
            if "304" in operation["responses"]:
                described.add((verb, path))
                assert "If-None-Match" in names
                assert "ETag" in operation["responses"]["200"]["headers"]
                assert "412" in operation["responses"]
            else:
                assert "If-None-Match" not in names
    assert described == {
        *(("get", "/items"), ("get", "/chances"), ("get", "/odds/{oddsVersion}")),
        *(("get", f"/banners{rest}") for rest in ("", "/{bannerId}", "/{bannerId}/history")),
    }
