"""The mesh under fuzzing: the tokens of its callers, and the checks afterwards."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from deploy.local.secrets.credentials import IDENTITIES
from proof.clients.rest_client import RestClient
from proof.fuzz.grpc_fuzzer import LEAVER, PLAYER, Token
from proof.invariants import broken_invariants, rows_at
from proof.players import PASSWORD, Player, register
from proof.stack import BUSY_MACHINE, Mesh, start_mesh
from proof.tokens import token_of

SERVERS = ("account_svc", "gacha_svc", "registry")
PURSE_GEMS = 1_000_000
LOG_IN_SECONDS = 600.0
"""How long a token is used; it is valid for 15 minutes."""
UNEXPECTED_ERROR = "fail_"
"""The error events that processes log for unexpected failures."""


class FuzzedMesh:
    """A mesh in `folder` with two players; one of them sends the random requests."""

    def __init__(self, folder: Path) -> None:
        """Starts the mesh. Call it from the main thread."""
        self.mesh: Mesh = start_mesh(folder / "mesh", environment=BUSY_MACHINE)
        with closing(RestClient(self.mesh.gateway)) as rest:
            self.player: Player = register(rest, PURSE_GEMS)
            self.other: Player = register(rest)
        self._log_in_at = time.monotonic() + LOG_IN_SECONDS
        self._pids = self._pids_now()

    def servers(self) -> list[tuple[str, str]]:
        """The name and the address of every instance that speaks gRPC."""
        return [
            (each["name"], each["address"])
            for role in SERVERS
            for each in self.mesh.processes(role)
        ]

    def tokens(self) -> dict[str, Token]:
        """The current token of each caller; one caller has an invalid token."""
        return {
            PLAYER: lambda callee: self.player_token(),
            LEAVER: lambda callee: self.other.token,
            **{name: partial(token_of, self.mesh, name) for name in IDENTITIES},
            "no.token.atall": lambda callee: "no.token.atall",
        }

    def player_token(self) -> str:
        """A token of the player who sends the requests. The player logs in again from time to time,
        because tokens expire during a run, and random requests may end all sessions."""
        return self.new_token() if time.monotonic() > self._log_in_at else self.player.token

    def new_token(self) -> str:
        """Logs the player in again. Failed logins by random requests are forgiven first."""
        forgive = f"SELECT forgive_login_attempts('{self.player.username}')"
        rows_at(self.mesh.superuser_url("account"), forgive)
        with closing(RestClient(self.mesh.gateway)) as rest:
            logged_in = rest.login(self.player.username, PASSWORD)
        assert logged_in.ok, logged_in
        self.player = replace(self.player, token=logged_in.body["token"])
        self._log_in_at = time.monotonic() + LOG_IN_SECONDS
        return self.player.token

    def new_player(self) -> Player:
        """A player whom no random request concerns."""
        with closing(RestClient(self.mesh.gateway)) as rest:
            return register(rest, PURSE_GEMS)

    def problems(self) -> list[str]:
        """What is wrong now: lost instances, bugs in the logs, broken invariants."""
        return [*self._lost_instances(), *self._unexpected_errors(), *broken_invariants(self.mesh)]

    def stop(self) -> None:
        self.mesh.stop()

    def _lost_instances(self) -> Iterator[str]:
        now = self._pids_now()
        for name, pid in self._pids.items():
            if now.get(name) != pid:
                yield f"{name} was lost: pid {pid} became {now.get(name)}"

    def _pids_now(self) -> dict[str, int | None]:
        return {each["name"]: each["pid"] for each in self.mesh.read()["processes"]}

    def _unexpected_errors(self) -> Iterator[str]:
        for log in sorted(self.mesh.layout.logs.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if UNEXPECTED_ERROR not in line or not line.startswith("{"):
                    continue
                entry = json.loads(line)
                if (
                    str(entry.get("event")).startswith(UNEXPECTED_ERROR)
                    and entry.get("level") == "error"
                ):
                    kind = (entry.get("exception") or [{}])[0]
                    yield (
                        f"{log.stem}: {entry['event']} {entry.get('method', '')} "
                        f"{kind.get('exc_type', '')}: {kind.get('exc_value', '')}"
                    )
