"""Checks that bad requests did not harm a mesh."""

from collections.abc import Sequence

from deploy.local.secrets import operator
from proof.clients.rest_client import RestClient
from proof.players import Player
from proof.stack import Mesh

ROLES = ("registry", "account_svc", "gacha_svc", "gateway_http")


def operators_headers(mesh: Mesh) -> dict[str, str]:
    """The headers by which a gateway knows an operator."""
    identity = operator.identity(mesh.layout.admin_key)
    return {"authorization": f"Bearer {identity.towards('gateway_http').token()}"}


def pids(mesh: Mesh) -> dict[str, int | None]:
    """The pid of every process of the mesh, by name."""
    return {process["name"]: process["pid"] for process in mesh.read()["processes"]}


def assert_answers(rest: RestClient, player: Player) -> None:
    """Each instance of each service answers at once."""
    for _ in range(2):
        assert rest.currency(player.token).body["userId"] == player.user_id
        assert rest.inventory(player.token).ok


def assert_all_serve(mesh: Mesh, rest: RestClient) -> None:
    """Every instance is listed, and the gateway is ready."""
    assert rest.http.get("/readyz").status_code == 200
    status = rest.http.get("/status", headers=operators_headers(mesh)).json()
    assert status["status"] == "ok"
    for role in ROLES[1:3]:
        listed = {each["id"]: each["state"] for each in status["services"][role]}
        assert listed == {each["name"]: "serving" for each in mesh.processes(role)}


LOST_LANE = ("lose_lane", "fail_lane", "end_lane", "refuse_lane")


def opened_breakers(mesh: Mesh) -> list[str]:
    """The log lines about instances that a breaker took out."""
    return _lines_with(mesh, ("open_breaker",))


def lines_of_harm(mesh: Mesh) -> list[str]:
    """The log lines about opened breakers and broken lanes."""
    return _lines_with(mesh, ("open_breaker", *LOST_LANE))


def _lines_with(mesh: Mesh, words: Sequence[str]) -> list[str]:
    logs = [mesh.layout.log(process["name"]) for process in mesh.read()["processes"]]
    return [
        line
        for log in logs
        if log.exists()
        for line in log.read_text(errors="replace").splitlines()
        if any(word in line for word in words)
    ]
