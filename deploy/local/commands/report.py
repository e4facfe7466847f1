"""What the runner says on the terminal."""

import contextlib
import shlex
import sys
import time

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.local.mesh_file import Mesh

WIDTH_OF_FILES = 110

TRY = """\
Try it:
  {curl} {gateway}/register -H 'Content-Type: application/json' \
-d '{{"username": "mira", "password": "a long password", "email": "mira@example.com"}}'
  TOKEN=$({curl} {gateway}/login -H 'Content-Type: application/json' \
-d '{{"username": "mira", "password": "a long password"}}' \
| sed 's/.*"token": *"\\([^"]*\\)".*/\\1/')
  {curl} {gateway}/buy-currency -H "Authorization: Bearer $TOKEN" \
-H 'Content-Type: application/json' \
-d '{{"amount": 1600, "paymentMethod": "credit_card"}}' \
&& {curl} {gateway}/gacha/pull/standard -H "Authorization: Bearer $TOKEN"
"""


class Reporter:
    """Writes lines and tables. A terminal that went away stops nothing."""

    def __init__(self) -> None:
        is_terminal = sys.stdout.isatty()
        self._console = Console(
            highlight=False, soft_wrap=True, width=None if is_terminal else WIDTH_OF_FILES
        )

    def say(self, sentence: str) -> None:
        with contextlib.suppress(OSError):
            self._console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {escape(sentence)}")

    def show(self, mesh: Mesh, health: dict[str, str] | None = None) -> None:
        """The table of what runs where; `health` by name, a word each, adds a column."""
        table = Table(title="Gacha Mesh", title_justify="left")
        for column in ("name", "role", "pid", "address"):
            table.add_column(column, no_wrap=True)
        if health is not None:
            table.add_column("health")
        for process in mesh["processes"]:
            pid = "-" if process["pid"] is None else str(process["pid"])
            row = [process["name"], process["role"], pid, process["address"]]
            if health is not None:
                row.append(health.get(process["name"], "unknown"))
            table.add_row(*row)
        with contextlib.suppress(OSError):
            self._console.print(table, soft_wrap=False)

    def invite(self, mesh: Mesh) -> None:
        """Three lines to try, which may be pasted as they are."""
        curl = "curl -s"
        if mesh["tls"] is not None:
            curl += f" --cacert {shlex.quote(mesh['tls']['ca'])}"
        with contextlib.suppress(OSError):
            self._console.print(TRY.format(gateway=mesh["gateway"], curl=curl), markup=False)
