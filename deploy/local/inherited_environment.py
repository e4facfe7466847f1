"""The part of this process's environment that the processes of a mesh inherit."""

from deploy.local.layout import REPOSITORY
from deploy.local.servers import postgres

OWN_SETTINGS = (
    *("PAYMENT_", "SANDBOX_SECRET_", "SANDBOX_WEBHOOK_"),
    *("REGISTRY_ETCD", "MESH_TLS_", "GATEWAY_TLS_"),
)
"""Prefixes of the variables that only the profile sets. An inherited secret beside the secret's
file would be refused. With an inherited etcd address, another mesh's instances would be listed."""


def inherited_environment() -> dict[str, str]:
    """This process's environment without proxies, libpq's variables, and OWN_SETTINGS."""
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
