"""One trace id from the socket to the cause, through every process of a call."""

import time
from concurrent.futures import ThreadPoolExecutor

import orjson

from proof.clients.client import GIFTS
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, unique_name
from proof.stack import Mesh
from tests.e2e.giving import send

LOGS_SECONDS = 2.0
ATTEMPTS = 10
TEN_GEMS, FEE_GEMS = 1600, 20


def lines_of(mesh: Mesh, service: str, trace_id: str) -> list[dict[str, object]]:
    """The log lines of a service's instances with that trace id."""
    return [
        orjson.loads(line)
        for process in mesh.processes(service)
        for line in mesh.layout.log(process["name"]).read_text().splitlines()
        if trace_id in line
    ]


def refused_by_account(mesh: Mesh, rest: RestClient, new_player: NewPlayer) -> str | None:
    """Sends ten gifts at once from a wallet with the fee of one. Returns the trace id of one that
    the account service has refused, if there is one."""
    sender = new_player(TEN_GEMS + FEE_GEMS)
    items = rest.pull(sender.token, "standard", 10).body["pulled_items"]
    receiver = new_player().username
    with ThreadPoolExecutor(len(items)) as threads:
        sent = threads.map(lambda item: send(rest, sender, item["item_id"], receiver), items)
        refused = [answer.body["traceId"] for answer in sent if not answer.ok]
    deadline = time.monotonic() + LOGS_SECONDS
    while time.monotonic() < deadline:
        if traces := [each for each in refused if lines_of(mesh, "account_svc", each)]:
            return str(traces[0])
        time.sleep(0.1)
    return None


def test_the_cause_of_a_refusal_is_logged_by_the_trace_id_of_the_answer(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    # On a busy machine all but one may begin when the fee has been taken. They are refused earlier.
    scenes = (refused_by_account(mesh, rest, new_player) for _ in range(ATTEMPTS))
    trace_id = next((found for found in scenes if found), None)
    assert trace_id, "the account service has no line with a trace id"
    causes = lines_of(mesh, "account_svc", trace_id)
    assert [(line["event"], line["trace_id"]) for line in causes] == [("refuse_call", trace_id)]
    assert causes[0]["method"] == "/account.v1.GiftFeeService/ChargeGiftFee"
    # The saga may have been postponed on a busy machine, which is a line of the same trace.
    lines = lines_of(mesh, "gacha_svc", trace_id)
    answers = [line["method"] for line in lines if line["event"] == "refuse_call"]
    assert answers == [f"/{GIFTS}/SendGift"]


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
