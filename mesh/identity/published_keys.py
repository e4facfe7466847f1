"""The public keys that another service publishes: cached, and fetched periodically.

They are fetched every `fetch_seconds`, and earlier after a failed fetch or for an unknown key
id. Fetches start at most once in RETRY_SECONDS, with at most one in flight, so that a flood
of made-up key ids causes no flood of fetches. While fetches fail, the last fetched keys stay
valid. A key that is no longer published is rejected from the next successful fetch on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mesh.errors import DataLoss, MeshError, NoKeysYet

FETCH_SECONDS = 10.0
RETRY_SECONDS = 1.0
FIRST_FETCH_SECONDS = 0.25
"""Between attempts until the first fetch succeeds. Until then every player is refused."""

log = structlog.get_logger()
Fetch = Callable[[], Awaitable[Mapping[str, Ed25519PublicKey]]]
"""Returns the keys by their ids. Raises MeshError if the service cannot be reached, and
ValueError if the response is no key set. It must have a timeout of its own."""


class PublishedKeys:
    """`find` is `mesh.identity.keys.PublicKeys`, and `find_fetched` is `KnownKeys`. Use it in one
    event loop only."""

    def __init__(
        self,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        *,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._fetch = fetch
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._keys: Mapping[str, Ed25519PublicKey] = {}
        self._failure: MeshError | None = None
        self._began_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._are_there = asyncio.Event()

    async def first(self) -> None:
        """Waits for the first keys. Needs `keep_fetching` to run."""
        await self._are_there.wait()

    async def find(self, kid: str) -> Ed25519PublicKey | None:
        """The key with that id; None if no such key is published.

        Raises NoKeysYet until the first fetch succeeds.
        """
        found = self._keys.get(kid)
        if found is not None:
            return found
        if self._fetching is not None or self._may_fetch():
            await self._fetched()
        if not self._keys and self._failure is not None:
            raise NoKeysYet(
                "The players' keys could not be fetched yet; try again in a moment.",
                metadata={"cause": self._failure.reason},
                retry_after_seconds=RETRY_SECONDS,
            )
        return self._keys.get(kid)

    def find_fetched(self, kid: str) -> Ed25519PublicKey | None:
        """The key with that id among those that were fetched last."""
        return self._keys.get(kid)

    async def keep_fetching(self) -> None:
        """Fetches periodically, until cancelled."""
        while True:
            await self._fetched()
            has_failed = self._failure is not None
            await asyncio.sleep(self._pause_seconds() if has_failed else self._fetch_seconds)

    def _may_fetch(self) -> bool:
        return self._began_at is None or self._clock() >= self._began_at + self._pause_seconds()

    def _pause_seconds(self) -> float:
        return RETRY_SECONDS if self._keys else FIRST_FETCH_SECONDS

    async def _fetched(self) -> None:
        """Waits for the fetch in flight, or starts one."""
        if self._fetching is None:
            self._began_at = self._clock()
            self._fetching = asyncio.create_task(self._take(), name="published-keys")
        # Not awaited directly: cancelling this caller must not cancel a fetch that others
        # wait for.
        await asyncio.wait([self._fetching])

    async def _take(self) -> None:
        try:
            keys = await self._fetch()
            if not keys:
                raise ValueError("the key set is empty")
        except MeshError as error:
            self._note(error)
        except Exception as error:  # without the log entry the task would end unnoticed
            log.error("refuse_key_set", exc_info=error)
            self._note(DataLoss("The published key set cannot be read."))
        else:
            if keys.keys() != self._keys.keys() or self._failure is not None:
                log.info("fetch_key_set", kids=list(keys))
            self._keys, self._failure = keys, None
            self._are_there.set()
        finally:
            self._fetching = None

    def _note(self, failure: MeshError) -> None:
        if self._failure is None:
            # While the mesh starts, such a failure is normal.
            write = log.warning if self._keys else log.info
            write("fail_key_set", error=failure.message, kept_key_count=len(self._keys))
        self._failure = failure
