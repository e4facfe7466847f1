"""Routes whose answers are remembered, as a client sees them."""

from gateway_http.app import Gateway
from gateway_http.transcoding.contracts import load_contracts
from mesh.errors import NotFound, Unavailable
from protos import DESCRIPTORS
from protos.gacha.v1 import catalog_pb2
from tests.unit.gateway.fakes import Answer, FakeCaller, answer_of, http_request
from tests.unit.gateway.requests import ITEMS, error_of, gateway

CHANCES = "/gacha.v1.CatalogService/GetChances"
BANNERS = "/gacha.v1.CatalogService/ListBanners"
REMEMBERED = {
    *("ListItems", "GetChances", "ListBanners", "GetBanner", "ListBannerHistory", "GetOdds")
}


def items(*names: str) -> bytes:
    listed = [catalog_pb2.Item(id="1", name=name, rarity="rare") for name in names]
    return catalog_pb2.ListItemsResponse(items=listed).SerializeToString()


async def get(
    gateway: Gateway, path: str, method: str = "GET", query: str = "", **headers: str
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await answer_of(gateway, http_request(method, path, query=query, headers=named))


def test_what_is_public_and_read_from_the_catalog_is_remembered() -> None:
    found = load_contracts(DESCRIPTORS.read_bytes()).operations
    assert {each.name for each in found if each.is_remembered} == REMEMBERED


async def test_an_answer_has_a_tag_and_is_sent_without_a_second_call() -> None:
    caller = FakeCaller({ITEMS: items("Sword")})
    served = gateway(caller)
    first, again = await get(served, "/items"), await get(served, "/items")
    assert first.status == again.status == 200
    assert first.body == again.body != b""
    assert first.headers["etag"] == again.headers["etag"]
    assert again.headers["cache-control"] == "public, no-cache"
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert len(caller.calls) == 1


async def test_what_the_client_has_is_not_sent_again() -> None:
    served = gateway(FakeCaller({ITEMS: items("Sword")}))
    tag = (await get(served, "/items")).headers["etag"]
    for method in ("GET", "HEAD"):
        answer = await get(served, "/items", method, if_none_match=tag)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert (await get(served, "/items", if_none_match='"other"')).status == 200
    refused = await get(served, "/items", if_match='"other"')
    assert (refused.status, error_of(refused)["reason"]) == (412, "PRECONDITION_FAILED")


async def test_two_gateways_give_the_same_tag_and_a_change_another() -> None:
    one, other = (gateway(FakeCaller({ITEMS: items("Sword")})) for _ in range(2))
    changed = gateway(FakeCaller({ITEMS: items("Sword", "Shield")}))
    tags = [(await get(each, "/items")).headers["etag"] for each in (one, other, changed)]
    assert tags[0] == tags[1] != tags[2]


async def test_head_and_get_share_an_answer() -> None:
    caller = FakeCaller({ITEMS: items("Sword")})
    served = gateway(caller)
    head, got = await get(served, "/items", "HEAD"), await get(served, "/items")
    assert head.headers["etag"] == got.headers["etag"]
    assert len(caller.calls) == 1


async def test_each_path_and_query_has_an_answer_of_its_own() -> None:
    caller = FakeCaller()
    served = gateway(caller)
    for query in ("", "banner_id=standard", "banner_id=event", "banner_id=standard"):
        assert (await get(served, "/chances", query=query)).status == 200
    requests = [catalog_pb2.GetChancesRequest.FromString(call.request) for call in caller.calls]
    assert [each.banner_id for each in requests] == ["", "standard", "event"]


async def test_a_request_that_a_call_refuses_is_refused_also_from_memory() -> None:
    served = gateway(FakeCaller({ITEMS: items("Sword")}))
    await get(served, "/items")
    for headers in ({"grpc_timeout": "soon"}, {"idempotency_key": "two words"}):
        assert (await get(served, "/items", **headers)).status == 400
    assert (await get(served, "/items", query="page=2")).status == 400
    large = await answer_of(served, http_request("GET", "/items", is_too_large=True))
    assert large.status == 413


async def test_a_call_with_a_deadline_of_its_own_is_made() -> None:
    caller = FakeCaller({ITEMS: items("Sword")})
    served = gateway(caller)
    await get(served, "/items")
    answer = await get(served, "/items", grpc_timeout="250m")
    assert answer.status == 200
    assert "etag" in answer.headers
    assert caller.calls[1].remaining_seconds <= 0.25


async def test_refusals_are_not_remembered() -> None:
    caller = FakeCaller({CHANCES: NotFound("no", reason="BANNER_NOT_FOUND")})
    served = gateway(caller)
    for failure in (caller.answers[CHANCES], Unavailable("away")):
        caller.answers[CHANCES] = failure
        refused = await get(served, "/chances")
        assert "etag" not in refused.headers
        assert refused.headers["cache-control"] == "no-store"
    caller.answers[CHANCES] = b""
    assert (await get(served, "/chances")).status == 200
