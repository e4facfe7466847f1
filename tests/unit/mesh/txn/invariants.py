"""The invariants: after every step, and after the faults have ended."""

from collections import Counter
from collections.abc import Iterator

from mesh.txn.model import Outcome
from tests.unit.mesh.txn.databases import Side
from tests.unit.mesh.txn.simulation import Pull, Simulation

ROUNDS_TO_SETTLE = 6
"""Rounds of recovery after which all must have ended, once faults have stopped."""
ROUND_SECONDS = 3.5
"""Older than recovery needs a branch or a decision to be."""


class Violation(AssertionError):
    """An invariant is broken. The list has its name and the rows that break it."""


def check_now(simulation: Simulation) -> None:
    """Raises Violation unless all invariants of every moment hold."""
    _raise_any(_broken_now(simulation))


def check_at_rest(simulation: Simulation) -> None:
    """Lets everything settle without faults, then checks the invariants of the end."""
    simulation.account.fails_inside = simulation.gacha.fails_inside = False
    for _ in range(ROUNDS_TO_SETTLE):
        simulation.deliver_all()
        simulation.loop.advance(ROUND_SECONDS)
        simulation.recover_all()
        check_now(simulation)
    _raise_any(_broken_at_rest(simulation))


def _raise_any(broken: Iterator[str]) -> None:
    found = list(broken)
    if found:
        raise Violation("; ".join(found))


def _broken_now(simulation: Simulation) -> Iterator[str]:
    account, gacha = simulation.account, simulation.gacha
    for gid, said in simulation.log.ever.items():
        if len(said) > 1 or (said == {Outcome.ABORT} and gid in gacha.committed):
            yield f"the decision of {gid} has changed"
    for side in (account, gacha):
        yield from _broken_by_side(side, simulation)
    for player, balance in account.balances.items():
        paid = sum(fact.gems for fact in account.facts if fact.player == player)
        is_owed = balance < 0 and player not in account.may_owe
        if balance != account.bought[player] - paid or is_owed:
            yield f"{player} has {balance} after paying {paid} of {account.bought[player]}"
    # A reader of the account first and the gacha second sees at least this.
    pulls = {(fact.id, fact.player, fact.gems) for fact in gacha.facts}
    for fact in account.facts:
        if (fact.id, fact.player, fact.gems) not in pulls:
            yield f"{fact} is there without its pull"


def _broken_by_side(side: Side, simulation: Simulation) -> Iterator[str]:
    decided = simulation.gacha.committed
    for gid in side.committed - decided:
        yield f"{gid} was committed at {side.name} without a decision"
    for gid in side.rolled_back & decided:
        yield f"{gid} was rolled back at {side.name} against its decision"
    for operation_id, times in Counter(fact.id for fact in side.facts).items():
        if times > 1:
            yield f"{operation_id} took effect {times} times at {side.name}"


def _broken_at_rest(simulation: Simulation) -> Iterator[str]:
    account, gacha = simulation.account, simulation.gacha
    for side in (account, gacha):
        if side.prepared:
            yield f"still prepared at {side.name}: {sorted(side.prepared)}"
    if open_gids := simulation.log.open_gids():
        yield f"decided and not done: {open_gids}"
    for gid in gacha.committed - account.committed:
        yield f"{gid} was to commit, and did at {gacha.name} alone"
    debits = {fact.id for fact in account.facts}
    items = {fact.id: fact.item for fact in gacha.facts}
    if debits != items.keys():
        yield f"debits and pulls differ by {sorted(debits ^ items.keys())}"
    for pull in simulation.pulls.values():
        yield from _broken_by_answers(pull, items)


def _broken_by_answers(pull: Pull, items: dict[str, str]) -> Iterator[str]:
    for item in pull.items:
        if items.get(pull.id) != item:
            yield f"{pull.id} was answered with {item}, and has {items.get(pull.id)}"
    if pull.is_known and pull.id not in items:
        yield f"{pull.id} was reported as done, and was not"
    if len(pull.refusals) == pull.request_count and pull.id in items:
        yield f"{pull.id} was refused each time, and charged"
