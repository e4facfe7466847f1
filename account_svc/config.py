"""Settings of the account service."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from account_svc.domain.prices import MAX_PRICE_MINOR, MAX_PURCHASE_GEMS, MAX_QUOTES
from mesh.postgres.primary_connector import DatabaseUrl
from mesh.process.config import ServiceSettings
from mesh.process.priority import BACKGROUND
from mesh.settings_loading import chosen_secret

DAY_SECONDS = 86_400
ProviderName = Literal["sandbox", "stripe"]


def _packages(written: object) -> object:
    """Reads amounts such as "160,1600". Raises ValueError."""
    if not isinstance(written, str):
        return written
    amounts = [int(part) if part.isdecimal() else 0 for part in map(str.strip, written.split(","))]
    if not all(1 <= amount <= MAX_PURCHASE_GEMS for amount in amounts) or len(amounts) > MAX_QUOTES:
        raise ValueError(f"must be 1 to {MAX_QUOTES} amounts of gems, such as 160,1600")
    return tuple(sorted(set(amounts)))


class ShopSettings(BaseSettings):
    """The database of the purchases, and the provider that is paid. Read once, from the
    environment."""

    database_url: DatabaseUrl

    payment_provider: ProviderName = Field(validation_alias="PAYMENT_PROVIDER")
    payment_url: str | None = Field(
        None,
        validation_alias="PAYMENT_URL",
        pattern=r"^https?://[!-~]+$",
        description="a URL without blanks",
        examples=["http://127.0.0.1:7900"],
        validate_default=True,
    )
    """The provider's address; for Stripe the default is its public address."""
    payment_secret_key_file: Path | None = Field(None, validation_alias="PAYMENT_SECRET_KEY_FILE")
    payment_secret_key: SecretStr = Field(
        None, validation_alias="PAYMENT_SECRET_KEY", validate_default=True
    )
    """The secret that authenticates this service to the provider."""
    payment_webhook_secret_file: Path | None = Field(
        None, validation_alias="PAYMENT_WEBHOOK_SECRET_FILE"
    )
    payment_webhook_secret: SecretStr = Field(
        None, validation_alias="PAYMENT_WEBHOOK_SECRET", validate_default=True
    )
    """The secret that signs the provider's webhooks."""

    @field_validator("payment_url")
    @classmethod
    def _require_url_of_sandbox(cls, url: str | None, others: ValidationInfo) -> str | None:
        if url is None and others.data.get("payment_provider") == "sandbox":
            raise ValueError("is required for PAYMENT_PROVIDER=sandbox")
        return url

    @field_validator("payment_secret_key", mode="before")
    @classmethod
    def _read_secret_key(cls, value: str | None, others: ValidationInfo) -> str:
        secret = chosen_secret("PAYMENT_SECRET_KEY", value, others.data["payment_secret_key_file"])
        is_stripe = others.data.get("payment_provider") == "stripe"
        if is_stripe and not secret.startswith(("sk_", "rk_")):
            raise ValueError("must be a secret or restricted key of Stripe (sk_... or rk_...)")
        return secret

    @field_validator("payment_webhook_secret", mode="before")
    @classmethod
    def _read_webhook_secret(cls, value: str | None, others: ValidationInfo) -> str:
        file = others.data["payment_webhook_secret_file"]
        return chosen_secret("PAYMENT_WEBHOOK_SECRET", value, file)


class AccountSettings(ServiceSettings, ShopSettings):
    """Read once, from the environment."""

    SERVICE: ClassVar[str] = "account_svc"

    signing_keys_dir: Path = Field(validation_alias="ACCOUNT_SIGNING_KEYS_DIR")
    database_connection_count: int = Field(8, validation_alias="DATABASE_CONNECTIONS", ge=2, le=100)

    gem_price_minor: int = Field(
        99, validation_alias="ACCOUNT_GEM_PRICE_MINOR", ge=1, le=MAX_PRICE_MINOR
    )
    """The price of 100 gems, in the smallest unit of the currency. A change does not affect
    running purchases."""
    gem_price_currency: str = Field(
        "USD",
        validation_alias="ACCOUNT_GEM_PRICE_CURRENCY",
        pattern=r"^[A-Z]{3}$",
        description="three capital letters (ISO 4217)",
        examples=["USD"],
    )
    """ISO 4217."""

    gem_packages: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_packages)] = Field(
        (160, 800, 1600, 4800, 16_000), validation_alias="ACCOUNT_GEM_PACKAGES"
    )
    """The amounts of gems that the price list offers; any other amount can be bought too."""

    pending_purchases: int = Field(64, validation_alias="ACCOUNT_PENDING_PURCHASES", ge=1, le=1000)
    """How many purchases of a player may be pending before the next one is refused."""

    reconciliation_seconds: int = Field(
        86_400, validation_alias="ACCOUNT_RECONCILIATION_SECONDS", ge=60, le=30 * 86_400
    )
    """How often the payment provider, the purchases and the ledger are compared."""
    reconciliation_days: int = Field(
        7,
        validation_alias="ACCOUNT_RECONCILIATION_DAYS",
        ge=1,
        le=400,
        validate_default=True,
    )
    """How many days back each comparison goes. They cover the time between two comparisons."""

    @field_validator("reconciliation_days")
    @classmethod
    def _leave_no_gap(cls, days: int, others: ValidationInfo) -> int:
        period_seconds = others.data.get("reconciliation_seconds", 0)
        if days * DAY_SECONDS < period_seconds:
            needed = -(-period_seconds // DAY_SECONDS)
            raise ValueError(
                f"must be {needed} or more for ACCOUNT_RECONCILIATION_SECONDS={period_seconds}: "
                "otherwise there are days that are never compared"
            )
        return days

    hashing_niceness: int = Field(
        BACKGROUND, validation_alias="ACCOUNT_HASHING_NICENESS", ge=0, le=19
    )
    """The priority of the process that hashes passwords, as nice(1) counts it. At 0 a flood of
    logins slows pulls on the same cores; at 10 logins wait while other
    work keeps all cores busy."""

    login_free_attempts: int = Field(5, validation_alias="ACCOUNT_LOGIN_FREE_ATTEMPTS", ge=1)
    """How many attempts on an account may fail before the next one must wait."""
    login_free_attempts_of_address: int = Field(
        100, validation_alias="ACCOUNT_LOGIN_FREE_ATTEMPTS_OF_ADDRESS", ge=1
    )
    """The same for an address, for all accounts together; raise it if many players share
    addresses."""

    keep_refused_days: int = Field(30, validation_alias="ACCOUNT_KEEP_REFUSED_DAYS", ge=1, le=3650)
    """How long declined purchases and refused fees are kept, so that repeats of their keys get
    the same answer."""
    keep_ended_sagas_days: int = Field(
        90, validation_alias="ACCOUNT_KEEP_ENDED_SAGAS_DAYS", ge=1, le=3650
    )
    """How long ended sagas are kept, for people who look into them. The saga of a purchase that was
    refused goes with it, after `keep_refused_days`."""
