"""Settings that every process of the mesh has, read once from the environment.

A service's own config.py adds to these. A bad or missing setting ends the
process with every fault listed at once, each with the variable's name.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode

from mesh.identity.key_files import BadKeyFolder
from mesh.identity.keys import load_private_key
from mesh.identity.service_identity import ServiceIdentity
from mesh.identity.service_keys import ServiceKeyFolder
from mesh.tls.settings import TlsSettings


def host_and_port(address: str) -> str:
    """Checks that an address reads host:port. Raises ValueError otherwise."""
    host, separator, port = address.rpartition(":")
    if not (host and separator and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("must be host:port, such as 127.0.0.1:7000")
    return address


def addresses(text: str) -> str:
    """Checks a list of addresses, separated by commas. Raises ValueError otherwise."""
    for address in text.split(","):
        host_and_port(address.strip())
    return text


def split_addresses(text: str) -> list[str]:
    """The addresses of a list that `addresses` took, in their order."""
    return [address.strip() for address in text.split(",")]


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


MIN_SECRET_LENGTH = 16


def chosen_secret(variable: str, value: str | None, file: Path | None) -> str:
    """A secret that is given in `variable` or in the file that `variable`_FILE names.

    For a field's validator: raises ValueError, which never repeats the secret.
    """
    if value is None and file is None:
        raise ValueError(f"is required, either itself or in the file that {variable}_FILE names")
    if value is not None and file is not None:
        raise ValueError(f"must not be set together with {variable}_FILE")
    if file is not None:
        try:
            value = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot be read from {variable}_FILE={file} ({error})") from None
    assert value is not None, "one of them is set"
    if len(value) < MIN_SECRET_LENGTH or not (value.isascii() and value.isprintable()):
        raise ValueError(f"must be at least {MIN_SECRET_LENGTH} printable ASCII characters")
    return value


Settings = TypeVar("Settings", bound=BaseSettings)


def load(kind: type[Settings]) -> Settings:
    """Reads the environment, or ends the process with every fault listed."""
    try:
        return kind()
    except ValidationError as error:
        # A default that is refused is told by its field, anything else by its variable.
        variables = {name: field.validation_alias for name, field in kind.model_fields.items()}
        faults = [
            f"  {'.'.join(str(variables.get(str(part)) or part) for part in fault['loc'])}: "
            f"{fault['msg']}"
            for fault in error.errors()
        ]
        sys.exit("Settings are wrong; set these environment variables:\n" + "\n".join(faults))


def read_private_key(variable: str, path: Path) -> Ed25519PrivateKey:
    """Reads a key file, or ends the process saying which variable names a bad one."""
    try:
        return load_private_key(path.read_bytes())
    except (OSError, ValueError) as error:
        sys.exit(
            f"{variable}: {path} holds no Ed25519 private key in PKCS8 PEM form ({error}). "
            "Make one with: openssl genpkey -algorithm ed25519 -out FILE"
        )
