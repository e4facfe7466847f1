"""The real grpcurl and ghz, as people use them, with no proto files at hand."""

import json
import subprocess
from typing import Any

import pytest

from proof.clients.rest_client import RestClient
from proof.players import NewPlayer
from proof.stack import Mesh
from tests.e2e import tools

TIMEOUT_SECONDS = 60
LOAD_CALLS = 200


def run(*command: str) -> str:
    """The output of a command. Fails if the command fails."""
    done = attempt(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def attempt(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )


@pytest.fixture(scope="module", params=[0, 1])
def gacha(request: pytest.FixtureRequest, mesh: Mesh) -> str:
    """The address of each gacha_svc in turn."""
    number: int = request.param
    return mesh.processes("gacha_svc")[number]["address"]


def test_grpcurl_lists_the_services(gacha: str) -> None:
    assert run(tools.grpcurl(), "-plaintext", gacha, "list").split() == [
        "gacha.v1.CatalogService",
        "gacha.v1.GachaService",
        "gacha.v1.GiftService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "tx.v1.CoordinatorService",
        "tx.v1.ParticipantService",
    ]


def test_grpcurl_describes_everything_with_its_comments(gacha: str) -> None:
    program = tools.grpcurl()
    everything = run(program, "-plaintext", gacha, "describe")
    assert "rpc Pull ( .gacha.v1.PullRequest ) returns ( .gacha.v1.PullResponse )" in everything
    method = run(program, "-plaintext", gacha, "describe", "gacha.v1.GachaService.Pull")
    assert "// Takes the price from the calling player's wallet" in method
    message = run(program, "-plaintext", gacha, "describe", "gacha.v1.PullRequest")
    assert "// 1 or 10; left out, 1." in message


def test_grpcurl_checks_health(gacha: str) -> None:
    service = json.dumps({"service": "gacha.v1.GachaService"})
    for options in ([], ["-d", service]):
        command = [tools.grpcurl(), "-plaintext", *options, gacha, "grpc.health.v1.Health/Check"]
        assert json.loads(run(*command)) == {"status": "SERVING"}


def test_grpcurl_pulls_with_a_token(gacha: str, new_player: NewPlayer) -> None:
    authorization = f"authorization: Bearer {new_player(gems=1600).token}"
    asked = json.dumps({"bannerId": "standard", "count": 10})
    command = [tools.grpcurl(), "-plaintext", "-H", authorization, "-d", asked, gacha]
    pulled = json.loads(run(*command, "gacha.v1.GachaService/Pull"))["pulled_items"]
    assert len(pulled) == 10


def test_grpcurl_shows_the_reason_of_a_refusal(gacha: str, new_player: NewPlayer) -> None:
    authorization = f"authorization: Bearer {new_player().token}"
    command = [tools.grpcurl(), "-plaintext", "-H", authorization]
    command += ["-d", '{"bannerId": "standard"}', gacha, "gacha.v1.GachaService/Pull"]
    done = attempt(*command)
    assert done.returncode == 64 + 9
    assert "Code: FailedPrecondition" in done.stderr
    assert "Message: Insufficient currency" in done.stderr
    assert '"reason": "INSUFFICIENT_CURRENCY"' in done.stderr


def load(address: str, token: str) -> dict[str, Any]:
    """ghz's report of a short load of single pulls, eight at a time."""
    command = [tools.ghz(), "--insecure", "--call", "gacha.v1.GachaService.Pull"]
    command += ["-n", str(LOAD_CALLS), "-c", "8", "-O", "json"]
    command += ["-m", json.dumps({"authorization": f"Bearer {token}"})]
    report: dict[str, Any] = json.loads(run(*command, "-d", '{"bannerId": "standard"}', address))
    return report


def test_ghz_load_of_pulls_is_all_ok_and_paid_for(
    mesh: Mesh, new_player: NewPlayer, rest: RestClient
) -> None:
    token = new_player(gems=160 * LOAD_CALLS + 7).token
    report = load(mesh.processes("gacha_svc")[0]["address"], token)
    assert report["statusCodeDistribution"] == {"OK": LOAD_CALLS}
    assert report["errorDistribution"] == {}
    assert report["count"] == LOAD_CALLS
    assert rest.currency(token).body["currencyBalance"] == 7
    owned = rest.inventory(token, page_size=500).body["items"]
    assert sum(item["count"] for item in owned) == LOAD_CALLS
