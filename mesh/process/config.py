"""Settings that every process of the mesh has; a service's own config.py adds to these.

`mesh.config.load` reads them.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from mesh.config import addresses, host_and_port, split_addresses
from mesh.identity.key_files import BadKeyFolder
from mesh.identity.keys import load_private_key
from mesh.identity.service_identity import ServiceIdentity
from mesh.identity.service_keys import ServiceKeyFolder
from mesh.tls.settings import TlsSettings


class MeshSettings(TlsSettings):
    """What every process needs to know."""

    instance_id: str = Field(validation_alias="MESH_INSTANCE_ID", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    listen: Annotated[str, AfterValidator(host_and_port)] = Field(validation_alias="MESH_LISTEN")
    metrics_listen: Annotated[str, AfterValidator(host_and_port)] | None = Field(
        None, validation_alias="MESH_METRICS_LISTEN"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="MESH_LOG_LEVEL"
    )


class ServerSettings(MeshSettings):
    """What a process needs that serves gRPC."""

    service_keys_dir: Path = Field(validation_alias="MESH_SERVICE_KEYS_DIR")

    def service_keys(self) -> ServiceKeyFolder:
        """By what this process knows the services that call it. Ends the process when the
        folder holds no key, or something else."""
        try:
            return ServiceKeyFolder(self.service_keys_dir)
        except BadKeyFolder as error:
            sys.exit(
                f"MESH_SERVICE_KEYS_DIR: {error}. Write a service's public key there with: "
                "openssl pkey -in KEY_FILE -pubout -out NAME.pem"
            )


class MemberSettings(MeshSettings):
    """What a process needs that calls others, whom it finds by the registry."""

    registries: Annotated[str, NoDecode, AfterValidator(addresses)] = Field(
        validation_alias="MESH_REGISTRIES"
    )
    service_key_file: Path = Field(validation_alias="MESH_SERVICE_KEY_FILE")

    def registry_addresses(self) -> list[str]:
        """The registries, of which any will do."""
        return split_addresses(self.registries)

    def identity(self, service: str) -> ServiceIdentity:
        """What this process shows, by the key that is the service's own. Ends the process
        when the file holds none, or when the registry would not take the instance's id."""
        if not self.instance_id.startswith(f"{service}-"):
            sys.exit(
                f"MESH_INSTANCE_ID: must begin with the service's name, such as {service}-1, "
                f"and is {self.instance_id}."
            )
        path = self.service_key_file
        key = read_private_key("MESH_SERVICE_KEY_FILE", path)
        return ServiceIdentity(key, service, key_file=path)


class ServiceSettings(MemberSettings, ServerSettings):
    """What a process needs that does both."""


def read_private_key(variable: str, path: Path) -> Ed25519PrivateKey:
    """Reads a key file, or ends the process saying which variable names a bad one."""
    try:
        return load_private_key(path.read_bytes())
    except (OSError, ValueError) as error:
        sys.exit(
            f"{variable}: {path} holds no Ed25519 private key in PKCS8 PEM form ({error}). "
            "Make one with: openssl genpkey -algorithm ed25519 -out FILE"
        )
