"""The folder of signing keys that the settings name."""

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.config import AccountSettings
from mesh.identity.key_files import BadKeyFolder
from mesh.identity.tokens import PLAYER_TOKEN_SECONDS
from mesh.settings_loading import WrongSettings


def open_signing_keys(settings: AccountSettings, token_seconds: int) -> SigningKeys:
    """The keys that sign players' tokens; a token is valid for `token_seconds`.

    Raises WrongSettings when the folder has no usable key.
    """
    try:
        return SigningKeys(settings.signing_keys_dir, token_seconds=token_seconds)
    except BadKeyFolder as error:
        raise WrongSettings(_fault(error)) from None


def signing_key_faults(settings: AccountSettings) -> list[str]:
    """What is wrong with the folder; empty if it has a usable key."""
    try:
        SigningKeys(settings.signing_keys_dir, token_seconds=PLAYER_TOKEN_SECONDS)
    except BadKeyFolder as error:
        return [_fault(error)]
    return []


def _fault(error: BadKeyFolder) -> str:
    return f"ACCOUNT_SIGNING_KEYS_DIR: {error}"
