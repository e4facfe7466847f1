"""A server with a small application in the test's event loop, and raw clients."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from gateway_http.edge.client_address import ClientAddresses
from gateway_http.errors import error_response
from gateway_http.exchange import Headers, HttpRequest, RequestIds, Response
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.places import Reason, Sites
from gateway_http.listening.server import HttpServer
from gateway_http.listening.sockets import listening_socket
from gateway_http.listening.tls import CurrentCertificate
from mesh.errors import MeshError

SHORT = Bounds(
    max_head_bytes=1024,
    max_body_bytes=100,
    max_discarded_bytes=400_000,
    head_seconds=0.4,
    body_seconds=0.4,
    idle_seconds=0.4,
    discard_seconds=0.2,
    half_closed_seconds=0.1,
    leave_seconds=0.1,
)
PATIENT = replace(
    SHORT, head_seconds=30.0, body_seconds=30.0, idle_seconds=30.0, leave_seconds=30.0
)
GET = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"
PATIENCE_SECONDS = 20.0
SitesOf = Callable[[str, Headers], Sites]
BY_ADDRESS: SitesOf = ClientAddresses(()).sites_of


@dataclass
class Echo:
    """Answers with the path and the body; answers what begins with /wait when `go_on` is set."""

    requests: list[HttpRequest] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: HttpRequest) -> Response:
        self.requests.append(request)
        self.asked.set()
        if request.path.startswith("/wait"):
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.path.endswith("/large"):
            return Response(200, b"x" * 20_000_000)
        if request.path == "/bug":
            raise ValueError("a bug")
        if request.path.startswith("/status/"):
            return Response(int(request.path[8:]), b"")
        status = 204 if request.path == "/nothing" else 200
        return Response(status, request.path.encode() + request.body, headers=[("x-a", "b")])

    def refuse(self, error: MeshError) -> Response:
        return error_response(error, RequestIds("r", f"00-{1:032x}-{1:016x}-00"))


@dataclass
class Running:
    """A running server and its address."""

    server: HttpServer
    application: Echo
    address: tuple[str, int]
    serving: "asyncio.Task[None]"
    ends: Counter[Reason]
    is_leaving: bool = False

    async def connect(self, local_address: str = "127.0.0.1") -> "Client":
        streams = await asyncio.open_connection(*self.address, local_addr=(local_address, 0))
        return Client(*streams)

    async def end(self) -> None:
        self.server.leave()
        await asyncio.wait_for(self.serving, PATIENCE_SECONDS)


class Client:
    """A connection on which a test can write any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body of the next answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split(" ")[1]), headers, body

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """Sends a request; returns the status and the body of the answer."""
        self.write(data)
        status, _, body = await self.answer()
        return status, body

    async def rest(self) -> bytes:
        """Reads until the server has closed the connection."""
        with suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), PATIENCE_SECONDS)
        return b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def running(
    bounds: Bounds = PATIENT,
    certificate: CurrentCertificate | None = None,
    sites_of: SitesOf = BY_ADDRESS,
) -> AsyncIterator[Running]:
    ends: Counter[Reason] = Counter()
    listener = listening_socket("127.0.0.1:0")
    address, application = listener.getsockname(), Echo()
    server = HttpServer(
        application,
        listener,
        bounds=bounds,
        certificate=certificate,
        sites_of=sites_of,
        count_end=lambda reason: ends.update([reason]),
        is_leaving=lambda: run.is_leaving,
        check_seconds=0.05,
    )
    run = Running(server, application, address, asyncio.create_task(server.serve()), ends)
    try:
        yield run
    finally:
        application.go_on.set()
        await run.end()
