"""Every fault that the harness can inject, by its name.

A fault runs in a thread while the load runs. It returns when it is over: killed processes are
being restarted, frozen ones run again, and held locks and slots are free.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import psycopg2

from mesh.txn import failpoints
from proof.faults.injection import saga_failpoints
from proof.faults.injection.armed_failpoints import OVERLOOK, Action
from proof.faults.injection.fault import KILL, Fault, Group, InjectionContext
from proof.faults.injection.message_faults import MessageFaults
from proof.faults.injection.payment_faults import of_payments
from proof.faults.injection.target import POLL_SECONDS, Target

FIRE_SECONDS = 12.0
"""How long to wait until a point is reached; the load and the provocation reach it."""
STALLS_SECONDS = (4.0, 12.0, 33.0)
"""Longer than recovery and Commit; than a whole transaction; than the maximum age of a gid."""
SHORT_STALLS_SECONDS = (4.0, 6.0)
HELD_PREFIX = "faults/"
SLOTS_SECONDS = 3.0
LOCKS_SECONDS = 3.0
MESSAGE_FAULT_SECONDS = 5.0
QUIET_SECONDS = 3.0
LOCKED_ROWS = 100
DELAYS_SECONDS = (0.0, 0.02, 0.2, 1.0, 5.0, 12.0, 33.0)


REPEATED, HELD_BACK = "message repeated, up to 33 s late", "message held back, up to 33 s"
UNANSWERED, DISTURBED = "answer lost", "every message at risk"
LOST = "first branch lost after its decision"
STOPPED, SLOTS, LOCKS = "PostgreSQL stopped at once", "prepared slots used up", "locks held"


ROLES_OF_POINTS: Mapping[str, Sequence[str]] = {
    **{point: ["account_svc"] for point in failpoints.of_participant("account")},
    **{point: ["gacha_svc"] for point in failpoints.of_participant("gacha")},
    **{point: ["gacha_svc"] for point in failpoints.OF_A_COORDINATOR},
    **{point: ["gacha_svc"] for point in failpoints.OF_DECISION_RECOVERY},
    **{point: ["gacha_svc"] for point in saga_failpoints.OF_GIFTS},
    **{point: ["account_svc"] for point in saga_failpoints.OF_PURCHASES},
}
"""The roles that reach each point. Points of branch recovery are separate, because both do."""

ABORT_POINTS = tuple(
    f"{side}.{point}"
    for side in ("account", "gacha")
    for point in ("before_abort", "before_tombstone", "after_abort")
)
PROVOCATIONS: Mapping[str, tuple[str, Action]] = {
    **dict.fromkeys(ABORT_POINTS, ("gacha.before_prepare", Action.ERROR)),
    **dict.fromkeys(failpoints.OF_BRANCH_RECOVERY, ("coordinator.before_decision", Action.CRASH)),
    **dict.fromkeys(failpoints.OF_DECISION_RECOVERY, ("coordinator.after_decision", Action.CRASH)),
}
"""By point: the fault that makes a run reach it. A run reaches all other points by itself."""


def _wait(context: InjectionContext) -> bool:
    time.sleep(QUIET_SECONDS)
    return True


QUIET = Fault("quiet", Group.QUIET, "nothing", _wait)


def all_faults() -> Mapping[str, Fault]:
    """Every fault by its name."""
    lost = Fault("branches of account lost", Group.LOSS, LOST, _lose_branches)
    every = [QUIET, lost, *_at_points(), *_kills(), *_of_messages(), *_of_databases()]
    every += of_payments()
    return {fault.name: fault for fault in every}


def _at_points() -> Iterator[Fault]:
    actions = (Action.CRASH, Action.STALL, Action.ERROR, Action.BUG)
    for action in actions:
        for point, roles in ROLES_OF_POINTS.items():
            yield _at(point, action, roles)
        for point in failpoints.OF_BRANCH_RECOVERY:
            for role in ("account_svc", "gacha_svc"):
                yield _at(point, action, [role], f" in {role}")
    for side in ("account", "gacha"):
        yield _at(f"{side}.{OVERLOOK}", Action.OVERLOOK, [f"{side}_svc"])


def _at(point: str, action: Action, roles: Sequence[str], where: str = "") -> Fault:
    return Fault(
        f"{point}{where} {action}",
        Group.POINT,
        f"{action} at a failpoint",
        lambda context: _fire(context, point, action, roles),
    )


def _fire(context: InjectionContext, point: str, action: Action, roles: Sequence[str]) -> bool:
    target = context.target
    shot = target.failpoints.arm(target.instances(*roles), point, action)
    shots = [shot]
    if point in PROVOCATIONS:
        provoking, how = PROVOCATIONS[point]
        shots.append(target.failpoints.arm(target.instances("gacha_svc"), provoking, how))
    instance = _wait_until_fired(target, shot)
    target.failpoints.disarm(shots)
    if instance is not None and action is Action.STALL:
        with target.stalled(instance):
            time.sleep(context.chance.choice(context.stalls_seconds))
    return instance is not None


def _wait_until_fired(target: Target, shot: str) -> str | None:
    deadline = time.monotonic() + FIRE_SECONDS
    while time.monotonic() < deadline:
        if instance := target.failpoints.fired(shot):
            return instance
        time.sleep(POLL_SECONDS)
    return None


def _kills() -> Iterator[Fault]:
    for role in ("account_svc", "gacha_svc", "gateway_http", "registry", "cache"):
        yield Fault(f"{role} killed", Group.KILL, KILL, _kill_of(role))
    yield Fault("all account_svc killed", Group.KILL, KILL, _kill_of("account_svc", everyone=True))
    yield Fault("all gacha_svc killed", Group.KILL, KILL, _kill_of("gacha_svc", everyone=True))


def _kill_of(role: str, *, everyone: bool = False) -> Callable[[InjectionContext], bool]:
    def kill(context: InjectionContext) -> bool:
        instances = context.target.instances(role)
        for name in instances if everyone else [context.chance.choice(instances)]:
            context.target.signal(name, signal.SIGKILL)
        return True

    return kill


def _of_messages() -> Iterator[Fault]:
    for method in ("Prepare", "Commit", "Abort", "Resolve"):
        yield Fault(
            f"{method} repeated", Group.MESSAGES, REPEATED, _message_faults([method], repeated=0.6)
        )
        yield Fault(
            f"{method} held back",
            Group.MESSAGES,
            HELD_BACK,
            _message_faults([method], held_back=0.3),
        )
        yield Fault(
            f"{method} unanswered",
            Group.MESSAGES,
            UNANSWERED,
            _message_faults([method], unanswered=0.3),
        )
    everything = _message_faults([""], repeated=0.3, held_back=0.1, unanswered=0.1)
    yield Fault("every message disturbed", Group.MESSAGES, DISTURBED, everything)


def _message_faults(methods: Sequence[str], **chances: float) -> Callable[[InjectionContext], bool]:
    def disturb(context: InjectionContext) -> bool:
        until = time.time() + MESSAGE_FAULT_SECONDS
        context.target.message_faults.write(
            MessageFaults(until, methods, delays_seconds=DELAYS_SECONDS, **chances)
        )
        time.sleep(MESSAGE_FAULT_SECONDS)
        return True

    return disturb


def _of_databases() -> Iterator[Fault]:
    for side, hot in (("account", "wallet"), ("gacha", "pity")):
        for how in (signal.SIGQUIT, signal.SIGKILL):
            name = f"PostgreSQL of {side} {how.name}"
            yield Fault(name, Group.DATABASE, STOPPED, _server_signalled(side, how))
        yield Fault(
            f"slots of {side} used up",
            Group.DATABASE,
            SLOTS,
            partial(_use_up_slots, side),
        )
        rows = f"SELECT FROM {hot} LIMIT {LOCKED_ROWS} FOR UPDATE SKIP LOCKED"
        yield Fault(f"rows of {hot} locked", Group.DATABASE, LOCKS, _locked(side, rows))
    for side, table in (("account", "ledger"), ("gacha", "pull"), ("gacha", "tx_decision")):
        whole = f"LOCK TABLE {table} IN EXCLUSIVE MODE"
        yield Fault(f"table {table} locked", Group.DATABASE, LOCKS, _locked(side, whole))


def _server_signalled(side: str, how: signal.Signals) -> Callable[[InjectionContext], bool]:
    def stop(context: InjectionContext) -> bool:
        context.target.signal(f"postgres-{side}", how)
        return True

    return stop


def _lose_branches(context: InjectionContext) -> bool:
    """Rolls back first branches whose decision is commit, as a failover to a standby that lacks
    them would. The coordinator is frozen while this runs."""
    target = context.target
    shot = target.failpoints.arm(
        target.instances("gacha_svc"), "coordinator.after_decision", Action.STALL
    )
    instance = _wait_until_fired(target, shot)
    target.failpoints.disarm([shot])
    if instance is None:
        return False
    lost_count = 0
    with (
        target.stalled(instance),
        contextlib.suppress(psycopg2.OperationalError),
        _connect(context, "account") as account,
        _connect(context, "gacha") as gacha,
        account.cursor() as prepared,
        gacha.cursor() as decided,
    ):
        prepared.execute("SELECT gid FROM pg_prepared_xacts WHERE starts_with(gid, 'account/')")
        for (branch,) in prepared.fetchall():
            gid = branch.removeprefix("account/")
            decided.execute("SELECT FROM tx_branch WHERE gid = %s AND NOT aborted", (gid,))
            if decided.rowcount:
                with contextlib.suppress(psycopg2.ProgrammingError):
                    prepared.execute("ROLLBACK PREPARED %s", (branch,))
                    lost_count += 1
    return lost_count > 0


def _connect(context: InjectionContext, side: str, *, as_superuser: bool = False) -> Any:
    mesh = context.target.mesh
    connection = psycopg2.connect(
        mesh.superuser_url(side) if as_superuser else mesh.database_url(side)
    )
    connection.autocommit = True
    return closing(connection)


def _use_up_slots(side: str, context: InjectionContext) -> bool:
    """Prepares transactions until PostgreSQL has no slot left; frees all after a while."""
    prefix = f"{HELD_PREFIX}{context.chance.getrandbits(64):x}"
    try:
        with _connect(context, side) as connection, connection.cursor() as cursor:
            deadline = time.monotonic() + SLOTS_SECONDS
            number = 0
            while time.monotonic() < deadline:
                try:
                    cursor.execute("BEGIN; SELECT pg_current_xact_id()")
                    cursor.execute("PREPARE TRANSACTION %s", (f"{prefix}-{number}",))
                    number += 1
                except psycopg2.OperationalError:
                    if connection.closed:
                        return False
                    cursor.execute("ROLLBACK")
                    time.sleep(POLL_SECONDS)
            return True
    except psycopg2.Error:
        return False
    finally:
        _free_slots(context, side, prefix)


def _free_slots(context: InjectionContext, side: str, prefix: str) -> None:
    deadline = time.monotonic() + FIRE_SECONDS
    while True:
        try:
            with _connect(context, side) as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE %s", (f"{prefix}%",)
                )
                for (gid,) in cursor.fetchall():
                    cursor.execute("ROLLBACK PREPARED %s", (gid,))
                return
        except psycopg2.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _locked(side: str, statement: str) -> Callable[[InjectionContext], bool]:
    def hold(context: InjectionContext) -> bool:
        with (
            contextlib.suppress(psycopg2.Error),
            _connect(context, side, as_superuser=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SET lock_timeout = '3s'; BEGIN")
            cursor.execute(statement)
            time.sleep(LOCKS_SECONDS)
            cursor.execute("ROLLBACK")
            return True
        return False

    return hold
