"""The interface of transports: sending one call to one instance.

Unary gRPC calls and lanes implement it. `mesh.calling.client` decides on the instance and on
retries.
"""

from collections.abc import Iterable
from typing import ClassVar, Protocol

from mesh.calls import Metadata
from mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, Unavailable


class ConnectionBroken(Unavailable):
    """The connection was refused, or was lost before an answer came.

    `was_sent` says whether the request may have reached the server. Outside callers may see
    the message, so it does not contain the address.
    """

    REASON = "CONNECTION_BROKEN"

    def __init__(self, *, was_sent: bool) -> None:
        super().__init__(
            "The connection broke before the answer came; the outcome is unknown."
            if was_sent
            else "The connection could not be made; nothing was sent."
        )
        self.was_sent = was_sent


class NoAnswer(DeadlineExceeded):
    """The attempt timed out before the instance answered.

    `showed_no_life`: no message of any kind came from the instance for a while. If one came,
    the instance is alive and only the call is slow.
    """

    def __init__(self, *, was_sent: bool, showed_no_life: bool = True) -> None:
        super().__init__("No answer came in time; repeat the call to learn the outcome.")
        self.was_sent = was_sent
        self.showed_no_life = showed_no_life


class NotCarried(MeshError):
    """Mixin of the errors by which a transport itself refuses a call. Nothing was sent, so the
    error says nothing about the instance. `may_fit_elsewhere`: another connection may take
    the call."""

    was_sent = False
    may_fit_elsewhere: ClassVar[bool] = False


class UnfitMetadata(NotCarried, InvalidArgument):
    """Metadata that gRPC cannot send."""

    REASON = "METADATA_UNFIT"

    def __init__(self) -> None:
        super().__init__("The metadata of a call must be ASCII.")


class Transport(Protocol):
    """Sends calls to instances by address, host:port."""

    async def connect(self, address: str, timeout_seconds: float) -> None:
        """Makes a connection if there is none yet.

        Raises ConnectionBroken or NoAnswer, with `was_sent` false.
        """
        ...

    async def call(
        self,
        address: str,
        method: str,
        request: bytes,
        metadata: Metadata,
        timeout_seconds: float,
    ) -> bytes:
        """Sends one request and returns the serialized response. It does not retry.

        Cancelling the task cancels the call. Raises the MeshError that the server sent,
        ConnectionBroken, NoAnswer, or a NotCarried.
        """
        ...

    def retain(self, addresses: Iterable[str]) -> None:
        """Keeps the connections to these addresses; the others are closed after a grace
        period."""
        ...

    async def close(self) -> None:
        """Breaks every connection."""
        ...
