"""The TLS settings: a complete set or none. The files are read once to validate them.

The validators raise ValueError that names the variable.
"""

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from mesh.tls.material import TlsFiles, read_material


class TlsSettings(BaseSettings):
    """The TLS settings of connections in the mesh; if none is set, connections are plain text."""

    tls_directory: Path | None = Field(None, validation_alias="MESH_TLS_DIR")
    """Holds tls.crt, tls.key and ca.crt."""
    tls_cert_file: Path | None = Field(None, validation_alias="MESH_TLS_CERT_FILE")
    tls_key_file: Path | None = Field(None, validation_alias="MESH_TLS_KEY_FILE")
    tls_ca_file: Path | None = Field(None, validation_alias="MESH_TLS_CA_FILE")
    tls_server_name: str | None = Field(
        None,
        validation_alias="MESH_TLS_SERVER_NAME",
        pattern=r"^[A-Za-z0-9.-]{1,253}$",
        description="a host name",
        examples=["mesh.internal"],
    )
    """The host name in every server's certificate, if certificates do not name addresses."""
    tls_files: TlsFiles | None = Field(
        None, validation_alias="MESH_TLS_*", validate_default=True, init=False
    )

    @field_validator("tls_files", mode="before")
    @classmethod
    def _choose_files(cls, _: object, others: ValidationInfo) -> TlsFiles | None:
        directory: Path | None = others.data.get("tls_directory")
        files = {
            "MESH_TLS_CERT_FILE": others.data.get("tls_cert_file"),
            "MESH_TLS_KEY_FILE": others.data.get("tls_key_file"),
            "MESH_TLS_CA_FILE": others.data.get("tls_ca_file"),
        }
        given = [name for name, path in files.items() if path is not None]
        if directory is not None and given:
            raise ValueError(f"MESH_TLS_DIR must not be set together with {', '.join(given)}")
        if directory is None and not given:
            if others.data.get("tls_server_name") is not None:
                raise ValueError("MESH_TLS_SERVER_NAME needs MESH_TLS_DIR, or the three files")
            return None
        if directory is not None:
            return readable(TlsFiles.in_directory(directory))
        certificate, key, ca = (together(files)[name] for name in files)
        return readable(TlsFiles(certificate, key, ca))


def together(files: dict[str, Path | None]) -> dict[str, Path]:
    """All of the files, by the variables that name them. Raises ValueError that names the
    variables that are not set."""
    chosen = {name: path for name, path in files.items() if path is not None}
    missing = [name for name in files if name not in chosen]
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be set beside {' and '.join(chosen)}")
    return chosen


def readable(files: TlsFiles, clock: Callable[[], float] = time.time) -> TlsFiles:
    """Returns `files`. Raises ValueError if their content is unusable; `clock` is in seconds
    since 1970."""
    read_material(files, clock())
    return files
