"""How much shares a transaction and a message, as the mesh's processes count it.

They show histograms in Prometheus's text format; the difference of two readings is what
a window saw. A percentile of a histogram is known as the bound of its bucket only.
"""

import http.client
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from deploy.local.mesh_file import Process
from proof.bench.errors import BenchFailed

TIMEOUT_SECONDS = 5.0

_KINDS = {
    ("tx_batch_operations", ""): "operations in a transaction",
    ("lane_batch_calls", "client"): "calls in a lane message",
    ("lane_batch_calls", "server"): "replies in a lane message",
}


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """A histogram: how many batches there were, what they held in all, and how many were
    no larger than each bound."""

    batch_count: float = 0.0
    total: float = 0.0
    at_most: Mapping[float, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """0 where there was no batch."""
        return self.total / self.batch_count if self.batch_count else 0.0

    def bound_of(self, share: float) -> float:
        """The least bound that at least `share` (0 to 1) of the batches do not exceed; 0
        where there was none."""
        bounds = sorted(self.at_most)
        enough = share * self.batch_count
        return next(
            (bound for bound in bounds if self.batch_count and self.at_most[bound] >= enough), 0.0
        )

    def __add__(self, other: "BatchSizes") -> "BatchSizes":
        return self._with(other, 1)

    def __sub__(self, other: "BatchSizes") -> "BatchSizes":
        return self._with(other, -1)

    def _with(self, other: "BatchSizes", sign: int) -> "BatchSizes":
        bounds = self.at_most.keys() | other.at_most.keys()
        return BatchSizes(
            self.batch_count + sign * other.batch_count,
            self.total + sign * other.total,
            {
                bound: self.at_most.get(bound, 0.0) + sign * other.at_most.get(bound, 0.0)
                for bound in bounds
            },
        )


def parse_batches(text: str) -> dict[str, BatchSizes]:
    """The sizes of each kind of batch in one process's answer; others are passed over."""
    found: dict[str, BatchSizes] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            kind = _KINDS.get((family.name, sample.labels.get("side", "")))
            if kind is None:
                continue
            part = sample.name.removeprefix(family.name)
            sizes = found.get(kind, BatchSizes())
            if part == "_count":
                sizes += BatchSizes(batch_count=sample.value)
            elif part == "_sum":
                sizes += BatchSizes(total=sample.value)
            elif part == "_bucket":
                sizes += BatchSizes(at_most={float(sample.labels["le"]): sample.value})
            found[kind] = sizes
    return found


def read_batches(processes: Iterable[Process]) -> dict[str, BatchSizes]:
    """Of every role, over its processes, as "<role>: <kind>". Raises BenchFailed."""
    totals: dict[str, BatchSizes] = {}
    for process in processes:
        if process["metrics"] is not None:
            text = _read(process["name"], process["metrics"])
            for kind, sizes in parse_batches(text).items():
                of = f"{process['role']}: {kind}"
                totals[of] = totals.get(of, BatchSizes()) + sizes
    return totals


def difference(
    first: Mapping[str, BatchSizes], last: Mapping[str, BatchSizes]
) -> dict[str, BatchSizes]:
    """What came between two readings; a kind that the first has not seen began with none."""
    return {kind: sizes - first.get(kind, BatchSizes()) for kind, sizes in last.items()}


def _read(name: str, address: str) -> str:
    try:
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        with closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise BenchFailed(f"{name} does not show what it counts: {error}") from error
