"""The gateway's settings; MESH_LISTEN is where it serves HTTP, or HTTPS with a certificate."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from gateway_http.edge.client_address import Network, parse_networks
from gateway_http.edge.rate_limits.policy import Policy, parse_policy
from gateway_http.listening.bounds import MAX_BODY_BYTES, MAX_HEAD_BYTES
from mesh.calling.unary import MAX_REQUEST_BYTES
from mesh.process.config import ServiceSettings
from mesh.settings_loading import callable_address
from mesh.tls.material import TlsFiles
from mesh.tls.settings import readable, together

_ORIGIN = re.compile(
    r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?"
)


def _policy(default: Policy, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    return replace(parse_policy(default.name, given), refusal=default.refusal)


def _networks(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return parse_networks(given)
    except ValueError as error:
        raise ValueError(
            f"must be networks with commas between, such as 10.0.0.0/8,::1 ({error})"
        ) from None


def _origins(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    origins = frozenset(part.strip() for part in given.split(",") if part.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not an origin: use https://host or https://host:port without a path"
            )
    return origins


def _nodes(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    addresses = [callable_address(part.strip()) for part in given.split(",") if part.strip()]
    parts = [address.rpartition(":") for address in addresses]
    return tuple((host.strip("[]"), int(port)) for host, _, port in parts)


ADDRESS = Policy("address", 10_000, 10, "Too many requests from this address")
SIGN_IN = Policy("sign-in", 300, 60, "Too many attempts to register or log in from this address")
PLAYER = Policy("player", 500, 10, "Too many requests by this player")
AddressPolicy = Annotated[Policy, NoDecode, BeforeValidator(partial(_policy, ADDRESS))]
SignInPolicy = Annotated[Policy, NoDecode, BeforeValidator(partial(_policy, SIGN_IN))]
PlayerPolicy = Annotated[Policy, NoDecode, BeforeValidator(partial(_policy, PLAYER))]

LARGEST_MAX_BODY_BYTES = MAX_REQUEST_BYTES - MAX_HEAD_BYTES
"""The body, the path, the query and the headers of a request become one message of the mesh."""


class GatewaySettings(ServiceSettings):
    """The gateway's settings besides those of every process."""

    SERVICE: ClassVar[str] = "gateway_http"

    listen_fd: int | None = Field(None, ge=3, validation_alias="MESH_LISTEN_FD")
    """A listening socket that the parent process passed to the gateway."""
    max_body_bytes: int = Field(
        MAX_BODY_BYTES,
        ge=1024,
        le=LARGEST_MAX_BODY_BYTES,
        validation_alias="GATEWAY_MAX_BODY_BYTES",
    )
    deadline_seconds: float = Field(
        10.0, gt=0.0, le=300.0, validation_alias="GATEWAY_DEADLINE_SECONDS"
    )
    max_in_flight: int = Field(1024, ge=1, le=100_000, validation_alias="GATEWAY_MAX_IN_FLIGHT")
    max_player_in_flight: int = Field(
        32, ge=1, le=100_000, validation_alias="GATEWAY_MAX_PLAYER_IN_FLIGHT"
    )
    """Of one player, and of one address for calls whose token is missing or not valid."""
    max_address_in_flight: int = Field(
        128, ge=1, le=100_000, validation_alias="GATEWAY_MAX_ADDRESS_IN_FLIGHT"
    )
    """Of one client's address, to public routes."""
    max_address_players_in_flight: int = Field(
        256, ge=1, le=100_000, validation_alias="GATEWAY_MAX_ADDRESS_PLAYERS_IN_FLIGHT"
    )
    """Of all players at one client's address together."""
    max_connections: int = Field(
        8192, ge=16, le=1_000_000, validation_alias="GATEWAY_MAX_CONNECTIONS"
    )
    max_address_connections: int = Field(
        1024, ge=4, le=1_000_000, validation_alias="GATEWAY_MAX_ADDRESS_CONNECTIONS"
    )
    """Of one client's address; connections of trusted proxies have no such bound."""
    notice_seconds: float = Field(1.0, ge=0.0, le=60.0, validation_alias="GATEWAY_NOTICE_SECONDS")
    """How long the gateway serves after a stop signal, so that load balancers can read
    /readyz first."""
    rate_limits: Literal["on", "off"] = Field("on", validation_alias="GATEWAY_RATE_LIMITS")
    address_limit: AddressPolicy = Field(ADDRESS, validation_alias="GATEWAY_LIMIT_ADDRESS")
    sign_in_limit: SignInPolicy = Field(SIGN_IN, validation_alias="GATEWAY_LIMIT_SIGN_IN")
    player_limit: PlayerPolicy = Field(PLAYER, validation_alias="GATEWAY_LIMIT_PLAYER")
    cache_nodes: Annotated[tuple[tuple[str, int], ...], NoDecode, BeforeValidator(_nodes)] = Field(
        (), validation_alias="MESH_CACHE_NODES"
    )
    """Some nodes of the cache's cluster. If empty, each gateway limits by its own counts."""
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)] = Field(
        (), validation_alias="GATEWAY_TRUSTED_PROXIES"
    )
    cors_origins: Annotated[frozenset[str], NoDecode, BeforeValidator(_origins)] = Field(
        frozenset(), validation_alias="GATEWAY_CORS_ORIGINS"
    )
    hsts_seconds: int = Field(
        31_536_000, ge=0, le=63_072_000, validation_alias="GATEWAY_HSTS_SECONDS"
    )
    """For Strict-Transport-Security, which is sent only over TLS; 0 turns it off."""
    report_url: str | None = Field(
        None,
        validation_alias="GATEWAY_REPORT_URL",
        pattern=r"^(https?://|mailto:)[!-~]{1,500}$",
        description="a URL of at most 500 characters without blanks",
        examples=["https://example.com/report", "mailto:report@example.com"],
    )
    """Where people report problems; the page at / links to it."""
    rest_certificate_file: Path | None = Field(None, validation_alias="GATEWAY_TLS_CERT_FILE")
    rest_key_file: Path | None = Field(None, validation_alias="GATEWAY_TLS_KEY_FILE")
    rest_files: TlsFiles | None = Field(
        None, validation_alias="GATEWAY_TLS_*", validate_default=True, init=False
    )
    """The certificate for REST clients; None serves plain HTTP."""

    @field_validator("rest_files", mode="before")
    @classmethod
    def _choose_rest_files(cls, _: object, others: ValidationInfo) -> TlsFiles | None:
        files: dict[str, Path | None] = {
            "GATEWAY_TLS_CERT_FILE": others.data.get("rest_certificate_file"),
            "GATEWAY_TLS_KEY_FILE": others.data.get("rest_key_file"),
        }
        if not any(files.values()):
            return None
        certificate, key = together(files).values()
        return readable(TlsFiles(certificate, key, None))
