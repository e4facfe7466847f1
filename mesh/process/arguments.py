"""The arguments of a process, which are checked before its settings are read.

Wrong usage ends the process with status 2, `--help` with status 0.
"""

import argparse
from collections.abc import Sequence


def read_command(program: str, *, operators_commands: Sequence[str] = ()) -> str:
    """The command in the arguments of a service's process: `serve` (the default) or `migrate`.

    `operators_commands` are shown
    beside these; the caller runs them itself.
    """
    parser = _parser(program)
    commands = ["serve", "migrate", *operators_commands]
    parser.add_argument("command", nargs="?", default="serve", choices=commands)
    return str(parser.parse_args().command)


def refuse_arguments(program: str) -> None:
    """Ends a process that takes no arguments, but was given some."""
    _parser(program).parse_args()


def _parser(program: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m {program}",
        epilog="Settings are read from the environment: see docs/operations.md.",
    )
