"""The registry's settings, read once from the environment."""

from pathlib import Path
from typing import Annotated, ClassVar

from cryptography.x509 import load_pem_x509_certificates
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from mesh.contract.access import REGISTRY
from mesh.process.config import ServerSettings
from mesh.settings_loading import addresses, chosen_secret, split_addresses


class RegistrySettings(ServerSettings):
    """The settings of every server, and the place of the leases."""

    SERVICE: ClassVar[str] = REGISTRY

    etcd: Annotated[str, NoDecode, AfterValidator(addresses)] | None = Field(
        None, validation_alias="REGISTRY_ETCD"
    )

    etcd_user: str | None = Field(
        None,
        validation_alias="REGISTRY_ETCD_USER",
        pattern=r"^\S+$",
        description="a name without blanks",
        examples=["registry"],
    )
    """The user of etcd; None for an etcd without users."""
    etcd_password_file: Path | None = Field(None, validation_alias="REGISTRY_ETCD_PASSWORD_FILE")
    etcd_password: SecretStr | None = Field(
        None, validation_alias="REGISTRY_ETCD_PASSWORD", validate_default=True
    )
    etcd_ca: bytes | None = Field(None, validation_alias="REGISTRY_ETCD_CA_FILE")
    """The PEM of the CA that issued the certificates of etcd's members; None for plain text."""

    @field_validator("etcd_password", mode="before")
    @classmethod
    def _read_password(cls, value: str | None, others: ValidationInfo) -> str | None:
        if others.data.get("etcd_user") is None:
            if value is not None or others.data.get("etcd_password_file") is not None:
                raise ValueError("is of no user: set REGISTRY_ETCD_USER too")
            return None
        return chosen_secret("REGISTRY_ETCD_PASSWORD", value, others.data["etcd_password_file"])

    @field_validator("etcd_ca", mode="before")
    @classmethod
    def _read_ca(cls, path: str | None) -> bytes | None:
        if path is None:
            return None
        try:
            pem = Path(path).read_bytes()
            load_pem_x509_certificates(pem)
        except (OSError, ValueError) as error:
            raise ValueError(f"names no file of certificates in PEM form ({error})") from None
        return pem

    def etcd_members(self) -> list[str]:
        """The members of the etcd cluster; empty if the leases are in memory."""
        return [] if self.etcd is None else split_addresses(self.etcd)
