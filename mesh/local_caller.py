"""A process that calls its own server, with no network between."""

from mesh.calls import Metadata
from mesh.deadlines import Deadline
from mesh.dispatch import Dispatcher


class LocalCaller:
    """A `mesh.calls.Caller` that leads into a dispatcher of this process.

    The call goes through the same steps as one that came from elsewhere:
    authentication, limits, deadline, errors.
    """

    def __init__(self) -> None:
        self._dispatcher: Dispatcher | None = None

    def connect(self, dispatcher: Dispatcher) -> None:
        """Names the dispatcher, which is made from methods that may need this caller."""
        self._dispatcher = dispatcher

    async def call(
        self, method: str, request: bytes, metadata: Metadata, deadline: Deadline
    ) -> bytes:
        """See `mesh.calls.Caller`."""
        assert self._dispatcher is not None, "connect comes first"
        return await self._dispatcher.handle(method, request, metadata, deadline)
