"""The number of instances of each kind in a mesh; the profiles differ in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

DATABASES = {"account_svc": "account", "gacha_svc": "gacha"}
"""The database of each service, if it has one."""

GATEWAY = "gateway_http-1"
"""The gateway that listens on the requested port."""
CACHE = "cache-1"
CACHE_BUS = "cache-1-bus"
PAYMENT_SANDBOX = "payment_sandbox-1"


@dataclass(frozen=True, slots=True)
class Topology:
    """The number of instances of each service. `programs` has Python arguments by role, for roles
    that do not run the service's own program. Several registries share their leases through
    etcd. Without etcd members there is one registry, and it keeps its leases in memory."""

    instance_counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(DATABASES, 2))
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gateway_count: int = 1
    registry_count: int = 1
    etcd_count: int = 0
    tls: bool = False
    """Whether the mesh uses mutual TLS, and gateways serve HTTPS."""
    init_db: str = "public"
    """Who may call InitDb: users were promised that `curl .../initdb` works on `make up`."""

    def __post_init__(self) -> None:
        assert self.registry_count == 1 or self.etcd_count, "registries share through etcd"

    def services(self) -> list[tuple[str, str]]:
        """The role and the name of every instance."""
        return [
            (role, f"{role}-{number}")
            for role in DATABASES
            for number in range(1, self.instance_counts[role] + 1)
        ]

    def gateways(self) -> list[str]:
        """The names of the gateways; GATEWAY is the first."""
        return _numbered("gateway_http", self.gateway_count)

    def registries(self) -> list[str]:
        """The names of the registries."""
        return _numbered("registry", self.registry_count)

    def etcd_members(self) -> list[str]:
        """The names of the members of etcd; none without etcd."""
        return _numbered("etcd", self.etcd_count)


TWO_OF_EACH = Topology()
PROFILES: Mapping[str, Topology] = MappingProxyType(
    {
        "embedded": TWO_OF_EACH,
        "ha": Topology(registry_count=3, etcd_count=3, tls=True, init_db="admin"),
    }
)
"""The topologies by profile name. Every profile has one server per database, and one cache."""


def instance_names(topology: Topology = TWO_OF_EACH) -> list[str]:
    """A name for each listening port."""
    services = [name for _, name in topology.services()]
    servers = map(database_server, DATABASES.values())
    instances = [*topology.gateways(), *topology.registries(), *services]
    metrics = map(metrics_name, instances)
    members = topology.etcd_members()
    etcd = [*members, *map(peer_name, members)]
    return [*instances, *metrics, *servers, *etcd, CACHE, CACHE_BUS, PAYMENT_SANDBOX]


def database_server(database: str) -> str:
    """The name of the PostgreSQL server of a database."""
    return f"postgres-{database}"


def metrics_name(instance: str) -> str:
    """The name of an instance's metrics port."""
    return f"{instance}-metrics"


def peer_name(member: str) -> str:
    """The name of the port where an etcd member listens to its peers."""
    return f"{member}-peer"


def _numbered(role: str, count: int) -> list[str]:
    return [f"{role}-{number}" for number in range(1, count + 1)]
