"""account.v1 and its part in tx.v1: proto to domain and back."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.domain.debits import Debit
from account_svc.domain.purchases import PurchaseRecord, PurchaseState
from account_svc.domain.wallets import LedgerEntry
from account_svc.rpc.signing_keys import json_web_key
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.payment_events import PaymentEvents
from account_svc.use_cases.purchases import Purchases
from account_svc.use_cases.sessions import Sessions
from mesh.contract.identifiers import checked_uuid
from mesh.errors import InvalidArgument
from mesh.serving.dispatch import Call
from protos.account.v1 import account_pb2, payment_events_pb2, purchases_pb2, sessions_pb2


class AccountRpc:
    """account.v1.AccountService."""

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
        balance_gems = await self._accounts.balance(call.user_id)
        return account_pb2.GetCurrencyResponse(user_id=call.user_id, currency_balance=balance_gems)

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


class SessionRpc:
    """account.v1.SessionService."""

    def __init__(self, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts = accounts
        self._sessions = sessions

    async def refresh(
        self, request: sessions_pb2.RefreshRequest, call: Call
    ) -> sessions_pb2.RefreshResponse:
        grant = await self._sessions.refresh(request.refresh_token, request.idempotency_key)
        return sessions_pb2.RefreshResponse(
            token=grant.token,
            refresh_token=grant.refresh_token,
            expires_in=grant.expires_in_seconds,
        )

    async def logout(
        self, request: sessions_pb2.LogoutRequest, call: Call
    ) -> sessions_pb2.LogoutResponse:
        await self._sessions.logout(request.refresh_token)
        return sessions_pb2.LogoutResponse(message="Logged out")

    async def logout_everywhere(
        self, request: sessions_pb2.LogoutEverywhereRequest, call: Call
    ) -> sessions_pb2.LogoutEverywhereResponse:
        await self._sessions.logout_everywhere(call.user_id)
        return sessions_pb2.LogoutEverywhereResponse(message="Logged out everywhere")

    async def change_password(
        self, request: sessions_pb2.ChangePasswordRequest, call: Call
    ) -> sessions_pb2.ChangePasswordResponse:
        grant = await self._accounts.change_password(
            call.user_id,
            request.current_password,
            request.new_password,
            request.idempotency_key,
            call.client_address,
        )
        return sessions_pb2.ChangePasswordResponse(
            message="Password changed",
            token=grant.token,
            refresh_token=grant.refresh_token,
            expires_in=grant.expires_in_seconds,
        )


class PurchaseRpc:
    """account.v1.PurchaseService."""

    def __init__(self, purchases: Purchases) -> None:
        self._purchases = purchases

    async def get_purchase(
        self, request: purchases_pb2.GetPurchaseRequest, call: Call
    ) -> purchases_pb2.Purchase:
        purchase_id = checked_uuid("purchase_id", request.purchase_id)
        return _purchase(await self._purchases.find(call.user_id, purchase_id))

    async def list_purchases(
        self, request: purchases_pb2.ListPurchasesRequest, call: Call
    ) -> purchases_pb2.ListPurchasesResponse:
        records, next_page_token = await self._purchases.history(
            call.user_id, request.page_size, request.page_token
        )
        return purchases_pb2.ListPurchasesResponse(
            purchases=[_purchase(record) for record in records], next_page_token=next_page_token
        )


class PaymentEventRpc:
    """account.v1.PaymentEventService."""

    def __init__(self, events: PaymentEvents) -> None:
        self._events = events

    async def receive_payment_event(
        self, request: payment_events_pb2.ReceivePaymentEventRequest, call: Call
    ) -> payment_events_pb2.ReceivePaymentEventResponse:
        await self._events.receive(request.event.data, request.signature)
        return payment_events_pb2.ReceivePaymentEventResponse()


def decode_debit(body: AnyMessage) -> Debit:
    """The body of an operation of this participant. Raises InvalidArgument."""
    debit = account_pb2.Debit()
    if not body.Unpack(debit):
        raise InvalidArgument.of_field("operations", "must hold account.v1.Debit")
    if debit.amount < 1:
        raise InvalidArgument.of_field("amount", "must be at least 1")
    return Debit(checked_uuid("user_id", debit.user_id), debit.amount)


def encode_debit_result(balance_after_gems: int) -> Message:
    """What a YES tells."""
    return account_pb2.DebitResult(balance_after=balance_after_gems)


def _entry(entry: LedgerEntry) -> account_pb2.LedgerEntry:
    written = account_pb2.LedgerEntry(
        operation_id=entry.operation_id,
        kind=entry.kind,
        amount=entry.amount_gems,
        balance_after=entry.balance_after_gems,
    )
    written.created_at.FromDatetime(entry.created_at)
    return written


def _purchase(record: PurchaseRecord) -> purchases_pb2.Purchase:
    purchase = record.purchase
    written = purchases_pb2.Purchase(
        purchase_id=purchase.purchase_id,
        state=record.state,
        reason=record.reason,
        amount=purchase.amount_gems,
        price_minor=purchase.price_minor,
        currency=purchase.currency,
        payment_method=purchase.payment_method,
    )
    written.created_at.FromDatetime(record.created_at)
    if record.ended_at is not None:
        written.ended_at.FromDatetime(record.ended_at)
    return written
