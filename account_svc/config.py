"""Settings of the account service."""

from pathlib import Path

from pydantic import Field

from mesh.config import MemberSettings


class AccountSettings(MemberSettings):
    """Read once, from the environment."""

    database_url: str = Field(validation_alias="DATABASE_URL", pattern=r"^postgresql\+psycopg2://")
    signing_key_file: Path = Field(validation_alias="ACCOUNT_SIGNING_KEY_FILE")
    database_connection_count: int = Field(8, validation_alias="DATABASE_CONNECTIONS", ge=1, le=100)
