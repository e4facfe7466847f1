"""Settings of the payment sandbox, read once from the environment."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from mesh.settings_loading import chosen_secret, instance_of, listen_address
from payment_sandbox.faults import FaultRates


class SandboxSettings(BaseSettings):
    """It has only the two secrets that a provider shares with its customer."""

    instance_id: Annotated[str, AfterValidator(partial(instance_of, "payment_sandbox"))] = Field(
        "payment_sandbox-1", validation_alias="SANDBOX_INSTANCE_ID"
    )
    listen: Annotated[str, AfterValidator(listen_address)] = Field(
        validation_alias="SANDBOX_LISTEN"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="MESH_LOG_LEVEL"
    )
    book_file: Path = Field(validation_alias="SANDBOX_BOOK_FILE")
    webhook_url: str = Field(
        validation_alias="SANDBOX_WEBHOOK_URL",
        pattern=r"^https?://[!-~]+$",
        description="a URL without blanks",
        examples=["http://127.0.0.1:8080/webhooks/payments"],
    )
    pending_seconds: float = Field(1.0, gt=0.0, le=60.0, validation_alias="SANDBOX_PENDING_SECONDS")
    slow_seconds: float = Field(3.0, gt=0.0, le=60.0, validation_alias="SANDBOX_SLOW_SECONDS")
    faults: Annotated[FaultRates, NoDecode] = Field(FaultRates(), validation_alias="SANDBOX_FAULTS")
    """As JSON, such as {"dropped": 0.1, "seed": 7}."""

    secret_key_file: Path | None = Field(None, validation_alias="SANDBOX_SECRET_KEY_FILE")
    secret_key: SecretStr = Field(
        None, validation_alias="SANDBOX_SECRET_KEY", validate_default=True
    )
    webhook_secret_file: Path | None = Field(None, validation_alias="SANDBOX_WEBHOOK_SECRET_FILE")
    webhook_secret: SecretStr = Field(
        None, validation_alias="SANDBOX_WEBHOOK_SECRET", validate_default=True
    )

    @field_validator("faults", mode="before")
    @classmethod
    def _read_faults(cls, value: object) -> object:
        return FaultRates.model_validate_json(value) if isinstance(value, str) else value

    @field_validator("secret_key", mode="before")
    @classmethod
    def _read_secret_key(cls, value: str | None, others: ValidationInfo) -> str:
        return chosen_secret("SANDBOX_SECRET_KEY", value, others.data["secret_key_file"])

    @field_validator("webhook_secret", mode="before")
    @classmethod
    def _read_webhook_secret(cls, value: str | None, others: ValidationInfo) -> str:
        return chosen_secret("SANDBOX_WEBHOOK_SECRET", value, others.data["webhook_secret_file"])
