"""The account service: `python -m account_svc [serve | migrate | rotate-keys | logins]`."""

import sys
from pathlib import Path

from account_svc.adapters.passwords import Passwords
from account_svc.adapters.payments.choose import choose_provider
from account_svc.commands.choose import run_operators_command
from account_svc.config import AccountSettings
from account_svc.domain.login_attempts import schedules_with
from account_svc.domain.purchases import Price
from account_svc.metrics import LoginMetrics
from account_svc.rpc.accounts import (
    AccountRpc,
    PaymentEventRpc,
    PurchaseRpc,
    SessionRpc,
    decode_debit,
    encode_debit_result,
)
from account_svc.rpc.gift_fees import GiftFeeRpc
from account_svc.rpc.signing_keys import SigningKeyRpc
from account_svc.session_metrics import SessionMetrics
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.debits import apply_debits
from account_svc.use_cases.gift_fees import GiftFees
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.payment_events import PaymentEvents
from account_svc.use_cases.purchase_saga import PurchaseSaga
from account_svc.use_cases.purchases import Purchases
from account_svc.use_cases.sessions import Sessions
from mesh.contract.terms import Work
from mesh.failpoints import Reach, unharmed
from mesh.postgres.database import Database
from mesh.process.commands import run_command
from mesh.process.config import load
from mesh.process.member import Member
from mesh.saga.runner import SagaRunner
from mesh.txn.clients import RemoteCoordinator
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery, keep_recovering
from mesh.txn.rpc import ParticipantRpc
from protos.account.v1 import (
    account_pb2,
    gift_fees_pb2,
    payment_events_pb2,
    purchases_pb2,
    sessions_pb2,
    signing_keys_pb2,
)
from protos.tx.v1 import participant_pb2

SERVICE = "account_svc"
MIGRATIONS = Path(__file__).parent / "migrations"
TOKEN_SECONDS = 15 * 60
"""For how long an access token outlives its session at most."""


async def serve(settings: AccountSettings, database: Database, reach: Reach = unharmed) -> None:
    """Builds the service and serves until a signal."""
    signing_keys = settings.signing_keys(TOKEN_SECONDS)
    passwords = Passwords()
    member = Member(settings, SERVICE)
    guard = LoginGuard(
        database,
        schedules_with(settings.login_free_attempts, settings.login_free_attempts_of_address),
        count_refusal=LoginMetrics(member.metrics).count_refusal,
    )
    participant = Participant(database, "account", apply_debits, reach=reach)
    coordinator = RemoteCoordinator(member.client("gacha_svc"), member.identity.metadata)
    recovery = BranchRecovery(participant, coordinator, commits=True, reach=reach)
    provider = choose_provider(settings)
    sagas = SagaRunner(database, [PurchaseSaga(database, provider).definition], reach=reach)
    price = Price(settings.gem_price_minor, settings.gem_price_currency)
    purchases = Purchases(database, sagas, provider_name=provider.name, price=price)
    sessions = Sessions(database, signing_keys, SessionMetrics(member.metrics).count_refresh)
    accounts = Accounts(database, passwords, guard, sessions)
    await member.serve(
        [
            (
                account_pb2.DESCRIPTOR.services_by_name["AccountService"],
                AccountRpc(accounts, purchases, signing_keys),
            ),
            (
                sessions_pb2.DESCRIPTOR.services_by_name["SessionService"],
                SessionRpc(accounts, sessions),
            ),
            (
                purchases_pb2.DESCRIPTOR.services_by_name["PurchaseService"],
                PurchaseRpc(purchases),
            ),
            (
                payment_events_pb2.DESCRIPTOR.services_by_name["PaymentEventService"],
                PaymentEventRpc(PaymentEvents(database, provider)),
            ),
            (
                gift_fees_pb2.DESCRIPTOR.services_by_name["GiftFeeService"],
                GiftFeeRpc(GiftFees(database)),
            ),
            (
                signing_keys_pb2.DESCRIPTOR.services_by_name["SigningKeyService"],
                SigningKeyRpc(signing_keys),
            ),
            (
                participant_pb2.DESCRIPTOR.services_by_name["ParticipantService"],
                ParticipantRpc(participant, decode_debit, encode_debit_result),
            ),
        ],
        player_keys=signing_keys.find,
        is_ready=database.is_ready,
        gates={Work.HASHING: passwords.check_room},
        background=[
            signing_keys.keep_looking,
            lambda: keep_recovering(recovery.run_once),
            lambda: keep_recovering(sagas.run_once),
            lambda: keep_recovering(guard.run_once),
            lambda: keep_recovering(sessions.forget_old),
        ],
    )
    await sagas.close()
    await provider.close()
    await member.close()
    passwords.close()


def main() -> None:
    """Reads the settings and runs the command."""
    if run_operators_command(sys.argv[1:]):
        return
    settings = load(AccountSettings)
    database = Database(settings.database_url, connection_count=settings.database_connection_count)
    run_command(
        instance_id=settings.instance_id,
        log_level=settings.log_level,
        database=database,
        migrations=MIGRATIONS,
        serve=lambda: serve(settings, database),
    )


if __name__ == "__main__":
    main()
