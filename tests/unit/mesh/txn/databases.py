"""A model of the two databases, and of PostgreSQL's behaviour in the protocol.

A transaction is one step here, because it is atomic. Prepared branches and committed rows
survive everything. An open transaction survives nothing: if its process or database dies, it
leaves no trace. The row of a prepared branch is locked: a request for its gid waits, and times
out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mesh.errors import Aborted, MeshError, Unavailable
from mesh.postgres.database import LockTimeout
from mesh.txn.decisions import BEGINNING, LogPosition
from mesh.txn.model import (
    BUSY,
    DUPLICATE,
    GID_MAX_AGE_SECONDS,
    AlreadyCommitted,
    Branch,
    BranchLost,
    GidExpired,
    GidUsed,
    No,
    Operation,
    Outcome,
    RedoRefused,
    Vote,
    Yes,
    gid_age_seconds,
)

Clock = Callable[[], float]
INSUFFICIENT = "INSUFFICIENT_CURRENCY"
LIMIT = "BANNER_PULL_LIMIT"


@dataclass(frozen=True)
class Body:
    """An operation: a player, and the price."""

    player: str
    gems: int


@dataclass(frozen=True)
class Fact:
    """A row: a debit, or a pull with its item."""

    id: str
    player: str
    gems: int
    item: str = ""


@dataclass
class Prepared:
    """A prepared branch: the rows that it will add, when it locked its players' rows, and the
    other side's operations, if it decides."""

    begun_at: float
    facts: list[Fact]
    kept: bytes | None = None


@dataclass
class GidRow:
    """A row of tx_branch."""

    aborted: bool
    created_at: float


class Side(ABC):
    """One participant's database. `mutants` are rules that it breaks."""

    def __init__(self, name: str, clock: Clock, mutants: frozenset[str] = frozenset()) -> None:
        self.name, self.clock, self.mutants = name, clock, mutants
        self.prepared: dict[str, Prepared] = {}
        self.gids: dict[str, GidRow] = {}
        self.facts: list[Fact] = []
        self.fails_inside = False
        """Whether a statement of the next branch fails unnoticed."""
        self.committed: set[str] = set()
        self.rolled_back: set[str] = set()
        self.lost: set[str] = set()

    @abstractmethod
    def vote(self, operation: Operation[Body], busy: Collection[str]) -> Vote[object]:
        """The vote of one operation whose id is new and whose player is free."""

    @abstractmethod
    def add(self, fact: Fact) -> None:
        """Applies a fact."""

    def apply(self, operations: Sequence[Operation[Body]]) -> tuple[list[Vote[object]], list[Fact]]:
        """Like `apply` of a service: the votes, and the rows that the branch will add."""
        busy = {fact.player for branch in self.prepared.values() for fact in branch.facts}
        known = {fact.id for fact in self.facts}
        if "no duplicate check" in self.mutants:
            known = set()
        votes: list[Vote[object]] = []
        facts: list[Fact] = []
        for operation in operations:
            if operation.id in known:
                votes.append(No(DUPLICATE))
            elif operation.body.player in busy:
                votes.append(No(BUSY))
            else:
                votes.append(self.vote(operation, busy))
                if isinstance(votes[-1], Yes):
                    busy.add(operation.body.player)
                    item = str(votes[-1].result or "")
                    body = operation.body
                    facts.append(Fact(operation.id, body.player, body.gems, item))
        return votes, facts

    def apply_again(
        self, operations: Sequence[Operation[Body]]
    ) -> tuple[list[Vote[object]], list[Fact]]:
        """Like `apply_again` of a service."""
        return self.apply(operations)

    def prepare(
        self,
        gid: str,
        expires_at: float,
        operations: Sequence[Operation[Body]],
        first_operations: bytes | None = None,
    ) -> list[Vote[object]]:
        now = self.clock()
        if abs(gid_age_seconds(gid, now)) > GID_MAX_AGE_SECONDS or expires_at <= now:
            raise GidExpired("too old")
        if gid in self.gids and "gid not consumed" not in self.mutants:
            raise GidUsed("used")
        if gid in self.prepared:
            raise LockTimeout("its row is locked")
        votes, facts = self.apply(operations)
        if not facts:
            return votes
        if self.fails_inside:
            self.fails_inside = False
            if "tag unchecked and nothing kept" in self.mutants:
                return votes
            raise Aborted("PREPARE was answered with ROLLBACK", reason="NOT_PREPARED")
        if self.mutants & {"nothing kept", "tag unchecked and nothing kept"}:
            first_operations = None
        self.prepared[gid] = Prepared(now, facts, first_operations)
        return votes

    def commit(self, gid: str) -> None:
        branch = self.prepared.pop(gid, None)
        if branch is not None:
            self._consume(gid, GidRow(False, branch.begun_at))
            self.committed.add(gid)
            for fact in branch.facts:
                self.add(fact)
        elif gid not in self.gids or self.gids[gid].aborted:
            raise BranchLost("neither prepared nor committed")

    def abort(self, gid: str, *, is_cut_off: bool = False) -> None:
        """`is_cut_off`: its process dies between its two statements."""
        if self.prepared.pop(gid, None) is not None:
            self.rolled_back.add(gid)
        if is_cut_off:
            raise Unavailable("cut off")
        if gid not in self.gids:
            self._consume(gid, GidRow(True, self.clock()))
        elif not self.gids[gid].aborted:
            raise AlreadyCommitted("committed")

    def redo(self, gid: str, operations: Sequence[Operation[Body]]) -> None:
        if gid in self.prepared:
            raise LockTimeout("its row is locked")
        if gid in self.gids:
            return self.commit(gid)
        votes, facts = self.apply_again(operations)
        refused = {
            vote.reason for vote in votes if isinstance(vote, No) and vote.reason != DUPLICATE
        }
        if refused:
            raise _refusal(refused)
        self._consume(gid, GidRow(False, self.clock()))
        self.committed.add(gid)
        for fact in facts:
            self.add(fact)
        return None

    def lose(self, gid: str) -> None:
        """A standby without this branch becomes the primary."""
        del self.prepared[gid]
        self.lost.add(gid)

    def branches(self, min_age_seconds: float) -> list[Branch]:
        now = self.clock()
        return [
            Branch(gid, datetime.fromtimestamp(branch.begun_at, UTC))
            for gid, branch in self.prepared.items()
            if branch.begun_at <= now - min_age_seconds
        ]

    def forget_old_gids(self, oldest: float, open_gids: Collection[str]) -> None:
        if "open gids forgotten" in self.mutants:
            open_gids = ()
        self.gids = {
            gid: row
            for gid, row in self.gids.items()
            if row.created_at >= oldest or gid in open_gids
        }

    def _consume(self, gid: str, row: GidRow) -> None:
        if "gid not consumed" not in self.mutants:
            self.gids[gid] = row


class AccountSide(Side):
    """Wallets, and the ledger of debits."""

    def __init__(self, name: str, clock: Clock, mutants: frozenset[str] = frozenset()) -> None:
        super().__init__(name, clock, mutants)
        self.balances: dict[str, int] = {}
        self.bought: dict[str, int] = {}
        self.may_owe: set[str] = set()
        """Players with a debit that was made again."""
        self._is_redoing = False

    def buy(self, player: str, gems: int) -> None:
        self.balances[player] = self.balances.get(player, 0) + gems
        self.bought[player] = self.bought.get(player, 0) + gems

    def apply_again(
        self, operations: Sequence[Operation[Body]]
    ) -> tuple[list[Vote[object]], list[Fact]]:
        self._is_redoing = "lost debits refused" not in self.mutants
        votes, facts = self.apply(operations)
        self._is_redoing = False
        self.may_owe.update(fact.player for fact in facts)
        return votes, facts

    def vote(self, operation: Operation[Body], busy: Collection[str]) -> Vote[object]:
        is_poor = self.balances.get(operation.body.player, 0) < operation.body.gems
        return No(INSUFFICIENT) if is_poor and not self._is_redoing else Yes(None)

    def add(self, fact: Fact) -> None:
        self.balances[fact.player] -= fact.gems
        self.facts.append(fact)


class GachaSide(Side):
    """Pulls with their items. A pull for LIMIT_GEMS is refused. Its branches decide."""

    LIMIT_GEMS = 7

    def __init__(self, name: str, clock: Clock, mutants: frozenset[str] = frozenset()) -> None:
        super().__init__(name, clock, mutants)
        self._drawn = 0
        self.decided: dict[str, Prepared] = {}
        """The decisions that are not known to be done."""

    def commit(self, gid: str) -> None:
        branch = self.prepared.get(gid)
        super().commit(gid)
        if branch is not None and branch.kept is not None:
            self.decided[gid] = branch

    def forget_old_gids(self, oldest: float, open_gids: Collection[str]) -> None:
        super().forget_old_gids(oldest, {*open_gids, *self.decided})

    def vote(self, operation: Operation[Body], busy: Collection[str]) -> Vote[object]:
        if operation.body.gems == self.LIMIT_GEMS:
            return No(LIMIT)
        self._drawn += 1
        return Yes(f"item-{self._drawn}")

    def add(self, fact: Fact) -> None:
        self.facts.append(fact)


@dataclass
class Log:
    """The decisions, which the gacha's branches make. `ever` has its answers for each gid."""

    gacha: GachaSide
    mutants: frozenset[str] = frozenset()
    ever: dict[str, set[Outcome]] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def resolve(self, gid: str, *, is_cut_off: bool = False) -> Outcome:
        """`is_cut_off`: its process dies between its two statements."""
        if "resolve ends no branch" in self.mutants:
            return Outcome.COMMIT if gid in self.gacha.committed else Outcome.ABORT
        try:
            self.gacha.abort(gid, is_cut_off=is_cut_off)
            outcome = Outcome.ABORT
        except AlreadyCommitted:
            outcome = Outcome.COMMIT
        # An abort of a transaction that both sides ended long ago has no effect.
        if not (outcome is Outcome.ABORT and gid in self.done):
            self.ever.setdefault(gid, set()).add(outcome)
        return outcome

    def operations(self, gid: str) -> bytes | None:
        return self.gacha.decided[gid].kept if gid in self.gacha.decided else None

    def open_gids(self) -> list[str]:
        return list(self.gacha.decided)

    def unfinished(
        self, min_age_seconds: float, after: LogPosition = BEGINNING
    ) -> list[LogPosition]:
        latest = self.gacha.clock() - min_age_seconds
        positions = [
            LogPosition(_moment(branch.begun_at), gid)
            for gid, branch in self.gacha.decided.items()
            if branch.begun_at <= latest
        ]
        return sorted(position for position in positions if position > after)

    def mark_done(self, gids: Collection[str]) -> None:
        for gid in gids:
            if self.gacha.decided.pop(gid, None) is not None:
                self.done.add(gid)


def _refusal(reasons: Collection[str]) -> MeshError:
    if set(reasons) == {BUSY}:
        return Aborted("held by another", reason=BUSY)
    return RedoRefused(", ".join(sorted(reasons)))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
