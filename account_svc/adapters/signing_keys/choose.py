"""The folder of signing keys that the settings name."""

from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.config import AccountSettings
from mesh.identity.key_files import BadKeyFolder
from mesh.settings_loading import WrongSettings


def open_signing_keys(settings: AccountSettings, token_seconds: int) -> SigningKeys:
    """The keys that sign players' tokens; a token is valid for `token_seconds`.

    Raises WrongSettings when the folder has no usable key.
    """
    try:
        return SigningKeys(settings.signing_keys_dir, token_seconds=token_seconds)
    except BadKeyFolder as error:
        raise WrongSettings(f"ACCOUNT_SIGNING_KEYS_DIR: {error}") from None
