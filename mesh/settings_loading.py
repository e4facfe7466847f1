"""Reads the settings of a process once, from the environment.

A bad or missing setting ends the process with status 78. The message lists every fault at
once, each with its variable's name.
"""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
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


def listen_address(address: str) -> str:
    """Checks that an address reads host:port, and that others can call the host. Port 0 means
    any free one. Raises ValueError otherwise."""
    host, separator, port = address.rpartition(":")
    if not (host and separator and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError("must be host:port, such as 127.0.0.1:7000")
    if not is_callable_host(host):
        raise ValueError(f"must have a host that others can call; {host!r} is none")
    return address


def callable_address(address: str) -> str:
    """Checks an address at which somebody else listens. Raises ValueError otherwise."""
    if int(listen_address(address).rpartition(":")[2]) == 0:
        raise ValueError("must have a port that others can call, and not 0")
    return address


def addresses(text: str) -> str:
    """Checks a list of addresses, separated by commas. Raises ValueError otherwise."""
    for address in text.split(","):
        callable_address(address.strip())
    return text


def split_addresses(text: str) -> list[str]:
    """The addresses of a list that `addresses` has checked, in order."""
    return [address.strip() for address in text.split(",")]


def instance_of(service: str, instance_id: str) -> str:
    """Checks the id of one of the service's instances. Raises ValueError otherwise."""
    is_named = instance_id.startswith(f"{service}-") and len(instance_id) <= 64
    if is_named and _INSTANCE.fullmatch(instance_id.removeprefix(f"{service}-")):
        return instance_id
    raise ValueError(
        f"must begin with the service's name and a hyphen, such as {service}-1, and have at most "
        "64 letters, digits, hyphens, dots and underscores"
    )


_INSTANCE = re.compile(r"[A-Za-z0-9_.-]+")
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


def load(kind: type[Settings], further_faults: Callable[[], Sequence[str]] = list) -> Settings:
    """Reads the environment. Raises WrongSettings with every fault listed, and then also with
    `further_faults`, sentences that begin with their variables."""
    try:
        return kind()
    except ValidationError as error:
        # pydantic names a refused default by its field, and any other fault by its variable.
        fields = kind.model_fields
        by_variable = {str(field.validation_alias): field for field in fields.values()} | fields
        faults = [f"  {_in_words(fault, by_variable)}" for fault in error.errors()]
        faults += [f"  {fault}" for fault in further_faults()]
        raise WrongSettings(
            "Settings are wrong; set these environment variables:\n" + "\n".join(faults)
        ) from None


def _in_words(fault: ErrorDetails, fields: Mapping[str, FieldInfo]) -> str:
    """The variable and what is wrong with it. In place of the pattern that a value does not match
    stand the field's description and an example."""
    named = [fields.get(str(part)) for part in fault["loc"]]
    variable = ".".join(
        str(part if field is None else field.validation_alias)
        for part, field in zip(fault["loc"], named, strict=True)
    )
    field = named[0] if named else None
    match fault["type"]:
        case "missing":
            return f"{variable}: is required"
        case "string_pattern_mismatch" if field is not None and field.examples:
            return f"{variable}: must be {field.description}, such as {field.examples[0]}"
        case _:
            return f"{variable}: {fault['msg'].removeprefix('Value error, ')}"
