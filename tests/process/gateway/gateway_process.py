"""The settings of a gateway process, and the address that it serves at."""

import os
from asyncio.subprocess import Process
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings of a gateway whose registry does not answer."""
    key = Ed25519PrivateKey.generate()
    key_file = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key_file)
    public_keys = tmp_path / "public_keys"
    public_keys.mkdir()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (public_keys / "gateway_http.pem").write_bytes(public)
    kept = {name: value for name, value in os.environ.items() if "MESH" not in name}
    return {
        **kept,
        "MESH_INSTANCE_ID": "gateway_http-1",
        "MESH_LISTEN": "127.0.0.1:0",
        "MESH_REGISTRIES": "127.0.0.1:1",
        "MESH_SERVICE_KEY_FILE": str(tmp_path / "key.pem"),
        "MESH_SERVICE_KEYS_DIR": str(public_keys),
    }


async def address_of(process: Process) -> str:
    assert process.stdout is not None
    async for line in process.stdout:
        event = orjson.loads(line)
        if event["event"] == "serve":
            return str(event["address"])
    raise AssertionError("the gateway ended before it served")
