"""Loads the catalog into a mesh that has just started."""

import http.client
import json
from collections.abc import Callable

from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from deploy.local.mesh_client import MeshClient
from deploy.local.secrets import operator

CATALOG_TIMEOUT_SECONDS = 30.0


def introduce_catalog(
    gateway: str, client: MeshClient, layout: Layout, say: Callable[[str], None]
) -> None:
    """Calls GET /initdb as an operator. Idempotent.

    If the catalog is refused and an earlier one is in force, says why and returns: players play
    by the earlier one. Raises LocalRunError with the gateway's answer otherwise.
    """
    token = operator.identity(layout.admin_key).towards("gacha_svc").token()
    status, body = _get(gateway, client, "/initdb", token)
    if status == http.client.OK:
        return
    said = body.decode(errors="replace")
    if status != http.client.BAD_REQUEST or not _is_catalog_in_force(gateway, client):
        raise LocalRunError(f"GET /initdb was answered {status}: {said}")
    say(
        "The catalog was refused, so the one that was in force before stays in force. Correct the "
        f"file and call GET /initdb. The answer to it was: {said}"
    )


def _is_catalog_in_force(gateway: str, client: MeshClient) -> bool:
    status, body = _get(gateway, client, "/banners")
    return status == http.client.OK and bool(json.loads(body).get("banners"))


def _get(gateway: str, client: MeshClient, path: str, token: str = "") -> tuple[int, bytes]:
    try:
        return client.get(gateway, path, CATALOG_TIMEOUT_SECONDS, token)
    except (OSError, http.client.HTTPException) as error:
        raise LocalRunError(f"The gateway did not answer GET {path}: {error}") from error
