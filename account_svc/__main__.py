"""The account service: `python -m account_svc [COMMAND]`; COMMAND is serve, check, migrate,
rotate-keys, logins or reconcile."""

import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from account_svc.adapters.hashing_process import HashingProcess
from account_svc.adapters.passwords import Passwords
from account_svc.adapters.payments.choose import choose_provider
from account_svc.adapters.signing_keys.choose import open_signing_keys, signing_key_faults
from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.commands.choose import COMMANDS, run_operators_command
from account_svc.config import AccountSettings
from account_svc.domain.login_attempts import schedules_with
from account_svc.domain.payments import PaymentProvider
from account_svc.domain.prices import Price, PriceList
from account_svc.metrics import LoginMetrics, ReconciliationMetrics, SessionMetrics
from account_svc.rpc.accounts import AccountRpc
from account_svc.rpc.debits import decode_debit, encode_debit_result
from account_svc.rpc.gift_fees import GiftFeeRpc
from account_svc.rpc.payment_events import PaymentEventRpc
from account_svc.rpc.purchases import PurchaseRpc
from account_svc.rpc.sessions import EndedSessionRpc, SessionRpc
from account_svc.rpc.signing_keys import SigningKeyRpc
from account_svc.storage.sessions import RECENTLY_ENDED
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.clawbacks.reconciliation import Reconciliation
from account_svc.use_cases.clawbacks.saga import clawback_runner
from account_svc.use_cases.debits import apply_debits, apply_owed_debits
from account_svc.use_cases.gift_fees import GiftFees
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.payment_events import PaymentEvents
from account_svc.use_cases.purchasing.purchases import Purchases
from account_svc.use_cases.purchasing.reads import BegunPurchases
from account_svc.use_cases.purchasing.saga import PurchaseSaga
from account_svc.use_cases.retention import retention_of
from account_svc.use_cases.sessions import EndedSessionList, Sessions
from mesh.contract.method_config import WorkKind
from mesh.failpoints import Failpoint, no_failpoint
from mesh.identity.ended_sessions import EndedSessions
from mesh.identity.tokens import PLAYER_TOKEN_SECONDS
from mesh.postgres.clock_offset import ClockOffset
from mesh.postgres.database import Database
from mesh.postgres.pulse import Pulse
from mesh.postgres.schema.files import Schema
from mesh.process.arguments import CHECK, MIGRATE, read_command
from mesh.process.commands import load_with_database, run_command
from mesh.process.member import Member
from mesh.process.runtime import Runtime
from mesh.process.service import Offered, Service, serve_service
from mesh.rounds import Due, keep_running
from mesh.saga.runner import SagaRunner
from mesh.txn.clients import RemoteCoordinator
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery
from mesh.txn.rpc import ParticipantRpc
from protos.account.v1 import (
    account_pb2,
    ended_sessions_pb2,
    gift_fees_pb2,
    payment_events_pb2,
    purchases_pb2,
    sessions_pb2,
    signing_keys_pb2,
)
from protos.tx.v1 import participant_pb2

SERVICE = "account_svc"
SCHEMA = Schema.in_folder(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class _SignIn:
    """How players prove who they are."""

    signing_keys: SigningKeys
    passwords: Passwords
    guard: LoginGuard
    sessions: Sessions
    accounts: Accounts


@dataclass(frozen=True, slots=True)
class _Shop:
    """How players buy gems."""

    provider: PaymentProvider
    sagas: SagaRunner
    clawbacks: SagaRunner
    purchases: Purchases
    prices: PriceList
    reconciliation: Reconciliation


async def serve(
    settings: AccountSettings, database: Database, failpoint: Failpoint = no_failpoint
) -> None:
    """Builds the service and serves until a signal."""
    async with Runtime() as runtime:
        member = Member(runtime, settings, SERVICE)
        sign_in = _sign_in(runtime, settings, database, member)
        shop = _shop(runtime, settings, database, member, failpoint)
        participant = Participant(
            database, "account", apply_debits, apply_again=apply_owed_debits, failpoint=failpoint
        )
        to_gacha_svc = member.identity.towards("gacha_svc")
        coordinator = RemoteCoordinator(member.client("gacha_svc"), to_gacha_svc.metadata)
        recovery = BranchRecovery(participant, coordinator, follows=True, failpoint=failpoint)
        ended_list = EndedSessionList(database)
        ended = EndedSessions(ended_list.read)
        pulse = Pulse(database)
        service = Service(
            offered=_offered(database, sign_in, ended_list, shop, participant),
            player_keys=sign_in.signing_keys.find,
            has_ended=ended.contain,
            is_ready=partial(_is_ready, pulse, ClockOffset(pulse.beat, member.metrics)),
            warm_up=ended.first,
            gates={WorkKind.HASHING: sign_in.passwords.check_time},
        )
        runtime.run_in_background(sign_in.signing_keys.keep_looking)
        have_ended = Due()
        pulse.ask(RECENTLY_ENDED, have_ended.note)
        runtime.run_in_background(partial(ended.keep_fetching, have_ended), "ended-sessions")
        for work, each in (
            ("branches", recovery),
            ("sagas", shop.sagas),
            ("clawbacks", shop.clawbacks),
        ):
            due = Due()
            pulse.ask(each.question, due.note)
            runtime.run_in_background(partial(keep_running, work, each.run_once, due=due), work)
        _keep_house(runtime, settings, database, sign_in, shop)
        await serve_service(member, settings, service)


def _keep_house(
    runtime: Runtime, settings: AccountSettings, database: Database, sign_in: _SignIn, shop: _Shop
) -> None:
    """Compares with the payment provider, and removes what is old."""
    runtime.run_in_background(shop.reconciliation.keep_comparing, "reconciliation")
    retention = retention_of(
        database,
        refused=timedelta(days=settings.keep_refused_days),
        ended_sagas=timedelta(days=settings.keep_ended_sagas_days),
    )
    for work, run_once in (
        ("retention", retention.run_once),
        ("logins", sign_in.guard.run_once),
        ("sessions", sign_in.sessions.forget_old),
    ):
        runtime.run_in_background(partial(keep_running, work, run_once), work)


async def _is_ready(pulse: Pulse, clock_offset: ClockOffset) -> bool:
    """Whether the database answers. Its clock is only reported: no work here depends on it."""
    await clock_offset.measure()
    return pulse.is_primary


def _sign_in(
    runtime: Runtime, settings: AccountSettings, database: Database, member: Member
) -> _SignIn:
    signing_keys = open_signing_keys(settings, PLAYER_TOKEN_SECONDS)
    passwords = Passwords(process=HashingProcess(settings.hashing_niceness))
    runtime.callback(passwords.close)
    guard = LoginGuard(
        database,
        schedules_with(settings.login_free_attempts, settings.login_free_attempts_of_address),
        admit=passwords.admit,
        count_refusal=LoginMetrics(member.metrics).count_refusal,
    )
    sessions = Sessions(database, signing_keys, SessionMetrics(member.metrics).count_refresh)
    accounts = Accounts(database, passwords, guard, sessions)
    return _SignIn(signing_keys, passwords, guard, sessions, accounts)


def _shop(
    runtime: Runtime,
    settings: AccountSettings,
    database: Database,
    member: Member,
    failpoint: Failpoint,
) -> _Shop:
    provider = choose_provider(settings)
    runtime.push_async_callback(provider.close)
    begun = BegunPurchases(database)
    definition = PurchaseSaga(database, provider, begun).definition
    sagas = SagaRunner(database, [definition], failpoint=failpoint)
    clawbacks = clawback_runner(database, provider, failpoint=failpoint)
    for runner in (sagas, clawbacks):
        runtime.push_async_callback(runner.close)
    prices = PriceList(
        Price(settings.gem_price_minor, settings.gem_price_currency),
        settings.gem_packages,
        provider.payment_methods,
    )
    purchases = Purchases(
        database,
        sagas,
        begun,
        provider_name=provider.name,
        prices=prices,
        max_pending=settings.pending_purchases,
    )
    reconciliation = Reconciliation(
        database,
        provider,
        period_seconds=settings.reconciliation_seconds,
        days=settings.reconciliation_days,
        show=ReconciliationMetrics(member.metrics).show,
    )
    return _Shop(provider, sagas, clawbacks, purchases, prices, reconciliation)


def _offered(
    database: Database,
    sign_in: _SignIn,
    ended_list: EndedSessionList,
    shop: _Shop,
    participant: Participant[Any, Any],
) -> Offered:
    """The proto services with their implementations."""
    sessions, signing_keys = sign_in.sessions, sign_in.signing_keys
    return [
        (
            account_pb2.DESCRIPTOR.services_by_name["AccountService"],
            AccountRpc(sign_in.accounts, shop.purchases, signing_keys),
        ),
        (
            sessions_pb2.DESCRIPTOR.services_by_name["SessionService"],
            SessionRpc(sign_in.accounts, sessions),
        ),
        (
            ended_sessions_pb2.DESCRIPTOR.services_by_name["EndedSessionService"],
            EndedSessionRpc(ended_list),
        ),
        (
            purchases_pb2.DESCRIPTOR.services_by_name["PurchaseService"],
            PurchaseRpc(shop.purchases, shop.prices),
        ),
        (
            payment_events_pb2.DESCRIPTOR.services_by_name["PaymentEventService"],
            PaymentEventRpc(PaymentEvents(database, shop.provider)),
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
    ]


def main() -> None:
    """Reads the arguments and the settings, and runs the command."""
    if run_operators_command(sys.argv[1:]):
        return
    command = read_command(SERVICE, (MIGRATE, CHECK, *COMMANDS))
    settings = load_with_database(AccountSettings)
    if command == CHECK:
        return
    database = Database(settings.database_url, connection_count=settings.database_connection_count)
    run_command(
        command,
        instance_id=settings.instance_id,
        log_level=settings.log_level,
        database=database,
        connection_count=settings.database_connection_count,
        schema=SCHEMA,
        serve=lambda: serve(settings, database),
        further_faults=partial(signing_key_faults, settings),
    )


if __name__ == "__main__":
    main()
