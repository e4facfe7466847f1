"""Runs an operators' command of the service that owns the data.

This way deploy imports no service. The service prints one JSON object on stdout; its
messages on stderr are passed on.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from deploy.local.layout import REPOSITORY

FAILED, WRONG_USAGE = 1, 2
PASSED_ON = (FAILED, WRONG_USAGE)


def run_owner(service: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    """The result of `python -m SERVICE ARGUMENTS`, decoded.

    Raises typer.Exit when the command fails; it has printed the reason by then. The exit status is
    the command's, or 1 if gachactl does not use that one.
    """
    done = subprocess.run(
        [sys.executable, "-m", service, *arguments],
        cwd=REPOSITORY,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise typer.Exit(done.returncode if done.returncode in PASSED_ON else FAILED)
    return json.loads(done.stdout)
