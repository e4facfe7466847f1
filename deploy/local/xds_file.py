"""`xds.json`: what a gRPC client of any language needs to dial `xds:///gacha`.

The bootstrap file of gRPC's xDS (gRFC A27), which GRPC_XDS_BOOTSTRAP points at. The ports
are kept from run to run, so it stays true over restarts of the mesh.
"""

import json
from collections.abc import Sequence
from pathlib import Path


def write(path: Path, registries: Sequence[str]) -> None:
    """Replaces the file in one step. `registries` are host:port, the preferred first."""
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": registry,
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
            for registry in registries
        ],
        "node": {"id": "gacha-mesh-client"},
    }
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(bootstrap, indent=2) + "\n")
    draft.replace(path)
