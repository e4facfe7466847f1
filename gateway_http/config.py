"""The gateway's settings; MESH_LISTEN is where it serves HTTP."""

from pydantic import Field

from mesh.config import MemberSettings


class GatewaySettings(MemberSettings):
    """What the gateway needs to know beside what every process does."""

    listen_fd: int | None = Field(None, ge=3, validation_alias="MESH_LISTEN_FD")
    """A socket that listens already, handed down by whoever started the gateway."""
    max_body_bytes: int = Field(
        64 * 1024, ge=1024, le=16 * 1024 * 1024, validation_alias="GATEWAY_MAX_BODY_BYTES"
    )
    deadline_seconds: float = Field(
        10.0, gt=0.0, le=300.0, validation_alias="GATEWAY_DEADLINE_SECONDS"
    )
    max_in_flight: int = Field(1024, ge=1, le=100_000, validation_alias="GATEWAY_MAX_IN_FLIGHT")
