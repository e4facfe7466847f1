"""Runs the operators' command in the process's arguments, if there is one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import structlog

from account_svc.commands import logins, reconcile, rotate_keys

COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = MappingProxyType(
    {
        "rotate-keys": rotate_keys.main,
        "logins": logins.main,
        "reconcile": reconcile.main,
    }
)


def run_operators_command(arguments: Sequence[str]) -> bool:
    """Runs the command that the arguments name; returns False when they name another one."""
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None:
        return False
    # Failures are reported in sentences; log lines would stand between them.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    command(arguments[1:])
    return True
