"""Players with gems that they did not buy."""

from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from account_svc.domain.purchases import PURCHASE
from account_svc.domain.wallets import BalanceChange
from account_svc.storage import wallets
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.sessions import Sessions
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from mesh.postgres.database import Database


class FundedAccounts(Accounts):
    """Accounts that can be given gems."""

    async def balance(self, user_id: str) -> int:
        """Gems that the player owns."""
        return (await self.wallet(user_id)).balance_gems

    async def give(self, user_id: str, gems: int) -> int:
        """Gives gems; returns the new balance."""
        change = BalanceChange(str(uuid4()), user_id, PURCHASE, gems)
        balances = await self._database.transaction(
            lambda cursor: wallets.change_balances(cursor, [change])
        )
        return balances[change.operation_id]


def sessions_over(database: Database) -> Sessions:
    """Sessions with the real clock and their own signing key."""
    return Sessions(database, TokenSigner(Ed25519PrivateKey.generate(), PLAYER_AUDIENCE, 900))
