"""Prints transactions as a table, and their settlement as sentences."""

from rich.markup import escape
from rich.table import Table

from deploy.gachactl.output import print_sentence, print_table, say
from deploy.gachactl.transactions.listing import Listing, State, Transaction
from deploy.gachactl.transactions.resolution import Resolution, Step
from deploy.gachactl.transactions.sides import Services
from deploy.local.layout import Layout
from mesh.errors import MeshError
from mesh.txn.decisions import Decision
from mesh.txn.model import AlreadyCommitted, BranchLost, Outcome, RedoRefused

GUIDE = "docs/operations.md"
REFUSED_KEY = (
    "The services refused the key: give the operators' key of this mesh with --key-file "
    "(or MESH_SERVICE_KEY_FILE). In a mesh's folder it is secrets/service_keys/admin.pem."
)

_DONE = {Outcome.COMMIT: "committed", Outcome.ABORT: "aborted"}
_PREPARED = {True: "prepared", False: "-", None: "?"}


class Reporter:
    """Prints results to standard output, and failures to standard error."""

    def show(self, listing: Listing, services: Services, layout: Layout) -> None:
        """Prints the unfinished transactions of the mesh of `layout`, or of another one."""
        if listing.transactions:
            self._show_table(listing.transactions, services)
        elif not listing.failures:
            print_sentence("No transaction is in flight or in doubt.")
        if listing.is_cut:
            print_sentence("There are more than can be listed at once: these are the oldest.")
        if any(each.state is State.OVERDUE for each in listing.transactions):
            print_sentence(
                f"{layout.command('tx resolve GID', 'tx GID=...')} says why one is overdue. "
                f"See {GUIDE}."
            )

    def show_failures(self, listing: Listing) -> None:
        """Prints the services that refused the key, and those that did not answer."""
        refused = [name for name, error in listing.failures.items() if is_refused_key(error)]
        for name, error in listing.failures.items():
            if name not in refused:
                say(f"{name} does not answer: {described(error)}")
        if refused:
            say(f"{', '.join(refused)}: {described(listing.failures[refused[0]])}")

    def show_resolution(self, resolution: Resolution, before: Transaction | None) -> None:
        """Prints the decision, and how each side has ended."""
        decision = None if before is None else before.decision
        print_sentence(_outcome_sentence(resolution.outcome, decision))
        first, second = before.prepared if before is not None else (None, None)
        for step, prepared in zip(resolution.steps, (second, first), strict=True):
            print_sentence(f"{step.service}: {_step_sentence(step, resolution.outcome, prepared)}")
        if resolution.is_complete:
            print_sentence(f"The transaction is {_DONE[resolution.outcome]} on both sides.")

    def show_ended(self, gid: str, decision: Decision | None) -> None:
        """Prints how a transaction ended that no side has prepared, if that is known."""
        if decision is None:
            print_sentence(
                f"Nothing is known of {gid}: it was never prepared on the side that decides, or "
                "ended more than a day ago. Nothing was done."
            )
            return
        when = f"{decision.decided_at:%Y-%m-%d %H:%M:%S} UTC"
        if decision.outcome is Outcome.COMMIT:
            ended = f"was committed; it began at {when}"
        else:
            ended = f"was aborted at {when}"
        print_sentence(f"{gid} {ended}. No side has it prepared. Nothing was done.")

    def _show_table(self, transactions: tuple[Transaction, ...], services: Services) -> None:
        table = Table(title="Transactions under way", title_justify="left")
        table.add_column("gid", overflow="fold", min_width=30)
        table.add_column("coordinator", overflow="fold")
        table.add_column("age", justify="right", no_wrap=True)
        for name in (services.first, services.second, "decision", "state"):
            table.add_column(name, no_wrap=True)
        for each in transactions:
            first, second = (_PREPARED[side] for side in each.prepared)
            row = [each.gid, each.coordinator, _age(each.age_seconds), first, second]
            table.add_row(*map(escape, [*row, _decision(each), each.state.value]))
        print_table(table)


def is_refused_key(error: MeshError) -> bool:
    """Whether the mesh does not accept the key that the command signs its calls with."""
    return error.reason in ("TOKEN_INVALID", "WRONG_CALLER")


def described(error: MeshError) -> str:
    """What failed and the remedy, followed by the machine-readable reason."""
    if is_refused_key(error):
        return f"{REFUSED_KEY} ({error.reason})"
    return f"{error.message} ({error.reason})"


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def _decision(transaction: Transaction) -> str:
    if transaction.decision is None:
        return "?" if transaction.state is State.UNKNOWN else "none"
    return transaction.decision.outcome.value


def _outcome_sentence(outcome: Outcome, before: Decision | None) -> str:
    if before is not None:
        return f"The decision stood before: {outcome}."
    if outcome is Outcome.ABORT:
        return "Nothing was decided, so abort was forced: it stands now, for good."
    return "The coordinator has just decided: commit."


def _step_sentence(step: Step, outcome: Outcome, prepared: bool | None) -> str:
    if step.was_lost:
        return f"was LOST, and has been done again from its decision. See {GUIDE}."
    if step.error is None:
        was_settled = (
            "was committed before" if outcome is Outcome.COMMIT else "had nothing prepared"
        )
        return was_settled if prepared is False else _DONE[outcome]
    if step.error.reason == BranchLost.REASON:
        return f"LOST. {step.error.message} See {GUIDE}."
    if step.error.reason == RedoRefused.REASON:
        return (
            f"LOST, and cannot be done again: nothing was changed. {described(step.error)} "
            f"It is tried again every second; see {GUIDE} for what a person has to do."
        )
    if step.error.reason == AlreadyCommitted.REASON:
        return f"was committed, against the decision. See {GUIDE}. {described(step.error)}"
    return (
        f"not {_DONE[outcome]} yet: {described(step.error)} The decision stands: recovery goes "
        "on with it, and this command may be repeated."
    )
