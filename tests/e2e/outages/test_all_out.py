"""All instances of a service are out: callers are refused at once, with a retry hint."""

import os
import signal
import time

import httpx
import pytest

from proof.clients.rest_client import RestClient
from proof.stack import Mesh
from tests.e2e import harm

AT_ONCE_SECONDS = 0.5
"""A thousand times what the answer takes, for machines that are busy."""
PATIENCE_SECONDS = 30.0
COUNT = 10


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_callers_are_refused_at_once_with_when_to_return(
    mesh: Mesh, rest: RestClient, how: signal.Signals
) -> None:
    pids = [each["pid"] for each in mesh.processes("gacha_svc")]
    for pid in pids:
        assert pid is not None
        os.kill(pid, how)
    try:
        refused = until_refused_at_once(mesh)
    finally:
        if how is signal.SIGSTOP:
            for pid in pids:
                assert pid is not None
                os.kill(pid, signal.SIGCONT)
    for answer in refused:
        assert answer.status_code == 503
        assert answer.json()["reason"] == "ALL_INSTANCES_UNAVAILABLE"
        assert 1 <= int(answer.headers["retry-after"]) <= 5
    until_all_serve(mesh, rest)


def until_refused_at_once(mesh: Mesh) -> list[httpx.Response]:
    """Waits for that many fast refusals in a row. The first refusals may be slow, until the
    breakers have opened. Other services must answer all the time."""
    refused: list[httpx.Response] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    with httpx.Client(base_url=mesh.gateway, timeout=PATIENCE_SECONDS) as client:
        while len(refused) < COUNT:
            assert time.monotonic() < deadline, f"{len(refused)} were refused at once"
            began = time.monotonic()
            answer = client.get("/items")
            took_seconds = time.monotonic() - began
            is_at_once = answer.status_code == 503 and took_seconds < AT_ONCE_SECONDS
            refused = [*refused, answer] if is_at_once else []
            assert client.get("/.well-known/jwks.json").status_code == 200
    return refused


def until_all_serve(mesh: Mesh, rest: RestClient) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            harm.assert_all_serve(mesh, rest)
            # With a deadline of its own each is a call.
            timely = {"grpc-timeout": "5S"}
            assert all(rest.http.get("/chances", headers=timely).is_success for _ in range(4))
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
