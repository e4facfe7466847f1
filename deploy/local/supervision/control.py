"""Commands to a running mesh, over a socket in its folder that only its owner may use.

A client sends the name of a command in one line, and gets JSON lines: `{"said": SENTENCE}`
for each line of progress, then `{"failed": SENTENCE}` or `{"done": true}`. One
command runs at a time. One whose client has gone away is cancelled.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from deploy.local.errors import LocalRunError

Say = Callable[[str], None]
Command = Callable[[Say], Awaitable[None]]
"""A command: reports its progress to its argument. Raises LocalRunError."""


@contextlib.asynccontextmanager
async def served(path: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Serves commands at `path`. The end of the context cancels a running command."""
    under_way: set[asyncio.Task[None]] = set()
    turn = asyncio.Lock()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server runs each answer as a task"
        under_way.add(task)
        try:
            await _answer(reader, writer, commands, turn)
        except (ConnectionError, ValueError):
            pass  # The client has disconnected, or does not speak this protocol.
        finally:
            under_way.discard(task)
            writer.close()

    try:
        async with await asyncio.start_unix_server(answer, sock=_bound(path)):
            yield
    finally:
        _forget(path)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _answer(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    commands: Mapping[str, Command],
    turn: asyncio.Lock,
) -> None:
    def send(**message: object) -> None:
        writer.write(json.dumps(message).encode() + b"\n")

    name = (await reader.readline()).decode().strip()
    if name not in commands:
        send(failed=f"The running mesh knows no command {name!r}: it may be of another version.")
        return
    if turn.locked():
        send(failed="Another command is under way; try again when it is done.")
        return
    async with turn:
        running = asyncio.ensure_future(commands[name](lambda sentence: send(said=sentence)))
        gone = asyncio.ensure_future(reader.read())
        try:
            await asyncio.wait([running, gone], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                return
            running.result()
            send(done=True)
        except (LocalRunError, OSError) as error:
            send(failed=str(error))
        finally:
            running.cancel()
            gone.cancel()
            await asyncio.gather(running, gone, return_exceptions=True)
    await writer.drain()


def ask(path: Path, command: str, say: Say) -> None:
    """Runs a command in the running mesh, and returns when it is done.

    Raises LocalRunError with the reason of a failure.
    """
    with socket.socket(socket.AF_UNIX) as client:
        try:
            with _short(path) as short:
                client.connect(short)
        except OSError as error:
            raise LocalRunError(f"The running mesh takes no commands at {path}: {error}") from error
        client.sendall(command.encode() + b"\n")
        with client.makefile() as lines:
            for line in lines:
                message = json.loads(line)
                if "failed" in message:
                    raise LocalRunError(message["failed"])
                if "done" in message:
                    return
                say(message["said"])
    raise LocalRunError("The mesh stopped before it was done.")


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


def _bound(path: Path) -> socket.socket:
    _forget(path)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with _short(path) as short:
            listener.bind(short)
    finally:
        os.umask(before)
    return listener


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A short alias of the path: the kernel limits a socket's path to about 100 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
