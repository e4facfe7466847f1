"""The options of `gachactl up`, and their validation.

Error messages name the option and make's variable, because most people use make.
"""

from typing import Annotated

import typer

from deploy.local.errors import WrongUsage
from deploy.local.topology import PROFILES

MAX_PORT = 65_535
MAX_GATEWAYS = 16


def _port(text: str) -> int:
    return _number(text, 0, MAX_PORT, "--port 9000 (make: PORT=9000), or 0 for any free port")


def _gateway_count(text: str) -> int:
    return _number(text, 1, MAX_GATEWAYS, "--gateways 2 (make: GATEWAYS=2)")


def _number(text: str, lowest: int, highest: int, example: str) -> int:
    # A default is already a number.
    number = int(text) if str(text).isascii() and str(text).isdigit() else -1
    if lowest <= number <= highest:
        return number
    raise WrongUsage(f"{text!r} is not a number from {lowest} to {highest}: use {example}.")


def _profile(text: str) -> str:
    if text in PROFILES:
        return text
    choices = " or ".join(f"--profile {name} (make: PROFILE={name})" for name in PROFILES)
    raise WrongUsage(f"There is no profile {text!r}: use {choices}.")


Port = Annotated[
    int,
    typer.Option(
        parser=_port,
        metavar="PORT",
        envvar="MESH_PORT_GATEWAY",
        help="The gateway's port; 0 for any free one. All other ports are free ones, kept from "
        "run to run.",
    ),
]
Gateways = Annotated[
    int,
    typer.Option(
        parser=_gateway_count,
        metavar="COUNT",
        help="How many gateways, each a process with a port of its own; the first has PORT.",
    ),
]
Profile = Annotated[
    str,
    typer.Option(
        parser=_profile,
        metavar="PROFILE",
        help="embedded: one registry, and nothing needed on the machine. ha: three registries "
        "over an etcd of three members, whose binary must be installed.",
    ),
]
Tls = Annotated[
    bool,
    typer.Option(
        "--tls",
        help="Give every process a certificate of a CA of this mesh's own, and serve HTTPS. The "
        "profile ha always does.",
    ),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Return when all is ready, and go on running.")
]
WithParent = Annotated[
    bool, typer.Option("--with-parent", help="Stop when the process that called this ends.")
]
ReadyFd = Annotated[int, typer.Option(hidden=True)]
