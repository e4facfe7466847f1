"""Transactions of a real mesh that a dead coordinator has left, and what its account side holds."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.txn.model import new_gid
from proof.clients.grpc_client import GrpcClient
from proof.clients.rest_client import RestClient
from proof.players import Player

PARTICIPANT = "tx.v1.ParticipantService"
TYPES = "type.googleapis.com"
GEMS, PRICE = 200, 160


@dataclass
class DeadCoordinator:
    """A coordinator that prepares, and decides if it is asked to, and then disappears."""

    participants: dict[str, GrpcClient]
    token: Callable[[str], str]
    rest: RestClient
    pull_ids: dict[str, str] = field(default_factory=dict)

    def prepare(self, player: Player, *services: str, gid: str = "") -> str:
        """Prepares one pull at these services, or at further ones, and returns the gid."""
        banner = self.rest.banner("standard").body
        bodies = {
            "account_svc": {
                "@type": f"{TYPES}/account.v1.Debit",
                "userId": player.user_id,
                "amount": PRICE,
            },
            "gacha_svc": {
                "@type": f"{TYPES}/gacha.v1.Draw",
                "userId": player.user_id,
                "bannerId": "standard",
                "count": 1,
                "cost": PRICE,
                "oddsVersion": banner["oddsVersion"],
            },
        }
        gid = gid or new_gid("test_operate", time.time())
        pull_id = self.pull_ids.setdefault(gid, str(uuid4()))
        operations = {service: [{"id": pull_id, "body": body}] for service, body in bodies.items()}
        for service in services:
            request: dict[str, Any] = {"gid": gid, "operations": operations[service]}
            if service == "gacha_svc":
                request["firstOperations"] = {"operations": operations["account_svc"]}
            self._prepare(service, request)
        return gid

    def _prepare(self, service: str, request: dict[str, Any]) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 10))
        request["expiresAt"] = moment
        token = self.token(service)
        answer = self.participants[service].call(f"{PARTICIPANT}/Prepare", request, token)
        assert answer.ok, answer
        (vote,) = answer.body["votes"]
        assert "result" in vote, vote

    def decide(self, gid: str) -> None:
        """Commits the branch at gacha_svc, which is the decision."""
        token = self.token("gacha_svc")
        answer = self.participants["gacha_svc"].call(f"{PARTICIPANT}/Commit", {"gid": gid}, token)
        assert answer.ok, answer


@dataclass
class AccountDatabase:
    """The account's database as the superuser, for manual changes outside the protocol."""

    cursor: Cursor

    def lose(self, gid: str) -> None:
        """Removes the branch, like a failover to a standby that lacks it."""
        self.cursor.execute("ROLLBACK PREPARED %s", (f"account/{gid}",))

    def debits(self, player: Player) -> list[str]:
        """The kinds of the player's debits for pulls, oldest first."""
        self.cursor.execute(
            "SELECT kind FROM ledger WHERE user_id = %s AND kind IN ('pull', 'owed_pull')"
            " ORDER BY number",
            (player.user_id,),
        )
        return [kind for (kind,) in self.cursor.fetchall()]

    def take_wallet(self, player: Player) -> None:
        """Takes the wallet away, like a restored backup that is older than the player."""
        self._without_rules(
            "CREATE TABLE taken AS SELECT * FROM wallet WHERE user_id = %s;"
            " DELETE FROM wallet WHERE user_id = %s",
            (player.user_id, player.user_id),
        )

    def bring_wallet_back(self) -> None:
        self._without_rules(
            "INSERT INTO wallet (user_id, balance, debt, entry_count)"
            " SELECT user_id, balance, debt, entry_count FROM taken; DROP TABLE taken"
        )

    def _without_rules(self, statements: str, values: tuple[object, ...] = ()) -> None:
        self.cursor.execute(
            f"BEGIN; SET LOCAL session_replication_role = replica; {statements}; COMMIT", values
        )
