"""The connections of a port whose sockets a library owns, as gRPC's server does.

gRPC's server bounds the connections of all clients together, and then refuses whoever comes next.
Guarantees: one site (an IPv4 address, or an IPv6 /64) holds a bounded number; of those beyond it,
the newest end. While nearly all places are taken, that number is lower, so that the sites that hold
the most leave room for a newcomer. Connections of members that carry a lane count for no site and
do not end for any bound.

A connection ends by shutdown(2) on its socket, as if the client had gone: the owner of the socket
reads its end, cancels its calls and closes it.

The kernel lists the sockets of this process in /proc/self/fd. A check costs one listing of that
folder, and two system calls for each file if there are many or others than at the last check.
"""

import contextlib
import os
import socket
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import structlog

from mesh.addresses import canonical, site_of, socket_of_peer
from mesh.rounds import pause

Endpoint = tuple[str, int]
"""An IP address, as `mesh.addresses.canonical` spells it, and a port."""
CHECK_SECONDS = 1.0
_FILES = Path("/proc/self/fd")
log = structlog.get_logger()


class PortConnections:
    """The connections to one port of this process."""

    def __init__(
        self,
        port: int,
        max_address_connections: int,
        max_connections: int,
        *,
        observe: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`max_connections` are those of all sites, which gRPC enforces. `observe` gets the number
        of the open connections whenever it may have changed."""
        self._port = port
        self._max_of_site = max_address_connections
        self._max_of_all = max_connections * 7 // 8
        self._observe = observe
        self._first_seen: dict[Endpoint, int] = {}
        self._check_count = 0
        self._files: list[str] = []
        """Those of the last check."""

    async def keep_bounding(
        self, late_peers: Callable[[], Collection[str]], lane_peers: Callable[[], Collection[str]]
    ) -> None:
        """Each second ends what exceeds the bound, except the connections of `lane_peers`, and
        ends those of `late_peers`. Peers are named as gRPC names them. Logs what it ends."""
        while True:
            await pause(CHECK_SECONDS)
            late = self.end(late_peers())
            if late:
                log.warning("end_connections", connections=late, reason="answers were not read")
            for site, count in self.end_excess(lane_peers()).items():
                reason = "too many of one address"
                log.warning("end_connections", connections=count, reason=reason, client=site)

    def end_excess(self, lane_peers: Collection[str]) -> Counter[str]:
        """Ends the newest connections of each site that has too many, besides those of
        `lane_peers`; returns how many of which site. Which connections are newest is known from
        the last calls."""
        self._check_count += 1
        ended: Counter[str] = Counter()
        files, max_without_excess = os.listdir(_FILES), min(self._max_of_site, self._max_of_all)
        # No more connections than files: if these are few and the same, there is nothing to do.
        if files == self._files and len(files) <= max_without_excess:
            return ended
        self._files = files
        endpoints = [endpoint for _, endpoint in self._open()]
        self._observe(len(endpoints))
        if len(endpoints) <= max_without_excess:
            self._first_seen.clear()
            return ended
        kept = endpoints_of(lane_peers)
        seen = {
            endpoint: self._first_seen.get(endpoint, self._check_count)
            for endpoint in endpoints
            if endpoint not in kept
        }
        self._first_seen = seen
        sites = {endpoint: site_of(endpoint[0]) for endpoint in seen}
        max_together = self._max_of_all - (len(endpoints) - len(seen))
        share = share_of_site(Counter(sites.values()), self._max_of_site, max_together)
        counts: Counter[str] = Counter()
        excess = set()
        for endpoint in sorted(seen, key=seen.__getitem__):
            site = sites[endpoint]
            counts[site] += 1
            if counts[site] > share:
                excess.add(endpoint)
                ended[site] += 1
        self._end(excess)
        return ended

    def end(self, peers: Collection[str]) -> int:
        """Ends the connections of these peers, as gRPC names them; returns how many."""
        return self._end(endpoints_of(peers))

    def _end(self, endpoints: Collection[Endpoint]) -> int:
        count = 0
        for file, endpoint in self._open() if endpoints else ():
            if endpoint in endpoints:
                with contextlib.suppress(OSError), _borrowed(file) as connection:
                    connection.shutdown(socket.SHUT_RDWR)
                    count += 1
        return count

    def _open(self) -> Iterator[tuple[int, Endpoint]]:
        """The file and the client of each connection."""
        for name in os.listdir(_FILES):
            try:
                with _borrowed(int(name)) as connection:
                    own, other = connection.getsockname(), connection.getpeername()
            except OSError:  # no socket, a listening one, or one that has just been closed
                continue
            if isinstance(own, tuple) and own[1] == self._port and isinstance(other[0], str):
                address = canonical(other[0])
                if address is not None:
                    yield int(name), (address, other[1])


def endpoints_of(peers: Collection[str]) -> set[Endpoint]:
    """The endpoints of these peers, as gRPC names them."""
    return {endpoint for peer in peers if (endpoint := socket_of_peer(peer)) is not None}


def share_of_site(counts: Mapping[str, int], max_each: int, max_together: int) -> int:
    """The largest number, at most `max_each`, for which all sites together hold at most
    `max_together` if none holds more than it. At least 1."""
    shares = range(1, max_each + 1)
    fitting = bisect_right(
        shares, max_together, key=lambda share: sum(min(each, share) for each in counts.values())
    )
    return max(1, fitting)


@contextlib.contextmanager
def _borrowed(file: int) -> Iterator[socket.socket]:
    """A socket object on a file that somebody else owns and closes. It is no copy, which would keep
    the connection open after its owner has closed it. The family only says how long an address
    may be; an IPv4 address is read from it too. Raises OSError for a file that is no socket."""
    borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=file)
    try:
        yield borrowed
    finally:
        borrowed.detach()
