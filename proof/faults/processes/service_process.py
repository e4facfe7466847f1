"""One process of a service under fault.

Usage: `python -m proof.faults.processes.service_process ROLE FOLDER [MUTANT]`.

It calls the service's own composition root with a failpoint that the harness arms. Where the
root has no argument, this module patches it from outside: faults in the transports, short
leases, and a failing statement whose failure is ignored. The services do not know of this.
"""

import contextlib
import os
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

import account_svc.__main__ as account_root
import gacha_svc.__main__ as gacha_root
from account_svc.config import AccountSettings
from gacha_svc.config import GachaSettings
from mesh.failpoints import Failpoint
from mesh.lanes.transport import LaneTransport
from mesh.logs import configure_logs
from mesh.postgres.database import Database
from mesh.process import member
from mesh.process.runtime import run
from mesh.saga import runner as saga_runner
from mesh.settings_loading import load
from mesh.txn.local.client import LocalParticipant
from mesh.txn.model import Operation, Vote
from mesh.txn.participant import Participant
from proof.faults.injection.armed_failpoints import OVERLOOK, ArmedFailpoints, Overlooked
from proof.faults.injection.message_faults import (
    FaultyDelivery,
    FaultyParticipant,
    FaultyTransport,
    MessageFaultFile,
)
from proof.faults.processes.mutants import MUTANTS

Apply = Callable[[Cursor, Sequence[Operation[Any]]], Sequence[Vote[Any]]]
COMPOSITION_ROOTS: dict[str, tuple[type[Any], Any]] = {
    "account_svc": (AccountSettings, account_root.serve),
    "gacha_svc": (GachaSettings, gacha_root.serve),
}


def main() -> None:
    role, folder, *mutants = sys.argv[1:]
    kind, serve = COMPOSITION_ROOTS[role]
    settings = load(kind)
    failpoint = ArmedFailpoints(Path(folder), settings.instance_id)
    put_message_faults_between(Path(folder), f"{settings.instance_id}/{os.getpid()}")
    put_overlooked_statements_into(failpoint)
    shorten_leases()
    for mutant in mutants:
        MUTANTS[mutant].install()
    configure_logs(settings.log_level, settings.instance_id)
    database = Database(settings.database_url, connection_count=settings.database_connection_count)
    run(serve(settings, database, failpoint))


def put_message_faults_between(folder: Path, seed: str) -> None:
    """Injects faults into messages to other services, and to the coordinator's own participant."""
    delivery = FaultyDelivery(MessageFaultFile(folder), random.Random(seed))

    def transport(*arguments: Any, **others: Any) -> FaultyTransport:
        return FaultyTransport(LaneTransport(*arguments, **others), delivery)

    def participant(inner: Participant[Any, Any]) -> FaultyParticipant:
        return FaultyParticipant(LocalParticipant(inner), delivery)

    member.LaneTransport = transport  # type: ignore[attr-defined, assignment]
    gacha_root.LocalParticipant = participant  # type: ignore[attr-defined, assignment]


def shorten_leases() -> None:
    """Shortens saga leases: every stall outlasts one, and a round need not wait long."""
    saga_runner.SagaLimits = partial(  # type: ignore[misc, assignment]
        saga_runner.SagaLimits,
        step_seconds=2.0,
        lease_seconds=3.0,
        longest_pause_seconds=4.0,
    )


def put_overlooked_statements_into(failpoint: Failpoint) -> None:
    """Adds a point after the statements of a branch, where a statement fails unnoticed."""
    whole_init = Participant.__init__

    def init(
        self: Participant[Any, Any], database: Database, name: str, apply: Apply, **others: Any
    ) -> None:
        def apply_and_overlook(
            cursor: Cursor, operations: Sequence[Operation[Any]]
        ) -> Sequence[Vote[Any]]:
            votes = apply(cursor, operations)
            try:
                failpoint(f"{name}.{OVERLOOK}")
            except Overlooked:
                with contextlib.suppress(psycopg2.Error):
                    cursor.execute("SELECT 1 / 0")
            return votes

        whole_init(self, database, name, apply_and_overlook, **others)

    Participant.__init__ = init  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
