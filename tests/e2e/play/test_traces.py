"""One trace id from the socket to the cause, through every process of a call."""

import time
from concurrent.futures import ThreadPoolExecutor

import orjson

from proof.clients.client import GIFTS
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, unique_name
from proof.stack import Mesh
from tests.e2e.giving import send

LOGS_SECONDS = 10.0
TEN_GEMS, FEE_GEMS = 1600, 20


def lines_of(mesh: Mesh, service: str, trace_id: str) -> list[dict[str, object]]:
    """The log lines of a service's instances with that trace id."""
    return [
        orjson.loads(line)
        for process in mesh.processes(service)
        for line in mesh.layout.log(process["name"]).read_text().splitlines()
        if trace_id in line
    ]


def test_the_cause_of_a_refusal_is_logged_by_the_trace_id_of_the_answer(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    sender = new_player(TEN_GEMS + FEE_GEMS)
    items = rest.pull(sender.token, "standard", 10).body["pulled_items"]
    receiver = new_player().username
    # All begin while the wallet has the fee of one, so the account service refuses the others.
    with ThreadPoolExecutor(len(items)) as threads:
        sent = threads.map(lambda item: send(rest, sender, item["item_id"], receiver), items)
        refused = [answer.body["traceId"] for answer in sent if not answer.ok]
    deadline = time.monotonic() + LOGS_SECONDS
    while not (traces := [each for each in refused if lines_of(mesh, "account_svc", each)]):
        assert time.monotonic() < deadline, "the account service has no line with a trace id"
        time.sleep(0.1)
    trace_id = traces[0]
    causes = lines_of(mesh, "account_svc", trace_id)
    assert [(line["event"], line["trace_id"]) for line in causes] == [("refuse_call", trace_id)]
    assert causes[0]["method"] == "/account.v1.GiftFeeService/ChargeGiftFee"
    answers = lines_of(mesh, "gacha_svc", trace_id)
    assert [line["method"] for line in answers] == [f"/{GIFTS}/SendGift"]


def test_a_clients_trace_is_kept_and_its_request_id_ends_at_the_gateway(
    mesh: Mesh, rest: RestClient
) -> None:
    trace_id, request_id = f"{time.time_ns():032x}", unique_name()
    headers = {
        "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
        "x-request-id": request_id,
    }
    refused = rest.http.get("/banners/nowhere", headers=headers)
    assert (refused.json()["traceId"], refused.json()["requestId"]) == (trace_id, request_id)
    (line,) = lines_of(mesh, "gacha_svc", trace_id)
    assert (line["event"], line["reason"]) == ("refuse_call", "BANNER_NOT_FOUND")
    assert "request_id" not in line
