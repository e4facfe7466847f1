"""How a server accepts connections, and how it stops without losing one."""

import asyncio
import os
import socket
from dataclasses import replace

import pytest

from gateway_http.listening.sockets import handed_socket
from mesh.process.listening import ListenFailed
from tests.unit.gateway.listening.serving import GET, PATIENCE_SECONDS, PATIENT, running

WAIT = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
UNHEARD_SECONDS = 0.2


async def test_accepted_connections_are_served_after_stop_accepting() -> None:
    async with running() as run:
        known, silent = await run.connect(), await run.connect()
        assert await known.ask(GET) == (200, b"/hello")
        run.server.stop_accepting()
        run.server.stop_accepting()
        assert [await each.ask(GET) for each in (silent, known)] == [(200, b"/hello")] * 2
        with pytest.raises(ConnectionRefusedError):
            await run.connect()
        await run.end()
        assert [await each.rest() for each in (silent, known)] == [b"", b""]
        silent.close()
        known.close()


async def test_connections_wait_for_the_next_server_where_the_socket_is_held() -> None:
    async with running() as run:
        held = run.server.listener.dup()
        run.server.stop_accepting()
        client = await run.connect()
        client.write(GET)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), UNHEARD_SECONDS)
        connection, _ = held.accept()
        assert connection.recv(100) == GET
        connection.close()
        held.close()
        client.close()


async def test_requests_under_way_end_before_the_server_does() -> None:
    async with running() as run:
        client, sending = await run.connect(), await run.connect()
        sending.write(b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbo")
        client.write(WAIT)
        await run.application.asked.wait()
        await asyncio.sleep(0.02)
        run.server.leave()
        done, _ = await asyncio.wait((run.serving,), timeout=UNHEARD_SECONDS)
        assert not done
        run.application.go_on.set()
        sending.write(b"dy")
        for each, expected in ((client, b"/wait"), (sending, b"/abody")):
            status, headers, body = await each.answer()
            assert (status, headers["connection"], body) == (200, "close", expected)
            assert await each.rest() == b""
            each.close()
        await asyncio.wait_for(run.serving, PATIENCE_SECONDS)


async def test_a_server_that_is_about_to_leave_closes_after_each_answer() -> None:
    async with running() as run:
        client = await run.connect()
        assert await client.ask(GET) == (200, b"/hello")
        run.is_leaving = True
        client.write(GET)
        _, headers, body = await client.answer()
        assert (headers["connection"], body) == ("close", b"/hello")
        assert await client.rest() == b""
        client.close()


async def test_connections_are_bounded_and_the_others_wait_their_turn() -> None:
    async with running(replace(PATIENT, max_connections=2)) as run:
        first, second, third = [await run.connect() for _ in range(3)]
        assert [await each.ask(GET) for each in (first, second)] == [(200, b"/hello")] * 2
        third.write(GET)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(third.reader.read(1), UNHEARD_SECONDS)
        assert run.server.connection_count == 2
        first.close()
        assert (await third.answer())[0] == 200
        second.close()
        third.close()


def test_only_a_listening_socket_can_be_handed_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        handed = handed_socket(os.dup(listening.fileno()))
        assert handed.getsockname() == listening.getsockname()
        assert not handed.getblocking()
        handed.close()
    with socket.socket() as silent:
        for descriptor in (silent.fileno(), 999_999):
            with pytest.raises(ListenFailed, match="unset it"):
                handed_socket(descriptor)
        assert silent.getsockname()
