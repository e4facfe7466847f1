"""What the runner and the template process say to each other, one message in each packet.

A message has at most MAX_BYTES and MAX_FILES open files. The end of the other side is read as None.
"""

import errno
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

MAX_BYTES = 128 * 1024
MAX_FILES = 2


@dataclass(frozen=True, slots=True)
class Request:
    """Fork, and run `python -m MODULE ARGUMENTS`. Its files: the log, and the listening socket if
    the program gets one. The answer repeats the number. After `expires_at`, a monotonic time in
    seconds, the request is ignored: nobody waits for it any more."""

    number: int
    expires_at: float
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str


@dataclass(frozen=True, slots=True)
class Started:
    """A child began. Its file is the child's pidfd."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A child ended. `status` is negative for a signal."""

    pid: int
    status: int


Message = Request | Started | Ended
_KINDS: Mapping[str, type[Message]] = {kind.__name__: kind for kind in (Request, Started, Ended)}


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected channels."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Message, files: Sequence[int] = ()) -> None:
    """Raises OSError, also for a message that is too long."""
    text = json.dumps({type(message).__name__: asdict(message)}).encode()
    if len(text) > MAX_BYTES:
        # The other side would read a part of it, which is no message.
        raise OSError(errno.EMSGSIZE, f"the message has {len(text)} bytes of {MAX_BYTES}")
    socket.send_fds(channel, [text], list(files))


def receive(channel: socket.socket) -> tuple[Message | None, list[int]]:
    """The next message with its files; None at the end. Raises OSError."""
    text, files, _, _ = socket.recv_fds(channel, MAX_BYTES, MAX_FILES)
    if not text:
        return None, files
    ((kind, fields),) = json.loads(text).items()
    return _KINDS[kind](**fields), files
