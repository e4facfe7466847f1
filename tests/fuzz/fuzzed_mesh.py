"""The mesh that is fuzzed: what it is told of callers, and what must be so afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path

from mesh.auth import ServiceIdentity, load_private_key
from mesh.methods import Access
from tests.e2e.clients.rest_client import RestClient
from tests.e2e.players import Player, register
from tests.fuzz.grpc_fuzzer import Token
from tests.invariants import broken_invariants
from tests.stack import NO_RATE_LIMITS, Mesh, start_mesh

SERVERS = ("account_svc", "gacha_svc", "registry")
PURSE_GEMS = 1_000_000
A_BUG = "fail_"
"""What processes log, as an error, when something happened that nobody had foreseen."""


class FuzzedMesh:
    """A mesh of its own in `folder`, with two players; one of them does the knocking."""

    def __init__(self, folder: Path) -> None:
        """Starts it. Call it from the main thread."""
        self.mesh: Mesh = start_mesh(folder / "mesh", environment=NO_RATE_LIMITS)
        rest = RestClient(self.mesh.gateway)
        with rest.http:
            self.player: Player = register(rest, PURSE_GEMS)
            self.other: Player = register(rest)
        self._pids = self._pids_now()

    def servers(self) -> list[tuple[str, str]]:
        """The name and the address of every instance that speaks gRPC."""
        return [
            (each["name"], each["address"])
            for role in SERVERS
            for each in self.mesh.processes(role)
        ]

    def tokens(self) -> dict[Access, Token]:
        """By the access that they open, as they are now; NOBODY's is no token at all."""
        key = load_private_key((self.mesh.layout.secrets / "mesh_service_key.pem").read_bytes())
        return {
            Access.PLAYER: lambda: self.player.token,
            Access.SERVICE: ServiceIdentity(key, "gacha_svc").token,
            Access.NOBODY: lambda: "no.token.atall",
        }

    def harm(self) -> list[str]:
        """What is wrong now: lost instances, bugs in the logs, broken invariants."""
        return [*self._lost(), *self._bugs(), *broken_invariants(self.mesh)]

    def stop(self) -> None:
        self.mesh.stop()

    def _lost(self) -> Iterator[str]:
        now = self._pids_now()
        for name, pid in self._pids.items():
            if now.get(name) != pid:
                yield f"{name} was lost: pid {pid} became {now.get(name)}"

    def _pids_now(self) -> dict[str, int | None]:
        return {each["name"]: each["pid"] for each in self.mesh.read()["processes"]}

    def _bugs(self) -> Iterator[str]:
        for log in sorted(self.mesh.layout.logs.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if A_BUG not in line or not line.startswith("{"):
                    continue
                told = json.loads(line)
                if str(told.get("event")).startswith(A_BUG) and told.get("level") == "error":
                    kind = (told.get("exception") or [{}])[0]
                    yield (
                        f"{log.stem}: {told['event']} {told.get('method', '')} "
                        f"{kind.get('exc_type', '')}: {kind.get('exc_value', '')}"
                    )
