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
GENEROUS_GEMS = 1000


class Violation(AssertionError):
    """An invariant is broken. The list has its name and the rows that break it."""


def check_now(simulation: Simulation) -> None:
    """Raises Violation unless all invariants of every moment hold."""
    _raise_any(_broken_now(simulation))


def check_at_rest(simulation: Simulation) -> None:
    """Lets everything settle without faults, then checks the invariants of the end."""
    # A person grants the gems that a redo lacks.
    for player in simulation.account.balances:
        simulation.account.buy(player, GENEROUS_GEMS)
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
        if len(said) > 1:
            yield f"the decision of {gid} has changed"
    for side in (account, gacha):
        yield from _broken_by_side(side, simulation)
    for player, balance in account.balances.items():
        paid = sum(fact.gems for fact in account.facts if fact.player == player)
        if balance != account.bought[player] - paid or balance < 0:
            yield f"{player} has {balance} after paying {paid} of {account.bought[player]}"
    # A reader of the gacha first and the account second sees at least this.
    debits = {(fact.id, fact.player, fact.gems) for fact in account.facts}
    for fact in gacha.facts:
        if (fact.id, fact.player, fact.gems) not in debits:
            yield f"{fact} is there without its debit"


def _broken_by_side(side: Side, simulation: Simulation) -> Iterator[str]:
    for gid in side.committed:
        if Outcome.COMMIT not in simulation.log.ever.get(gid, ()):
            yield f"{gid} was committed at {side.name} without a decision"
    for gid in side.rolled_back:
        if Outcome.COMMIT in simulation.log.ever.get(gid, ()):
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
    for gid, said in simulation.log.ever.items():
        ended = {side.name for side in (account, gacha) if gid in side.committed}
        if Outcome.COMMIT in said and len(ended) != 2:
            yield f"{gid} was to commit, and did at {sorted(ended)}"
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
