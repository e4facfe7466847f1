"""`gachactl upgrade`: starts a running mesh anew from the code as it is now."""

import signal
import subprocess
import sys
import time

from deploy.gachactl import detached
from deploy.gachactl.lifecycle import stop_runner
from deploy.gachactl.mesh_report import print_mesh, print_mesh_json
from deploy.gachactl.output import Format, FormatOption, say_with_time
from deploy.gachactl.target import Folder, layout_of, require_runner, running_mesh
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, REPOSITORY
from deploy.local.mesh_file import Mesh, start_options

PROGRAMS = ("account_svc", "gacha_svc", "gateway_http", "payment_sandbox", "registry")


def upgrade(folder: Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE) -> None:
    """Start a running mesh anew from the code as it is now, with the options that it has.

    The programs of the new code are tried first; if one cannot be loaded, nothing is stopped.
    Then the mesh stops, the schemas are brought up to date, and it starts in the background. It
    serves nothing meanwhile. Data, secrets and ports stay.

    JSON: as of `up`.
    """
    layout = layout_of(folder)
    pid = require_runner(layout)
    options = start_options(running_mesh(layout))
    say_with_time("Trying whether the programs of the new code can be loaded.")
    _require_loadable()
    say_with_time("Stopping the mesh. It serves again when it was started from the new code.")
    _outlive_the_terminal()
    stopped_at = time.monotonic()
    stop_runner(layout, pid)
    status = detached.start(layout, options)
    if status != 0:
        raise LocalRunError(
            "The new code does not start, for the reason above, and the mesh is stopped. Its data "
            "is as it was, apart from the schemas that were brought up to date. Mend what the "
            f"reason names, and start with {layout.command('up')}."
        )
    say_with_time(f"It serves again; that took {time.monotonic() - stopped_at:.0f} s.")
    _print(running_mesh(layout), output)


def _outlive_the_terminal() -> None:
    """A hang-up, Ctrl-C or SIGTERM between the stop and the start would leave the mesh down. A
    handler, unlike SIG_IGN, is not inherited by the new runner."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def _require_loadable() -> None:
    code = "\n".join(f"import {program}.__main__" for program in PROGRAMS)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise LocalRunError(
            f"The new code cannot be loaded ({last}). Nothing was stopped. If a package is "
            "missing, `make embedded` installs it."
        )


def _print(mesh: Mesh, output: Format) -> None:
    if output is Format.JSON:
        print_mesh_json(mesh)
    else:
        print_mesh(mesh)
