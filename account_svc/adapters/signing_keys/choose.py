"""The folder of signing keys that the settings name."""

import sys

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.config import AccountSettings
from mesh.identity.key_files import BadKeyFolder


def open_signing_keys(settings: AccountSettings, token_seconds: int) -> SigningKeys:
    """The keys that sign players' tokens; a token is valid for `token_seconds`.

    Exits the process with one sentence when the folder has no usable key.
    """
    try:
        return SigningKeys(settings.signing_keys_dir, token_seconds=token_seconds)
    except BadKeyFolder as error:
        sys.exit(f"ACCOUNT_SIGNING_KEYS_DIR: {error}")
