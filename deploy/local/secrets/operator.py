"""The operators' identity: a token in their own name, signed with their own key."""

from pathlib import Path

from deploy.local.errors import LocalRunError
from mesh.contract.access import ADMIN
from mesh.identity.keys import load_private_key
from mesh.identity.service_identity import ServiceIdentity


def identity(key_file: Path) -> ServiceIdentity:
    """The identity of the holder of the operators' key. Raises LocalRunError when the file has
    no key."""
    try:
        key = load_private_key(key_file.read_bytes())
    except (OSError, ValueError) as error:
        raise LocalRunError(f"The key in {key_file} cannot be used: {error}.") from error
    return ServiceIdentity(key, ADMIN)
