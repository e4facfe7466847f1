"""The registry's settings, read once from the environment."""

from mesh.config import MeshSettings


class RegistrySettings(MeshSettings):
    """What every process needs, and nothing more: its leases live in memory."""
