"""account.v1.AccountService: proto to domain and back."""

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.domain.purchases import PurchaseState
from account_svc.domain.wallets import LedgerEntry
from account_svc.rpc.signing_keys import json_web_key
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.purchasing.purchases import Purchases
from mesh.serving.dispatch import Call
from protos.account.v1 import account_pb2


class AccountRpc:
    """Registration, login, the wallet and its ledger, buying gems, and the published keys."""

    def __init__(self, accounts: Accounts, purchases: Purchases, signing_keys: SigningKeys) -> None:
        self._accounts = accounts
        self._purchases = purchases
        self._signing_keys = signing_keys

    async def register(
        self, request: account_pb2.RegisterRequest, call: Call
    ) -> account_pb2.RegisterResponse:
        user_id = await self._accounts.register(
            request.username,
            request.password,
            request.email,
            request.idempotency_key,
            call.client_address,
        )
        return account_pb2.RegisterResponse(message="User registered successfully", user_id=user_id)

    async def login(
        self, request: account_pb2.LoginRequest, call: Call
    ) -> account_pb2.LoginResponse:
        grant = await self._accounts.login(request.username, request.password, call.client_address)
        return account_pb2.LoginResponse(
            message="Login successful",
            token=grant.token,
            refresh_token=grant.refresh_token,
            expires_in=grant.expires_in_seconds,
        )

    async def get_currency(
        self, request: account_pb2.GetCurrencyRequest, call: Call
    ) -> account_pb2.GetCurrencyResponse:
        wallet = await self._accounts.wallet(call.user_id)
        return account_pb2.GetCurrencyResponse(
            user_id=call.user_id,
            currency_balance=wallet.balance_gems,
            debt_gems=wallet.debt_gems,
        )

    async def buy_currency(
        self, request: account_pb2.BuyCurrencyRequest, call: Call
    ) -> account_pb2.BuyCurrencyResponse:
        record = await self._purchases.buy(
            call.user_id,
            request.amount,
            request.payment_method,
            request.idempotency_key,
            call.deadline,
        )
        if record.state is PurchaseState.PENDING:
            return account_pb2.BuyCurrencyResponse(
                message="Currency purchase is pending",
                purchase_id=record.purchase.purchase_id,
                state=record.state,
            )
        return account_pb2.BuyCurrencyResponse(
            message="Currency purchased successfully", new_balance=record.balance_after_gems
        )

    async def list_ledger(
        self, request: account_pb2.ListLedgerRequest, call: Call
    ) -> account_pb2.ListLedgerResponse:
        entries, next_page_token = await self._accounts.ledger(
            call.user_id, request.page_size, request.page_token
        )
        return account_pb2.ListLedgerResponse(
            entries=[_entry(entry) for entry in entries], next_page_token=next_page_token
        )

    async def get_key_set(
        self, request: account_pb2.GetKeySetRequest, call: Call
    ) -> account_pb2.GetKeySetResponse:
        keys = [json_web_key(key) for key in self._signing_keys.published()]
        return account_pb2.GetKeySetResponse(keys=keys)


def _entry(entry: LedgerEntry) -> account_pb2.LedgerEntry:
    written = account_pb2.LedgerEntry(
        operation_id=entry.operation_id,
        kind=entry.kind,
        amount=entry.amount_gems,
        balance_after=entry.balance_after_gems,
        debt_after=entry.debt_after_gems,
    )
    written.created_at.FromDatetime(entry.created_at)
    return written
