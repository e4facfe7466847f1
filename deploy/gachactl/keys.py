"""`gachactl rotate-keys` and `gachactl admin-token`: signing keys and operators' tokens."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from deploy.gachactl.output import Format, FormatOption, print_json, print_rows, print_sentence
from deploy.gachactl.owned.owner import run_owner
from deploy.gachactl.target import Folder, layout_of, require_runner, running_mesh
from deploy.local.errors import WrongUsage
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.local.mesh_file import Mesh
from deploy.local.secrets import operator
from deploy.local.secrets.credentials import IDENTITIES
from mesh.contract.access import ADMIN, REGISTRY

OWNER = "account_svc"
SERVICES = (*(name for name in IDENTITIES if name != ADMIN), REGISTRY)
"""Those that accept an operator's token."""

Revoke = Annotated[
    str | None,
    typer.Option(
        metavar="KID",
        help="Remove this leaked key at once. Clients must refresh the access tokens that it "
        "signed; sessions stay valid.",
    ),
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Only remove keys whose tokens have all expired.")
]
Instances = Annotated[
    int,
    typer.Option(
        metavar="COUNT",
        help="Fail unless the registry lists this many instances of account_svc. For a mesh in "
        "the folder, all of its instances are expected.",
    ),
]


def rotate_keys(
    folder: Folder = DEFAULT_FOLDER,
    revoke: Revoke = None,
    prune: Prune = False,
    instances: Instances = 1,
    output: FormatOption = Format.TABLE,
) -> None:
    """Change the key that signs players' tokens, while the mesh serves.

    JSON: {"made": KID or null, "removed": [KID, ...], "kept": {KID: TIME, ...}}; TIME is when
    the key may be removed, null while it signs or may still sign.
    MESH_REGISTRIES in the environment selects another mesh: see
    `python -m account_svc rotate-keys --help`.
    """
    if revoke is not None and prune:
        raise WrongUsage("Give either --revoke (REVOKE=) or --prune (PRUNE=1), not both.")
    command = ["rotate-keys"]
    if revoke is not None:
        command.append(f"--revoke={revoke}")
    if prune:
        command.append("--prune")
    environment: Mapping[str, str] = os.environ
    if "MESH_REGISTRIES" not in os.environ:
        layout = layout_of(folder)
        mesh = running_mesh(layout)
        instances = len([each for each in mesh["processes"] if each["role"] == OWNER])
        environment = _environment(layout, mesh)
    command += ["--instances", str(instances)]
    result = run_owner(OWNER, command, environment)
    if output is Format.JSON:
        print_json(result)
        return
    rows = [[result["made"], "made"]] if result["made"] is not None else []
    rows += [[kid, "removed"] for kid in result["removed"]]
    rows += [
        [kid, "stays: it signs, or may still sign" if time is None else f"stays until {time}"]
        for kid, time in result["kept"].items()
        if kid != result["made"]
    ]
    print_rows(["key", "result"], rows)


def _environment(layout: Layout, mesh: Mesh) -> dict[str, str]:
    """The environment in which the owner's program finds a mesh on this machine."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("MESH_TLS_")
    }
    tls = {} if mesh["tls"] is None else {"MESH_TLS_DIR": mesh["tls"]["operator"]}
    return {
        **inherited,
        **tls,
        "MESH_REGISTRIES": ",".join(mesh["registries"]),
        "MESH_SERVICE_KEY_FILE": str(layout.admin_key),
        "ACCOUNT_SIGNING_KEYS_DIR": str(layout.signing_keys),
    }


def admin_token(
    folder: Folder = DEFAULT_FOLDER,
    service: Annotated[
        str, typer.Option("--for", help=f"The service that takes it: {', '.join(SERVICES)}.")
    ] = "gacha_svc",
    key_file: Annotated[
        Path | None,
        typer.Option(
            envvar="MESH_SERVICE_KEY_FILE",
            help="The operators' key, for a mesh that does not run in the folder.",
        ),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Print a bearer token for an operator's calls, valid for a minute at one service.

    JSON: {"token": TOKEN}.
    """
    if service not in SERVICES:
        raise WrongUsage(
            f"There is no service {service!r}: use --for (make: FOR=) with one of "
            f"{', '.join(SERVICES)}."
        )
    if key_file is None:
        layout = layout_of(folder)
        require_runner(layout)
        key_file = layout.admin_key
    token = operator.identity(key_file).towards(service).token()
    if output is Format.JSON:
        print_json({"token": token})
    else:
        print_sentence(token)
