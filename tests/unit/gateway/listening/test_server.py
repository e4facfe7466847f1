"""How a server accepts connections, and how it stops without losing one."""

import asyncio
import os
import socket
from dataclasses import replace

import pytest

from gateway_http.edge.client_address import ClientAddresses, parse_networks
from gateway_http.listening.places import Reason
from gateway_http.listening.sockets import handed_socket
from mesh.process.listening import ListenFailed
from tests.unit.gateway.listening.serving import GET, PATIENCE_SECONDS, PATIENT, running
from tests.unit.registry.running import until

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


async def test_connections_wait_in_the_socket_while_all_others_are_busy() -> None:
    async with running(replace(PATIENT, max_connections=2)) as run:
        first, second = [await run.connect() for _ in range(2)]
        first.write(WAIT)
        second.write(WAIT)
        await until(lambda: len(run.application.requests) == 2)
        third = await run.connect()
        third.write(GET)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(third.reader.read(1), UNHEARD_SECONDS)
        assert run.server.connection_count == 2
        run.application.go_on.set()
        assert (await third.answer())[0] == 200
        for each in (first, second, third):
            each.close()


HALVES = {
    "nothing": b"",
    "empty lines": b"\r\n\r\n",
    "half a head": b"GET /a HT",
    "half a body": b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nb",
    "half a large body": b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 400\r\n\r\nb",
    "an answer that is not read": b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n",
    "after an answer": GET,
}


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
async def test_connections_that_do_nothing_keep_no_others_out(sent: bytes) -> None:
    async with running(replace(PATIENT, max_connections=20)) as run:
        slow = [await run.connect() for _ in range(20)]
        for each in slow:
            each.writer.transport.pause_reading()  # type: ignore[attr-defined]
            each.write(sent)
        await until(lambda: run.server.connection_count == 20)
        await asyncio.sleep(0.05)
        honest = [await run.connect() for _ in range(5)]
        for each in honest:
            assert await each.ask(GET) == (200, b"/hello")
        assert run.ends[Reason.FULL] >= 5
        assert run.server.connection_count <= 20
        for each in (*slow, *honest):
            each.reset()


async def test_an_address_has_a_bound_of_its_own() -> None:
    async with running(replace(PATIENT, max_address_connections=3)) as run:
        greedy = [await run.connect("127.0.0.2") for _ in range(3)]
        honest = await run.connect("127.0.0.3")
        for each in (*greedy, honest):
            assert await each.ask(GET) == (200, b"/hello")
        fourth = await run.connect("127.0.0.2")
        assert await fourth.ask(GET) == (200, b"/hello")
        assert await greedy[0].rest() == b""  # it was idle for longest
        for each in (greedy[1], greedy[2], fourth):
            each.write(WAIT)
        await until(lambda: len(run.application.requests) == 8)
        refused = await run.connect("127.0.0.2")
        assert await refused.rest() == b""
        assert await honest.ask(GET) == (200, b"/hello")
        assert run.ends == {Reason.ADDRESS: 2}
        for each in (*greedy, fourth, refused, honest):
            each.close()


@pytest.mark.parametrize("name", ["half a head", "half a body"])
async def test_an_address_has_a_bound_on_unfinished_requests(name: str) -> None:
    async with running(replace(PATIENT, max_address_unfinished=2)) as run:
        other = await run.connect("127.0.0.3")
        other.write(HALVES[name])
        slow = []
        for _ in range(3):
            slow.append(await run.connect("127.0.0.2"))
            slow[-1].write(HALVES[name])
            await asyncio.sleep(0.02)
        status, headers, _ = await slow[0].answer()
        assert (status, headers["connection"]) == (408, "close")
        honest = await run.connect("127.0.0.2")
        assert await honest.ask(GET) == (200, b"/hello")
        assert run.ends == {Reason.UNFINISHED: 1}
        assert run.server.connection_count >= 4
        for each in (other, *slow, honest):
            each.reset()


async def test_clients_of_an_address_that_read_no_answer_are_within_its_bound() -> None:
    """All answers are written in one turn of the event loop, so none of the connections that are
    given up has ended before the next one is."""
    async with running(replace(PATIENT, max_address_unfinished=3)) as run:
        clients = [await run.connect("127.0.0.2") for _ in range(12)]
        for each in clients:
            each.writer.transport.pause_reading()  # type: ignore[attr-defined]
            each.write(b"GET /wait/large HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: len(run.application.requests) == 12)
        run.application.go_on.set()
        await until(lambda: run.server.connection_count == 3)
        assert run.ends == {Reason.UNFINISHED: 9}
        for each in clients:
            each.reset()


async def test_addresses_behind_a_trusted_proxy_count_as_the_client() -> None:
    bounds = replace(PATIENT, max_address_connections=2, max_address_unfinished=2)
    proxy = ClientAddresses(parse_networks("127.0.0.2"))
    head = b"POST /a HTTP/1.1\r\nhost: x\r\nx-forwarded-for: %s\r\ncontent-length: 4\r\n\r\nbo"
    async with running(bounds, sites_of=proxy.sites_of) as run:
        connections = [await run.connect("127.0.0.2") for _ in range(6)]
        for number, each in enumerate(connections):
            address = b"192.0.2.7" if number in (1, 3, 5) else b"192.0.2.%d" % (10 + number)
            each.write(head % address)
            await asyncio.sleep(0.02)
        assert (await connections[1].answer())[0] == 408
        for number in (0, 2, 3, 4, 5):
            assert await connections[number].ask(b"dy") == (200, b"/abody")
        assert run.ends == {Reason.UNFINISHED: 1}
        for each in connections:
            each.close()


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
