"""The arguments of a process, which are checked before its settings are read.

Wrong usage ends the process with status 2, `--help` with status 0.
"""

import argparse
from collections.abc import Sequence

SERVE, CHECK, MIGRATE = "serve", "check", "migrate"
"""Serves until a signal; reads the settings and ends; brings the schema up to date and ends."""


def read_command(program: str, commands: Sequence[str] = (CHECK,)) -> str:
    """The command in the arguments of a process: `serve` (the default) or one of `commands`.

    `check` has to do nothing once the settings are read: wrong ones have ended the process.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        epilog="Settings are read from the environment: see docs/operations.md. `check` reads "
        "them, says what is wrong with them, and ends.",
    )
    parser.add_argument("command", nargs="?", default=SERVE, choices=[SERVE, *commands])
    return str(parser.parse_args().command)
