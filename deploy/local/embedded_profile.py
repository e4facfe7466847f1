"""The processes of a mesh on one machine, and the settings of each.

Two PostgreSQL servers, one cache, one registry (three in the ha profile, with the three
members of etcd that they share), two instances of each service, one or more gateways, and a
payment sandbox in place of an external payment provider. An instance keeps its name and address
over restarts, as long as the mesh runs.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.data_tier import cache_process, etcd_process, postgres_process
from deploy.local.inherited_environment import inherited_environment
from deploy.local.layout import REPOSITORY, Layout
from deploy.local.observing import readiness
from deploy.local.parent_bound import bound_to_parent
from deploy.local.secrets.credentials import IDENTITIES, Credentials
from deploy.local.secrets.mesh_certificates import PlainText
from deploy.local.servers import etcd
from deploy.local.servers.databases import SERVICE, role_name, role_names
from deploy.local.servers.etcd_users import REGISTRY
from deploy.local.servers.ports import HOST
from deploy.local.servers.postgres import Cluster
from deploy.local.servers.server_user import ServerUser
from deploy.local.supervision.processes import ProcessSpec
from deploy.local.topology import (
    CACHE,
    CACHE_BUS,
    DATABASES,
    GATEWAY,
    PAYMENT_SANDBOX,
    TWO_OF_EACH,
    Topology,
    database_server,
    metrics_name,
    peer_name,
)

STOP_ORDER = (
    ("gateway_http",),
    ("account_svc", "gacha_svc"),
    ("registry", "payment_sandbox"),
    ("postgres", "cache", "etcd"),
)


LOCAL_LIMITS = {
    "GATEWAY_LIMIT_ADDRESS": "50000;w=10",
    "GATEWAY_LIMIT_SIGN_IN": "6000;w=60",
    "GATEWAY_MAX_ADDRESS_IN_FLIGHT": "512",
    "GATEWAY_MAX_ADDRESS_PLAYERS_IN_FLIGHT": "1024",
    "GATEWAY_TRUSTED_PROXIES": f"{HOST},::1",
}
"""Settings for gateways whose clients and proxies are all on this machine: all players have the
same address. The environment overrides these."""


@dataclass(frozen=True, slots=True)
class EmbeddedProfile:
    """`ports` has a port for each of instance_names(topology). `etcd_program` is needed if the
    topology has etcd members."""

    layout: Layout
    ports: Mapping[str, int]
    credentials: Credentials
    server_user: ServerUser
    topology: Topology = TWO_OF_EACH
    certificates: PlainText = field(default_factory=PlainText)
    etcd_program: Path | None = None

    @property
    def clusters(self) -> dict[str, Cluster]:
        """The PostgreSQL servers by database name."""
        return {
            database: Cluster(
                data=self.layout.postgres / database,
                database=database,
                port=self.ports[database_server(database)],
                password=self.credentials.postgres_password,
                user=self.server_user,
                role_passwords={
                    role: self.credentials.role_passwords[role] for role in role_names(database)
                },
            )
            for database in DATABASES.values()
        }

    def address(self, name: str) -> str:
        return f"{HOST}:{self.ports[name]}"

    @property
    def etcd_cluster(self) -> etcd.Cluster:
        """The etcd cluster; it has no members if the registry keeps its leases in memory."""
        members = self.topology.etcd_members()
        return etcd.Cluster(
            self.layout.etcd,
            self.etcd_program,
            client_ports={name: self.ports[name] for name in members},
            peer_ports={name: self.ports[peer_name(name)] for name in members},
            tls=self.certificates.etcd_files(members),
        )

    @property
    def registry_addresses(self) -> list[str]:
        """host:port of every registry."""
        return [self.address(name) for name in self.topology.registries()]

    def data_tier(self) -> list[ProcessSpec]:
        layout, etcd_cluster = self.layout, self.etcd_cluster
        servers = [postgres_process(layout, each) for each in self.clusters.values()]
        cache = cache_process(layout, self.ports[CACHE], self.ports[CACHE_BUS])
        passwords, client = self.credentials.etcd_passwords, self.certificates.client
        members = [
            etcd_process(layout, etcd_cluster, name, passwords, client)
            for name in etcd_cluster.names
        ]
        return [*servers, cache, *members]

    def registries(self) -> list[ProcessSpec]:
        members = [self.address(name) for name in self.topology.etcd_members()]
        settings: dict[str, str] = {}
        if members:
            settings = {
                "REGISTRY_ETCD": ",".join(members),
                "REGISTRY_ETCD_USER": REGISTRY,
                "REGISTRY_ETCD_PASSWORD_FILE": str(self.layout.etcd_password),
                **self.certificates.etcd_trust_settings(),
            }
        return [self._instance("registry", name, settings) for name in self.topology.registries()]

    def services(self) -> list[ProcessSpec]:
        return [
            self._instance(role, name, self.settings_of(role))
            for role, name in self.topology.services()
        ]

    def gateways(self) -> list[ProcessSpec]:
        settings = {**LOCAL_LIMITS, "MESH_CACHE_NODES": self.address(CACHE)}
        chosen = {name: os.environ.get(name, value) for name, value in settings.items()}
        return [
            self._instance("gateway_http", name, chosen | self.certificates.https_settings_of(name))
            for name in self.topology.gateways()
        ]

    def database_url(self, database: str, kind: str) -> str:
        """The postgresql:// URL of a database, as its owner, its service or its reader."""
        return self.clusters[database].role_url(role_name(database, kind))

    def settings_of(self, role: str) -> dict[str, str]:
        """The settings of a service that are not common to all instances."""
        settings = {"DATABASE_URL": self.database_url(DATABASES[role], SERVICE)}
        if role == "account_svc":
            settings |= {
                "ACCOUNT_SIGNING_KEYS_DIR": str(self.layout.signing_keys),
                "PAYMENT_PROVIDER": "sandbox",
                "PAYMENT_URL": f"http://{self.address(PAYMENT_SANDBOX)}",
                "PAYMENT_SECRET_KEY_FILE": str(self.credentials.payment_secret_key),
                "PAYMENT_WEBHOOK_SECRET_FILE": str(self.credentials.payment_webhook_secret),
            }
        else:
            settings["GACHA_INIT_DB"] = self.topology.init_db
        return settings

    def payment_sandbox(self) -> ProcessSpec:
        address = self.address(PAYMENT_SANDBOX)
        gateway = self.certificates.client.url(self.address(GATEWAY))
        settings = {
            "SANDBOX_INSTANCE_ID": PAYMENT_SANDBOX,
            "SANDBOX_LISTEN": address,
            "SANDBOX_BOOK_FILE": str(self.layout.payment_sandbox / "book.sqlite3"),
            "SANDBOX_WEBHOOK_URL": f"{gateway}/webhooks/payments",
            "SANDBOX_SECRET_KEY_FILE": str(self.credentials.payment_secret_key),
            "SANDBOX_WEBHOOK_SECRET_FILE": str(self.credentials.payment_webhook_secret),
            **self.certificates.trust_settings(),
        }
        return ProcessSpec(
            name=PAYMENT_SANDBOX,
            role="payment_sandbox",
            address=address,
            command=bound_to_parent([sys.executable, "-m", "payment_sandbox"]),
            program=("payment_sandbox",),
            environment=inherited_environment() | settings,
            folder=REPOSITORY,
            log=self.layout.log(PAYMENT_SANDBOX),
            make_ready=lambda: readiness.is_payment_sandbox_ready(address),
        )

    def one_of_each_program(self) -> list[ProcessSpec]:
        """An instance of each program of ours."""
        instances = [*self.registries(), *self.services(), *self.gateways()]
        by_role = {spec.role: spec for spec in reversed(instances)}
        return [*by_role.values(), self.payment_sandbox()]

    def environment(self, name: str, settings: Mapping[str, str]) -> dict[str, str]:
        """The environment of an instance; `settings` override the common ones."""
        return {
            **inherited_environment(),
            "MESH_INSTANCE_ID": name,
            "MESH_LISTEN": self.address(name),
            "MESH_METRICS_LISTEN": self.address(metrics_name(name)),
            "MESH_REGISTRIES": ",".join(self.registry_addresses),
            "MESH_SERVICE_KEYS_DIR": str(self.layout.public_keys),
            **self._own_key(name),
            **self.certificates.settings_of(name),
            **settings,
        }

    def _own_key(self, name: str) -> dict[str, str]:
        service = name.rpartition("-")[0]
        if service not in IDENTITIES:
            return {}
        return {"MESH_SERVICE_KEY_FILE": str(self.layout.service_key(service))}

    def _instance(self, role: str, name: str, settings: Mapping[str, str]) -> ProcessSpec:
        address = self.address(name)
        program = self.topology.programs.get(role, ("-m", role))
        ready = readiness.is_gateway_ready if role == "gateway_http" else readiness.is_serving
        return ProcessSpec(
            name=name,
            role=role,
            address=address,
            command=bound_to_parent([sys.executable, *program]),
            program=program[1:] if program[0] == "-m" else (),
            environment=self.environment(name, settings),
            folder=REPOSITORY,
            log=self.layout.log(name),
            make_ready=lambda: ready(address, self.certificates.client),
            metrics_address=self.address(metrics_name(name)),
            is_handed_its_socket=role == "gateway_http",
        )
