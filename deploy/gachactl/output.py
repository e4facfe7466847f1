"""Results on stdout, as a table or as JSON; messages on stderr.

A closed stdout or stderr does not stop the command.
"""

import contextlib
import functools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.log_output import LogOutput

WIDTH_OF_FILES = 200


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[
    Format, typer.Option("--format", help="How the result is printed on stdout.")
]


def say(sentence: str) -> None:
    """Prints a message on stderr."""
    with contextlib.suppress(OSError):
        _console(to_stderr=True).print(escape(sentence))


def say_with_time(sentence: str) -> None:
    """Prints a line of progress with the time on stderr."""
    with contextlib.suppress(OSError):
        now = time.strftime("%H:%M:%S")
        _console(to_stderr=True).print(f"[dim]{now}[/dim] {escape(sentence)}")


def say_to_log(sentence: str) -> None:
    """A line of progress of a program that keeps others running. It never raises; sentences
    that could not be written are counted, and said with the next one that can be."""
    _standard_error().write(_timed(sentence))


@functools.cache
def _standard_error() -> LogOutput:
    return LogOutput(
        sys.stderr.fileno(), lambda count: _timed(f"{count} messages could not be written here.")
    )


def _timed(sentence: str) -> bytes:
    console = _console(to_stderr=True)
    with console.capture() as capture:
        console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {escape(sentence)}", end="")
    return capture.get().encode(errors="backslashreplace")


def print_sentence(sentence: str) -> None:
    """Prints a result that is one sentence."""
    with contextlib.suppress(OSError):
        _console().print(escape(sentence))


def print_json(result: object) -> None:
    """Prints a result as one JSON document."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{json.dumps(result, indent=2)}\n")
        sys.stdout.flush()


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a result as a table."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(escape, row))
    print_table(table)


def print_table(table: Table) -> None:
    with contextlib.suppress(OSError):
        _console().print(table, soft_wrap=False)


def _console(*, to_stderr: bool = False) -> Console:
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_OF_FILES
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)
