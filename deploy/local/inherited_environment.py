"""The environment of this process, as the processes of a mesh may inherit it."""

from deploy.local.layout import REPOSITORY
from deploy.local.servers import postgres

OWN_SETTINGS = (
    *("PAYMENT_", "SANDBOX_SECRET_", "SANDBOX_WEBHOOK_"),
    *("REGISTRY_ETCD", "MESH_TLS_", "GATEWAY_TLS_"),
)
"""Variables that begin so are set by the profile alone: a second secret beside its file would
be refused, and another mesh's etcd would list its instances here."""


def inherited_environment() -> dict[str, str]:
    """Without the variables that would redirect a process: proxies, libpq's, OWN_SETTINGS."""
    return {
        "MESH_LOG_LEVEL": "info",
        **{
            variable: value
            for variable, value in postgres.environment().items()
            if not (variable.lower().endswith("_proxy") or variable.startswith(OWN_SETTINGS))
        },
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
    }
