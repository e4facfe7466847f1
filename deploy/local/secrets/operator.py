"""The operators' identity: it signs tokens with the operators' key."""

from pathlib import Path

from deploy.local.errors import LocalRunError
from mesh.contract.access import ADMIN
from mesh.identity.keys import load_private_key
from mesh.identity.service_identity import ServiceIdentity


def identity(key_file: Path) -> ServiceIdentity:
    """The identity that this key file gives. Raises LocalRunError when the file has no key."""
    try:
        key = load_private_key(key_file.read_bytes())
    except (OSError, ValueError) as error:
        raise LocalRunError(f"The key in {key_file} cannot be used: {error}.") from error
    return ServiceIdentity(key, ADMIN)
