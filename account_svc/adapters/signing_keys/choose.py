"""The folder of signing keys that the settings name."""

import sys

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.config import AccountSettings
from mesh.identity.key_files import BadKeyFolder


def open_signing_keys(settings: AccountSettings, token_seconds: int) -> SigningKeys:
    """The keys that players' tokens are signed with; a token lives for `token_seconds`.

    Ends the process with one sentence when the folder holds no key that can be used.
    """
    try:
        return SigningKeys(settings.signing_keys_dir, token_seconds=token_seconds)
    except BadKeyFolder as error:
        sys.exit(f"ACCOUNT_SIGNING_KEYS_DIR: {error}")
