"""Reads the settings of a process once, from the environment.

A bad or missing setting ends the process with status 78. The message lists every fault at
once, each with its variable's name.
"""

import os
import sys
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from mesh.addresses import is_callable_host


class WrongSettings(SystemExit):
    """Ends the process with status 78 (EX_CONFIG of sysexits.h) and the faults on stderr.

    Whoever started the process knows by the status that another start would end alike.
    """

    def __init__(self, faults: str) -> None:
        super().__init__(faults)
        self.code = os.EX_CONFIG
        sys.stderr.write(f"{faults}\n")


def host_and_port(address: str) -> str:
    """Checks that an address reads host:port, and that others can call the host. Raises
    ValueError otherwise."""
    host, separator, port = address.rpartition(":")
    if not (host and separator and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("must be host:port, such as 127.0.0.1:7000")
    if not is_callable_host(host):
        raise ValueError(f"must have a host that others can call; {host!r} is none")
    return address


def addresses(text: str) -> str:
    """Checks a list of addresses, separated by commas. Raises ValueError otherwise."""
    for address in text.split(","):
        host_and_port(address.strip())
    return text


def split_addresses(text: str) -> list[str]:
    """The addresses of a list that `addresses` has checked, in order."""
    return [address.strip() for address in text.split(",")]


MIN_SECRET_LENGTH = 16


def chosen_secret(variable: str, value: str | None, file: Path | None) -> str:
    """The secret in `variable`, or in the file that `variable`_FILE names.

    For use in a field's validator. Raises ValueError; its message never contains the secret.
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
        # pydantic names a refused default by its field, and any other fault by its variable.
        variables = {name: field.validation_alias for name, field in kind.model_fields.items()}
        faults = [
            f"  {'.'.join(str(variables.get(str(part)) or part) for part in fault['loc'])}: "
            f"{fault['msg']}"
            for fault in error.errors()
        ]
        raise WrongSettings(
            "Settings are wrong; set these environment variables:\n" + "\n".join(faults)
        ) from None
