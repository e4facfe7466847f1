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


def run_owner(service: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    """The result of `python -m SERVICE ARGUMENTS`, decoded.

    Raises typer.Exit with its status when it fails; it has printed the reason by then.
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
        raise typer.Exit(done.returncode if done.returncode > 0 else 1)
    return json.loads(done.stdout)
