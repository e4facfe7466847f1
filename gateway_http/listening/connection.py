"""One HTTP/1.1 connection: answers its requests in order, one at a time.

Guarantees: the application gets only complete requests, so an incomplete one has no effect.
While a request is being answered, further bytes wait in the socket. If the client disconnects,
the work on its request is cancelled. After a last answer, the connection is read for a moment
before it is closed, because a client that is still sending would otherwise lose the answer
(RFC 9112, 9.6). Each wait has a time limit, which the server checks once a second. Its place
always has the connection's state, so that the server can end it for others.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import structlog

from gateway_http.exchange import Application, Headers, HttpRequest, Response
from gateway_http.listening.answers import CONTINUE, answer_bytes
from gateway_http.listening.bounds import Bounds
from gateway_http.listening.places import Place, Places, Sites, State
from gateway_http.listening.request_reader import Phase, RequestReader
from gateway_http.listening.sockets import name_of_peer

SLICE_BYTES = 4096
"""The bytes that are parsed at a time. What follows stays bytes until the requests in them are
answered, so that a client that pipelines thousands costs no more memory than what it sent."""
TOO_MANY_REQUESTS = 429

log = structlog.get_logger()


@dataclass(slots=True)
class Served:
    """State that the connections of a server share. `date` is the value of the Date header. If
    `is_leaving` is true, each connection closes after its next answer. `freed` is called when a
    connection has ended or has answered a request. `sites_of` returns what a connection counts
    for, by its peer and the headers of its request, if they have arrived; none for nobody."""

    application: Application
    bounds: Bounds
    places: Places
    sites_of: Callable[[str, Headers], Sites]
    is_leaving: Callable[[], bool]
    freed: Callable[[], None]
    loop: asyncio.AbstractEventLoop
    date: str = ""
    connections: "set[HttpConnection]" = field(default_factory=set)


class HttpConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, served: Served, place: Place) -> None:
        self._served = served
        self._place = place
        self._peer_sites = place.sites
        self._transport: asyncio.Transport
        self._reader: RequestReader
        self._task: asyncio.Task[None] | None = None
        self._phase: Phase | None = Phase.IDLE
        self._due = math.inf
        self._held = b""
        self._is_reading = True
        self._can_write = True
        self._is_half_closed = False
        self._is_closing = False
        self._discarded_bytes = 0

    @property
    def parsed_count(self) -> int:
        """The parsed requests that wait for their turn."""
        return len(self._reader.requests)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        served = self._served
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        # The client has reset the connection, or the server has dropped it, while it was accepted.
        if peer is None or self._place.has_left:
            self._is_closing = True
            self._transport.abort()
            return
        is_tls = transport.get_extra_info("sslcontext") is not None
        self._reader = RequestReader(
            served.bounds,
            client=name_of_peer(peer),
            scheme="https" if is_tls else "http",
            clock=served.loop.time,
        )
        self._place.drop, self._place.give_up = self._drop, self._give_up
        self._due = served.loop.time() + served.bounds.head_seconds
        served.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self._served.bounds.max_discarded_bytes:
                self._transport.abort()
        elif self._task is not None or not self._can_write:
            self._held += data
            self._pause_reading()
        else:
            self._held += data
            self._next_step()

    def eof_received(self) -> bool:
        """The client has shut down its sending side. It may still read."""
        self._is_half_closed = True
        is_waiting = self._task is None and self._can_write
        if is_waiting or not self._transport.can_write_eof():
            return False  # closes the connection; an incomplete request is dropped
        if self._task is not None:
            self._due = self._served.loop.time() + self._served.bounds.half_closed_seconds
        return True

    def connection_lost(self, _error: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._served.connections.discard(self)
        self._served.places.leave(self._place)
        self._served.freed()

    def pause_writing(self) -> None:
        self._can_write = False
        if self._task is None and not self._is_closing:
            self._move(State.UNFINISHED)

    def resume_writing(self) -> None:
        self._can_write = True
        if self._task is None and not self._is_closing:
            self._next_step()

    def leave(self) -> None:
        """Closes the connection: at once if it is idle, otherwise after the answer. A request
        that has not arrived whole gets `leave_seconds` for the rest."""
        if self._task is not None or self._is_closing:
            return
        if self._reader.phase is Phase.IDLE:
            self._begin_closing()
            self._transport.close()
        else:
            self.leave_soon()

    def leave_soon(self) -> None:
        """Closes the connection after its next answer, or in `leave_seconds` if no whole request
        arrives."""
        if self._task is None:
            bound = self._served.loop.time() + self._served.bounds.leave_seconds
            self._due = min(self._due, bound)

    def end_if_late(self, now: float) -> None:
        """Ends a wait that has reached its time limit; `now` is the event loop's time."""
        if now < self._due:
            return
        if self._task is not None or self._is_closing or not self._can_write:
            self._drop()
            return
        self._reader.end_late()
        if self._reader.phase is Phase.IDLE and not self._reader.requests:
            self._begin_closing()
            self._transport.close()
        else:
            self._next_step()

    def _drop(self) -> None:
        """Ends the connection at once. Its place has left the unfinished ones, and stays so."""
        self._is_closing = True
        self._transport.abort()

    def _give_up(self) -> None:
        """Ends what is unfinished as if it were late."""
        self._due = -math.inf
        self.end_if_late(self._served.loop.time())

    def _move(self, state: State) -> None:
        """Tells the place what the connection does. While a body arrives through a trusted
        proxy, it counts for the proxy's client."""
        sites = self._peer_sites
        if not sites and state is State.UNFINISHED and self._reader.headers is not None:
            sites = self._served.sites_of(self._reader.client, self._reader.headers)
        self._served.places.move(self._place, state, sites)

    def _next_step(self) -> None:
        """Starts the next step: answer a request, wait for one, or close."""
        reader = self._reader
        if not self._can_write:  # until the client has read the answers
            self._due = self._served.loop.time() + self._served.bounds.idle_seconds
            self._move(State.UNFINISHED)
        elif reader.requests:
            self._due = math.inf
            if self._is_half_closed:
                self._due = self._served.loop.time() + self._served.bounds.half_closed_seconds
            request = reader.requests.popleft()
            self._move(State.BUSY)
            self._task = self._served.loop.create_task(self._answer(request))
        elif reader.failure is not None:
            self._write(self._served.application.refuse(reader.failure), closes=True)
            self._linger()
        elif self._held:
            self._feed_held()
            self._next_step()
        elif self._is_half_closed:
            self._begin_closing()
            self._transport.close()
        else:
            self._resume_reading()
            self._wait()

    def _feed_held(self) -> None:
        """Parses what was received, until it holds a request or is used up."""
        reader = self._reader
        if len(self._held) <= SLICE_BYTES and not reader.requests:
            held_bytes, self._held = self._held, b""
            reader.feed(held_bytes)
            return
        held = memoryview(self._held)
        used = 0
        while used < len(held) and not reader.requests and not reader.is_over:
            reader.feed(bytes(held[used : used + SLICE_BYTES]))
            used += SLICE_BYTES
        self._held = b"" if reader.is_over else bytes(held[used:])
        if self._held:
            self._pause_reading()

    def _pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()

    def _wait(self) -> None:
        """Waits for more of a request; each part of it has its own time limit."""
        reader = self._reader
        if reader.awaits_continue:
            reader.awaits_continue = False
            self._transport.write(CONTINUE)
        if reader.phase is not self._phase:
            self._phase = reader.phase
            self._due = self._served.loop.time() + reader.wait_seconds
            self._move(State.IDLE if reader.phase is Phase.IDLE else State.UNFINISHED)

    async def _answer(self, request: HttpRequest) -> None:
        try:
            response = await self._served.application.answer(request)
            closes = self._closes_after(request, response)
            self._write(response, closes=closes, with_body=request.method != "HEAD")
        except Exception as error:
            log.error("fail_answer", exc_info=error)
            self._transport.abort()
            return
        self._task, self._phase = None, None
        self._served.freed()
        if not closes:
            self._next_step()
        elif request.is_last and not request.is_too_large:
            self._begin_closing()  # the client asked to close, and sends nothing more
            self._transport.close()
        else:
            self._linger()

    def _closes_after(self, request: HttpRequest, response: Response) -> bool:
        if request.is_last or self._served.is_leaving():
            return True
        if self._is_half_closed:
            if not self._reader.requests:
                self._feed_held()  # no more will come: is another request complete?
            return not self._reader.requests and self._reader.failure is None
        # What a client sent beyond its limit is not even parsed.
        has_more = bool(self._reader.requests or self._held)
        return response.status == TOO_MANY_REQUESTS and has_more

    def _write(self, response: Response, *, closes: bool, with_body: bool = True) -> None:
        date = self._served.date
        self._transport.write(answer_bytes(response, date, closes=closes, with_body=with_body))

    def _linger(self) -> None:
        """Shuts down the sending side, and reads until the client closes."""
        self._begin_closing()
        if self._transport.can_write_eof() and not self._is_half_closed:
            self._transport.write_eof()
            self._resume_reading()
        else:
            self._transport.close()

    def _begin_closing(self) -> None:
        self._is_closing = True
        self._held = b""
        self._due = self._served.loop.time() + self._served.bounds.discard_seconds
        self._move(State.IDLE)
