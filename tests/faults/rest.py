"""REST as a player's client speaks it, over a connection that is made anew when it breaks."""

import asyncio

from bench.http1 import Answer, Connection, connect

ANSWER_TIMEOUT_SECONDS = 14.0


class Rest:
    """One request at a time."""

    def __init__(self, gateway: str) -> None:
        """`gateway` is http://HOST:PORT."""
        self._host, _, self._port = gateway.removeprefix("http://").rpartition(":")
        self._connection: Connection | None = None
        self._answer: asyncio.Future[Answer] | None = None

    async def send(
        self,
        line: str,
        token: str,
        key: str,
        body: bytes,
        *,
        patience_seconds: float = ANSWER_TIMEOUT_SECONDS,
        headers: str = "",
    ) -> Answer | None:
        """The answer; None when none came. `line` is a method and a path."""
        request = (
            f"{line} HTTP/1.1\r\nhost: {self._host}\r\nauthorization: Bearer {token}\r\n"
            f"idempotency-key: {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        )
        try:
            async with asyncio.timeout(patience_seconds):
                return await self._exchange(request.encode() + body)
        except (OSError, TimeoutError):
            self.close()
            return None

    def close(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _exchange(self, request: bytes) -> Answer:
        if self._connection is None:
            self._connection = await connect(
                self._host, int(self._port), self._take_answer, self._take_end
            )
        self._answer = asyncio.get_running_loop().create_future()
        self._connection.send(request)
        return await self._answer

    def _take_answer(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _take_end(self, cause: ConnectionError) -> None:
        self._connection = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(cause)
