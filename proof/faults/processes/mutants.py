"""Versions of the protocol with one rule broken, to show that the harness detects it.

A mutant is installed in every process when it starts, and in the databases before the load. If a
second defence hides the broken rule, another mutant also removes that defence, and says so.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain import sessions
from mesh.deadlines import Deadline
from mesh.errors import MeshError
from mesh.txn import participant as participant_module
from mesh.txn.coordinator import COMMIT_SECONDS, Coordinator
from mesh.txn.decisions import DecisionLog
from mesh.txn.model import Outcome
from mesh.txn.participant import Participant
from mesh.txn.recovery import BranchRecovery
from proof.faults.processes.draw_mutants import (
    each_try_drawn_anew,
    super_rares_at_three_times_their_rate,
)
from proof.faults.processes.money_mutants import (
    asked_again_under_another_key,
    debts_forgotten,
    fee_for_each_try,
    leases_unchecked,
    reversals_taken_again,
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`faults` are the names of those that expose it (see injection/faults.py); `statements`
    are for each database."""

    description: str
    install: Callable[[], None]
    faults: Sequence[str]
    statements: Mapping[str, Sequence[str]] = field(default_factory=dict)


def abort_by_age() -> None:
    async def settle(self: BranchRecovery, gid: str) -> None:
        await self._participant.abort(gid)

    BranchRecovery._settle = settle  # type: ignore[method-assign]


def resolve_ends_no_branch() -> None:
    async def resolve(self: DecisionLog, gid: str) -> Outcome:
        stands = {decision.gid: decision.outcome for decision in await self.list_decisions([gid])}
        return stands.get(gid, Outcome.ABORT)

    DecisionLog.resolve = resolve  # type: ignore[method-assign]


def nothing() -> None:
    """Installs nothing, for mutants whose rule is in SQL."""


def gid_not_consumed() -> None:
    consuming = "VALUES (%s)"
    assert consuming in participant_module._BEGIN_BRANCH
    participant_module._BEGIN_BRANCH = participant_module._BEGIN_BRANCH.replace(
        consuming, f"{consuming} ON CONFLICT DO NOTHING"
    )


def account_committed_first() -> None:
    whole_decide = Coordinator._decide

    async def decide(self: Coordinator, gid: str, deadline: Deadline) -> Outcome:
        with contextlib.suppress(MeshError):
            await self._first.commit(gid, Deadline.after(COMMIT_SECONDS))
        self._failpoint("coordinator.before_decision")
        return await whole_decide(self, gid, deadline)

    Coordinator._decide = decide  # type: ignore[method-assign]


def loss_taken_for_commit() -> None:
    whole_decide = Coordinator._decide

    async def decide(self: Coordinator, gid: str, deadline: Deadline) -> Outcome:
        await whole_decide(self, gid, deadline)
        return Outcome.COMMIT

    Coordinator._decide = decide  # type: ignore[method-assign]


def operations_not_kept() -> None:
    keeping = "INSERT INTO tx_decision (gid, first_operations) VALUES (%s, %s)"
    assert keeping == participant_module._KEEP
    participant_module._KEEP = "SELECT %s, %s"


class _Blind:
    """A cursor on which every PREPARE seems to succeed."""

    statusmessage = "PREPARE TRANSACTION"

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def tag_unchecked() -> None:
    operations_not_kept()
    whole_prepare = Participant._prepare_open

    def prepare(self: Participant[Any, Any], cursor: Cursor, gid: str, operations: Any) -> Any:
        return whole_prepare(self, _Blind(cursor), gid, operations)  # type: ignore[arg-type]

    Participant._prepare_open = prepare  # type: ignore[method-assign]


def repeats_taken_for_thefts() -> None:
    sessions._is_repeat = lambda session, token, key_hash, now: False


def _rewritten(function: str, part: str, by: str = "false") -> str:
    """The statement that replaces a part of a function of the database, such as a condition."""
    return f"""
    DO $do$
    DECLARE whole text := pg_get_functiondef('{function}'::regproc);
    BEGIN
        ASSERT position('{part}' IN whole) > 0, 'the part is elsewhere';
        EXECUTE replace(whole, '{part}', '{by}');
    END $do$
    """


def _not_updated(column: str) -> str:
    """The statement after which a draw leaves that column of a pity as it was."""
    return _rewritten("record_drawn", f"{column} = became.{column}", f"{column} = pity.{column}")


LIMIT_NOT_COUNTED = _rewritten(
    "record_drawn", "draw_count = became.draw_count", "draw_count = pull_count.draw_count"
)
SEED_NOT_REPLACED = _rewritten("record_drawn", "seed = gen_random_uuid()", "seed = pity.seed")
LEDGER_UNREAD = _rewritten("take_gems", "operation_id = ANY(all_ids)")
PULLS_UNREAD = _rewritten("lock_draws", "pull_id = ANY(pull_ids)")
TWICE_IN_THE_LEDGER = "ALTER TABLE ledger DROP CONSTRAINT ledger_operation_unique"
TWICE_IN_THE_PULLS = (
    "ALTER TABLE pull_item DROP CONSTRAINT pull_item_pull_id_fkey",
    "ALTER TABLE pull_item DROP CONSTRAINT pull_item_pkey",
    "ALTER TABLE pull DROP CONSTRAINT pull_pkey",
)

MUTANTS: Mapping[str, Mutant] = {
    "abort_by_age": Mutant(
        "recovery rolls back old branches without calling Resolve",
        abort_by_age,
        ["coordinator.after_decision crash"],
    ),
    "resolve_ends_no_branch": Mutant(
        "Resolve answers abort if nothing is committed, and leaves the deciding branch as it is",
        resolve_ends_no_branch,
        ["coordinator.before_decision stall"],
    ),
    "account_duplicates_unchecked": Mutant(
        "account_svc applies an operation again; the ledger's unique key is kept",
        nothing,
        ["quiet"],
        {"account": [LEDGER_UNREAD]},
    ),
    "gacha_duplicates_unchecked": Mutant(
        "neither side checks for an applied operation (gacha_svc comes second, so its check "
        "alone has no effect), and the ledger's unique key is dropped; the unique key of the "
        "pulls is kept",
        nothing,
        ["quiet"],
        {"account": [LEDGER_UNREAD, TWICE_IN_THE_LEDGER], "gacha": [PULLS_UNREAD]},
    ),
    "duplicates_unchecked": Mutant(
        "neither side checks for an applied operation, and all unique keys are dropped",
        nothing,
        ["quiet"],
        {
            "account": [LEDGER_UNREAD, TWICE_IN_THE_LEDGER],
            "gacha": [PULLS_UNREAD, *TWICE_IN_THE_PULLS],
        },
    ),
    "super_rares_not_counted": Mutant(
        "a draw leaves the pity's count of pulls since a super rare as it was",
        nothing,
        ["quiet"],
        {"gacha": [_not_updated("since_super_rare")]},
    ),
    "guarantees_not_kept": Mutant(
        "a draw leaves the guarantees as they were, whether it gave a featured item or not",
        nothing,
        ["quiet"],
        {
            "gacha": [
                _not_updated("ultra_rare_guaranteed"),
                _not_updated("super_rare_guaranteed"),
            ]
        },
    ),
    "limit_not_counted": Mutant(
        "a draw from a banner with a limit leaves the player's count of draws as it was",
        nothing,
        ["quiet"],
        {"gacha": [LIMIT_NOT_COUNTED]},
    ),
    "each_try_drawn_anew": Mutant(
        "each try of a pull draws by new random bytes, not by the seed of its pity",
        each_try_drawn_anew,
        ["quiet"],
    ),
    "seed_not_replaced": Mutant(
        "a pull leaves its pity the seed that it was drawn by",
        nothing,
        ["quiet"],
        {"gacha": [SEED_NOT_REPLACED]},
    ),
    "super_rares_at_three_times_their_rate": Mutant(
        "pulls are drawn by another rate than the published one",
        super_rares_at_three_times_their_rate,
        ["quiet"],
    ),
    "gid_not_consumed": Mutant(
        "Prepare accepts a gid that tx_branch already has",
        gid_not_consumed,
        ["Prepare repeated"],
    ),
    "account_committed_first": Mutant(
        "the coordinator commits account_svc before gacha_svc, and so before the decision",
        account_committed_first,
        ["coordinator.before_decision stall"],
    ),
    "loss_taken_for_commit": Mutant(
        "a coordinator whose branch was rolled back meanwhile takes it for committed",
        loss_taken_for_commit,
        ["coordinator.before_decision stall"],
    ),
    "operations_not_kept": Mutant(
        "a decision does not keep the debits, so that a lost one cannot be made again",
        operations_not_kept,
        ["branches of account lost"],
    ),
    "tag_unchecked": Mutant(
        "PREPARE's tag is not checked, in a transaction in which a statement failed, and no "
        "debits are kept to make up for it",
        tag_unchecked,
        ["gacha.overlook overlook", "account.overlook overlook"],
    ),
    "asked_again_under_another_key": Mutant(
        "a charge whose reply was lost is requested again with another key",
        asked_again_under_another_key,
        ["payments dropping replies"],
    ),
    "fee_for_each_try": Mutant(
        "a gift's fee is taken again when the step is retried",
        fee_for_each_try,
        ["saga.gift.after_RESERVED error"],
    ),
    "leases_unchecked": Mutant(
        "who has lost the lease of a saga moves it, and a gift may have several outcomes",
        leases_unchecked,
        ["saga.gift.after_CHARGED stall"],
        {"gacha": ["ALTER TABLE gift_outcome DROP CONSTRAINT gift_outcome_pkey CASCADE"]},
    ),
    "debts_forgotten": Mutant(
        "a refund takes what the wallet holds, and nobody owes the rest",
        debts_forgotten,
        ["payments given back"],
    ),
    "reversals_taken_again": Mutant(
        "each event about a refund takes the gems again, and the ledger's unique key is dropped",
        reversals_taken_again,
        ["payments given back"],
        {"account": [TWICE_IN_THE_LEDGER]},
    ),
    "repeats_taken_for_thefts": Mutant(
        "a repeated refresh whose answer was lost counts as theft",
        repeats_taken_for_thefts,
        ["quiet"],
    ),
}
