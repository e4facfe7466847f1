"""Settings that all processes of the mesh share; a service's own config.py adds more.

`mesh.settings_loading.load` reads them.
"""

from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from mesh.identity.key_files import BadKeyFolder
from mesh.identity.keys import load_private_key
from mesh.identity.service_identity import ServiceIdentity
from mesh.identity.service_keys import ServiceKeyFolder
from mesh.settings_loading import WrongSettings, addresses, host_and_port, split_addresses
from mesh.tls.settings import TlsSettings


class MeshSettings(TlsSettings):
    """Settings of every process."""

    instance_id: str = Field(validation_alias="MESH_INSTANCE_ID", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    listen: Annotated[str, AfterValidator(host_and_port)] = Field(validation_alias="MESH_LISTEN")
    metrics_listen: Annotated[str, AfterValidator(host_and_port)] | None = Field(
        None, validation_alias="MESH_METRICS_LISTEN"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="MESH_LOG_LEVEL"
    )


class ServerSettings(MeshSettings):
    """Settings of a process that services or operators call, with their tokens."""

    service_keys_dir: Path = Field(validation_alias="MESH_SERVICE_KEYS_DIR")

    def service_keys(self) -> ServiceKeyFolder:
        """The public keys of the services that may call this process. Ends the process if the
        folder holds no key, or a file that is not a valid key."""
        try:
            return ServiceKeyFolder(self.service_keys_dir)
        except BadKeyFolder as error:
            raise WrongSettings(
                f"MESH_SERVICE_KEYS_DIR: {error}. Write a service's public key there with: "
                "openssl pkey -in KEY_FILE -pubout -out NAME.pem"
            ) from None


class MemberSettings(MeshSettings):
    """Settings of a process that calls services found in the registry."""

    registries: Annotated[str, NoDecode, AfterValidator(addresses)] = Field(
        validation_alias="MESH_REGISTRIES"
    )
    service_key_file: Path = Field(validation_alias="MESH_SERVICE_KEY_FILE")

    def registry_addresses(self) -> list[str]:
        """The addresses of the registries; they are interchangeable."""
        return split_addresses(self.registries)

    def identity(self, service: str) -> ServiceIdentity:
        """The identity of this process, with its service's private key. Ends the process if
        the key file is invalid, or if the registry would refuse the instance's id."""
        if not self.instance_id.startswith(f"{service}-"):
            raise WrongSettings(
                f"MESH_INSTANCE_ID: must begin with the service's name, such as {service}-1, "
                f"and is {self.instance_id}."
            )
        path = self.service_key_file
        key = read_private_key("MESH_SERVICE_KEY_FILE", path)
        return ServiceIdentity(key, service, key_file=path)


class ServiceSettings(MemberSettings, ServerSettings):
    """Settings of a process that serves gRPC and calls other services."""


def read_private_key(variable: str, path: Path) -> Ed25519PrivateKey:
    """Reads a key file, or ends the process saying which variable names a bad one."""
    try:
        return load_private_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WrongSettings(
            f"{variable}: {path} holds no Ed25519 private key in PKCS8 PEM form ({error}). "
            "Make one with: openssl genpkey -algorithm ed25519 -out FILE"
        ) from None
