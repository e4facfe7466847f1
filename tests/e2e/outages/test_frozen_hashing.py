"""The processes that hash passwords are frozen, at every instance of account_svc."""

import time

import httpx
import psutil

from proof.players import PASSWORD, NewPlayer, Player
from proof.stack import Mesh

PATIENCE_SECONDS = 30.0
LOGINS_IN_A_ROW = 6


def hashing_processes(mesh: Mesh) -> list[psutil.Process]:
    return [
        child
        for process in mesh.processes("account_svc")
        for child in psutil.Process(process["pid"]).children()
    ]


def log_in(client: httpx.Client, player: Player) -> bool:
    credentials = {"username": player.username, "password": PASSWORD}
    return client.post("/login", json=credentials).status_code == 200


def test_frozen_hashing_processes_are_replaced_and_players_log_in_again(
    mesh: Mesh, new_player: NewPlayer
) -> None:
    player = new_player()
    deadline = time.monotonic() + PATIENCE_SECONDS
    with httpx.Client(base_url=mesh.gateway, timeout=PATIENCE_SECONDS) as client:
        while len(hashing_processes(mesh)) < len(mesh.processes("account_svc")):
            assert log_in(client, player)
            assert time.monotonic() < deadline
        frozen = hashing_processes(mesh)
        for process in frozen:
            process.suspend()
        deadline = time.monotonic() + PATIENCE_SECONDS
        count = 0
        while count < LOGINS_IN_A_ROW or any(process.is_running() for process in frozen):
            count = count + 1 if log_in(client, player) else 0
            assert time.monotonic() < deadline, f"{count} logins in a row"
