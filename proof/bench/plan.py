"""The plan of a run: its points, their number of samples, and their order."""

from collections.abc import Sequence
from dataclasses import dataclass

from proof.bench.load.scenarios import (
    BANNERS,
    CURRENCY,
    GIFTS,
    ITEMS,
    PULLS,
    PURCHASES,
)

WARM_UP_SECONDS = 1.5
"""Longer than PostgreSQL's processes take to report their counters."""
OVERHEAD_SECONDS = 0.5
"""The time to start and end the load generators."""
IDLE = "idle"
IDLE_CONNECTIONS = 16
"""Of the pulls before a window without load: the mesh has opened its connections."""
QUIET_SECONDS = 5.0
"""Between these pulls and the window."""
COMMITS = "commits"
GHZ = "ghz"
SCENARIOS = {
    scenario.name: scenario for scenario in (PULLS, PURCHASES, GIFTS, ITEMS, BANNERS, CURRENCY)
}
KINDS = (IDLE, COMMITS, *SCENARIOS, GHZ)
"""The kinds of load, in the order of a round; the first is none."""
MOST_GIFT_CONNECTIONS = 64
"""Gifts need two players for each connection, and a new player costs two password hashes."""
MOST_COMMIT_CLIENTS = 64
"""A PostgreSQL server of the mesh has room for 200 connections, and the services have theirs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`window_seconds` is per point and round, half of it for reads and ghz, three times for the
    mesh without load; load runs a little longer. `kinds` is a subset of KINDS."""

    connection_counts: Sequence[int]
    window_seconds: float
    round_count: int
    player_count: int
    kinds: Sequence[str] = KINDS

    def window_seconds_of(self, kind: str) -> float:
        if kind == IDLE:
            return 3 * self.window_seconds
        is_main = kind in (COMMITS, PULLS.name)
        return self.window_seconds if is_main else self.window_seconds / 2

    def counts_of(self, kind: str) -> Sequence[int]:
        """The numbers of connections, clients or workers for a kind of load."""
        if kind == IDLE:
            return [0]
        most = {GIFTS.name: self.player_count // 2, COMMITS: MOST_COMMIT_CLIENTS}.get(kind)
        return [count for count in self.connection_counts if most is None or count <= most]

    @property
    def points(self) -> Sequence[tuple[str, int]]:
        """The points of a round, in order."""
        return [(kind, count) for kind in self.kinds for count in self.counts_of(kind)]

    @property
    def sample_count(self) -> int:
        """Every round has one sample of each point."""
        return self.round_count * len(self.points)

    @property
    def duration_seconds(self) -> float:
        """The approximate duration of all measurements."""
        windows = sum(self.window_seconds_of(kind) for kind, _ in self.points)
        around = len(self.points) * (WARM_UP_SECONDS + OVERHEAD_SECONDS)
        quiet = self.window_seconds + QUIET_SECONDS if IDLE in self.kinds else 0.0
        return self.round_count * (windows + around + quiet)
