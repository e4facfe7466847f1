"""Batch sizes of transactions and messages, from the metrics of the mesh's processes.

The metrics are histograms in Prometheus's text format. The difference of two readings is one
window. A percentile of a histogram is only known as the bound of its bucket.
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
    """A histogram: the number of batches, the sum of their sizes, and the number of batches up
    to each bound."""

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
    """The sizes of each kind of batch in one process's metrics; ignores other metrics."""
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
    """Batch sizes of every role, summed over its processes, by "<role>: <kind>". Raises
    BenchFailed."""
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
    """The batches between two readings. A kind that the first one lacks counts from 0."""
    return {kind: sizes - first.get(kind, BatchSizes()) for kind, sizes in last.items()}


def _read(name: str, address: str) -> str:
    try:
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
        with closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise BenchFailed(f"{name} does not show its metrics: {error}") from error
