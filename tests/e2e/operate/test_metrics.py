"""The metrics of a mesh's processes while players pull."""

from concurrent.futures import ThreadPoolExecutor

from account_svc.domain.sessions import REFRESH_OUTCOMES
from proof.clients.rest_client import RestClient
from proof.players import PASSWORD, NewPlayer
from proof.stack import Mesh
from tests.e2e.scraping import scraped

PULLS = 24
PULLERS = 8
INSTANCES = {"gateway_http", "registry", "account_svc", "gacha_svc"}


def test_every_process_of_ours_shows_its_own_cpu(mesh: Mesh) -> None:
    assert {each["role"] for each in mesh.read()["processes"] if each["metrics"]} == INSTANCES
    for role in INSTANCES:
        assert scraped(mesh, role)["process_cpu_seconds_total", ""] > 0


def test_pulls_are_counted_in_transactions_and_on_lanes(
    mesh: Mesh, new_player: NewPlayer, rest: RestClient
) -> None:
    tokens = [new_player(gems=160 * PULLS // PULLERS).token for _ in range(PULLERS)]
    before = {role: scraped(mesh, role) for role in INSTANCES}
    with ThreadPoolExecutor(PULLERS) as pullers:
        answers = list(pullers.map(rest.pull, tokens * (PULLS // PULLERS)))
    assert all(answer.ok for answer in answers)

    after = {role: scraped(mesh, role) for role in INSTANCES}

    def counted(role: str, name: str, side: str = "") -> float:
        return after[role][name, side] - before[role][name, side]

    # A retry of a busy operation is counted again, so these are lower bounds.
    assert counted("gacha_svc", "tx_batch_operations_sum") >= PULLS
    assert counted("gacha_svc", "tx_batch_operations_count") >= 1
    assert counted("gateway_http", "lane_batch_calls_sum", "client") >= PULLS
    assert counted("gacha_svc", "lane_batch_calls_sum", "server") >= PULLS
    assert counted("account_svc", "lane_batch_calls_count", "server") >= 1


def test_outcomes_of_refreshes_are_counted(
    mesh: Mesh, new_player: NewPlayer, rest: RestClient
) -> None:
    before = scraped(mesh, "account_svc")
    first = rest.login(new_player().username, PASSWORD).body["refresh_token"]
    second = rest.refresh(first).body["refresh_token"]
    assert rest.refresh(first).body["refresh_token"] == second
    third = rest.refresh(second).body["refresh_token"]
    told = [rest.refresh(token).reason for token in (first, third, "gmr_")]
    assert told == ["REFRESH_TOKEN_REUSED", "SESSION_ENDED", "REFRESH_TOKEN_INVALID"]
    after = scraped(mesh, "account_svc")
    counts = {
        outcome: after["account_session_refreshes_total", outcome]
        - before["account_session_refreshes_total", outcome]
        for outcome in REFRESH_OUTCOMES
    }
    assert counts == {outcome: 2 if outcome == "rotated" else 1 for outcome in REFRESH_OUTCOMES}
