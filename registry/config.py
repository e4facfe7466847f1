"""The registry's settings, read once from the environment."""

from mesh.config import ServerSettings


class RegistrySettings(ServerSettings):
    """What every server needs, and nothing more: its leases live in memory."""
