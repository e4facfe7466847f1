"""Prints the processes of a mesh, as a table or as JSON."""

import contextlib
import secrets
import shlex
import sys
from collections.abc import Mapping

from rich.table import Table

from deploy.gachactl.output import print_json, print_table
from deploy.local.mesh_file import Mesh

UNKNOWN = "unknown"
TRY = """\
Try it:
  {curl} {gateway}/register -H 'Content-Type: application/json' \
-d '{{"username": "{name}", "password": "a long password", "email": "{name}@example.com"}}' &&
  TOKEN=$({curl} {gateway}/login -H 'Content-Type: application/json' \
-d '{{"username": "{name}", "password": "a long password"}}' \
| sed -n 's/.*"token": *"\\([^"]*\\)".*/\\1/p; t; w /dev/stderr' | grep .) &&
  {curl} {gateway}/buy-currency -H "Authorization: Bearer $TOKEN" \
-H 'Content-Type: application/json' \
-d '{{"amount": 1600, "paymentMethod": "credit_card"}}' \
&& {curl} {gateway}/gacha/pull/standard -H "Authorization: Bearer $TOKEN"
"""


def print_mesh(mesh: Mesh, health: Mapping[str, str] | None = None) -> None:
    """Prints a table of the processes. `health` (a word for each name) adds a column."""
    table = Table(title="Gacha Mesh", title_justify="left")
    for column in ("name", "role", "pid", "address"):
        table.add_column(column, no_wrap=True)
    if health is not None:
        table.add_column("health")
    for process in mesh["processes"]:
        pid = "-" if process["pid"] is None else str(process["pid"])
        row = [process["name"], process["role"], pid, process["address"]]
        if health is not None:
            row.append(health.get(process["name"], UNKNOWN))
        table.add_row(*row)
    print_table(table)


def print_mesh_json(mesh: Mesh, health: Mapping[str, str] | None = None) -> None:
    """Prints the same as JSON, without the database URLs, because they hold a password."""
    processes: list[dict[str, object]] = []
    for process in mesh["processes"]:
        written: dict[str, object] = dict(process)
        if health is not None:
            written["health"] = health.get(process["name"], UNKNOWN)
        processes.append(written)
    print_json(
        {
            "gateway": mesh["gateway"],
            "registries": mesh["registries"],
            "tls": mesh["tls"],
            "processes": processes,
        }
    )


def print_examples(mesh: Mesh) -> None:
    """Prints calls to try, ready to be pasted, with a name that nobody has yet."""
    curl = "curl -sS --fail-with-body"
    if mesh["tls"] is not None:
        curl += f" --cacert {shlex.quote(mesh['tls']['ca'])}"
    with contextlib.suppress(OSError):
        name = f"player-{secrets.token_hex(4)}"
        sys.stdout.write(TRY.format(gateway=mesh["gateway"], curl=curl, name=name))
        sys.stdout.flush()
