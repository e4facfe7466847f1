"""The users of an etcd cluster: an administrator, and the registries' user.

Without users, anybody who reaches a member could add instances to the list. The user of the
registries may read and write the keys of the registries alone.
"""

import base64
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from deploy.local.mesh_client import MeshClient

ADMINISTRATOR = "root"
"""The name that etcd prescribes."""
REGISTRY = "registry"
KEYS, KEYS_END = b"/gacha-mesh/registry/", b"/gacha-mesh/registry0"
"""The first key of the registries, and the first after all of them."""
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class EtcdPasswords:
    """The passwords of both users."""

    administrator: str = field(repr=False)
    registry: str = field(repr=False)


def are_required(address: str, passwords: EtcdPasswords, client: MeshClient) -> bool:
    """Whether the cluster of this member lets in its users alone. Makes them if it has none.

    Idempotent, and safe to run for several members at once. False if the member does not answer,
    or another is being asked just now: ask again.
    """
    try:
        if _token(address, passwords, client):
            return True
        for path, question in _steps(passwords):
            # What is there already was made by an earlier run, or for another member.
            _ask(address, path, question, client)
        return bool(_token(address, passwords, client))
    except (OSError, http.client.HTTPException, ValueError):
        return False


def _token(address: str, passwords: EtcdPasswords, client: MeshClient) -> str:
    """A token of the administrator; empty if the cluster knows no users."""
    question = {"name": ADMINISTRATOR, "password": passwords.administrator}
    return str(_ask(address, "authenticate", question, client).get("token", ""))


def _steps(passwords: EtcdPasswords) -> Iterator[tuple[str, dict[str, Any]]]:
    permission = {"permType": "READWRITE", "key": _text(KEYS), "range_end": _text(KEYS_END)}
    for name, password in (
        (ADMINISTRATOR, passwords.administrator),
        (REGISTRY, passwords.registry),
    ):
        yield "role/add", {"name": name}
        yield "user/add", {"name": name, "password": password}
        yield "user/grant", {"user": name, "role": name}
    yield "role/grant", {"name": REGISTRY, "perm": permission}
    yield "enable", {}


def _ask(address: str, path: str, question: dict[str, Any], client: MeshClient) -> dict[str, Any]:
    """The answer of etcd's JSON gateway, an error too. Raises OSError, HTTPException and
    ValueError."""
    body = json.dumps(question).encode()
    _, said = client.post(address, f"/v3/auth/{path}", body, TIMEOUT_SECONDS)
    answer: dict[str, Any] = json.loads(said)
    return answer


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
