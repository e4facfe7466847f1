"""How many of everything a mesh has: what the profiles differ in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

DATABASES = {"account_svc": "account", "gacha_svc": "gacha"}
"""The database of each service that has one."""

GATEWAY = "gateway_http-1"
"""The gateway that has the port which was asked for."""
CACHE = "cache-1"
CACHE_BUS = "cache-1-bus"
PAYMENT_SANDBOX = "payment_sandbox-1"


@dataclass(frozen=True, slots=True)
class Topology:
    """How many instances each service has, and what runs one: arguments to Python, by role,
    where it is another program than the service's own. Several registries share their leases
    through etcd; without members of that there is one, and it keeps them in memory."""

    instance_counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(DATABASES, 2))
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gateway_count: int = 1
    registry_count: int = 1
    etcd_count: int = 0
    tls: bool = False
    """Whether processes of the mesh show one another certificates, and gateways serve HTTPS."""
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
"""By the names that people give. The databases and the cache are single in either."""


def instance_names(topology: Topology = TWO_OF_EACH) -> list[str]:
    """Of everything that listens, with a name for each port."""
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
    """The name of the port where an instance shows what it counts."""
    return f"{instance}-metrics"


def peer_name(member: str) -> str:
    """The name of the port where a member of etcd listens to the others."""
    return f"{member}-peer"


def _numbered(role: str, count: int) -> list[str]:
    return [f"{role}-{number}" for number in range(1, count + 1)]
