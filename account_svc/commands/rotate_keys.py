"""`python -m account_svc rotate-keys [--revoke KID | --prune]`.

Changes the key that signs players' tokens, while the mesh serves. Prints one JSON object,
`{"made": KID or null, "removed": [KID, ...], "kept": {KID: TIME, ...}}`; TIME (ISO 8601, UTC)
is when the key may be removed, null while it signs or may still sign. Progress goes to stderr.

It finds the instances in the registry and calls them as an operator. It needs MESH_REGISTRIES,
MESH_SERVICE_KEY_FILE (the operators' key), ACCOUNT_SIGNING_KEYS_DIR, and with TLS MESH_TLS_DIR.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import NoDecode

from account_svc.adapters.signing_keys.making import KeyFolder, lock_folder
from account_svc.adapters.signing_keys.views import InstanceViews
from account_svc.use_cases.instance_wait import InstanceWait, RotationFailed
from account_svc.use_cases.key_rotation import KeyChange, KeyRotation
from mesh.calling.unary import UnaryTransport
from mesh.contract.access import ADMIN, REGISTRY
from mesh.errors import MeshError
from mesh.identity.service_identity import ServiceIdentity
from mesh.membership.discovery import Directory
from mesh.process.config import read_private_key
from mesh.settings_loading import addresses, load, split_addresses
from mesh.tls.security import security_read_once
from mesh.tls.settings import TlsSettings

SERVICE = "account_svc"
REGISTRY_SECONDS = 3.0


class RotationSettings(TlsSettings):
    """Read once, from the environment."""

    signing_keys_dir: Path = Field(validation_alias="ACCOUNT_SIGNING_KEYS_DIR")
    registries: Annotated[str, NoDecode, AfterValidator(addresses)] = Field(
        validation_alias="MESH_REGISTRIES"
    )
    operator_key_file: Path = Field(validation_alias="MESH_SERVICE_KEY_FILE")


def main(arguments: Sequence[str]) -> None:
    """Runs the command. A failure ends the process with status 1 and one sentence."""
    options = _parser().parse_args(arguments)
    settings = load(RotationSettings)
    try:
        with lock_folder(settings.signing_keys_dir) as is_ours:
            if not is_ours:
                sys.exit("Another rotation is running: wait until it ends.")
            change = asyncio.run(_change(settings, options))
    except OSError as error:
        sys.exit(f"ACCOUNT_SIGNING_KEYS_DIR: {error}.")
    except RotationFailed as error:
        sys.exit(str(error))
    except MeshError as error:
        sys.exit(error.message)
    kept = {kid: None if at is None else at.isoformat() for kid, at in change.kept.items()}
    result = {"made": change.made, "removed": list(change.removed), "kept": kept}
    sys.stdout.write(f"{json.dumps(result)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m account_svc rotate-keys",
        description="Change the key that signs players' tokens, while the mesh serves.",
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--revoke",
        metavar="KID",
        help="remove this leaked key at once; its tokens become invalid",
    )
    either.add_argument(
        "--prune", action="store_true", help="only remove keys whose tokens have all expired"
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=1,
        metavar="COUNT",
        help="fail if the registry lists fewer instances of account_svc (default: 1)",
    )
    return parser


async def _change(settings: RotationSettings, options: argparse.Namespace) -> KeyChange:
    async with _views(settings, options.instances) as views:
        wait = InstanceWait(views.ask, _say, lambda: datetime.now(UTC))
        rotation = KeyRotation(KeyFolder(settings.signing_keys_dir), wait)
        if options.revoke is not None:
            return await rotation.revoke(options.revoke)
        return await (rotation.prune() if options.prune else rotation.rotate())


@asynccontextmanager
async def _views(settings: RotationSettings, min_count: int) -> AsyncIterator[InstanceViews]:
    key = read_private_key("MESH_SERVICE_KEY_FILE", settings.operator_key_file)
    identity = ServiceIdentity(key, ADMIN)
    security = security_read_once(settings)
    registry_token = identity.towards(REGISTRY).token
    directory = Directory(split_addresses(settings.registries), registry_token, security=security)
    transport = UnaryTransport(security=security)
    directory.start()
    try:
        await directory.first_snapshot(REGISTRY_SECONDS)
        yield InstanceViews(
            lambda: directory.instances(SERVICE),
            transport,
            identity.towards(SERVICE).metadata,
            min_count,
        )
    finally:
        await transport.close()
        await directory.close()


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
