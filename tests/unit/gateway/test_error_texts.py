"""What an error says to a REST client: the names and rules that the client knows."""

import re

import orjson
import pytest

from gateway_http.transcoding.declared_rules import DeclaredRules
from gateway_http.transcoding.decoding import Decoders
from mesh.errors import InvalidArgument, MeshError, NotFound
from tests.unit.gateway.fakes import Answer, FakeCaller, contracts
from tests.unit.gateway.requests import TOKEN, ask, error_of

LEDGER = "/account.v1.AccountService/ListLedger"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def refused(query: str, error: MeshError | None = None, path: str = "/ledger") -> Answer:
    caller = FakeCaller({LEDGER: error} if error else {})
    return await ask(caller, "GET", f"{path}", headers=TOKEN, query=query)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            InvalidArgument.of_field("page_token", "must be the next_page_token of a page"),
            "pageToken must be the nextPageToken of a page",
        ),
        (NotFound("No entry has this new_page_token."), "No entry has this new_page_token."),
        (NotFound("No entry is at balance_after."), "No entry is at balanceAfter."),
    ],
)
async def test_the_sentences_of_services_have_the_names_of_json(
    error: MeshError, message: str
) -> None:
    body = error_of(await refused("", error))
    assert body["message"] == message
    assert all(each["message"] in message for each in body.get("fields", []))


async def test_the_gateways_own_sentences_have_the_names_of_json() -> None:
    body = error_of(await refused("page_token=x&pageSize=1000&colour=1"))
    assert body["fields"] == [
        {"field": "colour", "message": "is not a field of this request"},
        {"field": "pageSize", "message": "must be 1 to 100, or 0 for 50"},
        {"field": "page_token", "message": "must be the nextPageToken of a previous page"},
    ]


async def test_a_list_with_commas_is_refused_with_how_to_write_it() -> None:
    body = error_of(await refused("amounts=160,1600", path="/prices"))
    hint = "must be given once for each value, as in amounts=160&amounts=1600"
    assert body["fields"] == [{"field": "amounts", "message": hint}]


@pytest.mark.parametrize("number", [2**63, 10**20 - 1, -(10**20)])
async def test_a_number_out_of_range_is_refused_with_the_range_of_its_field(number: int) -> None:
    body = error_of(await refused(f"amounts={number}", path="/prices"))
    said = {"field": "amounts[0]", "message": "must be 1 to 1,000,000,000"}
    assert body["fields"] == [said]
    body = error_of(await refused(f"pageSize={number}"))
    assert body["fields"] == [{"field": "pageSize", "message": "must be 1 to 100, or 0 for 50"}]


def test_no_rule_is_told_as_a_regular_expression() -> None:
    decoders, told = Decoders(), 0
    for operation in contracts().operations:
        rules = DeclaredRules(operation.request, decoders.of(operation.request))
        wrong = {field.json_name: "(" for field in operation.request.fields}
        for fault in rules.faults(wrong, ()):
            told += 1
            assert not re.search(r"\bmatch\b|[\^$\\]", fault.description), fault
    assert told > 10


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/foo", "GET", 404), ("/odds/", "GET", 404), ("/items", "POST", 405), ("/%zz", "GET", 404)],
)
async def test_a_browser_gets_a_page_where_no_route_is(path: str, method: str, status: int) -> None:
    page = await ask(FakeCaller(), method, path, headers=BROWSER)
    assert (page.status, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-request-id"].encode() in page.body
    others = await ask(FakeCaller(), method, path)
    assert (others.status, error_of(others)["status"]) == (status, "error")
    assert page.headers["vary"] == others.headers["vary"] == "accept"
    assert page.headers.get("allow") == others.headers.get("allow")
    if status == 404:
        assert all(f'href="{link}"'.encode() in page.body for link in ("/", "/odds", "/docs"))
        assert b"foo" not in page.body


async def test_a_client_that_takes_anything_gets_json_where_no_route_is() -> None:
    answer = await ask(FakeCaller(), "GET", "/foo", headers={"accept": "*/*"})
    assert orjson.loads(answer.body)["reason"] == "ROUTE_NOT_FOUND"
