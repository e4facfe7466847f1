"""A REST connection like a player's client; it is replaced when it breaks."""

import asyncio
import ssl

from proof.load.http1 import Answer, Connection, connect

ANSWER_TIMEOUT_SECONDS = 14.0


class _Exchanges:
    """One connection whose exchanges can be awaited. It cannot be used after an exchange without
    an answer."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._end: ConnectionError | None = None

    async def exchange(
        self, host: str, port: int, request: bytes, trust: ssl.SSLContext | None
    ) -> Answer:
        """Sends a request and returns its answer. Raises OSError."""
        if self._connection is None:
            self._connection = await connect(host, port, self._take_answer, self._take_end, trust)
        if self._end is not None:
            raise self._end
        self._answer = asyncio.get_running_loop().create_future()
        self._connection.send(request)
        return await self._answer

    @property
    def has_ended(self) -> bool:
        """Whether the peer has closed it."""
        return self._end is not None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _take_answer(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _take_end(self, cause: ConnectionError) -> None:
        self._end = cause
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(cause)


class RestConnection:
    """A keep-alive connection that sends one request at a time."""

    def __init__(self, gateway: str, trust: ssl.SSLContext | None = None) -> None:
        """`gateway` is http://HOST:PORT, or https:// with `trust` to verify it."""
        self._host, _, self._port = gateway.partition("://")[2].rpartition(":")
        self._trust = trust
        self._line: _Exchanges | None = None

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
        """The answer, or None without one. `line` is a method and a path."""
        request = (
            f"{line} HTTP/1.1\r\nhost: {self._host}\r\nauthorization: Bearer {token}\r\n"
            f"idempotency-key: {key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{headers}\r\n"
        )
        if self._line is not None and self._line.has_ended:
            self._line = None
        used, self._line = self._line or _Exchanges(), None
        try:
            async with asyncio.timeout(patience_seconds):
                answer = await used.exchange(
                    self._host, int(self._port), request.encode() + body, self._trust
                )
        except (OSError, TimeoutError):
            return None
        else:
            self._line = None if answer.is_last else used
            return answer
        finally:
            if self._line is not used:
                used.close()

    def close(self) -> None:
        """Idempotent."""
        if self._line is not None:
            self._line.close()
            self._line = None
