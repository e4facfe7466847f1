"""Loads the catalog into a mesh that has just started."""

import http.client

from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from deploy.local.mesh_client import MeshClient
from deploy.local.secrets import operator

CATALOG_TIMEOUT_SECONDS = 30.0


def introduce_catalog(gateway: str, client: MeshClient, layout: Layout) -> None:
    """Calls GET /initdb as an operator. Idempotent. Raises LocalRunError with the gateway's
    answer."""
    token = operator.identity(layout.admin_key).towards("gacha_svc").token()
    try:
        status, body = client.get(gateway, "/initdb", CATALOG_TIMEOUT_SECONDS, token)
    except (OSError, http.client.HTTPException) as error:
        raise LocalRunError(f"The gateway did not answer GET /initdb: {error}") from error
    if status != http.client.OK:
        said = body.decode(errors="replace")
        raise LocalRunError(f"GET /initdb was answered {status}: {said}")
