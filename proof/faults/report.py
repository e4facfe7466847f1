"""The output of a run: a line for each round, and a summary at the end."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proof.faults.campaign import POINTS, Campaign
from proof.faults.findings import Check, Findings
from proof.faults.history import Kind
from proof.faults.injection.fault import Fault
from proof.faults.injection.saga_failpoints import NOT_REACHABLE

WIDTH_OF_FILES = 150


class Reporter:
    """Writes to the given console."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else WIDTH_OF_FILES
        self.console = Console(highlight=False, soft_wrap=True, width=width)

    def say(self, sentence: str) -> None:
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {escape(sentence)}")

    def show_round(self, campaign: Campaign, faults: Sequence[Fault], came: int) -> None:
        history, findings = campaign.history, campaign.findings
        names = ", ".join(fault.name for fault in faults)
        self.say(
            f"round {campaign.tally.rounds}: {names}"
            f"{'' if came == len(faults) else f' ({len(faults) - came} had no effect)'}"
            f" | {len(history.done)} done, {len(history.refused)} refused,"
            f" {findings.count} anomalies"
        )
        self.show_findings(findings)

    def show_findings(self, findings: Findings) -> None:
        """Shows the findings that were not shown before, so an interrupted run has shown all."""
        for each in findings.take_new():
            self.console.print(
                f"[bold red]{each.after_seconds:7.1f} s[/bold red] {escape(str(each.check))}: "
                f"{escape(each.detail)}"
            )

    def show_columns(self, caught: Mapping[str, Findings]) -> None:
        """Explains the columns of the table of mutants."""
        for check in _checks_of(caught):
            self.console.print(f"  {check.name.lower()}: {check}")

    def show_summary(self, campaign: Campaign, seed: int) -> None:
        self.console.print(summary(campaign, seed), markup=False)


def summary(campaign: Campaign, seed: int) -> str:
    """The figures of a run, in Markdown, as docs/protocol.md shows them."""
    tally, history = campaign.tally, campaign.history
    done = Counter(operation.kind for operation in history.done)
    repeats = sum(operation.repeat_count for operation in history.done)
    unknown = sum(
        count for answer, count in history.answers.items() if not answer.startswith("200")
    )
    missing = sorted(POINTS - tally.reached)
    lines = [
        "| what | count |",
        "|---|---|",
        f"| seed | {seed} |",
        f"| minutes | {tally.seconds / 60:.1f} |",
        f"| rounds, each with a check of all data | {tally.rounds} |",
        *(f"| fault: {kind} | {count} |" for kind, count in sorted(tally.injected.items())),
        f"| faults in all | {tally.injected.total()} |",
        f"| failpoints reached | {len(tally.reached)} of {len(POINTS)} |",
        *(f"| {kind}s done | {done[kind]} |" for kind in Kind),
        f"| refused for lack of gems or items, or declined | {len(history.refused)} |",
        f"| other answers and lost ones, settled by repeating | {unknown - len(history.refused)} |",
        f"| successes requested again | {repeats} |",
        f"| checks by the reader | {tally.reads} |",
        f"| anomalies | {campaign.findings.count} |",
    ]
    if missing:
        lines.append(f"\nNot reached: {', '.join(missing)}.")
    lines += [f"\nNot reachable: {each}, because {why}." for each, why in NOT_REACHABLE.items()]
    return "\n".join(lines)


def mutant_table(caught: Mapping[str, Findings]) -> Table:
    """A table of the checks that caught each mutant, and the seconds that it took."""
    table = Table(title="Mutant by check: seconds until it was caught", title_justify="left")
    table.add_column("mutant", no_wrap=True)
    columns = _checks_of(caught)
    for check in columns:
        table.add_column(check.name.lower(), justify="right", no_wrap=True)
    table.add_column("caught")
    for mutant, findings in caught.items():
        times = [findings.first(check) for check in columns]
        cells = ["" if at is None else f"{at:.1f}" for at in times]
        table.add_row(mutant, *cells, "yes" if findings.count else "[bold red]NO[/bold red]")
    return table


def _checks_of(caught: Mapping[str, Findings]) -> list[Check]:
    return [check for check in Check if any(check in each.counts for each in caught.values())]
