"""Logins while ten addresses flood the hashing with registrations and guesses."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from proof.players import PASSWORD, NewPlayer, unique_name
from proof.stack import Mesh

HOME = "127.0.12.1"
ATTACKERS = [f"127.0.13.{number}" for number in range(1, 11)]
AT_ONCE = 6
"""Requests in flight of each attacker: together nearly what a server takes of this kind."""
LOGINS = 5


def client_at(mesh: Mesh, address: str) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=address, verify=mesh.trust or True)
    return httpx.Client(base_url=mesh.gateway, transport=transport, timeout=30)


@contextmanager
def flood(mesh: Mesh, path: str) -> Iterator[Counter[str]]:
    """Ten addresses that send as fast as they are answered; counts the answers by reason."""
    answers: Counter[str] = Counter()
    stop = threading.Event()

    def keep_sending(address: str) -> None:
        with client_at(mesh, address) as client:
            while not stop.is_set():
                name = unique_name()
                body = {"username": name, "password": "a password of the flood"}
                answer = client.post(path, json=body | {"email": f"{name}@example.com"})
                answers[answer.json().get("reason", "")] += 1

    with ThreadPoolExecutor(len(ATTACKERS) * AT_ONCE) as threads:
        works = [threads.submit(keep_sending, each) for each in ATTACKERS for _ in range(AT_ONCE)]
        try:
            deadline = time.monotonic() + 30
            while not answers["HASHING_BUSY"]:
                assert time.monotonic() < deadline, answers
                time.sleep(0.1)
            yield answers
        finally:
            stop.set()
    for work in works:
        work.result()


def test_a_player_at_home_logs_in_while_ten_addresses_register(
    mesh: Mesh, new_player: NewPlayer
) -> None:
    player = new_player()
    credentials = {"username": player.username, "password": PASSWORD}
    with client_at(mesh, HOME) as home:
        assert home.post("/login", json=credentials).status_code == 200
        with flood(mesh, "/register") as answers:
            for _ in range(LOGINS):
                answer = home.post("/login", json=credentials)
                assert answer.status_code == 200, answer.text
    assert answers[""], "registrations have their share"
