"""Settings of the gacha service."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from mesh.postgres.primary_connector import DatabaseUrl
from mesh.process.config import ServiceSettings

PACKAGED_CATALOG = Path(__file__).parent / "catalog.yaml"


def _file(path: Path) -> Path:
    """Whether the catalog in it is right is only checked when it is put in force: a service with
    a good one in its database serves."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); name a file, or leave it out for the "
            "packaged catalog"
        ) from None
    return path


class GachaSettings(ServiceSettings):
    """Read once, from the environment."""

    SERVICE: ClassVar[str] = "gacha_svc"

    database_url: DatabaseUrl
    catalog_file: Annotated[Path, AfterValidator(_file)] = Field(
        PACKAGED_CATALOG, validation_alias="GACHA_CATALOG_FILE"
    )
    database_connection_count: int = Field(
        12, validation_alias="DATABASE_CONNECTIONS", ge=1, le=100
    )
    init_db: Literal["public", "admin"] = Field("admin", validation_alias="GACHA_INIT_DB")
    """Who may call InitDb: everyone, or only an operator."""
    gift_fee_gems: int = Field(20, validation_alias="GACHA_GIFT_FEE_GEMS", ge=1, le=1_000_000_000)
    """The fee for sending a gift. A change does not affect running gifts."""
    refused_gifts_an_hour: int = Field(
        20, validation_alias="GACHA_REFUSED_GIFTS_AN_HOUR", ge=1, le=1_000_000
    )
    """How many gifts of a sender may be returned within an hour before the next one waits."""
    pending_gifts: int = Field(64, validation_alias="GACHA_PENDING_GIFTS", ge=1, le=1000)
    """How many gifts of a sender may be pending before the next one is refused."""
    keep_refused_days: int = Field(30, validation_alias="GACHA_KEEP_REFUSED_DAYS", ge=1, le=3650)
    """How long refused gifts are kept, so that repeats of their keys get the same answer."""
    keep_ended_sagas_days: int = Field(
        90, validation_alias="GACHA_KEEP_ENDED_SAGAS_DAYS", ge=1, le=3650
    )
    """How long ended sagas are kept, for people who look into them. The saga of a gift that was
    refused goes with it, after `keep_refused_days`."""
