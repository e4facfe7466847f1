"""One run of the mesh: starts everything, serves, and stops everything.

The order of the start: what needs no schema, which is everything but the services; the schemas;
the services; the catalog. What a process needs and finds absent it tries again. The order of the
stop is the reverse. If the start fails, everything that was started is stopped again.
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from deploy.local import embedded_profile, mesh_file, source_code, xds_file
from deploy.local.catalog import introduce_catalog
from deploy.local.embedded_profile import EmbeddedProfile
from deploy.local.errors import LocalRunError
from deploy.local.forking.forks import Forks
from deploy.local.inherited_environment import inherited_environment
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.observing.visibility import Visibility
from deploy.local.parent_bound import bound_to_parent
from deploy.local.secrets import credentials, operator
from deploy.local.secrets.mesh_certificates import certificates_for
from deploy.local.servers import databases, etcd, ports, postgres
from deploy.local.supervision import control, logs, one_shot, roll
from deploy.local.supervision.stop_signals import stop_on_signals
from deploy.local.supervision.supervisor import SupervisedProcess, Supervisor, wait_until_ready
from deploy.local.topology import DATABASES, GATEWAY, TWO_OF_EACH, Topology, instance_names
from deploy.local.waiting import not_ended, reported

START_TIMEOUT_SECONDS = 120.0
KEEPER_PAUSE_SECONDS = 1.0
RUNNER_LOG = "runner.log"
TEMPLATE = "template"
"""The name of the process that the Python programs are forked from."""
OnReady = Callable[[mesh_file.Mesh], None]


class MeshRun:
    """Runs one mesh until it is asked to stop. The caller holds the layout's lock."""

    def __init__(
        self,
        layout: Layout,
        *,
        gateway_port: int,
        say: Callable[[str], None],
        on_ready: OnReady,
        topology: Topology = TWO_OF_EACH,
    ) -> None:
        """`gateway_port` 0 means any free port. `say` receives progress messages. `on_ready` is
        called once, when everything is healthy."""
        self._topology = topology
        self._layout, self._say, self._on_ready = layout, say, on_ready
        self._gateway_port = gateway_port
        self._is_up = False
        self._is_published = True
        self._forks = Forks(inherited_environment(), REPOSITORY, layout.log(TEMPLATE), say=say)
        self._supervisor = Supervisor(say=say, changed=self._publish, spawn=self._forks.spawn)

    async def run(self) -> None:
        """Runs until SIGINT, SIGTERM or SIGHUP; everything is stopped when it returns.

        Raises LocalRunError when the mesh could not be brought up.
        """
        stop = stop_on_signals(self._supervisor.hurry)
        etcd_program = await asyncio.to_thread(self._begin)
        try:
            # It imports for a second or more, so it comes first.
            await self._forks.start()
            self._code = await asyncio.to_thread(source_code.digests, REPOSITORY)
            self._profile = await asyncio.to_thread(self._prepare, etcd_program)
        except BaseException:
            await self._forks.close()
            raise
        try:
            commands = {"roll": self._roll, "renew": self._renew}
            async with control.served(self._layout.control, commands):
                await self._run_until(stop)
        finally:
            await self._stop()

    async def _run_until(self, stop: asyncio.Event) -> None:
        kept: dict[str, Callable[[], Awaitable[None]]] = {
            "The bounding of logs": partial(logs.keep_bounded, self._layout.logs, self._say),
            "The renewal of certificates": partial(self._certificates.keep_renewing, self._say),
            "The publishing of mesh.json": self._keep_published,
        }
        keepers = [
            asyncio.create_task(keep_going(what, work, self._say)) for what, work in kept.items()
        ]
        start = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([start, stopping], return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                await stopping
        finally:
            for task in (start, stopping, *keepers):
                task.cancel()
            await asyncio.gather(start, stopping, *keepers, return_exceptions=True)

    def _begin(self) -> Path | None:
        """Makes the folders. Returns etcd's program, if this mesh has members of etcd."""
        # A missing etcd is reported before anything is made or started.
        etcd_program = etcd.binary() if self._topology.etcd_members() else None
        self._layout.make_folders()
        self._layout.mesh.unlink(missing_ok=True)
        logs.begin_run(self._layout.logs, keep=RUNNER_LOG)
        return etcd_program

    def _prepare(self, etcd_program: Path | None) -> EmbeddedProfile:
        layout = self._layout
        self._certificates = certificates_for(layout, self._topology)
        fixed = {GATEWAY: self._gateway_port} if self._gateway_port else {}
        assigned = ports.assign(
            layout.ports,
            instance_names(self._topology),
            fixed=fixed,
            randomness=random.Random(),
            say=self._say,
        )
        server_user = postgres.choose_server_user(layout.postgres)
        if server_user.argument != "self":
            self._say("PostgreSQL does not run as root: it gets an unprivileged user.")
        profile = EmbeddedProfile(
            layout,
            assigned,
            credentials.load_or_make(layout),
            server_user,
            self._topology,
            self._certificates,
            etcd_program,
        )
        profile.etcd_cluster.prepare()
        return profile

    async def _start(self) -> None:
        say, profile, supervisor = self._say, self._profile, self._supervisor
        certificates = self._certificates
        registries = "etcd and the registries" if profile.etcd_cluster.names else "the registry"
        said = f"the databases, the cache, {registries}, the gateway and the payment sandbox"
        say(f"Starting {said}, in {self._layout.folder}.")
        data_tier = supervisor.start(profile.data_tier())
        early = supervisor.start([*profile.registries(), profile.payment_sandbox()])
        gateways = supervisor.start(profile.gateways())
        await _together(
            wait_until_ready(early, timeout_seconds=START_TIMEOUT_SECONDS, say=say),
            self._bring_schemas_up_to_date(data_tier),
        )
        say("Starting the services.")
        rest = [*data_tier, *gateways, *supervisor.start(profile.services())]
        await wait_until_ready(rest, timeout_seconds=START_TIMEOUT_SECONDS, say=say)
        say("Introducing the catalog.")
        gateway = profile.address(GATEWAY)
        call = partial(introduce_catalog, gateway, certificates.client, self._layout, say)
        await reported(asyncio.to_thread(call), lambda: ["no answer to GET /initdb yet"], say)
        self._is_up = True
        xds_file.write(self._layout.xds, profile.registry_addresses, certificates.operator_files)
        mesh_file.write(self._layout.mesh, self._describe())
        say("Everything is healthy.")
        self._on_ready(self._describe())

    async def _bring_schemas_up_to_date(self, data_tier: list[SupervisedProcess]) -> None:
        servers = [each for each in data_tier if each.spec.role == "postgres"]
        await wait_until_ready(servers, timeout_seconds=START_TIMEOUT_SECONDS, say=self._say)
        self._say("Bringing the schemas up to date.")
        await _together(*(self._migrate(role) for role in DATABASES))

    async def _migrate(self, role: str) -> None:
        name = f"{role}-migrate"
        settings = self._profile.settings_of(role)
        # It does not serve, but the settings require an address.
        environment = {
            **self._profile.environment(f"{role}-1", settings),
            "MESH_INSTANCE_ID": name,
            "DATABASE_URL": self._profile.database_url(DATABASES[role], databases.OWNER),
        }
        migration = one_shot.run(
            f"`python -m {role} migrate`",
            bound_to_parent([sys.executable, "-m", role, "migrate"]),
            environment=environment,
            folder=REPOSITORY,
            log=self._layout.log(name),
            timeout_seconds=START_TIMEOUT_SECONDS,
            program=(role, "migrate"),
            spawn=self._forks.spawn,
        )
        await reported(migration, lambda: not_ended([name]), self._say)

    async def _stop(self) -> None:
        self._is_up = False
        self._layout.mesh.unlink(missing_ok=True)
        self._say("Stopping everything; data and logs stay.")
        await self._supervisor.stop(embedded_profile.STOP_ORDER)
        await self._forks.close()
        self._say("Everything is stopped.")

    async def _roll(self, say: Callable[[str], None]) -> None:
        if not self._is_up:
            raise LocalRunError("The mesh is starting or stopping: try again when it is up.")
        await self._refuse_changed_code()
        callers = Visibility(operator.identity(self._layout.admin_key))
        await roll.roll(
            self._supervisor.processes,
            lambda: callers.unseen(self._describe()),
            say,
        )

    async def _refuse_changed_code(self) -> None:
        now = await asyncio.to_thread(source_code.digests, REPOSITORY)
        if changed := source_code.changed(self._code, now):
            raise LocalRunError(
                f"The code was changed since this mesh was started: {source_code.in_words(changed)}"
                ". A rolling restart would give new code neither its schemas nor its settings, so "
                f"nothing was restarted. {self._layout.command('upgrade')} starts the whole mesh "
                "from the new code."
            )

    async def _renew(self, say: Callable[[str], None]) -> None:
        count = await asyncio.to_thread(self._certificates.renew)
        say(f"{count} certificates were issued anew; the processes take them within seconds.")

    def _publish(self) -> None:
        """Never raises: `_keep_published` tries again what could not be written."""
        if not self._is_up:
            return
        try:
            mesh_file.write(self._layout.mesh, self._describe())
        except OSError as error:
            if self._is_published:
                self._say(f"{self._layout.mesh} could not be written: {error.strerror}.")
            self._is_published = False
        else:
            self._is_published = True

    async def _keep_published(self) -> None:
        while True:
            await asyncio.sleep(KEEPER_PAUSE_SECONDS)
            if not self._is_published:
                self._publish()

    def _describe(self) -> mesh_file.Mesh:
        profile = self._profile
        return {
            "gateway": self._certificates.client.url(profile.address(GATEWAY)),
            "registries": profile.registry_addresses,
            "databases": {
                name: profile.database_url(name, databases.SERVICE) for name in profile.clusters
            },
            "readers": {
                name: profile.database_url(name, databases.READER) for name in profile.clusters
            },
            "tls": self._certificates.described(),
            "processes": [
                {
                    "name": each.spec.name,
                    "role": each.spec.role,
                    "pid": each.pid,
                    "address": each.spec.address,
                    "metrics": each.spec.metrics_address,
                }
                for each in self._supervisor.processes
            ],
        }


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """Runs all of them. The first that fails cancels the others, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def keep_going(
    what: str,
    work: Callable[[], Awaitable[None]],
    say: Callable[[str], None],
    *,
    pause_seconds: float = KEEPER_PAUSE_SECONDS,
) -> None:
    """Runs the work to its end, and starts it again when it fails. Each failure is said once."""
    said = ""
    while True:
        try:
            await work()
            return
        except Exception as error:  # noqa: BLE001 (the mesh needs it as long as it runs)
            if repr(error) != said:
                say(f"{what} failed and goes on: {error!r}")
            said = repr(error)
        await asyncio.sleep(pause_seconds)
