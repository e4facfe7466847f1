"""`gachactl upgrade`: starts a running mesh anew from the code as it is now."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

from deploy.gachactl import detached
from deploy.gachactl.lifecycle import stop_runner
from deploy.gachactl.mesh_report import print_mesh, print_mesh_json
from deploy.gachactl.output import Format, FormatOption, say_with_time
from deploy.gachactl.target import Folder, layout_of, require_runner, running_mesh
from deploy.local.embedded_profile import EmbeddedProfile
from deploy.local.errors import LocalRunError
from deploy.local.layout import DEFAULT_FOLDER, Layout
from deploy.local.mesh_file import Mesh, gateway_port, profile_name, start_options
from deploy.local.secrets import credentials
from deploy.local.secrets.mesh_certificates import certificates_for
from deploy.local.servers import etcd, ports, postgres
from deploy.local.supervision.processes import ProcessSpec
from deploy.local.topology import GATEWAY, PROFILES, instance_names

TRIAL_SECONDS = 120.0


def upgrade(folder: Folder = DEFAULT_FOLDER, output: FormatOption = Format.TABLE) -> None:
    """Start a running mesh anew from the code as it is now, with the options that it has.

    The programs of the new code are tried first, with the settings that they would get. If one
    cannot be loaded or refuses its settings, nothing is stopped. Then the mesh stops, the schemas
    are brought up to date, and it starts in the background. It serves nothing meanwhile. Data,
    secrets and ports stay.

    JSON: as of `up`.
    """
    layout = layout_of(folder)
    pid = require_runner(layout)
    mesh = running_mesh(layout)
    options = start_options(mesh)
    say_with_time("Trying whether the programs of the new code start with these settings.")
    _require_accepted(_planned_profile(layout, mesh))
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


def _planned_profile(layout: Layout, mesh: Mesh) -> EmbeddedProfile:
    """The profile of the code as it is now, with the ports that the mesh has. Nothing is started.
    Secrets that are missing are made; with TLS the certificates are renewed, as `renew` does."""
    chosen = PROFILES[profile_name(mesh)]
    roles = [each["role"] for each in mesh["processes"]]
    topology = replace(chosen, gateway_count=roles.count("gateway_http"), tls=bool(mesh["tls"]))
    kept = ports.remembered(layout.ports) | {GATEWAY: gateway_port(mesh)}
    return EmbeddedProfile(
        layout,
        # A process that is new to the mesh has no port yet; its settings take any.
        {name: kept.get(name, ports.LOWEST) for name in instance_names(topology)},
        credentials.load_or_make(layout),
        postgres.choose_server_user(layout.postgres),
        topology,
        certificates_for(layout, topology),
        etcd.binary() if topology.etcd_members() else None,
    )


def _require_accepted(profile: EmbeddedProfile) -> None:
    """Raises LocalRunError with what each program says that cannot be loaded, or refuses its
    settings."""
    trials = [(spec, _trial(spec)) for spec in profile.one_of_each_program()]
    refusals = []
    for spec, trial in trials:
        _, said = trial.communicate(timeout=TRIAL_SECONDS)
        if trial.returncode != 0:
            refusals.append(_refusal(spec, said, trial.returncode))
    if refusals:
        raise LocalRunError("\n".join([*refusals, "Nothing was stopped."]))


def _trial(spec: ProcessSpec) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", spec.role, "check"],
        cwd=spec.folder,
        env=spec.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _refusal(spec: ProcessSpec, said: str, status: int) -> str:
    if status == os.EX_CONFIG:
        return f"{spec.name} would not start. {said.strip()}"
    last = (said.strip().splitlines() or ["no reason was given"])[-1]
    return (
        f"{spec.role} cannot be loaded ({last}). If a package is missing, `make embedded` "
        "installs it."
    )


def _print(mesh: Mesh, output: Format) -> None:
    if output is Format.JSON:
        print_mesh_json(mesh)
    else:
        print_mesh(mesh)
