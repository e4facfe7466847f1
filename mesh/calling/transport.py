"""What carries one call to one instance.

Unary gRPC calls and lanes both stand behind this interface; the client above
them decides where a call goes and whether it is repeated.
"""

from collections.abc import Iterable
from typing import ClassVar, Protocol

from mesh.calls import Metadata
from mesh.errors import DeadlineExceeded, InvalidArgument, MeshError, Unavailable


class ConnectionBroken(Unavailable):
    """The connection was refused or lost; nobody answered.

    `was_sent` says whether the request may have reached the server. Callers
    outside may see the message, so it does not tell the address.
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
    """The attempt's time ran out and the instance had not answered.

    `was_silent` says that nothing else was heard of the instance either; if something
    was, the call is slow and the instance is there.
    """

    def __init__(self, *, was_sent: bool, was_silent: bool = True) -> None:
        super().__init__("No answer came in time; repeat the call to learn the outcome.")
        self.was_sent = was_sent
        self.was_silent = was_silent


class NotCarried(MeshError):
    """Mixed into what a transport refuses by itself: nothing was sent, and the instance
    was not heard. `may_fit_elsewhere` says that another connection may take the call."""

    was_sent = False
    may_fit_elsewhere: ClassVar[bool] = False


class UnfitMetadata(NotCarried, InvalidArgument):
    """Metadata that gRPC would not carry."""

    REASON = "METADATA_UNFIT"

    def __init__(self) -> None:
        super().__init__("The metadata of a call must be ASCII.")


class Transport(Protocol):
    """Carries calls to instances by their addresses, host:port."""

    async def connect(self, address: str, timeout_seconds: float) -> None:
        """Returns at once if there is a connection, and otherwise makes one.

        Raises ConnectionBroken or NoAnswer, whose `was_sent` is false.
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
        """Sends one request and returns the serialized response; repeats nothing.

        Cancelling it cancels the call. Raises the MeshError that the server sent,
        ConnectionBroken, NoAnswer, or a NotCarried.
        """
        ...

    def retain(self, addresses: Iterable[str]) -> None:
        """Names the addresses that are wanted from now on; the connections to others
        are closed in their time."""
        ...

    async def close(self) -> None:
        """Breaks every connection."""
        ...
