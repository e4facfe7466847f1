"""The output of a run."""

import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from proof.fuzz.grpc_fuzzer import Verdict
from proof.fuzz.slow_clients import SlowResult

WIDTH_OF_FILES = 150
SHOWN = 20


class Reporter:
    """Writes to the given console."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else WIDTH_OF_FILES
        self._console = Console(highlight=False, soft_wrap=True, width=width)

    def say(self, sentence: str) -> None:
        self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {escape(sentence)}")

    def show_answers(self, verdict: Verdict) -> None:
        """Prints a line for each method: the number of requests, and the answers by code."""
        by_method: dict[str, Counter[str]] = defaultdict(Counter)
        for (path, code), count in verdict.answers.items():
            by_method[path][code] += count
        table = Table("method", "requests", "answers", title="gRPC")
        for path, codes in sorted(by_method.items()):
            entry = ", ".join(f"{code} {count}" for code, count in codes.most_common())
            table.add_row(path, str(codes.total()), entry)
        table.add_row("all", str(verdict.count), f"{len(verdict.findings)} findings")
        self._console.print(table, soft_wrap=False)

    def show_slow_clients(self, results: Sequence[SlowResult]) -> None:
        """Prints a line for each kind of slow clients; times are in milliseconds."""
        columns = ("slow clients", "open", "opened", "pulls", "repeated", "p50", "p99", "probe")
        table = Table(*columns, title="Beside slow clients, ms; the slowest probe")
        for result in results:
            pulls = result.pulls
            times = (median(pulls), _p99(pulls), max(result.probes))
            counts = (result.open_count, result.opened_count, len(pulls), result.repeated_count)
            table.add_row(
                result.kind,
                *(f"{count}" for count in counts),
                *(f"{seconds * 1000:.0f}" for seconds in times),
            )
        self._console.print(table, soft_wrap=False)

    def show_findings(self, where: str, findings: Sequence[str]) -> bool:
        """Prints the findings. Returns True if there are none."""
        self.say(f"{where}: {len(findings)} findings.")
        for each in findings[:SHOWN]:
            self._console.print(f"[bold red]{escape(where)}[/bold red] {escape(each)}")
        return not findings


def _p99(values: Sequence[float]) -> float:
    """The value that 99 % are not above, by nearest rank."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]
