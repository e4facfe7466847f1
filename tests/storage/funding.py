"""Players who own gems without having paid for them."""

from uuid import uuid4

from account_svc.domain.purchases import PURCHASE
from account_svc.domain.wallets import BalanceChange
from account_svc.storage import wallets
from account_svc.use_cases.accounts import Accounts


class FundedAccounts(Accounts):
    """Accounts that can be given gems."""

    async def give(self, user_id: str, gems: int) -> int:
        """Returns the balance right after."""
        change = BalanceChange(str(uuid4()), user_id, PURCHASE, gems)
        balances = await self._database.transaction(
            lambda cursor: wallets.change_balances(cursor, [change])
        )
        return balances[change.operation_id]
