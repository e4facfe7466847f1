"""`xds.json`: with it, a gRPC client of any language can dial `xds:///gacha`.

The xDS bootstrap file of gRPC (gRFC A27); GRPC_XDS_BOOTSTRAP names it. The ports are kept from
run to run, so the file stays valid over restarts of the mesh.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from mesh.tls.material import TlsFiles


def write(path: Path, registries: Sequence[str], files: TlsFiles | None = None) -> None:
    """Replaces the file atomically. `registries` are host:port, in order of preference. `files`
    are those of the client's certificate, if the mesh requires one (gRFC A65)."""
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": registry,
                "channel_creds": [_credentials(files)],
                "server_features": ["xds_v3"],
            }
            for registry in registries
        ],
        "node": {"id": "gacha-mesh-client"},
    }
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps(bootstrap, indent=2) + "\n")
    draft.replace(path)


def _credentials(files: TlsFiles | None) -> dict[str, object]:
    if files is None:
        return {"type": "insecure"}
    named = {
        "certificate_file": str(files.certificate),
        "private_key_file": str(files.key),
        "ca_certificate_file": str(files.ca),
        "refresh_interval": "60s",
    }
    return {"type": "tls", "config": named}
