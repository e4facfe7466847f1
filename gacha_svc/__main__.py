"""The gacha service: `python -m gacha_svc [serve | check | migrate]`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from gacha_svc.adapters.account import EndedSessionCalls, account_participant
from gacha_svc.adapters.catalog_file.catalog import read_catalog
from gacha_svc.adapters.gift_fees import RemoteGiftFees
from gacha_svc.config import GachaSettings
from gacha_svc.domain.gifts import Gift
from gacha_svc.domain.randomness import SECRET_PURPOSE, seeded
from gacha_svc.rpc.catalog import CatalogRpc
from gacha_svc.rpc.draws import decode_draw, encode_draw_result
from gacha_svc.rpc.gifts import GiftRpc
from gacha_svc.rpc.pulls import GachaRpc
from gacha_svc.storage.catalog import REVISION_QUESTION
from gacha_svc.use_cases.catalog import Catalogs
from gacha_svc.use_cases.catalog_cache import CatalogCache
from gacha_svc.use_cases.draws import Draws
from gacha_svc.use_cases.gift_begins import GiftBegins
from gacha_svc.use_cases.gift_reads import gift_facts
from gacha_svc.use_cases.gift_saga import GiftSaga
from gacha_svc.use_cases.gifts import Gifts
from gacha_svc.use_cases.pulls import Pulls
from gacha_svc.use_cases.retention import retention_of
from mesh.calling.client import ServiceClient
from mesh.calls import Metadata
from mesh.contract.method_config import longest_memory_seconds
from mesh.failpoints import Failpoint, no_failpoint
from mesh.identity.ended_sessions import EndedSessions
from mesh.identity.player_keys import PlayerKeySet
from mesh.identity.published_keys import PublishedKeys
from mesh.postgres.clock_offset import ClockOffset
from mesh.postgres.database import Database
from mesh.postgres.pulse import Pulse
from mesh.postgres.retention import Retention
from mesh.postgres.schema.files import Schema
from mesh.process.arguments import CHECK, MIGRATE, read_command
from mesh.process.commands import load_with_database, run_command
from mesh.process.member import Member
from mesh.process.runtime import Runtime
from mesh.process.service import Offered, Service, serve_service
from mesh.rounds import Due, keep_running
from mesh.saga.facts import Facts
from mesh.saga.runner import SagaRunner
from mesh.txn.clients import RemoteParticipant
from mesh.txn.coordinator import Coordinator
from mesh.txn.decisions import DecisionLog
from mesh.txn.group_commit import GroupCommit
from mesh.txn.local.client import LocalParticipant
from mesh.txn.local.screening import Screening, local_screen
from mesh.txn.metrics import TransactionMetrics
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery, DecisionRecovery
from mesh.txn.rpc import CoordinatorRpc, ParticipantRpc
from protos.gacha.v1 import catalog_pb2, gacha_pb2, gifts_pb2
from protos.tx.v1 import coordinator_pb2, participant_pb2

SERVICE = "gacha_svc"
CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]
INIT_DB = CATALOG.methods_by_name["InitDb"].full_name
SCHEMA = Schema.in_folder(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class _Transactions:
    """The parts of the pull's two-phase commit in this process: the batches with their
    decisions, and the participant of this database."""

    participant: Participant[Any, Any]
    decisions: DecisionLog
    group_commit: GroupCommit
    recover: Sequence[BranchRecovery | DecisionRecovery]
    are_due: Due


@dataclass(frozen=True, slots=True)
class _Players:
    """What verifies the tokens of players."""

    keys: PublishedKeys
    ended: EndedSessions

    async def first(self) -> None:
        """Waits until both were fetched."""
        await self.keys.first()
        await self.ended.first()


async def serve(
    settings: GachaSettings, database: Database, failpoint: Failpoint = no_failpoint
) -> None:
    """Builds the service and serves until a signal."""
    async with Runtime() as runtime:
        member = Member(runtime, settings, SERVICE)
        account_svc = member.client("account_svc")
        cache = CatalogCache(database)
        pulse = Pulse(database)
        to_account_svc = member.identity.towards("account_svc")
        first = account_participant(account_svc, to_account_svc.metadata)
        transactions = _transactions(
            settings,
            database,
            first,
            Draws(cache, partial(seeded, member.identity.secret(SECRET_PURPOSE))),
            TransactionMetrics(member.metrics),
            failpoint,
        )
        gift_fees = RemoteGiftFees(account_svc, to_account_svc.metadata)
        known_gifts = gift_facts(database)
        gift_saga = GiftSaga(database, gift_fees, known_gifts).definition
        sagas = SagaRunner(database, [gift_saga], failpoint=failpoint)
        runtime.push_async_callback(sagas.close)
        players = _players(account_svc, to_account_svc.metadata)
        service = Service(
            offered=_offered(
                CatalogRpc(_catalogs(settings, database, cache)),
                GachaRpc(Pulls(database, cache, transactions.group_commit)),
                GiftRpc(_gifts(settings, database, gift_fees, sagas, known_gifts)),
                transactions,
            ),
            player_keys=players.keys.find,
            has_ended=players.ended.contain,
            is_ready=partial(_is_ready, pulse, ClockOffset(pulse.beat, member.metrics)),
            opened=[INIT_DB] if settings.init_db == "public" else [],
            warm_up=players.first,
        )
        _keep_current(runtime, pulse, players, cache)
        _keep_settling(runtime, pulse, transactions, sagas)
        _keep_removing(runtime, _retention(settings, database))
        await serve_service(member, settings, service)


def _catalogs(settings: GachaSettings, database: Database, cache: CatalogCache) -> Catalogs:
    return Catalogs(
        database,
        cache,
        lambda: read_catalog(settings.catalog_file),
        memory_seconds=longest_memory_seconds(CATALOG),
    )


def _players(account_svc: ServiceClient, to_account_svc: Callable[[], Metadata]) -> _Players:
    return _Players(
        PublishedKeys(PlayerKeySet(account_svc).fetch),
        EndedSessions(EndedSessionCalls(account_svc, to_account_svc).fetch),
    )


def _keep_current(runtime: Runtime, pulse: Pulse, players: _Players, cache: CatalogCache) -> None:
    """Reads what others change: keys, ended sessions, the catalog."""
    runtime.run_in_background(players.keys.keep_fetching)
    runtime.run_in_background(players.ended.keep_fetching)
    is_old = Due()
    pulse.ask(REVISION_QUESTION, lambda revision: is_old.note(cache.differs_from(revision)))
    refresh = partial(keep_running, "catalog", cache.refresh, due=is_old)
    runtime.run_in_background(refresh, "catalog")


def _keep_settling(
    runtime: Runtime, pulse: Pulse, transactions: _Transactions, sagas: SagaRunner
) -> None:
    """Settles what was left unfinished."""
    rounds = [recovery.run_once for recovery in transactions.recover]
    settle = partial(keep_running, "transactions", *rounds, due=transactions.are_due)
    for recovery in transactions.recover:
        pulse.ask(recovery.question, transactions.are_due.note)
    runtime.run_in_background(settle, "transactions")
    are_due = Due()
    pulse.ask(sagas.question, are_due.note)
    drive = partial(keep_running, "sagas", sagas.run_once, due=are_due)
    runtime.run_in_background(drive, "sagas")


def _keep_removing(runtime: Runtime, retention: Retention) -> None:
    """Removes what is old."""
    remove = partial(keep_running, "retention", retention.run_once)
    runtime.run_in_background(remove, "retention")


def _gifts(
    settings: GachaSettings,
    database: Database,
    fees: RemoteGiftFees,
    sagas: SagaRunner,
    known: Facts[Gift],
) -> Gifts:
    begins = GiftBegins(
        database,
        sagas,
        known,
        refused_an_hour=settings.refused_gifts_an_hour,
        max_pending=settings.pending_gifts,
    )
    return Gifts(database, fees, begins, fee_gems=settings.gift_fee_gems)


def _transactions(
    settings: GachaSettings,
    database: Database,
    first: RemoteParticipant,
    draws: Draws,
    metrics: TransactionMetrics,
    failpoint: Failpoint,
) -> _Transactions:
    participant = Participant(database, "gacha", draws.apply, failpoint=failpoint, decides=True)
    decisions = DecisionLog(database, participant)
    coordinator = Coordinator(
        settings.instance_id,
        first,
        LocalParticipant(participant),
        screening=Screening(local_screen(database, draws.screen)),
        count_restart=metrics.count_restart,
        failpoint=failpoint,
    )
    branches = BranchRecovery(participant, decisions, follows=False, failpoint=failpoint)
    decided = DecisionRecovery(coordinator, decisions, first, failpoint=failpoint)
    return _Transactions(
        participant,
        decisions,
        GroupCommit(coordinator, metrics=metrics),
        (branches, decided),
        Due(also=lambda: coordinator.has_done),
    )


def _retention(settings: GachaSettings, database: Database) -> Retention:
    return retention_of(
        database,
        refused=timedelta(days=settings.keep_refused_days),
        ended_sagas=timedelta(days=settings.keep_ended_sagas_days),
    )


async def _is_ready(pulse: Pulse, clock_offset: ClockOffset) -> bool:
    """Whether the database answers. Its clock is only reported: no work here depends on it."""
    await clock_offset.measure()
    return pulse.is_primary


def _offered(
    catalog: CatalogRpc, gacha: GachaRpc, gifts: GiftRpc, transactions: _Transactions
) -> Offered:
    """The proto services with their implementations."""
    return [
        (CATALOG, catalog),
        (gacha_pb2.DESCRIPTOR.services_by_name["GachaService"], gacha),
        (gifts_pb2.DESCRIPTOR.services_by_name["GiftService"], gifts),
        (
            participant_pb2.DESCRIPTOR.services_by_name["ParticipantService"],
            ParticipantRpc(transactions.participant, decode_draw, encode_draw_result),
        ),
        (
            coordinator_pb2.DESCRIPTOR.services_by_name["CoordinatorService"],
            CoordinatorRpc(transactions.decisions),
        ),
    ]


def main() -> None:
    """Reads the arguments and the settings, and runs the command."""
    command = read_command(SERVICE, (MIGRATE, CHECK))
    settings = load_with_database(GachaSettings)
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
    )


if __name__ == "__main__":
    main()
