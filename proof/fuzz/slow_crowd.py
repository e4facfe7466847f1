"""A crowd of slow clients: `python -m proof.fuzz.slow_crowd HOST:PORT KIND COUNT`.

It keeps COUNT connections open until it is killed, and replaces those that the server closes.
After each round it prints how many it has open and how many it has opened. A process of its
own, so that it takes no time from those who measure.
"""

import asyncio
import resource
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

ROUND_SECONDS = 0.5
CONNECTS_AT_ONCE = 100
OTHER_FILES = 64
_POST = b"POST /gacha/pull/standard HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
_GET = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a slow client sends at first and then in each round, and whether it reads."""

    first: bytes = b""
    then: bytes = b""
    reads: bool = True


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "nothing sent": Kind(),
        "slow head": Kind(_POST, b"x"),
        "slow body": Kind(_POST + b"content-length: 2000\r\n\r\n", b" "),
        "slow reader": Kind(_GET * 4, reads=False),
        "idle after an answer": Kind(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"),
        "half a preface of HTTP/2": Kind(b"PRI * HTTP/2.0\r\n\r\nSM"),
    }
)


class SlowCrowd:
    """The connections of one kind of slow clients."""

    def __init__(self, address: tuple[str, int], kind: Kind, count: int) -> None:
        self._address, self._kind, self._count = address, kind, count
        self._sockets: list[socket.socket] = []
        self.opened_count = 0

    @property
    def open_count(self) -> int:
        return len(self._sockets)

    async def play_round(self) -> None:
        """Each client sends a little; closed connections are replaced."""
        self._sockets = [each for each in self._sockets if self._goes_on(each)]
        while self.open_count < self._count:
            missing = min(CONNECTS_AT_ONCE, self._count - self.open_count)
            await asyncio.gather(*(self._open() for _ in range(missing)))

    async def _open(self) -> None:
        made = socket.socket()
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, self._address)
            made.send(self._kind.first)
        except OSError:
            made.close()
            await asyncio.sleep(ROUND_SECONDS / 10)
            return
        self._sockets.append(made)
        self.opened_count += 1

    def _goes_on(self, used: socket.socket) -> bool:
        try:
            used.send(self._kind.then)
            while self._kind.reads:
                if not used.recv(4096):
                    break
            else:
                return True
        except BlockingIOError:
            return True
        except OSError:
            pass
        used.close()
        return False


async def keep_playing(crowd: SlowCrowd) -> None:
    while True:
        await crowd.play_round()
        print(crowd.open_count, crowd.opened_count, flush=True)  # noqa: T201 - read by the parent
        await asyncio.sleep(ROUND_SECONDS)


def main() -> None:
    """Runs until it is killed. Opens fewer connections where the limit of open files is lower."""
    place, kind, count = sys.argv[1:]
    host, _, port = place.rpartition(":")
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    fitting = min(int(count), most_files - OTHER_FILES)
    with suppress(KeyboardInterrupt):
        asyncio.run(keep_playing(SlowCrowd((host, int(port)), KINDS[kind], fitting)))


if __name__ == "__main__":
    main()
