"""The registry's settings, read once from the environment."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from mesh.process.config import ServerSettings
from mesh.settings_loading import addresses, split_addresses


class RegistrySettings(ServerSettings):
    """The settings of every server, and the place of the leases."""

    etcd: Annotated[str, NoDecode, AfterValidator(addresses)] | None = Field(
        None, validation_alias="REGISTRY_ETCD"
    )

    def etcd_members(self) -> list[str]:
        """The members of the etcd cluster; empty if the leases are in memory."""
        return [] if self.etcd is None else split_addresses(self.etcd)
