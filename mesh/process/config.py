"""Settings that all processes of the mesh share; a service's own config.py adds more.

`mesh.settings_loading.load` reads them.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from mesh.identity.key_files import BadKeyFolder
from mesh.identity.keys import key_id, load_private_key
from mesh.identity.service_identity import ServiceIdentity
from mesh.identity.service_keys import ServiceKeyFolder
from mesh.settings_loading import (
    WrongSettings,
    addresses,
    instance_of,
    listen_address,
    split_addresses,
)
from mesh.tls.settings import TlsSettings


def _public_keys(folder: Path) -> Path:
    try:
        ServiceKeyFolder(folder)
    except BadKeyFolder as error:
        raise ValueError(
            f"{error}. Write a service's public key there with: openssl pkey -in KEY_FILE "
            "-pubout -out NAME.pem"
        ) from None
    return folder


def _private_key_file(path: Path) -> Path:
    _private_key(path)
    return path


class MeshSettings(TlsSettings):
    """Settings of every process. `SERVICE` is the service whose instance it is."""

    SERVICE: ClassVar[str]

    instance_id: str = Field(validation_alias="MESH_INSTANCE_ID")
    listen: Annotated[str, AfterValidator(listen_address)] = Field(validation_alias="MESH_LISTEN")
    metrics_listen: Annotated[str, AfterValidator(listen_address)] | None = Field(
        None, validation_alias="MESH_METRICS_LISTEN"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="MESH_LOG_LEVEL"
    )

    @field_validator("instance_id")
    @classmethod
    def _name_its_service(cls, instance_id: str) -> str:
        return instance_of(cls.SERVICE, instance_id)


class ServerSettings(MeshSettings):
    """Settings of a process that services or operators call, with their tokens."""

    service_keys_dir: Annotated[Path, AfterValidator(_public_keys)] = Field(
        validation_alias="MESH_SERVICE_KEYS_DIR"
    )

    def service_keys(self) -> ServiceKeyFolder:
        """The public keys of the services that may call this process. Raises BadKeyFolder if the
        folder was harmed since the settings were read."""
        return ServiceKeyFolder(self.service_keys_dir)


class MemberSettings(MeshSettings):
    """Settings of a process that calls services found in the registry."""

    registries: Annotated[str, NoDecode, AfterValidator(addresses)] = Field(
        validation_alias="MESH_REGISTRIES"
    )
    service_key_file: Annotated[Path, AfterValidator(_private_key_file)] = Field(
        validation_alias="MESH_SERVICE_KEY_FILE"
    )

    def registry_addresses(self) -> list[str]:
        """The addresses of the registries; they are interchangeable."""
        return split_addresses(self.registries)

    def identity(self) -> ServiceIdentity:
        """The identity of this process, with its service's private key. Raises WrongSettings if
        the key file was harmed since the settings were read."""
        path = self.service_key_file
        key = read_private_key("MESH_SERVICE_KEY_FILE", path)
        return ServiceIdentity(key, self.SERVICE, key_file=path)


class ServiceSettings(MemberSettings, ServerSettings):
    """Settings of a process that calls other services and is called by them or by operators."""

    @field_validator("service_key_file")
    @classmethod
    def _is_own_key(cls, path: Path, others: ValidationInfo) -> Path:
        """With another service's key, every process that this one calls would refuse it."""
        folder = others.data.get("service_keys_dir")
        if folder is None:
            return path
        found = ServiceKeyFolder(folder).find(key_id(_private_key(path).public_key()))
        if found is not None and found.service == cls.SERVICE:
            return path
        whose = "of nobody" if found is None else f"of {found.service}"
        raise ValueError(
            f"{path} holds a key {whose} in MESH_SERVICE_KEYS_DIR={folder}, and must hold one of "
            f"{cls.SERVICE}. Name the right file, or write its public key there with: openssl "
            f"pkey -in {path} -pubout -out {folder}/{cls.SERVICE}.pem"
        )


def read_private_key(variable: str, path: Path) -> Ed25519PrivateKey:
    """Reads a key file. Raises WrongSettings that says which variable names a bad one."""
    try:
        return _private_key(path)
    except ValueError as error:
        raise WrongSettings(f"{variable}: {error}") from None


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        return load_private_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} holds no Ed25519 private key in PKCS8 PEM form ({error}). Make one with: "
            "openssl genpkey -algorithm ed25519 -out FILE"
        ) from None
